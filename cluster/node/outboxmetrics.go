package node

import (
	"math"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/arbiterhq/arbiter/cluster/command"
)

// outboxMetrics count what becomes of triggers and deliveries. Those of states are of the groups that this node
// leads, so that the sum over the nodes is that of the cluster.
type outboxMetrics struct {
	decided  prometheus.Counter
	closed   *prometheus.CounterVec
	attempts *prometheus.CounterVec
	latency  prometheus.Histogram
}

func newOutboxMetrics(reg prometheus.Registerer) *outboxMetrics {
	m := &outboxMetrics{
		decided: prometheus.NewCounter(prometheus.CounterOpts{Name: "arbiter_triggers_decided_total",
			Help: "Triggers that were decided: something is delivered."}),
		closed: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "arbiter_triggers_closed_total",
			Help: "Triggers that led to no delivery, by reason; deferred ones are decided later."}, []string{"reason"}),
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "arbiter_delivery_attempts_total",
			Help: "Attempts to deliver, by sink and by how they ended."}, []string{"sink", "outcome"}),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "arbiter_delivery_latency_seconds",
			Help:    "From when a trigger was raised to when its delivery was first attempted.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10, 60, 3600, 24 * 3600}}),
	}
	reg.MustRegister(m.decided, m.closed, m.attempts, m.latency)
	return m
}

// outboxCollector tells what waits in the groups that a node leads.
type outboxCollector struct {
	n                          *Node
	triggers, states, dueSince *prometheus.Desc
}

func newOutboxCollector(n *Node) *outboxCollector {
	return &outboxCollector{
		n:        n,
		triggers: prometheus.NewDesc("arbiter_triggers_pending", "Triggers that wait to be decided.", nil, nil),
		states:   prometheus.NewDesc("arbiter_deliveries", "Deliveries in the outbox, by state.", []string{"state"}, nil),
		dueSince: prometheus.NewDesc("arbiter_delivery_oldest_seconds", "Age of the oldest of the deliveries that are due first, of each sink; 0 when nothing waits.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *outboxCollector) Describe(to chan<- *prometheus.Desc) {
	to <- c.triggers
	to <- c.states
	to <- c.dueSince
}

// Collect implements prometheus.Collector.
func (c *outboxCollector) Collect(to chan<- prometheus.Metric) {
	tally := c.n.router.Tally()
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	gauge(c.triggers, float64(tally.Triggers))
	for _, state := range command.DeliveryStates() {
		gauge(c.states, float64(tally.Of(state)), state.String())
	}
	oldest, now := 0.0, c.n.clock.Now().UnixMilli()
	for _, group := range c.n.router.Led() {
		waiting, _ := c.n.router.DueSinks(group) // a group that is lost meanwhile is another node's
		for _, sink := range waiting {
			due, _, err := c.n.router.DueDeliveries(group, sink, math.MaxInt64-1, 1, func(ulid.ULID) bool { return false })
			if err == nil && len(due) > 0 {
				oldest = max(oldest, float64(now-due[0].CreatedMS)/1000)
			}
		}
	}
	gauge(c.dueSince, oldest)
}
