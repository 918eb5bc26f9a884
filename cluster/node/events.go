package node

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/cluster/router"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Limits of events on their way.
const (
	// MaxEventBatch bounds the events of one call.
	MaxEventBatch = 4096
	// maxEventsUnderWay bounds the bytes of the events that this node is working on: more are refused before
	// they fill the memory.
	maxEventsUnderWay = 64 << 20
	// eventOpBytes bounds one operation in the log.
	eventOpBytes = 256 << 10
	// eventPartBytes bounds what of a call is applied together.
	eventPartBytes = 4 << 20
	// eventTexts is about what an event takes besides its data.
	eventTexts = 512
)

// intake is what a node knows of the events it is working on.
type intake struct {
	eventBytes    atomic.Int64
	eventReadings *sync.Pool // of *eventReading
}

// eventShare is the part of a batch that belongs to one data group.
type eventShare struct {
	op      command.ApplyEvents
	events  []int // where its events stand in the batch
	letters []int // and its letters
	applied fsm.AppliedEvents
}

// AcceptEvents applies events and tells what became of each. It returns when all of them are durable: applied, or
// among the dead letters. An event that was applied before is a duplicate, so the same batch may be sent again
// after an error, which leaves open which of its events were applied. CodeOverloaded refuses all of them.
func (n *Node) AcceptEvents(ctx context.Context, events []nba.IncomingEvent) ([]nba.EventReceipt, error) {
	if err := n.serving(); err != nil {
		return nil, err
	}
	if len(events) > MaxEventBatch {
		return nil, nba.Errorf(nba.CodeTooLarge, "a call takes at most %d events", MaxEventBatch)
	}
	done, err := n.takeEvents(events)
	if err != nil {
		return nil, err
	}
	defer done()
	receipts := make([]nba.EventReceipt, 0, len(events))
	for rest := events; len(rest) > 0; {
		count, size := 0, 0
		for count < len(rest) && size < eventPartBytes {
			size += eventSize(&rest[count])
			count++
		}
		part, err := n.acceptPart(ctx, rest[:count])
		if err != nil {
			return nil, err
		}
		receipts, rest = append(receipts, part...), rest[count:]
	}
	n.countEvents(receipts)
	return receipts, nil
}

// acceptPart applies events that fit a message between nodes.
func (n *Node) acceptPart(ctx context.Context, events []nba.IncomingEvent) ([]nba.EventReceipt, error) {
	work := newEventWork(len(events))
	n.prepareEvents(work, events)
	shares := work.split(n.router.GroupOfKey, n.router.GroupOfHash, n.router.Groups())
	if err := n.applyShares(ctx, shares); err != nil {
		return nil, err
	}
	receipts := make([]nba.EventReceipt, len(events))
	for group := range shares {
		n.receipts(receipts, &shares[group], group, &shares[group].applied)
	}
	return receipts, nil
}

// eventSize is about the memory that an event takes.
func eventSize(e *nba.IncomingEvent) int { return len(e.Data) + len(e.Raw) + eventTexts }

// applyShares applies the shares of all data groups at once. Those of groups that another node leads travel to
// it together.
func (n *Node) applyShares(ctx context.Context, shares []eventShare) error {
	var groups errgroup.Group
	one := func(group int) {
		groups.Go(func() (err error) {
			shares[group].applied, _, err = n.applyEvents(ctx, group, &shares[group].op)
			return err
		})
	}
	var away map[string][]int
	for group := range shares {
		if len(shares[group].events)+len(shares[group].letters) == 0 {
			continue
		}
		node, here, known := n.router.LeaderOfGroup(group)
		if here || !known {
			one(group)
			continue
		}
		if away == nil {
			away = map[string][]int{}
		}
		away[node] = append(away[node], group)
	}
	for node, together := range away {
		groups.Go(func() error {
			left, err := n.applySharesAt(ctx, node, together, shares)
			for _, group := range left {
				one(group) // another node leads it by now, or that one cannot be reached: look for the leader
			}
			return err
		})
	}
	return groups.Wait()
}

// takeEvents claims the memory of events until done is called.
func (n *Node) takeEvents(events []nba.IncomingEvent) (done func(), err error) {
	size := int64(0)
	for i := range events {
		size += int64(eventSize(&events[i]))
	}
	if n.eventBytes.Add(size) > maxEventsUnderWay && size < maxEventsUnderWay {
		n.eventBytes.Add(-size)
		n.metrics.eventsRefused.Add(float64(len(events)))
		return nil, nba.Errorf(nba.CodeOverloaded, "too many events are under way: send them again with a delay")
	}
	return func() { n.eventBytes.Add(-size) }, nil
}

// eventWork is a batch of events that is being prepared: each is either applied or a letter.
type eventWork struct {
	keys    []byte
	records []byte
	applied []command.AppliedEvent
	letters []command.Letter
	isDead  []bool
}

func newEventWork(n int) *eventWork {
	return &eventWork{applied: make([]command.AppliedEvent, n), isDead: make([]bool, n)}
}

