package node

import (
	"context"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/arbiterhq/arbiter/cluster/command"
	sinks "github.com/arbiterhq/arbiter/cluster/delivery"
	"github.com/arbiterhq/arbiter/runtime/delivery"

	"github.com/cespare/xxhash/v2"
)

// Limits of what a courier does.
const (
	// reportLinger is how long reports of a group gather, reportAtOnce how many go together.
	reportLinger = 2 * time.Millisecond
	reportAtOnce = 512
	reportWithin = 5 * time.Second
	// unknownSink is how long deliveries to a sink that nobody knows are left alone.
	unknownSink = 30 * time.Second
	// finishWithin bounds how long a node that stops waits for what it is sending.
	finishWithin = 10 * time.Second
)

// problemNoSink is what is wrong with a delivery whose sink is not in the settings.
const problemNoSink = "no sink of this name in the setting sinks of the node that leads the group"

// courier sends the deliveries of the groups that this node leads. What it is sending is in flight until what
// became of it is in the log, and until nobody reads a state from before that; so a delivery is in flight once on a
// node.
type courier struct {
	n       *Node
	posts   map[string]*post
	freed   chan struct{}
	reports chan report
	sends   sync.WaitGroup
	stop    context.CancelFunc
	ctx     context.Context //nolint:containedctx // of what is being sent; ends a while after the node is told to stop

	mu     sync.Mutex
	flight map[ulid.ULID]struct{} // guarded by mu
	landed map[ulid.ULID]struct{} // since the state is being read, which may have them as pending; guarded by mu
}

// post is a sink with what is known of it.
type post struct {
	spec  sinks.Spec
	sink  sinks.Sink
	slots chan struct{}

	mu      sync.Mutex
	breaker delivery.Breaker // guarded by mu
}

// report is what became of one delivery of a group.
type report struct {
	group  uint64
	change command.DeliveryChange
}

func (c *courier) open(n *Node) {
	c.n, c.posts, c.freed = n, map[string]*post{}, make(chan struct{}, 1)
	c.reports = make(chan report, 8*reportAtOnce)
	c.flight, c.landed = map[ulid.ULID]struct{}{}, map[ulid.ULID]struct{}{}
	c.ctx, c.stop = context.WithCancel(context.WithoutCancel(n.ctx))
	for name, sink := range n.sinks {
		c.posts[name] = &post{spec: sink.spec, sink: sink.sink, slots: make(chan struct{}, sink.spec.Concurrency),
			breaker: delivery.Breaker{Failures: sink.spec.BreakAfter, Pause: sink.spec.BreakPause, Longest: max(time.Minute, sink.spec.BreakPause)}}
	}
}

// run sends what is due, until ctx ends; then it finishes what it is sending.
func (c *courier) run(ctx context.Context) {
	var reporting sync.WaitGroup
	reporting.Go(c.report)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			continue
		case <-c.n.router.DeliveriesWaiting():
		case <-c.freed:
		case <-timer.C:
		}
		timer.Reset(c.round())
	}
	late := time.AfterFunc(finishWithin, c.stop)
	c.sends.Wait()
	late.Stop()
	c.stop()
	close(c.reports)
	reporting.Wait()
}

// close closes the sinks.
func (c *courier) close() {
	for name, p := range c.posts {
		if err := p.sink.Close(); err != nil {
			c.n.logger.Warn("a sink does not close", "sink", name, "error", err)
		}
	}
}

// round takes up what is due and tells when to look again.
func (c *courier) round() time.Duration {
	now, wait := c.n.clock.Now(), lookAgain
	for _, group := range c.n.router.Led() {
		waiting, err := c.n.router.DueSinks(group)
		for _, sink := range waiting {
			var next time.Time
			if next, err = c.take(group, sink, now); err != nil {
				break
			}
			if !next.IsZero() {
				wait = min(wait, max(next.Sub(now), time.Millisecond))
			}
		}
		if err != nil && !isAway(err) && !movedAway(err) {
			c.n.logger.Error("the outbox cannot be read", "group", group, "error", err)
		}
	}
	return wait
}

