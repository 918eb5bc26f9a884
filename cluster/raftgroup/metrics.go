package raftgroup

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/arbiterhq/arbiter/cluster/fsm"
)

// Metrics counts what all groups of a process do, by group.
type Metrics struct {
	applySeconds    *prometheus.HistogramVec
	applyEntries    *prometheus.HistogramVec
	commitSeconds   *prometheus.HistogramVec
	packOps         *prometheus.HistogramVec
	packBytes       *prometheus.CounterVec
	queueDepth      *prometheus.GaugeVec
	refusedTotal    *prometheus.CounterVec
	appliedIndex    *prometheus.GaugeVec
	logSinceBytes   *prometheus.GaugeVec
	snapshotSeconds *prometheus.HistogramVec
	subjects        *prometheus.GaugeVec
}

// NewMetrics makes the metrics and registers them with reg, if that is not nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	label := []string{"group"}
	histogram := func(name, help string, buckets []float64) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "arbiter", Subsystem: "group", Name: name, Help: help, Buckets: buckets}, label)
	}
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "arbiter", Subsystem: "group", Name: name, Help: help}, label)
	}
	counter := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "arbiter", Subsystem: "group", Name: name, Help: help}, label)
	}
	seconds := prometheus.ExponentialBuckets(50e-6, 2, 16)
	powers := prometheus.ExponentialBuckets(1, 2, 13)
	m := &Metrics{
		applySeconds:    histogram("apply_seconds", "Time to apply one batch of log entries to the state.", seconds),
		applyEntries:    histogram("apply_entries", "Log entries in one batch applied to the state.", powers),
		commitSeconds:   histogram("commit_seconds", "Time from the proposal of an entry until it is durable and applied.", seconds),
		packOps:         histogram("entry_operations", "Operations packed into one log entry.", powers),
		packBytes:       counter("entry_bytes_total", "Bytes of the log entries packed from operations."),
		queueDepth:      gauge("queue_depth", "Operations that waited when the last entry was packed."),
		refusedTotal:    counter("refused_total", "Operations refused because the queue was full."),
		appliedIndex:    gauge("applied_index", "Index of the last log entry applied."),
		logSinceBytes:   gauge("log_bytes", "Bytes of log since the last snapshot."),
		snapshotSeconds: histogram("snapshot_seconds", "Time to take a snapshot.", prometheus.ExponentialBuckets(0.01, 2, 14)),
		subjects:        gauge("subjects", "Subjects stored."),
	}
	if reg != nil {
		reg.MustRegister(m.applySeconds, m.applyEntries, m.commitSeconds, m.packOps, m.packBytes, m.queueDepth,
			m.refusedTotal, m.appliedIndex, m.logSinceBytes, m.snapshotSeconds, m.subjects)
	}
	return m
}

func (m *Metrics) applied(group string, took time.Duration, entries int, at fsm.Position) {
	m.applySeconds.WithLabelValues(group).Observe(took.Seconds())
	m.applyEntries.WithLabelValues(group).Observe(float64(entries))
	m.appliedIndex.WithLabelValues(group).Set(float64(at.Index))
}

func (m *Metrics) committed(group string, took time.Duration) {
	m.commitSeconds.WithLabelValues(group).Observe(took.Seconds())
}

func (m *Metrics) packed(group string, ops, bytes, waiting int) {
	m.packOps.WithLabelValues(group).Observe(float64(ops))
	m.packBytes.WithLabelValues(group).Add(float64(bytes))
	m.queueDepth.WithLabelValues(group).Set(float64(waiting))
}

func (m *Metrics) refused(group string) { m.refusedTotal.WithLabelValues(group).Inc() }
func (m *Metrics) logBytes(group string, bytes int64) {
	m.logSinceBytes.WithLabelValues(group).Set(float64(bytes))
}
func (m *Metrics) snapshot(group string, took time.Duration) {
	m.snapshotSeconds.WithLabelValues(group).Observe(took.Seconds())
}

// Subjects sets the number of subjects of a group.
func (m *Metrics) Subjects(group string, n int64) { m.subjects.WithLabelValues(group).Set(float64(n)) }
