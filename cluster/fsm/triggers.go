package fsm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/cespare/xxhash/v2"
	"github.com/oklog/ulid/v2"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// A trigger waits in the state of its subject's group until the leader has decided it. The bucket of
// triggers:
//
//	triggerOf, subject key, ULID           -> trigger that is pending
//	triggerAt, ms, ULID, subject key       -> nothing: when it is decided
//	triggerShut, ms, ULID                  -> closed trigger, at most MaxShutTriggers
//	triggerShutOf, subject key, ULID       -> when it was closed, so that it goes with its subject
const (
	triggerOf     = 1
	triggerAt     = 2
	triggerShut   = 3
	triggerShutOf = 4
)

// MaxShutTriggers bounds the closed triggers that a group remembers: the oldest make room.
const MaxShutTriggers = 10_000

var errTrigger = errors.New("a stored trigger is corrupt")

// triggerGone refuses a decision whose trigger was decided, closed or cancelled meanwhile.
func triggerGone() *nba.Error {
	return nba.Errorf(nba.CodeConflict, "what asked for the decision is not pending any more: it was decided or taken back meanwhile")
}

func subjectID(kind byte, subjectKey []byte, id ulid.ULID) []byte {
	key := append(make([]byte, 0, 1+len(subjectKey)+len(id)), kind)
	return append(append(key, subjectKey...), id[:]...)
}

func triggerAtKey(ms int64, id ulid.ULID, subjectKey []byte) []byte {
	return append(dueAt(make([]byte, 0, 25+len(subjectKey)), triggerAt, ms, id), subjectKey...)
}

// raise puts a trigger into the state, in an operation of a data group. It gives the trigger its id, which
// carries the subject's slot as that of a decision does. What is beyond the limits of a trigger, and what
// comes when the subject has too many already, is closed at once, which is not an error.
func (d *Data) raise(u *update, at At, t *command.Trigger) error {
	t.ID = d.nextTrigger(at, t.Key)
	if t.RaisedMS == 0 {
		t.RaisedMS = at.ProposedMS
	}
	if len(t.Origin) > nba.MaxTextBytes || len(t.EventType) > nba.MaxTextBytes || len(t.Contexts) > command.MaxContextBytes {
		closed := command.Trigger{ID: t.ID, Key: t.Key, RaisedMS: t.RaisedMS, NotBeforeMS: t.NotBeforeMS, ExpiresMS: t.ExpiresMS}
		return d.shut(u, &command.ShutTrigger{Trigger: closed, Reason: command.CloseFailed, ClosedMS: at.ProposedMS, Detail: "too_large"})
	}
	pending, prefix := 0, append([]byte{triggerOf}, t.Key...)
	u.Scan(store.Triggers, prefix, func(_, _ []byte) bool {
		pending++
		return pending < command.MaxPendingTriggers
	})
	if pending >= command.MaxPendingTriggers {
		return d.shut(u, &command.ShutTrigger{Trigger: *t, Reason: command.CloseCrowded, ClosedMS: at.ProposedMS})
	}
	return d.putTrigger(u, t)
}

func (d *Data) putTrigger(u *update, t *command.Trigger) error {
	if err := u.insert(store.Triggers, subjectID(triggerOf, t.Key, t.ID), t.Append(nil)); err != nil {
		return err
	}
	key := triggerAtKey(t.NotBeforeMS, t.ID, t.Key)
	d.waiting.raised(key)
	d.tally.Triggers++
	return u.insert(store.Triggers, key, []byte{})
}

// nextTrigger is the id of the next trigger of an entry: its time, the slot of the subject (12 bits), the
// index of the entry (40), and a number within it.
func (d *Data) nextTrigger(at At, subjectKey []byte) (id ulid.ULID) {
	if d.raisedAt != at.Index {
		d.raisedAt, d.raisedOf = at.Index, 0
	}
	d.raisedOf++
	_ = id.SetTime(uint64(min(max(at.ProposedMS, 0), int64(ulid.MaxTime())))) // it is in range
	binary.BigEndian.PutUint16(id[6:], uint16(xxhash.Sum64(subjectKey)>>52)<<4)
	var index [8]byte
	binary.BigEndian.PutUint64(index[:], at.Index)
	copy(id[8:13], index[3:])
	id[13], id[14], id[15] = byte(d.raisedOf>>16), byte(d.raisedOf>>8), byte(d.raisedOf)
	return id
}

