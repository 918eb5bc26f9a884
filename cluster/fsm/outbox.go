package fsm

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"

	"github.com/oklog/ulid/v2"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// What a decision sends lies in the outbox of its group from the moment the decision is recorded until it
// is forgotten. The bucket of the outbox:
//
//	outboxOf, ULID                              -> delivery
//	outboxSubject, subject key, ULID            -> nothing
//	outboxDue, length of the sink, sink, ms, ULID -> nothing: when a pending one is sent
//	outboxDone, state, ms, ULID                 -> nothing: when it was finished
const (
	outboxOf      = 1
	outboxSubject = 2
	outboxDue     = 3
	outboxDone    = 4
)

var errDelivery = errors.New("a stored delivery is corrupt")

func outboxKey(id ulid.ULID) []byte { return append([]byte{outboxOf}, id[:]...) }

// sinkPrefix begins the keys of what is due for a sink.
func sinkPrefix(sink string) []byte {
	return append(append(make([]byte, 0, 2+len(sink)+24), outboxDue, byte(len(sink))), sink...)
}

func outboxDueKey(sink string, ms int64, id ulid.ULID) []byte {
	key := binary.BigEndian.AppendUint64(sinkPrefix(sink), uint64(ms)^signBit)
	return append(key, id[:]...)
}

func outboxDoneKey(state command.DeliveryState, ms int64, id ulid.ULID) []byte {
	key := binary.BigEndian.AppendUint64([]byte{outboxDone, byte(state)}, uint64(ms)^signBit)
	return append(key, id[:]...)
}

// send puts what a decision sends into the outbox, and takes its trigger out of those that are pending.
func (d *Data) send(u *update, p *command.Recorded) error {
	if body := p.Effects.Get(command.EffectTrigger); body != nil {
		if len(body) != len(ulid.ULID{}) {
			return command.ErrMalformed
		}
		if _, err := d.takeTrigger(u, p.Key, ulid.ULID(body)); err != nil {
			return err
		}
	}
	body := p.Effects.Get(command.EffectOutbox)
	if body == nil {
		return nil
	}
	deliveries, err := command.DecodeOutbox(body)
	if err != nil {
		return err
	}
	for i := range deliveries {
		e := &deliveries[i]
		e.Decision, e.Key, e.State = p.ID, p.Key, command.DeliveryPending
		if err := d.putDelivery(u, e); err != nil {
			return err
		}
	}
	return nil
}

// triggered tells whether a decision may be recorded as far as what raised it is concerned.
func (d *Data) triggered(u *update, p *command.Recorded) bool {
	body := p.Effects.Get(command.EffectTrigger)
	return len(body) != len(ulid.ULID{}) || u.Get(store.Triggers, subjectID(triggerOf, p.Key, ulid.ULID(body))) != nil
}

func (d *Data) putDelivery(u *update, e *command.Delivery) error {
	key := outboxKey(e.ID)
	if u.Get(store.Outbox, key) != nil {
		return nil // an id is used once
	}
	value := d.arena.keep(e.Append(d.arena.room(256 + len(e.Payload))))
	if err := u.insert(store.Outbox, key, value); err != nil {
		return err
	}
	if err := u.insert(store.Outbox, subjectID(outboxSubject, e.Key, e.ID), []byte{}); err != nil {
		return err
	}
	return d.putDue(u, e)
}

func (d *Data) putDue(u *update, e *command.Delivery) error {
	due := outboxDueKey(e.Sink, e.DueMS, e.ID)
	d.leaving.raised(due)
	d.tally.Pending++
	return u.insert(store.Outbox, due, []byte{})
}

// changeDeliveries applies a DeliveriesChanged. A replay or a cancellation alone in its operation is
// refused when it cannot be; everything else that comes too late is passed over.
func (d *Data) changeDeliveries(u *update, at At, body []byte) (Result, error) {
	var op command.ChangeDeliveries
	if err := op.Decode(body); err != nil {
		return Result{}, err
	}
	done := uint64(0)
	for i := range op.Changes {
		c := &op.Changes[i]
		changed, refused, err := d.changeDelivery(u, c)
		if err != nil {
			return Result{}, err
		}
		if refused != nil && len(op.Changes) == 1 && !c.Tried {
			return refuse(refused)
		}
		if changed {
			done++
		}
	}
	if op.Limit > 0 {
		for state := command.DeliverySent; state <= command.DeliveryCancelled; state++ {
			if err := d.forgetDeliveries(u, state, op.ForgetMS, int(op.Limit)); err != nil {
				return Result{}, err
			}
		}
	}
	return Result{Version: done}, nil
}