// prepareEvents finds out whom each event is about, and sorts out those that cannot be applied.
func (n *Node) prepareEvents(w *eventWork, events []nba.IncomingEvent) {
	v := n.acquire()
	defer v.release()
	r := n.eventReadings.Get().(*eventReading)
	defer n.eventReadings.Put(r)
	size := 0
	for i := range events {
		size += len(events[i].Data) + len(events[i].ID) + len(events[i].Source) + len(events[i].Type) + len(events[i].SubjectName) + len(events[i].Extensions) + 32
	}
	w.records, w.keys = make([]byte, 0, size), make([]byte, 0, 24*len(events))
	now := n.clock.Now()
	for i := range events {
		e := &events[i]
		e.Received = now
		if e.Fault == nil && e.Time.IsZero() {
			e.Time = now
		}
		why := e.Fault
		if why == nil {
			why = v.admitEvent(&e.Event, r)
		}
		if why != nil {
			w.bury(i, e, why)
			continue
		}
		a := &w.applied[i]
		at := len(w.keys)
		w.keys = command.AppendSubjectKey(w.keys, e.Subject)
		a.Key = w.keys[at:len(w.keys):len(w.keys)]
		at = len(w.records)
		w.records = command.AppendEvent(w.records, &e.Event)
		a.Record = w.records[at:len(w.records):len(w.records)]
		a.Hash = command.EventHash(e.Source, e.ID)
		a.TimeMS, a.ReceivedMS = e.Time.UnixMilli(), now.UnixMilli()
	}
}

// bury makes a letter of an event.
func (w *eventWork) bury(i int, e *nba.IncomingEvent, why error) {
	if w.letters == nil {
		w.letters = make([]command.Letter, len(w.applied))
	}
	l := command.Letter{ReceivedMS: e.Received.UnixMilli(), Code: nba.CodeOf(why), Reason: why.Error()}
	if e.Fault != nil {
		raw := e.Raw[:min(len(e.Raw), nba.MaxEventBytes)]
		l.Raw, l.Body = true, []byte(raw)
	} else {
		l.TimeMS, l.Body = e.Time.UnixMilli(), command.AppendEvent(nil, &e.Event)
		if e.Subject.ID != "" {
			l.Key = command.AppendSubjectKey(nil, e.Subject)
		}
	}
	w.isDead[i], w.letters[i] = true, l
}

// split deals a batch out to the data groups.
func (w *eventWork) split(ofKey func([]byte) int, ofHash func([command.HashBytes]byte) int, groups int) []eventShare {
	shares := make([]eventShare, groups)
	for i := range w.applied {
		if !w.isDead[i] {
			s := &shares[ofKey(w.applied[i].Key)]
			if s.events == nil {
				room := len(w.applied)/groups + 8
				s.events, s.op.Events = make([]int, 0, room), make([]command.AppliedEvent, 0, room)
			}
			s.events, s.op.Events = append(s.events, i), append(s.op.Events, w.applied[i])
			continue
		}
		l := &w.letters[i]
		group := 0
		if l.Key != nil {
			group = ofKey(l.Key)
		} else {
			group = ofHash(command.EventHash("", string(l.Body)))
		}
		s := &shares[group]
		s.letters, s.op.Letters = append(s.letters, i), append(s.op.Letters, *l)
	}
	return shares
}

// receipts tells what became of the events of a share.
func (n *Node) receipts(to []nba.EventReceipt, share *eventShare, group int, applied *fsm.AppliedEvents) {
	for k, i := range share.events {
		o := fsm.EventOutcome{Duplicate: true} // nobody can tell any more
		if k < len(applied.Outcomes) {
			o = applied.Outcomes[k]
		}
		switch {
		case o.Code != "":
			to[i] = nba.EventReceipt{Status: nba.EventDead, Code: o.Code, Detail: eventRefusal(o.Code), Letter: letterID(group, o.Number)}
		case o.Duplicate:
			to[i] = nba.EventReceipt{Status: nba.EventDuplicate}
		default:
			to[i] = nba.EventReceipt{Status: nba.EventAccepted}
		}
	}
	for k, i := range share.letters {
		l := &share.op.Letters[k]
		to[i] = nba.EventReceipt{Status: nba.EventDead, Code: l.Code, Detail: l.Reason, Letter: letterID(group, applied.Letters+uint64(k))}
	}
}

// eventRefusal says why the state machine refused an event; the letter has its words.
func eventRefusal(code nba.Code) string {
	if code == nba.CodeSubjectUnknown {
		return "no such subject: store it first with PUT /v1/subjects or an import, then replay the letter"
	}
	return "the event cannot be applied: its dead letter tells why"
}

func (n *Node) countEvents(receipts []nba.EventReceipt) {
	accepted, duplicates := 0, 0
	for i := range receipts {
		switch receipts[i].Status {
		case nba.EventAccepted:
			accepted++
		case nba.EventDuplicate:
			duplicates++
		}
	}
	n.metrics.events.WithLabelValues(string(nba.EventAccepted)).Add(float64(accepted))
	n.metrics.events.WithLabelValues(string(nba.EventDuplicate)).Add(float64(duplicates))
	n.metrics.events.WithLabelValues(string(nba.EventDead)).Add(float64(len(receipts) - accepted - duplicates))
}

