package node

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

type metrics struct {
	decisions      *prometheus.CounterVec
	degraded       *prometheus.CounterVec
	propositions   prometheus.Counter
	responses      *prometheus.CounterVec
	imported       *prometheus.CounterVec
	events         *prometheus.CounterVec
	eventsRefused  prometheus.Counter
	timers         prometheus.Counter
	timersLate     prometheus.Histogram
	activations    prometheus.Counter
	modelFailures  *prometheus.CounterVec
	catalogVersion prometheus.Gauge
	rollouts       *rolloutMetrics
	outbox         *outboxMetrics
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "arbiter_decisions_total",
			Help: "Decisions made, by channel."}, []string{"channel"}),
		degraded: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "arbiter_decisions_degraded_total",
			Help: "Decisions that were answered without what they needed, by channel."}, []string{"channel"}),
		propositions: prometheus.NewCounter(prometheus.CounterOpts{Name: "arbiter_propositions_total",
			Help: "Propositions made."}),
		responses: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "arbiter_responses_total",
			Help: "Responses recorded, by outcome."}, []string{"outcome"}),
		imported: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "arbiter_import_records_total",
			Help: "Records read by imports, by result."}, []string{"result"}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "arbiter_events_total",
			Help: "Events taken, by what became of them."}, []string{"status"}),
		eventsRefused: prometheus.NewCounter(prometheus.CounterOpts{Name: "arbiter_events_refused_total",
			Help: "Events refused because too many were under way."}),
		timers: prometheus.NewCounter(prometheus.CounterOpts{Name: "arbiter_timers_fired_total",
			Help: "Timers fired in the groups that this node leads."}),
		timersLate: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "arbiter_timers_late_seconds", Buckets: prometheus.ExponentialBuckets(0.002, 4, 9),
			Help: "How long after their time timers were fired and committed; the first of each operation."}),
		activations: prometheus.NewCounter(prometheus.CounterOpts{Name: "arbiter_plugin_activations_total",
			Help: "Plugin versions made active by this node."}),
		modelFailures: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "arbiter_model_failures_total",
			Help: "Model calls that failed; their decisions used starting propensities."}, []string{"model"}),
		catalogVersion: prometheus.NewGauge(prometheus.GaugeOpts{Name: "arbiter_catalog_version",
			Help: "Index of the log entry that activated the catalog in force."}),
	}
	m.rollouts, m.outbox = newRolloutMetrics(reg), newOutboxMetrics(reg)
	reg.MustRegister(m.decisions, m.degraded, m.propositions, m.responses, m.imported, m.events, m.eventsRefused, m.timers, m.timersLate, m.activations, m.modelFailures, m.catalogVersion)
	return m
}

// timersFired counts what one operation fired.
func (m *metrics) timersFired(fired uint64, late time.Duration) {
	m.timers.Add(float64(fired))
	m.timersLate.Observe(late.Seconds())
}

// decided counts a decision. The channel is one of the catalog's, so the label is bounded.
func (m *metrics) decided(channel string, d *nba.Decision) {
	m.decisions.WithLabelValues(channel).Inc()
	if d.Degraded {
		m.degraded.WithLabelValues(channel).Inc()
	}
	items := 0
	for i := range d.Propositions {
		items += len(d.Propositions[i].Items)
	}
	m.propositions.Add(float64(items))
}