func (d *Data) changeDelivery(u *update, c *command.DeliveryChange) (changed bool, refused *nba.Error, err error) {
	key := outboxKey(c.ID)
	stored := u.Get(store.Outbox, key)
	if stored == nil {
		return false, nba.Errorf(nba.CodeNotFound, "no such delivery: it was forgotten, or its subject was deleted"), nil
	}
	var e command.Delivery
	if e.Decode(stored) != nil {
		return false, nil, errDelivery
	}
	switch {
	case c.Replay && e.State != command.DeliveryDead:
		return false, nba.Errorf(nba.CodeConflict, "the delivery is %s: only a dead one is replayed", e.State), nil
	case c.Replay, e.State == command.DeliveryPending:
	case c.State == command.DeliverySent && e.State != command.DeliverySent:
	default:
		return false, nba.Errorf(nba.CodeConflict, "the delivery is %s already", e.State), nil
	}
	if err := d.unindex(u, &e); err != nil {
		return false, nil, err
	}
	e.State, e.ChangedMS, e.Problem = c.State, c.AtMS, c.Problem
	if c.Replay {
		e.Attempts = 0
	}
	if c.Tried {
		e.Attempts++
	}
	return true, nil, d.reindex(u, &e, c.DueMS, stored)
}

// unindex takes a delivery out of what orders those of its state.
func (d *Data) unindex(u *update, e *command.Delivery) error {
	if e.State == command.DeliveryPending {
		d.tally.Pending--
		return u.remove(store.Outbox, outboxDueKey(e.Sink, e.DueMS, e.ID), []byte{})
	}
	*d.tally.of(e.State)--
	return u.remove(store.Outbox, outboxDoneKey(e.State, e.ChangedMS, e.ID), []byte{})
}

// reindex stores a delivery whose state was changed.
func (d *Data) reindex(u *update, e *command.Delivery, dueMS int64, stored []byte) error {
	var err error
	if e.State == command.DeliveryPending {
		e.DueMS = dueMS
		err = d.putDue(u, e)
	} else {
		if e.State != command.DeliveryDead {
			e.Payload = nil
		}
		*d.tally.of(e.State)++
		if e.ChangedMS < d.forgotten[e.State] {
			d.forgotten[e.State] = 0
		}
		err = u.insert(store.Outbox, outboxDoneKey(e.State, e.ChangedMS, e.ID), []byte{})
	}
	if err != nil {
		return err
	}
	value := d.arena.keep(e.Append(d.arena.room(len(stored) + len(e.Problem))))
	return u.replace(store.Outbox, outboxKey(e.ID), stored, value)
}

// forgetDeliveries forgets the first that were finished in a state before a time, at most limit of them. It
// begins where it ended last.
func (d *Data) forgetDeliveries(u *update, state command.DeliveryState, beforeMS int64, limit int) error {
	var ids []ulid.ULID
	from := outboxDoneKey(state, d.forgotten[state], ulid.ULID{})
	if d.forgotten[state] == 0 {
		from = []byte{outboxDone, byte(state)}
	}
	last := int64(0)
	u.ScanBetween(store.Outbox, from, outboxDoneKey(state, beforeMS, ulid.ULID{}), func(key, _ []byte) bool {
		ids, last = append(ids, ulid.ULID(key[len(key)-16:])), int64(binary.BigEndian.Uint64(key[2:])^signBit)
		return len(ids) < limit
	})
	if last != 0 {
		d.forgotten[state] = last
	}
	for _, id := range ids {
		if err := d.eraseDelivery(u, id); err != nil {
			return err
		}
	}
	return nil
}

func (d *Data) eraseDelivery(u *update, id ulid.ULID) error {
	stored := u.Get(store.Outbox, outboxKey(id))
	var e command.Delivery
	if e.Decode(stored) != nil {
		return errDelivery
	}
	if err := d.unindex(u, &e); err != nil {
		return err
	}
	if err := u.remove(store.Outbox, subjectID(outboxSubject, e.Key, e.ID), []byte{}); err != nil {
		return err
	}
	return u.remove(store.Outbox, outboxKey(id), stored)
}

// eraseDeliveries removes what there is of a subject in the outbox.
func (d *Data) eraseDeliveries(u *update, subjectKey []byte) error {
	for _, key := range keysOf(u, store.Outbox, append([]byte{outboxSubject}, subjectKey...)) {
		if err := d.eraseDelivery(u, ulid.ULID(key[len(key)-16:])); err != nil {
			return err
		}
	}
	return nil
}

// cancelDeliveries takes back what is pending of an origin, or of all if it is empty.
func (d *Data) cancelDeliveries(u *update, at At, subjectKey []byte, origin string) error {
	for _, key := range keysOf(u, store.Outbox, append([]byte{outboxSubject}, subjectKey...)) {
		id := ulid.ULID(key[len(key)-16:])
		var e command.Delivery
		if e.Decode(u.Get(store.Outbox, outboxKey(id))) != nil {
			return errDelivery
		}
		if e.State != command.DeliveryPending || origin != "" && e.Origin != origin {
			continue
		}
		c := command.DeliveryChange{ID: id, State: command.DeliveryCancelled, AtMS: at.ProposedMS}
		if _, _, err := d.changeDelivery(u, &c); err != nil {
			return err
		}
	}
	return nil
}

