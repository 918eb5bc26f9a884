package fsm

import (
	"encoding/binary"
	"slices"

	"github.com/oklog/ulid/v2"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/store"
)

// Expiry tells what one Expire removed.
type Expiry struct {
	Decisions, Keys int
	// More is true when there was more to remove than the operation allowed.
	More bool
}

// maxDisplaced bounds the decisions that one new one displaces, which are many only after the bound was
// lowered.
const maxDisplaced = 8

// The history of a subject begins with the number of decisions in it, under the subject key alone, which
// is on the same page as the oldest of them. Histories that an earlier release wrote have none until the
// next decision.

func appendCount(n int) []byte { return binary.AppendUvarint(nil, uint64(n)) }

func parseCount(b []byte) (int, bool) {
	n, size := binary.Uvarint(b)
	return int(n), size > 0 && size == len(b) && n <= 1<<32
}

// decisionsOf is the number of decisions of a subject, and its stored form, nil if it is not stored.
func (d *Data) decisionsOf(u *update, subjectKey []byte) (n int, stored []byte, err error) {
	if stored = u.Get(store.History, subjectKey); stored != nil {
		n, ok := parseCount(stored)
		if !ok {
			return 0, nil, errDecision
		}
		return n, stored, nil
	}
	u.Scan(store.History, subjectKey, func(key, _ []byte) bool {
		if h, ok := ParseHistoryKey(key, len(subjectKey)); ok && h.Kind == HistoryDecision {
			n++
		}
		return true
	})
	return n, nil, nil
}

// countDecision makes room for a decision in the history of its subject and counts it.
func (d *Data) countDecision(u *update, p *command.Recorded) error {
	n, stored, err := d.decisionsOf(u, p.Key)
	if err != nil || !p.Counted && stored == nil {
		return err
	}
	for displaced := 0; p.Keep > 0 && n >= p.Keep && displaced < maxDisplaced; displaced++ {
		oldest, ok := d.oldestDecision(u, p.Key)
		if !ok {
			break
		}
		if err := d.forget(u, oldest, u.Get(store.Decisions, oldest[:])); err != nil {
			return err
		}
		n--
	}
	return u.replace(store.History, p.Key, u.Get(store.History, p.Key), appendCount(n+1))
}

func (d *Data) oldestDecision(u *update, subjectKey []byte) (id ulid.ULID, ok bool) {
	u.Scan(store.History, subjectKey, func(key, _ []byte) bool {
		h, parsed := ParseHistoryKey(key, len(subjectKey))
		if ok = parsed && h.Kind == HistoryDecision; ok {
			id = h.Decision
		}
		return !ok
	})
	return id, ok
}

// forget removes a decision, whose entry is stored, with its responses.
func (d *Data) forget(u *update, id ulid.ULID, stored []byte) error {
	entry, err := OpenDecisionEntry(stored)
	if err != nil {
		return err
	}
	decision, err := command.OpenDecision(entry.Record)
	if err != nil {
		return err
	}
	subject := slices.Clone(entry.Key)
	if err := d.forgetResponses(u, id, subject, entry.Responses()); err != nil {
		return err
	}
	key := AppendHistoryKey(nil, subject, HistoryKey{TimeMS: decision.TimeMS, Decision: id, Kind: HistoryDecision})
	if err := u.remove(store.History, key, nil); err != nil {
		return err
	}
	if err := u.remove(store.Decisions, id[:], stored); err != nil {
		return err
	}
	count := u.Get(store.History, subject)
	if count == nil {
		return nil
	}
	switch n, ok := parseCount(count); {
	case !ok:
		return errDecision
	case n > 1:
		return u.replace(store.History, subject, count, appendCount(n-1))
	}
	return u.remove(store.History, subject, count)
}

// forgetResponses removes the responses to a decision. They lie in the subject's history under their own
// times; left is how many there are.
func (d *Data) forgetResponses(u *update, id ulid.ULID, subjectKey []byte, left int) error {
	if left == 0 {
		return nil
	}
	var keys, values [][]byte
	u.Scan(store.History, subjectKey, func(key, value []byte) bool {
		if h, ok := ParseHistoryKey(key, len(subjectKey)); ok && h.Kind == HistoryResponse && h.Decision == id {
			keys, values = append(keys, slices.Clone(key)), append(values, value)
		}
		return len(keys) < left
	})
	for i, key := range keys {
		if err := u.remove(store.History, key, values[i]); err != nil {
			return err
		}
	}
	return nil
}

// expire removes decisions from the front of their bucket, which is in the order of their times, and
// idempotency keys from the front of what is due: nothing is searched for.
func (d *Data) expire(u *update, body []byte) (Result, error) {
	var op command.Expire
	if err := op.Decode(body); err != nil {
		return Result{}, err
	}
	var done Expiry
	for _, id := range d.oldDecisions(u, op.BeforeMS, int(op.Limit)+1) {
		if done.Decisions == int(op.Limit) {
			done.More = true
			break
		}
		if err := d.forget(u, id, u.Get(store.Decisions, id[:])); err != nil {
			return Result{}, err
		}
		done.Decisions++
	}
	if _, err := unmarkErased(u, op.BeforeMS, int(op.Limit)); err != nil {
		return Result{}, err
	}
	for _, key := range dueKeys(u, op.KeysMS, int(op.Limit)+1) {
		if done.Keys == int(op.Limit) {
			done.More = true
			break
		}
		if err := removeKey(u, key); err != nil {
			return Result{}, err
		}
		done.Keys++
	}
	return Result{Value: done}, nil
}

// oldDecisions are the first decisions before a time. It begins where it ended last: what was removed
// there may still lie in the file.
func (d *Data) oldDecisions(u *update, beforeMS int64, limit int) (ids []ulid.ULID) {
	u.ScanBetween(store.Decisions, d.expired, firstID(beforeMS), func(key, _ []byte) bool {
		if len(key) == len(ulid.ULID{}) {
			ids = append(ids, ulid.ULID(key))
		}
		return len(ids) < limit
	})
	if len(ids) > 0 {
		d.expired = slices.Clone(ids[len(ids)-1][:]) // the others below are removed now
	}
	return ids
}

// firstID is the least id of a time.
func firstID(ms int64) []byte {
	var id ulid.ULID
	_ = id.SetTime(uint64(min(max(ms, 0), int64(ulid.MaxTime())))) // it is in range
	return id[:]
}

// Due tells whether an Expire of these times would remove anything. It is for whoever proposes one,
// and safe for concurrent use.
func (d *Data) Due(beforeMS, keysMS int64) (bool, error) {
	r, err := d.store.Acquire()
	if err != nil {
		return false, err
	}
	defer r.Release()
	due := false
	found := func(_, _ []byte) bool { due = true; return false }
	r.ScanBetween(store.Decisions, nil, firstID(beforeMS), found)
	if !due {
		r.ScanBetween(store.Due, []byte{dueErased}, appendErased(nil, firstID(beforeMS)), found)
	}
	if !due {
		r.ScanBetween(store.Due, []byte{dueKey}, dueAfter(keysMS), found)
	}
	return due, nil
}
