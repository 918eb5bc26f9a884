package node

import (
	"context"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Limits of what a leader does for triggers and deliveries.
const (
	// decidingAtOnce bounds the triggers that are being decided at the same time: most of it is waiting for
	// the log.
	decidingAtOnce = 64
	// lookAgain is how often a leader looks for what nobody told it of: groups that it leads since a moment.
	lookAgain = 200 * time.Millisecond
	// tryAgain is how long a trigger is left alone whose decision could not be made now.
	tryAgain = 250 * time.Millisecond
	// rememberClosed is how long it is remembered of closed triggers why, and rememberSent of deliveries what
	// became of them.
	rememberClosed = 7 * 24 * time.Hour
	rememberSent   = 7 * 24 * time.Hour
	forgetEvery    = time.Minute
	forgetAtOnce   = 1024
	forgetRounds   = 64
)

// outbox decides the triggers and sends the deliveries of the groups that this node leads. begin starts it; end
// stops taking up anything new, finishes what it is sending, and waits for that.
type outbox struct {
	n      *Node
	cancel context.CancelFunc
	work   sync.WaitGroup
	once   sync.Once

	processors chan struct{} // triggered decisions that compute
	deciding   chan struct{}
	freed      chan struct{} // something of deciding is free again

	mu   sync.Mutex
	busy map[ulid.ULID]time.Time // triggers being decided (zero), or left alone until then; guarded by mu

	courier courier
}

func (o *outbox) begin(n *Node) {
	o.n = n
	var ctx context.Context
	ctx, o.cancel = context.WithCancel(n.ctx)
	// Live traffic comes first: decisions that nobody waits for leave it half of the processors.
	o.processors = make(chan struct{}, max(runtime.GOMAXPROCS(0)/2, 1))
	o.deciding, o.freed, o.busy = make(chan struct{}, decidingAtOnce), make(chan struct{}, 1), map[ulid.ULID]time.Time{}
	o.courier.open(n)
	o.work.Go(func() { o.decide(ctx) })
	o.work.Go(func() { o.courier.run(ctx) })
	o.work.Go(func() { o.forget(ctx) })
}

func (o *outbox) end() {
	if o.cancel == nil {
		return
	}
	o.once.Do(func() {
		o.cancel()
		o.work.Wait()
		o.courier.close()
	})
}

// turn waits for a processor.
func (o *outbox) turn() func() {
	o.processors <- struct{}{}
	return func() { <-o.processors }
}

// decide decides what is pending, woken by what is applied, until ctx ends.
func (o *outbox) decide(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-o.n.router.TriggersWaiting():
		case <-o.freed:
		case <-timer.C:
		}
		timer.Reset(o.round(ctx))
	}
}

// round takes up what is due and tells when to look again.
func (o *outbox) round(ctx context.Context) time.Duration {
	now := o.n.clock.Now()
	wait := lookAgain
	led := o.n.router.Led()
	o.prune(now)
	for _, group := range led {
		free := cap(o.deciding) - len(o.deciding)
		if free == 0 || o.n.current.Load() == nil {
			break // freed tells
		}
		due, nextMS, err := o.n.router.Triggers(group, now.UnixMilli(), max(free/len(led), 1), o.isBusy)
		if err != nil {
			if !isAway(err) && !movedAway(err) {
				o.n.logger.Error("triggers cannot be read", "group", group, "error", err)
			}
			continue
		}
		for i := range due {
			o.take(ctx, group, &due[i])
		}
		if nextMS != 0 {
			wait = min(wait, max(time.UnixMilli(nextMS).Sub(now), time.Millisecond))
		}
	}
	return wait
}

func (o *outbox) isBusy(id ulid.ULID) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	until, ok := o.busy[id]
	return ok && (until.IsZero() || o.n.clock.Now().Before(until))
}

// prune forgets until when triggers are left alone.
func (o *outbox) prune(now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for id, until := range o.busy {
		if !until.IsZero() && !now.Before(until) {
			delete(o.busy, id)
		}
	}
}

// take decides one trigger, on a goroutine of its own.
func (o *outbox) take(ctx context.Context, group uint64, t *command.Trigger) {
	o.mu.Lock()
	o.busy[t.ID] = time.Time{}
	o.mu.Unlock()
	o.deciding <- struct{}{}
	o.work.Go(func() {
		if err := o.decideOne(context.WithoutCancel(ctx), group, t); err != nil {
			o.n.logger.Debug("a trigger is decided later", "group", group, "error", err)
		}
		// Also when it is decided: what is being read right now may still have it.
		o.mu.Lock()
		o.busy[t.ID] = o.n.clock.Now().Add(tryAgain)
		o.mu.Unlock()
		<-o.deciding
		select {
		case o.freed <- struct{}{}:
		default:
		}
	})
}

// decideOne decides a trigger and enters what becomes of it. An error means that it is to be tried again.
func (o *outbox) decideOne(ctx context.Context, group uint64, t *command.Trigger) error {
	closed, err := o.n.decideRaised(ctx, t, o.turn)
	if err != nil {
		return err
	}
	if closed == nil {
		o.n.metrics.outbox.decided.Inc()
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, triggeredWithin)
	defer cancel()
	op := command.CloseTriggers{Closed: []command.ClosedTrigger{{Key: t.Key, ID: t.ID, Reason: closed.reason, UntilMS: closed.untilMS, Detail: closed.detail}}}
	if err := o.n.router.CloseTriggers(ctx, group, &op); err != nil {
		return err
	}
	o.n.metrics.outbox.closed.WithLabelValues(closed.reason.String()).Inc()
	return nil
}

// forget forgets what is old, now and then.
func (o *outbox) forget(ctx context.Context) {
	ticker := time.NewTicker(forgetEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for _, group := range o.n.router.Led() {
			if err := o.forgetIn(ctx, group); err != nil && nba.CodeOf(err) == nba.CodeInternal {
				o.n.logger.Log(ctx, slog.LevelError, "old deliveries cannot be forgotten", "group", group, "error", err)
			}
		}
	}
}

func (o *outbox) forgetIn(ctx context.Context, group uint64) error {
	now := o.n.clock.Now()
	for range forgetRounds {
		before, err := o.n.router.GroupTally(group)
		if err != nil || before.Shut+before.Finished() == 0 {
			return err
		}
		closed := command.CloseTriggers{ForgetMS: now.Add(-rememberClosed).UnixMilli(), Limit: forgetAtOnce}
		if err := o.n.router.CloseTriggers(ctx, group, &closed); err != nil {
			return err
		}
		finished := command.ChangeDeliveries{ForgetMS: now.Add(-rememberSent).UnixMilli(), Limit: forgetAtOnce}
		if _, err := o.n.router.ChangeDeliveries(ctx, group, &finished); err != nil {
			return err
		}
		if after, err := o.n.router.GroupTally(group); err != nil || after.Shut+after.Finished() > before.Shut+before.Finished()-forgetAtOnce {
			return err
		}
	}
	return nil
}