// take takes up what is due for one sink in one group, and tells when more is.
func (c *courier) take(group uint64, name string, now time.Time) (next time.Time, err error) {
	p := c.posts[name]
	if p == nil {
		return time.Time{}, c.unknown(group, name, now)
	}
	room := (cap(p.slots) - len(p.slots)) * p.spec.Batch
	if room == 0 {
		return time.Time{}, nil // freed tells
	}
	p.mu.Lock()
	ok, until := p.breaker.Allow(now)
	probing := ok && p.breaker.Probing()
	p.mu.Unlock()
	if !ok {
		return until, nil
	}
	if probing {
		room = 1
	}
	due, nextMS, err := c.due(group, name, now, room)
	batch := make([]command.Delivery, 0, p.spec.Batch)
	for i := range due {
		if !c.begin(due[i].ID) {
			continue // it is being taken back
		}
		if due[i].ExpiresMS > 0 && now.UnixMilli() >= due[i].ExpiresMS {
			c.tell(group, command.DeliveryChange{ID: due[i].ID, State: command.DeliveryExpired, AtMS: now.UnixMilli(), Problem: due[i].Problem})
			continue
		}
		if batch = append(batch, due[i]); len(batch) == p.spec.Batch {
			c.send(group, p, batch)
			batch = make([]command.Delivery, 0, p.spec.Batch)
		}
	}
	if len(batch) > 0 {
		c.send(group, p, batch)
	} else if probing {
		p.mu.Lock()
		p.breaker.Forgo()
		p.mu.Unlock()
	}
	if nextMS != 0 {
		next = time.UnixMilli(nextMS)
	}
	return next, err
}

// unknown tells of deliveries to a sink that nobody knows why they are not sent.
func (c *courier) unknown(group uint64, name string, now time.Time) error {
	due, _, err := c.due(group, name, now, reportAtOnce)
	for i := range due {
		change := command.DeliveryChange{ID: due[i].ID, AtMS: now.UnixMilli(), DueMS: now.Add(unknownSink).UnixMilli(), Problem: problemNoSink}
		if due[i].ExpiresMS > 0 && change.DueMS >= due[i].ExpiresMS {
			change.State = command.DeliveryExpired
		}
		if c.begin(due[i].ID) {
			c.tell(group, change)
		}
	}
	if len(due) > 0 {
		c.n.logger.Error("deliveries wait for a sink that is not in the settings", "sink", name, "group", group, "deliveries", len(due))
	}
	return err
}

// tell reports without waiting for room: what takes the reports is what frees it.
func (c *courier) tell(group uint64, change command.DeliveryChange) {
	r := report{group, change}
	select {
	case c.reports <- r:
	default:
		c.sends.Go(func() { c.reports <- r })
	}
}

// due reads what is due, without what is in flight. What it reads is the state of a moment: what lands after that
// moment is still pending there. Only run calls it.
func (c *courier) due(group uint64, sink string, now time.Time, limit int) (due []command.Delivery, nextMS int64, err error) {
	c.mu.Lock()
	clear(c.landed)
	c.mu.Unlock()
	return c.n.router.DueDeliveries(group, sink, now.UnixMilli(), limit, c.known)
}

func (c *courier) known(id ulid.ULID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.isKnown(id)
}

func (c *courier) isKnown(id ulid.ULID) bool {
	_, flying := c.flight[id]
	_, landed := c.landed[id]
	return flying || landed
}

// begin puts a delivery in flight that due found. It is false if somebody holds it, or did since then.
func (c *courier) begin(id ulid.ULID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isKnown(id) {
		return false
	}
	c.flight[id] = struct{}{}
	return true
}

// hold keeps a delivery from being sent until it lands. It is false if it is being sent.
func (c *courier) hold(id ulid.ULID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, flying := c.flight[id]; flying {
		return false
	}
	c.flight[id] = struct{}{}
	return true
}

// land tells that it is in the log what became of deliveries, or that it will not be.
func (c *courier) land(ids ...ulid.ULID) {
	c.mu.Lock()
	for _, id := range ids {
		delete(c.flight, id)
		c.landed[id] = struct{}{}
	}
	c.mu.Unlock()
	c.wake()
}

func (c *courier) wake() {
	select {
	case c.freed <- struct{}{}:
	default:
	}
}

