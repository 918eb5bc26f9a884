package telemetry

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Namespace begins the name of every metric.
const Namespace = "arbiter"

// NewRegistry is a registry that already holds the Go runtime's and the process's figures and
// arbiter_build_info.
func NewRegistry() *prometheus.Registry {
	registry := prometheus.NewRegistry()
	build := Build()
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: Namespace, Name: "build_info",
		Help:        "Always 1; the labels name the build.",
		ConstLabels: prometheus.Labels{"version": build.Version, "revision": build.Revision, "go_version": build.GoVersion},
	})
	info.Set(1)
	registry.MustRegister(collectors.NewGoCollector(), info,
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return registry
}

// LatencyBuckets are histogram bounds in seconds for work between 50 µs and 10 s.
func LatencyBuckets() []float64 {
	return []float64{
		0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
	}
}

// SizeBuckets are histogram bounds in bytes from 256 B to 64 MiB, by fours.
func SizeBuckets() []float64 { return prometheus.ExponentialBuckets(256, 4, 10) }

// Register registers c, or returns the collector of the same description that is already there, so
// that two instances of a part can share a registry.
func Register[C prometheus.Collector](registry prometheus.Registerer, c C) C {
	err := registry.Register(c)
	if err == nil {
		return c
	}
	if already, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		if existing, ok := already.ExistingCollector.(C); ok {
			return existing
		}
	}
	panic(err) // a bug of ours: two metrics of one name with different meanings
}
