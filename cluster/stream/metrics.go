package stream

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Metrics count what all streams of a node do. They are safe for concurrent use.
type Metrics struct {
	messages, lost, errors *prometheus.CounterVec
	events                 *prometheus.CounterVec
	lag, offset            *prometheus.GaugeVec
}

// NewMetrics registers the metrics of streams.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	byStream, byPartition := []string{"stream"}, []string{"stream", "partition"}
	m := &Metrics{
		messages: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "arbiter_stream_messages_total",
			Help: "Messages of streams that this node read and handed on."}, byStream),
		lost: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "arbiter_stream_lost_messages_total",
			Help: "Messages that the broker removed before they were read."}, byStream),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "arbiter_stream_errors_total",
			Help: "Failed attempts to read messages or to hand them on."}, byStream),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "arbiter_stream_events_total",
			Help: "Events of streams by what became of them."}, []string{"stream", "outcome"}),
		lag: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "arbiter_stream_lag_messages",
			Help: "Messages of a partition that this node reads which are still to be handed on."}, byPartition),
		offset: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "arbiter_stream_offset",
			Help: "Offset of the next message to hand on, of a partition that this node reads."}, byPartition),
	}
	reg.MustRegister(m.messages, m.lost, m.errors, m.events, m.lag, m.offset)
	return m
}

func (m *Metrics) position(stream string, partition int32, next, end int64) {
	number := strconv.Itoa(int(partition))
	m.offset.WithLabelValues(stream, number).Set(float64(next))
	m.lag.WithLabelValues(stream, number).Set(float64(max(0, end-next)))
}

// received counts what became of events.
func (m *Metrics) received(stream string, receipts []nba.EventReceipt) {
	for i := range receipts {
		m.events.WithLabelValues(stream, string(receipts[i].Status)).Inc()
	}
}

func (m *Metrics) forget(stream string, partition int32) {
	number := strconv.Itoa(int(partition))
	m.offset.DeleteLabelValues(stream, number)
	m.lag.DeleteLabelValues(stream, number)
}