// takeTrigger removes a pending trigger; nil if it is not pending.
func (d *Data) takeTrigger(u *update, subjectKey []byte, id ulid.ULID) (*command.Trigger, error) {
	key := subjectID(triggerOf, subjectKey, id)
	stored := u.Get(store.Triggers, key)
	if stored == nil {
		return nil, nil
	}
	t := new(command.Trigger)
	if t.Decode(stored) != nil {
		return nil, errTrigger
	}
	if err := u.remove(store.Triggers, key, stored); err != nil {
		return nil, err
	}
	d.tally.Triggers--
	return t, u.remove(store.Triggers, triggerAtKey(t.NotBeforeMS, t.ID, t.Key), []byte{})
}

// shut remembers a closed trigger, without its contexts.
func (d *Data) shut(u *update, t *command.ShutTrigger) error {
	for d.tally.Shut >= MaxShutTriggers {
		if n, err := d.forgetShut(u, nil, 1); err != nil {
			return err
		} else if n == 0 {
			break
		}
	}
	t.Contexts = nil
	key := dueAt(nil, triggerShut, t.ClosedMS, t.ID)
	if bytes.Compare(key[1:], d.shutFrom) < 0 {
		d.shutFrom = nil
	}
	if err := u.insert(store.Triggers, key, t.Append(nil)); err != nil {
		return err
	}
	d.tally.Shut++
	ms := binary.LittleEndian.AppendUint64(nil, uint64(t.ClosedMS))
	return u.insert(store.Triggers, subjectID(triggerShutOf, t.Key, t.ID), ms)
}

// forgetShut forgets the first closed triggers: those below a key, all of them if it is nil, at most limit.
// It begins where it ended last.
func (d *Data) forgetShut(u *update, below []byte, limit int) (int, error) {
	if below == nil {
		below = []byte{triggerShut + 1}
	}
	var keys, values [][]byte
	u.ScanBetween(store.Triggers, append([]byte{triggerShut}, d.shutFrom...), below, func(key, value []byte) bool {
		keys, values = append(keys, slices.Clone(key)), append(values, value)
		return len(keys) < limit
	})
	for i, key := range keys {
		if err := d.removeShut(u, key, values[i]); err != nil {
			return 0, err
		}
		d.shutFrom = key[1:]
	}
	return len(keys), nil
}

func (d *Data) removeShut(u *update, key, value []byte) error {
	var t command.ShutTrigger
	if t.Decode(value) != nil {
		return errTrigger
	}
	of := subjectID(triggerShutOf, t.Key, t.ID)
	if err := u.remove(store.Triggers, of, u.Get(store.Triggers, of)); err != nil {
		return err
	}
	d.tally.Shut--
	return u.remove(store.Triggers, key, value)
}

// closeTriggers applies a TriggersClosed.
func (d *Data) closeTriggers(u *update, at At, body []byte) (Result, error) {
	var op command.CloseTriggers
	if err := op.Decode(body); err != nil {
		return Result{}, err
	}
	done := uint64(0)
	for i := range op.Closed {
		c := &op.Closed[i]
		t, err := d.takeTrigger(u, c.Key, c.ID)
		if err != nil {
			return Result{}, err
		}
		if t == nil {
			continue
		}
		done++
		if c.Reason == command.CloseDeferred {
			t.NotBeforeMS = c.UntilMS
			err = d.putTrigger(u, t)
		} else {
			err = d.shut(u, &command.ShutTrigger{Trigger: *t, Reason: c.Reason, ClosedMS: at.ProposedMS, Detail: c.Detail})
		}
		if err != nil {
			return Result{}, err
		}
	}
	if op.Limit > 0 {
		if _, err := d.forgetShut(u, dueAt(nil, triggerShut, op.ForgetMS, ulid.ULID{}), int(op.Limit)); err != nil {
			return Result{}, err
		}
	}
	return Result{Version: done}, nil
}

