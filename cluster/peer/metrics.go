package peer

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts what travels between this node and each other.
type Metrics struct {
	sentBytes     *prometheus.CounterVec
	receivedBytes *prometheus.CounterVec
	up            *prometheus.GaugeVec
	pingSeconds   *prometheus.HistogramVec
}

// NewMetrics makes the metrics and registers them with reg, if that is not nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	label := []string{"node"}
	m := &Metrics{
		sentBytes:     prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "arbiter", Subsystem: "peer", Name: "sent_bytes_total", Help: "Bytes sent to another node."}, label),
		receivedBytes: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "arbiter", Subsystem: "peer", Name: "received_bytes_total", Help: "Bytes received from another node."}, label),
		up:            prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "arbiter", Subsystem: "peer", Name: "up", Help: "1 while another node answers, 0 while it does not."}, label),
		pingSeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "arbiter", Subsystem: "peer", Name: "ping_seconds", Help: "Time from a ping to another node to its answer.",
			Buckets: prometheus.ExponentialBuckets(100e-6, 2, 14)}, label),
	}
	if reg != nil {
		reg.MustRegister(m.sentBytes, m.receivedBytes, m.up, m.pingSeconds)
	}
	return m
}

func (m *Metrics) sent(node string, bytes int) { m.sentBytes.WithLabelValues(node).Add(float64(bytes)) }

func (m *Metrics) received(node string, bytes int) {
	m.receivedBytes.WithLabelValues(node).Add(float64(bytes))
}

func (m *Metrics) setUp(node string, up bool) {
	v := 0.0
	if up {
		v = 1
	}
	m.up.WithLabelValues(node).Set(v)
}

func (m *Metrics) roundTrip(node string, took time.Duration) {
	m.pingSeconds.WithLabelValues(node).Observe(took.Seconds())
}
