package raftgroup

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/cluster/store"
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
	stateDigest     *prometheus.GaugeVec
	markIndex       *prometheus.GaugeVec
	markDigest      *prometheus.GaugeVec
	runBytes        *prometheus.GaugeVec
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
		stateDigest:     gauge("state_digest", "The upper 48 bits of the digest of the state as of applied_index: equal on all replicas at the same index."),
		markIndex:       gauge("mark_index", "Index of the newest log entry at which the replicas compared their state."),
		markDigest:      gauge("mark_digest", "The upper 48 bits of the digest of the state at mark_index: equal on all replicas of the same mark_index."),
		runBytes:        gauge("run_bytes", "Bytes of the run files that are not merged into the state file yet."),
	}
	if reg != nil {
		reg.MustRegister(m.applySeconds, m.applyEntries, m.commitSeconds, m.packOps, m.packBytes, m.queueDepth,
			m.refusedTotal, m.appliedIndex, m.logSinceBytes, m.snapshotSeconds, m.subjects, m.stateDigest, m.markIndex, m.markDigest, m.runBytes)
	}
	return m
}

// groupMetrics are the metrics of one group, looked up once.
type groupMetrics struct {
	applySeconds, applyEntries, commitSeconds, packOps, snapshotSeconds prometheus.Observer
	packBytes, refusedTotal                                             prometheus.Counter
	queueDepth, appliedIndex, logBytes, subjects                        prometheus.Gauge
	stateDigest, markIndex, markDigest, runBytes                        prometheus.Gauge
}

func (m *Metrics) of(group string) groupMetrics {
	return groupMetrics{
		applySeconds: m.applySeconds.WithLabelValues(group), applyEntries: m.applyEntries.WithLabelValues(group),
		commitSeconds: m.commitSeconds.WithLabelValues(group), packOps: m.packOps.WithLabelValues(group),
		snapshotSeconds: m.snapshotSeconds.WithLabelValues(group), packBytes: m.packBytes.WithLabelValues(group),
		refusedTotal: m.refusedTotal.WithLabelValues(group), queueDepth: m.queueDepth.WithLabelValues(group),
		appliedIndex: m.appliedIndex.WithLabelValues(group), logBytes: m.logSinceBytes.WithLabelValues(group),
		subjects: m.subjects.WithLabelValues(group), stateDigest: m.stateDigest.WithLabelValues(group),
		markIndex: m.markIndex.WithLabelValues(group), markDigest: m.markDigest.WithLabelValues(group),
		runBytes: m.runBytes.WithLabelValues(group),
	}
}

// applied is called after each batch, by the goroutine that applies.
func (m *groupMetrics) applied(machine Machine, took time.Duration, entries int) {
	m.applySeconds.Observe(took.Seconds())
	m.applyEntries.Observe(float64(entries))
	m.counted(machine)
}

// counted sets what the state itself tells; it is called at the start too, for a group may be idle.
func (m *groupMetrics) counted(machine Machine) {
	m.appliedIndex.Set(float64(machine.Position().Index))
	if data, ok := machine.(interface{ Subjects() int64 }); ok {
		m.subjects.Set(float64(data.Subjects()))
	}
	if state, ok := machine.(interface {
		Digest() fsm.Marked
		Mark() fsm.Marked
	}); ok {
		mark := state.Mark()
		m.stateDigest.Set(upper48(state.Digest().Digest))
		m.markIndex.Set(float64(mark.Index))
		m.markDigest.Set(upper48(mark.Digest))
	}
	if state, ok := machine.(interface{ Store() *store.Store }); ok {
		m.runBytes.Set(float64(state.Store().RunBytes()))
	}
}

// upper48 is as much of a digest as a metric holds exactly.
func upper48(d fsm.Digest) float64 { return float64(d.Hi >> 16) }
