package api

import (
	"strconv"
	"sync"
	"time"

	"github.com/arbiterhq/arbiter/runtime/telemetry"
	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the figures of one listener. Labels hold operation ids, never paths: a path names a
// customer.
type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	refused  *prometheus.CounterVec
	inFlight prometheus.Gauge
	byOp     map[string]*figures
}

// figures are one operation's, looked up once.
type figures struct {
	duration prometheus.Observer
	requests *prometheus.CounterVec // of this listener
	id       string
	byStatus sync.Map // int -> prometheus.Counter; made when a status first occurs
}

func newMetrics(registry prometheus.Registerer, listener string, table []operation) *metrics {
	if registry == nil {
		registry = prometheus.NewRegistry()
	}
	const subsystem = "http"
	labels := []string{"listener", "operation"}
	requests := telemetry.Register(registry, prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: telemetry.Namespace, Subsystem: subsystem, Name: "requests_total",
		Help: "Requests answered, by operation and status.",
	}, append(labels, "status")))
	duration := telemetry.Register(registry, prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: telemetry.Namespace, Subsystem: subsystem, Name: "request_duration_seconds",
		Help: "Time from the request's last byte to its answer.", Buckets: telemetry.LatencyBuckets(),
	}, labels))
	refused := telemetry.Register(registry, prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: telemetry.Namespace, Subsystem: subsystem, Name: "refused_total",
		Help: "Connections refused before a request could be routed, by reason.",
	}, []string{"listener", "reason"}))
	inFlight := telemetry.Register(registry, prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: telemetry.Namespace, Subsystem: subsystem, Name: "in_flight_requests",
		Help: "Requests being served now.",
	}, []string{"listener"}))
	own := prometheus.Labels{"listener": listener}
	m := &metrics{
		requests: requests.MustCurryWith(own), duration: duration, refused: refused.MustCurryWith(own),
		inFlight: inFlight.With(own), byOp: map[string]*figures{},
	}
	for i := range table {
		id := table[i].id
		m.byOp[id] = &figures{duration: duration.WithLabelValues(listener, id), requests: m.requests, id: id}
	}
	return m
}

func (m *metrics) of(op *operation) *figures { return m.byOp[op.id] }

func (f *figures) observe(status int, took time.Duration) {
	f.duration.Observe(took.Seconds())
	counter, ok := f.byStatus.Load(status)
	if !ok {
		counter, _ = f.byStatus.LoadOrStore(status, f.requests.WithLabelValues(f.id, strconv.Itoa(status)))
	}
	counter.(prometheus.Counter).Inc() //nolint:forcetypeassert // nothing else is stored
}