// cancel takes back what an origin raised for a subject and what was not sent of it; an empty origin means
// all of them.
func (d *Data) cancel(u *update, at At, subjectKey []byte, origin string) error {
	var ids []ulid.ULID
	var bad error
	u.Scan(store.Triggers, append([]byte{triggerOf}, subjectKey...), func(_, value []byte) bool {
		var t command.Trigger
		if t.Decode(value) != nil {
			bad = errTrigger
			return false
		}
		if origin == "" || t.Origin == origin {
			ids = append(ids, t.ID)
		}
		return true
	})
	if bad != nil {
		return bad
	}
	for _, id := range ids {
		t, err := d.takeTrigger(u, subjectKey, id)
		if err != nil {
			return err
		}
		if err := d.shut(u, &command.ShutTrigger{Trigger: *t, Reason: command.CloseCancelled, ClosedMS: at.ProposedMS}); err != nil {
			return err
		}
	}
	return d.cancelDeliveries(u, at, subjectKey, origin)
}

// eraseTriggers removes the triggers of a subject, with what is remembered of the closed ones.
func (d *Data) eraseTriggers(u *update, subjectKey []byte) error {
	for _, key := range keysOf(u, store.Triggers, append([]byte{triggerOf}, subjectKey...)) {
		if _, err := d.takeTrigger(u, subjectKey, ulid.ULID(key[len(key)-16:])); err != nil {
			return err
		}
	}
	for _, key := range keysOf(u, store.Triggers, append([]byte{triggerShutOf}, subjectKey...)) {
		ms := u.Get(store.Triggers, key)
		if len(ms) != 8 {
			return errTrigger
		}
		shut := dueAt(nil, triggerShut, int64(binary.LittleEndian.Uint64(ms)), ulid.ULID(key[len(key)-16:]))
		if err := d.removeShut(u, shut, u.Get(store.Triggers, shut)); err != nil {
			return err
		}
	}
	return nil
}

// keysOf are the keys with a prefix.
func keysOf(u *update, bucket store.Bucket, prefix []byte) (keys [][]byte) {
	u.Scan(bucket, prefix, func(key, _ []byte) bool {
		keys = append(keys, slices.Clone(key))
		return true
	})
	return keys
}

// Triggers are the triggers due until a time, in the order of the times they are due at, at most limit of
// them; nextMS is when the first after those is due, 0 if there is none within a second. skip leaves out what is being
// decided already. It is safe for concurrent use.
func (d *Data) Triggers(untilMS int64, limit int, skip func(ulid.ULID) bool) (due []command.Trigger, nextMS int64, err error) {
	from, since := d.waiting.from([]byte{triggerAt})
	r, err := d.store.Acquire()
	if err != nil {
		return nil, 0, err
	}
	defer r.Release()
	var first []byte
	above := dueAbove(triggerAt, untilMS+soonMS)
	r.ScanBetween(store.Triggers, from, above, func(key, _ []byte) bool {
		if len(key) <= 25 {
			err = errTrigger
			return false
		}
		if first == nil {
			first = slices.Clone(key)
		}
		at := int64(binary.BigEndian.Uint64(key[1:]) ^ signBit)
		if at > untilMS {
			nextMS = at
			return false
		}
		if skip(ulid.ULID(key[9:])) {
			return true
		}
		if len(due) == limit {
			nextMS = at
			return false
		}
		var t command.Trigger
		if stored := r.Get(store.Triggers, subjectID(triggerOf, key[25:], ulid.ULID(key[9:]))); t.Decode(slices.Clone(stored)) != nil {
			err = errTrigger
			return false
		}
		due = append(due, t)
		return true
	})
	if first == nil {
		first = latest(from, above)
	}
	d.waiting.advance([]byte{triggerAt}, first, since)
	return due, nextMS, err
}

// soonMS is how far ahead of what is due now is looked: who asks comes back before.
const soonMS = 1000

func latest(a, b []byte) []byte {
	if bytes.Compare(a, b) > 0 {
		return a
	}
	return b
}

// ShutTriggers are the triggers closed last, the newest first, of one subject if subjectKey is not nil, at
// most limit of them. It is safe for concurrent use.
func (d *Data) ShutTriggers(subjectKey []byte, limit int) (shut []command.ShutTrigger, err error) {
	r, err := d.store.Acquire()
	if err != nil {
		return nil, err
	}
	defer r.Release()
	r.ScanBack(store.Triggers, []byte{triggerShut}, nil, func(_, value []byte) bool {
		var t command.ShutTrigger
		if t.Decode(slices.Clone(value)) != nil {
			err = errTrigger
			return false
		}
		if subjectKey == nil || string(t.Key) == string(subjectKey) {
			shut = append(shut, t)
		}
		return len(shut) < limit
	})
	return shut, err
}
