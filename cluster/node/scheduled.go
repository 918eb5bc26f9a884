package node

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/arbiterhq/arbiter/cluster/backup"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// ScheduledBackups are made by the node that leads the control group.
type ScheduledBackups struct {
	// Dir is the folder that keeps them, the same for all nodes. Empty: none are made.
	Dir string
	// Interval is the time from the beginning of one to that of the next, at least a minute.
	Interval time.Duration
	// Keep is how many are kept, at least 1.
	Keep int
	// Key encrypts them; nil does not.
	Key []byte
}

// backupLook is how often it is looked whether a backup is due, and backupTimeout bounds one.
const (
	backupLook    = 10 * time.Second
	backupTimeout = 6 * time.Hour
)

// backupMetrics tell whether backups succeed.
type backupMetrics struct {
	last, seconds, bytes prometheus.Gauge
	failures             prometheus.Counter
}

func newBackupMetrics(registry *prometheus.Registry) *backupMetrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "arbiter_backup_" + name, Help: help})
	}
	m := &backupMetrics{
		last:    gauge("last_success_timestamp_seconds", "When the newest backup that this node made began, in seconds since 1970."),
		seconds: gauge("seconds", "How long it took."),
		bytes:   gauge("new_bytes", "What it added to the folder."),
		failures: prometheus.NewCounter(prometheus.CounterOpts{Name: "arbiter_backup_failures_total",
			Help: "Scheduled backups that failed on this node."}),
	}
	registry.MustRegister(m.last, m.seconds, m.bytes, m.failures)
	return m
}

// backUp makes the scheduled backups until the node is closed.
func (n *Node) backUp() {
	defer n.followers.Done()
	metrics := newBackupMetrics(n.cfg.Registry)
	ticker := time.NewTicker(min(backupLook, n.cfg.Backups.Interval))
	defer ticker.Stop()
	retry := time.Time{}
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-ticker.C:
		}
		if !n.router.Control().Leads() || time.Now().Before(retry) {
			continue
		}
		ctx, cancel := context.WithTimeout(n.ctx, backupTimeout)
		began := time.Now()
		made, err := n.backUpOnce(ctx)
		cancel()
		switch {
		case n.ctx.Err() != nil || err == nil && made == nil:
		case err != nil:
			retry = time.Now().Add(min(time.Minute, n.cfg.Backups.Interval))
			metrics.failures.Inc()
			n.logger.Error("a scheduled backup failed and is tried again", "folder", n.cfg.Backups.Dir, "error", err)
		default:
			metrics.last.Set(float64(made.From.Unix()))
			metrics.seconds.Set(time.Since(began).Seconds())
			metrics.bytes.Set(float64(made.NewBytes))
			n.logger.Info("a backup was made", "backup", made.ID, "took", time.Since(began), "newBytes", made.NewBytes)
		}
	}
}

// backUpOnce makes a backup if one is due; it gives nil if none is. The folder tells when the last one was
// made, by whichever node.
func (n *Node) backUpOnce(ctx context.Context) (made *backup.Manifest, err error) {
	b := &n.cfg.Backups
	folder, err := backup.Open(b.Dir, b.Key, true)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, folder.Close()) }()
	last, err := folder.Manifest("")
	switch {
	case err == nil && time.Since(last.From) < b.Interval:
		return nil, nil
	case err != nil && nba.CodeOf(err) != nba.CodeNotFound:
		return nil, err
	}
	req, err := folder.Request()
	if err != nil {
		return nil, err
	}
	from, to := io.Pipe()
	sent := make(chan error, 1)
	go func() {
		err := n.Backup(ctx, req, to)
		to.CloseWithError(err) // nil is the end of the stream
		sent <- err
	}()
	made, err = folder.Receive(from)
	from.CloseWithError(err)
	if sendErr := <-sent; sendErr != nil {
		err = sendErr
	}
	if err == nil {
		_, err = folder.Prune(b.Keep)
	}
	return made, err
}
