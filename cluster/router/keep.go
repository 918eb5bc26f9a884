package router

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/cluster/raftgroup"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Limits of what a leader removes from its group, so that it never takes the place of what callers do.
const (
	expireAtOnce = 256
	expireRounds = 16 // in one round of keeping
	keepTimeout  = 5 * time.Second
)

// keeper does what must be done now and then: it announces this node's release, and in the groups that
// this node leads it removes what is older than the retention, and has the replicas compare their state.
// Everything it does is an operation in the log.
type keeper struct {
	router *Router
	cancel context.CancelFunc
	done   sync.WaitGroup
	clock  steady
	marked map[uint64]time.Time // when a group was marked last, by its number
	said   map[string]string    // what was reported last, by what was being done
}

// keep begins; end waits until it is over.
func (k *keeper) begin(r *Router) {
	k.router, k.marked, k.said = r, map[uint64]time.Time{}, map[string]string{}
	ctx, cancel := context.WithCancel(context.Background())
	k.cancel = cancel
	k.done.Go(func() { k.run(ctx) })
}

func (k *keeper) end() {
	if k.cancel != nil {
		k.cancel()
		k.done.Wait()
	}
}

func (k *keeper) run(ctx context.Context) {
	ticker := time.NewTicker(k.router.options.KeepInterval)
	defer ticker.Stop()
	for {
		k.round(ctx)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func (k *keeper) round(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, keepTimeout)
	defer cancel()
	r := k.router
	k.report("control", "announcing this node", r.announce(ctx))
	now, steady := k.clock.read(r.options.Logger)
	for _, d := range r.groups() {
		if d.machine == nil || !d.leads() || ctx.Err() != nil {
			continue
		}
		if steady {
			k.report(d.name, "removing what is older than the retention", r.expire(ctx, d, now))
			k.report(d.name, "removing old events", r.forgetEvents(ctx, d, now))
			k.report(d.name, "doing what is due of decisions", r.elapse(ctx, d, now))
		}
		k.report(d.name, "telling other ledgers of contacts", untilNothing(func() (bool, error) { return r.deliver(ctx, d) }))
		k.report(d.name, "resolving reservations of contacts", untilNothing(func() (bool, error) { return r.resolve(ctx, d, now) }))
		k.report(d.name, "giving back volumes", r.returnLeases(ctx, d, now))
		k.mark(ctx, &d.shard, d.machine)
	}
	if r.control.leads() {
		k.mark(ctx, &r.control.shard, r.control.machine)
	}
}

// report logs what failed, unless it only has to be tried again. What fails the same way again and again is
// logged once.
func (k *keeper) report(group, doing string, err error) {
	text := ""
	switch nba.CodeOf(err) {
	case "":
	case nba.CodeUnavailable, nba.CodeTimeout, nba.CodeOverloaded:
		return
	default:
		if _, moved := errors.AsType[*raftgroup.NotLeader](err); moved {
			return
		}
		text = err.Error()
	}
	if k.said[group+doing] != text {
		k.said[group+doing] = text
		if err != nil {
			k.router.options.Logger.Error(doing, "group", group, "error", err)
		}
	}
}

// announce tells the cluster what this release can apply, unless it knows.
func (r *Router) announce(ctx context.Context) error {
	op := command.AnnounceNode{Node: aloneID, Level: command.LevelKnown, Release: r.options.Release, Members: []string{aloneID}}
	if r.net != nil {
		op.Node, op.Members = r.net.self, r.net.nodes()
	}
	known := r.control.State().Features
	if known.Announced(fsm.AnnouncedNode{Node: op.Node, Level: op.Level, Release: op.Release}, op.Members) {
		return nil
	}
	_, err := r.control.submit(ctx, &op, true)
	return err
}

// leveled is nil when this node may propose what it writes, and can apply what the others propose.
func (r *Router) leveled() error {
	features := &r.control.State().Features
	if features.Level > command.LevelKnown {
		return nba.Errorf(nba.CodeUnavailable, "the cluster works at feature level %d and the release of this node knows %d: run the release of the other nodes",
			features.Level, command.LevelKnown)
	}
	return features.Allows(command.DecisionRecorded, 2)
}

// expire removes what is older than the retention from a group that this node leads, a bounded number.
func (r *Router) expire(ctx context.Context, d *dataGroup, now time.Time) error {
	op := command.Expire{BeforeMS: math.MinInt64, KeysMS: now.UnixMilli(), Limit: expireAtOnce}
	if age := r.control.State().Retention.MaxAge(); age > 0 {
		op.BeforeMS = now.Add(-age).UnixMilli()
	}
	if err := r.allowed(&op); err != nil {
		return err
	}
	for range expireRounds {
		due, err := d.machine.Due(op.BeforeMS, op.KeysMS)
		if err != nil {
			return storeError(err)
		}
		if !due {
			return nil
		}
		if _, err := d.submit(ctx, &op, true); err != nil {
			return err
		}
	}
	return nil
}

// marking is what both state machines know of their digests.
type marking interface {
	Mark() fsm.Marked
	Digest() fsm.Marked
}

// mark has the replicas of a group that this node leads compare their state at the last mark, and
// remember it at a new one. A group without news is left alone.
func (k *keeper) mark(ctx context.Context, s *shard, machine marking) {
	last, at := machine.Mark(), machine.Digest()
	// The entry of a mark may hold other operations after it.
	if at.Index <= last.Index && at.Digest == last.Digest || time.Since(k.marked[s.number]) < k.router.options.MarkInterval {
		return
	}
	op := command.Mark{}
	if agreed, ok := k.router.agree(ctx, s, last); ok {
		op = command.Mark{Of: agreed.Index, Digest: agreed.Digest}
	}
	err := k.router.allowed(&op)
	if err == nil {
		_, err = s.submit(ctx, &op, true)
	}
	if err == nil {
		k.marked[s.number] = time.Now()
	}
	k.report(s.name, "comparing the state of the replicas", err)
}

// steady tells the time unless the machine's clock was set forward: what is removed by mistake is gone,
// so a clock that jumps is not believed for a while.
type steady struct {
	start             time.Time // for its monotonic part
	wall              time.Time // of the last reading
	passed, doubtedAt time.Duration
	doubted           bool
}

// How far the clock may get ahead between two readings, and how long it is doubted afterwards.
const (
	maxJump = time.Minute
	doubt   = time.Hour
)

func (s *steady) read(logger *slog.Logger) (now time.Time, ok bool) {
	now = time.Now()
	return now, s.believe(now, now.Sub(s.begun()), logger)
}

// begun is a reading to measure by the monotonic clock from.
func (s *steady) begun() time.Time {
	if s.start.IsZero() {
		s.start = time.Now()
	}
	return s.start
}

// believe compares the wall clock with the time that passed by the monotonic clock.
func (s *steady) believe(wall time.Time, passed time.Duration, logger *slog.Logger) bool {
	wall = wall.Round(0)
	if !s.wall.IsZero() {
		if ahead := wall.Sub(s.wall) - (passed - s.passed); ahead > maxJump {
			s.doubted, s.doubtedAt = true, passed
			logger.Warn("the clock of this machine was set forward: nothing is removed for its age until the clock held for a while", "by", ahead, "while", doubt)
		}
	}
	s.wall, s.passed = wall, passed
	if s.doubted && passed-s.doubtedAt >= doubt {
		s.doubted = false
	}
	return !s.doubted
}
