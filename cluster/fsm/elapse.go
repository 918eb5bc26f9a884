package fsm

import (
	"encoding/binary"
	"slices"

	"github.com/oklog/ulid/v2"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/runtime/contact"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Elapsed tells what one Elapse did.
type Elapsed struct {
	Done, Forgotten int
}

// dueItem is something due of a decision.
type dueItem struct {
	key, value []byte
	ms         int64
	decision   ulid.ULID
	what       byte
}

// elapse does what is due of decisions, from the front: nothing is searched for.
func (d *Data) elapse(u *update, at At, body []byte) (Result, error) {
	var op command.Elapse
	if err := op.Decode(body); err != nil {
		return Result{}, err
	}
	var items []dueItem
	var bad error
	u.ScanBetween(store.Due, []byte{dueDecision}, dueAbove(dueDecision, op.UntilMS), func(key, value []byte) bool {
		if len(key) != 26 {
			bad = errDue
			return false
		}
		items = append(items, dueItem{key: slices.Clone(key), value: slices.Clone(value), ms: int64(binary.BigEndian.Uint64(key[1:]) ^ signBit),
			decision: ulid.ULID(key[9:]), what: key[25]})
		return len(items) < int(op.Limit)
	})
	if bad != nil {
		return Result{}, bad
	}
	for i := range items {
		if err := d.fallDue(u, at, &items[i]); err != nil {
			return Result{}, err
		}
	}
	forgotten, err := forgetVerdicts(u, op.ForgetMS, int(op.Limit))
	return Result{Value: Elapsed{Done: len(items), Forgotten: forgotten}}, err
}

func (d *Data) fallDue(u *update, at At, item *dueItem) error {
	if err := u.remove(store.Due, item.key, item.value); err != nil {
		return err
	}
	switch item.what {
	case whatTimeout:
		return d.timeOut(u, at, item)
	case whatRelease:
		return d.post(u, at, item.value, command.News{Decision: item.decision, What: command.NewsReleased, TimeMS: item.ms})
	}
	return errDue
}

// timeOut records as ignored the propositions of a decision that nobody answered.
func (d *Data) timeOut(u *update, at At, item *dueItem) error {
	timeout, err := command.DecodeTimeout(item.value)
	if err != nil {
		return err
	}
	shown := byte(contact.OutcomesOf(nba.Impression))
	for position := 0; ; position++ {
		stored := u.Get(store.Decisions, item.decision[:])
		if stored == nil {
			return nil // it is too old, or its subject was erased
		}
		entry, err := OpenDecisionEntry(stored)
		if err != nil || position >= len(entry.Outcomes) {
			return err
		}
		if had := entry.Outcomes[position]; had&^shown != 0 || timeout.Shown && had == 0 {
			continue
		}
		p := command.Responded{ID: item.decision, Outcome: uint8(nba.Ignored.Index()), TimeMS: item.ms, Record: command.NoResponse()}
		if err := d.respond(u, at, &p, stored, &entry, position); err != nil {
			return err
		}
	}
}

// forgetVerdicts forgets whether decisions were recorded that are older than a time, at most limit of them.
func forgetVerdicts(u *update, beforeMS int64, limit int) (int, error) {
	var keys, values [][]byte
	u.ScanBetween(store.Due, verdictKey(ulid.ULID{}), append([]byte{dueVerdict}, firstID(beforeMS)...), func(key, value []byte) bool {
		keys, values = append(keys, slices.Clone(key)), append(values, value)
		return len(keys) < limit
	})
	for i, key := range keys {
		if err := u.remove(store.Due, key, values[i]); err != nil {
			return 0, err
		}
	}
	if len(keys) == 0 {
		return 0, nil
	}
	mark := []byte{dueVerdict}
	return len(keys), u.replace(store.Due, mark, u.Get(store.Due, mark), keys[len(keys)-1][1:])
}

// Elapses tells whether an Elapse of these times would do anything. It is safe for concurrent use.
func (d *Data) Elapses(untilMS, forgetMS int64) (bool, error) {
	r, err := d.store.Acquire()
	if err != nil {
		return false, err
	}
	defer r.Release()
	due := false
	found := func(_, _ []byte) bool { due = true; return false }
	r.ScanBetween(store.Due, []byte{dueDecision}, dueAbove(dueDecision, untilMS), found)
	if !due {
		r.ScanBetween(store.Due, verdictKey(ulid.ULID{}), append([]byte{dueVerdict}, firstID(forgetMS)...), found)
	}
	return due, nil
}