// send makes one attempt for each delivery of a batch, on a goroutine of its own.
func (c *courier) send(group uint64, p *post, batch []command.Delivery) {
	p.slots <- struct{}{}
	c.sends.Go(func() {
		begun := c.n.clock.Now()
		messages := make([]sinks.Delivery, len(batch))
		for i := range batch {
			d := &batch[i]
			messages[i] = sinks.Delivery{ID: d.ID.String(), Key: xxhash.Sum64(d.Key), Attempt: int(d.Attempts) + 1, Channel: d.Channel, Action: d.Action,
				Origin: d.Origin, Payload: d.Payload, Expires: timeAt(d.ExpiresMS)}
			if d.Attempts == 0 && d.RaisedMS > 0 {
				c.n.metrics.outbox.latency.Observe(begun.Sub(time.UnixMilli(d.RaisedMS)).Seconds())
			}
		}
		results := p.sink.Send(c.ctx, messages)
		now := c.n.clock.Now()
		p.note(now, results)
		<-p.slots
		for i := range batch {
			c.tell(group, p.changeOf(&batch[i], &results[i], now))
			c.n.metrics.outbox.attempts.WithLabelValues(p.spec.Name, outcomeName(results[i].Outcome)).Inc()
		}
		c.wake()
	})
}

// note tells the breaker how a batch ended: it is about the endpoint, which one that refuses reached.
func (p *post) note(now time.Time, results []sinks.Result) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range results {
		p.breaker.Report(now, results[i].Outcome != delivery.Failed)
	}
}

// changeOf is what becomes of a delivery after an attempt.
func (p *post) changeOf(d *command.Delivery, r *sinks.Result, now time.Time) command.DeliveryChange {
	tried := delivery.Tried{ID: d.ID.String(), Attempts: int(d.Attempts), Expires: timeAt(d.ExpiresMS), Outcome: r.Outcome, After: r.After}
	state, next := p.spec.Policy.Judge(&tried, now)
	change := command.DeliveryChange{ID: d.ID, AtMS: now.UnixMilli(), Tried: r.Outcome != delivery.Held, Problem: r.Problem}
	switch state {
	case delivery.Done:
		change.State = command.DeliverySent
	case delivery.Dead:
		change.State = command.DeliveryDead
	case delivery.Expired:
		change.State = command.DeliveryExpired
	default:
		change.DueMS = next.UnixMilli()
	}
	return change
}

func timeAt(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

func outcomeName(o delivery.Outcome) string {
	return [...]string{delivery.Sent: "sent", delivery.Failed: "failed", delivery.Refused: "refused", delivery.Held: "held"}[o]
}

// report enters what became of deliveries into the log, those of a group together, until the reports end.
func (c *courier) report() {
	var submitting sync.WaitGroup
	defer submitting.Wait()
	for first := range c.reports {
		byGroup := map[uint64][]command.DeliveryChange{first.group: {first.change}}
		linger := time.NewTimer(reportLinger)
		for n := 1; n < reportAtOnce; n++ {
			select {
			case r, ok := <-c.reports:
				if !ok {
					n = reportAtOnce
					break
				}
				byGroup[r.group] = append(byGroup[r.group], r.change)
			case <-linger.C:
				n = reportAtOnce
			}
		}
		linger.Stop()
		for group, changes := range byGroup {
			submitting.Go(func() { c.submit(group, changes) })
		}
	}
}

// submit enters reports into the log. Where that fails the deliveries are sent again, under the same ids, by
// whoever leads the group.
func (c *courier) submit(group uint64, changes []command.DeliveryChange) {
	defer func() {
		for i := range changes {
			c.land(changes[i].ID)
		}
	}()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx), reportWithin)
	defer cancel()
	op := command.ChangeDeliveries{Changes: changes}
	for pause := 10 * time.Millisecond; ; pause *= 2 {
		_, err := c.n.router.ChangeDeliveries(ctx, group, &op)
		if err == nil {
			return
		}
		if !isAway(err) || ctx.Err() != nil {
			c.n.logger.Error("what became of deliveries cannot be recorded: they are sent again under the same ids", "group", group, "deliveries", len(changes), "error", err)
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}