// applyEvents has the events of one data group applied by the node that leads it.
func (n *Node) applyEvents(ctx context.Context, group int, op *command.ApplyEvents) (applied fsm.AppliedEvents, done bool, err error) {
	here := func() (err error) {
		applied, done, err = n.applyEventsHere(ctx, group, op)
		return err
	}
	if n.router.LeadsGroup(group) {
		if err := here(); !movedAway(err) {
			return applied, done, err
		}
	}
	err = n.router.AtGroup(ctx, groupNumber(group), here, func(node string) (err error) {
		applied, done, err = n.applyEventsAt(ctx, node, group, op)
		return err
	})
	return applied, done, err
}

// applyEventsHere works out what events do and applies them to a data group that this node leads. Events of no
// stream are applied in parts that fit the log.
func (n *Node) applyEventsHere(ctx context.Context, group int, op *command.ApplyEvents) (applied fsm.AppliedEvents, done bool, err error) {
	if err := n.reactToEvents(op.Events); err != nil {
		return applied, false, err
	}
	if op.Step.Stream != "" {
		return n.router.ApplyEvents(ctx, group, op)
	}
	rest, part := op.Events, command.ApplyEvents{Letters: op.Letters}
	for first := true; first || len(rest) > 0; first = false {
		count, size := 0, 0
		for count < len(rest) && size < eventOpBytes {
			size += rest[count].Size()
			count++
		}
		part.Events, rest = rest[:count], rest[count:]
		got, _, err := n.router.ApplyEvents(ctx, group, &part)
		if err != nil {
			return applied, false, err
		}
		if first {
			applied = got
		} else {
			applied.Outcomes = append(applied.Outcomes, got.Outcomes...)
		}
		part.Letters = nil
	}
	return applied, false, nil
}

// AcceptStream is AcceptEvents for events of a stream that all belong to one data group, as EventGroup tells: it
// moves the stream's cursor in that group together with their effects. The error has CodeConflict when the cursor
// does not stand at step.From; if it is at step.Next or behind, all were applied before and are duplicates.
func (n *Node) AcceptStream(ctx context.Context, group int, step command.StreamStep, events []nba.IncomingEvent) ([]nba.EventReceipt, error) {
	if err := n.serving(); err != nil {
		return nil, err
	}
	if len(events) > MaxEventBatch || group < 0 || group >= n.router.Groups() {
		return nil, nba.Errorf(nba.CodeTooLarge, "a call takes at most %d events of one data group", MaxEventBatch)
	}
	finish, err := n.takeEvents(events)
	if err != nil {
		return nil, err
	}
	defer finish()
	work := newEventWork(len(events))
	n.prepareEvents(work, events)
	all := func([]byte) int { return 0 }
	share := &work.split(all, func([command.HashBytes]byte) int { return 0 }, 1)[0]
	share.op.Step = step
	applied, _, err := n.applyEvents(ctx, group, &share.op)
	if err != nil {
		return nil, err
	}
	receipts := make([]nba.EventReceipt, len(events))
	n.receipts(receipts, share, group, &applied)
	n.countEvents(receipts)
	return receipts, nil
}

// EventGroups is the number of data groups.
func (n *Node) EventGroups() int { return n.router.Groups() }

// EventGroup is the data group that an event belongs to. It fills in the event's subject.
func (n *Node) EventGroup(e *nba.IncomingEvent) int {
	if e.Fault == nil {
		v := n.acquire()
		defer v.release()
		r := n.eventReadings.Get().(*eventReading)
		defer n.eventReadings.Put(r)
		if e.Subject.ID != "" || v.nameSubject(&e.Event, r) == nil {
			var room [2 + nba.MaxSubjectIDBytes]byte
			return n.router.GroupOfKey(command.AppendSubjectKey(room[:0], e.Subject))
		}
		return n.router.GroupOfHash(command.EventHash(e.Source, e.ID))
	}
	return n.router.GroupOfHash(command.EventHash("", e.Raw))
}

// StreamCursors is where a stream stands in each data group, 0 before its first step, as their leaders know it.
func (n *Node) StreamCursors(ctx context.Context, stream string) ([]uint64, error) {
	cursors := make([]uint64, n.router.Groups())
	var groups errgroup.Group
	for group := range cursors {
		groups.Go(func() error {
			return n.router.AtGroup(ctx, groupNumber(group), func() error {
				d, err := n.router.EventReader(group)
				if err == nil {
					cursors[group], err = d.StreamCursor(stream)
				}
				return router.StoreError(err)
			}, func(node string) (err error) {
				cursors[group], err = n.cursorFrom(ctx, node, group, stream)
				return err
			})
		})
	}
	return cursors, groups.Wait()
}

// maxEventAhead is how far in the future an event may happen by its own time.
const maxEventAhead = 5 * time.Minute

// groupNumber is the number of a data group in the log, from its place among them.
func groupNumber(group int) uint64 { return uint64(group) + 1 }