// Delivery is the one with an id, nil if there is none. It is safe for concurrent use.
func (d *Data) Delivery(id ulid.ULID) (*command.Delivery, error) {
	r, err := d.store.Acquire()
	if err != nil {
		return nil, err
	}
	defer r.Release()
	return deliveryOf(r, id)
}

func deliveryOf(r *store.Reader, id ulid.ULID) (*command.Delivery, error) {
	stored := r.Get(store.Outbox, outboxKey(id))
	if stored == nil {
		return nil, nil
	}
	e := new(command.Delivery)
	if e.Decode(slices.Clone(stored)) != nil {
		return nil, errDelivery
	}
	return e, nil
}

// DueOf are the deliveries to a sink that are due until a time, in the order of those times, at most limit
// of them; nextMS is when the first after those is due, 0 if there is none within a second. skip leaves out those that are
// being sent. It is safe for concurrent use.
func (d *Data) DueOf(sink string, untilMS int64, limit int, skip func(ulid.ULID) bool) (due []command.Delivery, nextMS int64, err error) {
	prefix := sinkPrefix(sink)
	from, since := d.leaving.from(prefix)
	r, err := d.store.Acquire()
	if err != nil {
		return nil, 0, err
	}
	defer r.Release()
	var first []byte
	above := binary.BigEndian.AppendUint64(slices.Clone(prefix), uint64(min(untilMS, math.MaxInt64-soonMS-1)+soonMS+1)^signBit)
	r.ScanBetween(store.Outbox, from, above, func(key, _ []byte) bool {
		if first == nil {
			first = slices.Clone(key)
		}
		at := int64(binary.BigEndian.Uint64(key[len(prefix):]) ^ signBit)
		if at > untilMS {
			nextMS = at
			return false
		}
		id := ulid.ULID(key[len(key)-16:])
		if skip(id) {
			return true
		}
		if len(due) == limit {
			nextMS = at
			return false
		}
		var e *command.Delivery
		if e, err = deliveryOf(r, id); err != nil || e == nil {
			err = errors.Join(err, errDelivery)
			return false
		}
		due = append(due, *e)
		return true
	})
	if first == nil {
		first = latest(from, above)
	}
	d.leaving.advance(prefix, first, since)
	return due, nextMS, err
}

// after is above every key with a prefix that does not end in 0xff.
func after(prefix []byte) []byte {
	key := slices.Clone(prefix)
	key[len(key)-1]++
	return key
}

// Sinks are the sinks for which deliveries are pending. It is safe for concurrent use.
func (d *Data) Sinks() (sinks []string, err error) {
	r, err := d.store.Acquire()
	if err != nil {
		return nil, err
	}
	defer r.Release()
	for from := []byte{outboxDue}; from != nil; {
		next := []byte(nil)
		r.ScanBetween(store.Outbox, from, []byte{outboxDue + 1}, func(key, _ []byte) bool {
			if len(key) < 2 || len(key) != 2+int(key[1])+24 {
				err = errDelivery
				return false
			}
			sinks = append(sinks, string(key[2:2+int(key[1])]))
			next = after(key[:2+int(key[1])])
			return false
		})
		from = next
	}
	return sinks, err
}

// DeliveryQuery chooses deliveries.
type DeliveryQuery struct {
	SubjectKey []byte                  // of one subject, nil for all
	States     []command.DeliveryState // in these states, none for all
	Limit      int
}

// Deliveries are those a query chooses, the newest first. It is safe for concurrent use.
func (d *Data) Deliveries(q *DeliveryQuery) (found []command.Delivery, err error) {
	r, err := d.store.Acquire()
	if err != nil {
		return nil, err
	}
	defer r.Release()
	take := func(id ulid.ULID) bool {
		var e *command.Delivery
		if e, err = deliveryOf(r, id); err != nil || e == nil {
			err = errors.Join(err, errDelivery)
			return false
		}
		if len(q.States) == 0 || slices.Contains(q.States, e.State) {
			found = append(found, *e)
		}
		return len(found) < q.Limit
	}
	if q.SubjectKey != nil || len(q.States) == 0 {
		prefix := []byte{outboxOf}
		if q.SubjectKey != nil {
			prefix = append([]byte{outboxSubject}, q.SubjectKey...)
		}
		r.ScanBack(store.Outbox, prefix, nil, func(key, _ []byte) bool { return take(ulid.ULID(key[len(key)-16:])) })
		return found, err
	}
	for _, state := range q.States {
		prefix, left := []byte{outboxDone, byte(state)}, q.Limit
		if state == command.DeliveryPending {
			prefix = []byte{outboxDue}
		}
		r.ScanBack(store.Outbox, prefix, nil, func(key, _ []byte) bool {
			left--
			_ = take(ulid.ULID(key[len(key)-16:]))
			return err == nil && left > 0
		})
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(found, func(a, b command.Delivery) int { return b.ID.Compare(a.ID) })
	return found[:min(len(found), q.Limit)], nil
}
