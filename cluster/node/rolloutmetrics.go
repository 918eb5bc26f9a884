package node

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/arbiterhq/arbiter/plugins/rollout"
)

// rolloutMetrics show the rollouts under way. Their labels are bounded by the number of those.
type rolloutMetrics struct {
	permille  *prometheus.GaugeVec
	guardrail *prometheus.GaugeVec
	taken     *prometheus.CounterVec
}

func newRolloutMetrics(reg prometheus.Registerer) *rolloutMetrics {
	m := &rolloutMetrics{
		permille: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "arbiter_rollout_permille",
			Help: "Share of the subjects that get the version of a rollout under way, in thousandths."}, []string{"plugin", "version", "stage"}),
		guardrail: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "arbiter_rollout_guardrail_ratio",
			Help: "Where a guardrail of a rollout under way stands: 1 is its limit."}, []string{"plugin", "guardrail"}),
		taken: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "arbiter_rollout_taken_back_total",
			Help: "Versions this node had taken back, by the guardrail they breached."}, []string{"plugin", "guardrail"}),
	}
	reg.MustRegister(m.permille, m.guardrail, m.taken)
	return m
}

// show sets the gauges to a state.
func (m *rolloutMetrics) show(state *rollout.State) {
	m.permille.Reset()
	m.guardrail.Reset()
	for _, r := range state.Running() {
		m.permille.WithLabelValues(r.Plugin, r.Version, string(r.Stage)).Set(float64(r.Permille()))
		for _, c := range rollout.Assess(r) {
			if c.State != rollout.CheckOff && c.Limit > 0 {
				m.guardrail.WithLabelValues(r.Plugin, c.Guardrail).Set(float64(c.Value) / float64(c.Limit))
			}
		}
	}
}

func (m *rolloutMetrics) takenBack(plugin string, checks []rollout.Check) {
	for i := range checks {
		m.taken.WithLabelValues(plugin, checks[i].Guardrail).Inc()
	}
}
