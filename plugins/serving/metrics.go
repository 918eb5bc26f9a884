package serving

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Metrics count what plugins do. The label plugin is the plugin's name; the registry bounds how many
// there are.
type Metrics struct {
	calls, rows, fuel *prometheus.CounterVec
	errors            *prometheus.CounterVec
	prepareSeconds    prometheus.Histogram
	refused           *prometheus.CounterVec
	swaps             prometheus.Counter
	sets              prometheus.Gauge
	standIns          *prometheus.CounterVec
	breakers          *prometheus.CounterVec
	logs, logsDropped *prometheus.CounterVec
	custom            *prometheus.CounterVec
}

// The values of the label reason besides those of wasm.Reason.
const (
	reasonBusy    = "busy"    // no instance became free in time
	reasonTimeout = "timeout" // the deadline of the decision passed
	reasonRange   = "range"   // a probability outside 0 to 1
	reasonAnswer  = "answer"  // an answer that breaks the contract
	reasonOpen    = "open"    // the version is taken out, and no other stands in
	reasonHost    = "host"    // a fault of ours
)

// NewMetrics makes the metrics and registers them with reg; a nil reg leaves them unregistered.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	vector := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "arbiter_plugin_" + name, Help: help}, labels)
	}
	m := &Metrics{
		calls:  vector("calls_total", "Guest calls that succeeded.", "plugin"),
		rows:   vector("rows_total", "Rows scored.", "plugin"),
		fuel:   vector("fuel_total", "Fuel used by guest calls that succeeded.", "plugin"),
		errors: vector("errors_total", "Score calls that failed, by reason.", "plugin", "reason"),
		prepareSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "arbiter_plugin_prepare_seconds",
			Help: "Time to admit, compile and warm a plugin version.", Buckets: prometheus.ExponentialBuckets(0.001, 4, 9)}),
		refused: vector("prepare_errors_total", "Plugin versions that could not be prepared, by error code.", "code"),
		swaps: prometheus.NewCounter(prometheus.CounterOpts{Name: "arbiter_plugin_swaps_total",
			Help: "Plugins that began to be served by another version."}),
		sets: prometheus.NewGauge(prometheus.GaugeOpts{Name: "arbiter_plugin_sets", Help: "Plugin sets in use."}),

		standIns:    vector("stand_ins_total", "Calls that an earlier version answered since the one in use keeps failing.", "plugin"),
		breakers:    vector("breakers_opened_total", "Times a version was taken out since it kept failing.", "plugin"),
		logs:        vector("log_lines_total", "Lines that plugins wrote to their logs.", "plugin"),
		logsDropped: vector("log_lines_dropped_total", "Lines of plugins beyond what is taken a second.", "plugin"),
		custom:      vector("custom_total", "Counters that plugins make of their own by metric_add.", "plugin", "name"),
	}
	if reg != nil {
		reg.MustRegister(m.calls, m.rows, m.fuel, m.errors, m.prepareSeconds, m.refused, m.swaps, m.sets,
			m.standIns, m.breakers, m.logs, m.logsDropped, m.custom)
	}
	return m
}

func (m *Metrics) prepared(took time.Duration, err error) {
	m.prepareSeconds.Observe(took.Seconds())
	if err != nil {
		m.refused.WithLabelValues(string(nba.CodeOf(err))).Inc()
	}
}

// modelMetrics are the counters of one plugin, looked up once.
type modelMetrics struct {
	calls, rows, fuel prometheus.Counter
	errors            *prometheus.CounterVec // of one plugin, by reason

	standIns, breakers, logs, logsDropped prometheus.Counter
}

func (m *Metrics) forPlugin(name string) modelMetrics {
	return modelMetrics{calls: m.calls.WithLabelValues(name), rows: m.rows.WithLabelValues(name),
		fuel: m.fuel.WithLabelValues(name), errors: m.errors.MustCurryWith(prometheus.Labels{"plugin": name}),
		standIns: m.standIns.WithLabelValues(name), breakers: m.breakers.WithLabelValues(name),
		logs: m.logs.WithLabelValues(name), logsDropped: m.logsDropped.WithLabelValues(name)}
}
