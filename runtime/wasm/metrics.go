package wasm

import "github.com/prometheus/client_golang/prometheus"

// Metrics count what the sandbox does, over all modules.
type Metrics struct {
	compileSeconds prometheus.Histogram
	compileErrors  prometheus.Counter
	started        prometheus.Counter
	discarded      prometheus.Counter
	audits         prometheus.Counter
	waits          prometheus.Counter
	busy           prometheus.Counter
	pools          prometheus.Gauge
}

// NewMetrics makes the metrics and registers them with reg; a nil reg leaves them unregistered.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "arbiter_wasm_" + name, Help: help})
	}
	m := &Metrics{
		compileSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "arbiter_wasm_compile_seconds",
			Help: "Time to compile one module.", Buckets: prometheus.ExponentialBuckets(0.001, 4, 8)}),
		compileErrors: counter("compile_errors_total", "Modules that could not be compiled."),
		started:       counter("instances_started_total", "Instances started."),
		discarded:     counter("instances_discarded_total", "Instances discarded after an error."),
		audits:        counter("audits_total", "Calls made again in a new instance, to find modules that keep state."),
		waits:         counter("pool_waits_total", "Calls that had to wait for an instance."),
		busy:          counter("pool_busy_total", "Calls that gave up waiting for an instance."),
		pools: prometheus.NewGauge(prometheus.GaugeOpts{Name: "arbiter_wasm_pools",
			Help: "Module versions loaded now."}),
	}
	if reg != nil {
		reg.MustRegister(m.compileSeconds, m.compileErrors, m.started, m.discarded, m.audits, m.waits, m.busy, m.pools)
	}
	return m
}
