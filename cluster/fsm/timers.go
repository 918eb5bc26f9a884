package fsm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/store"
)

// Timers lie in the bucket of what is due, in the order of their times:
//
//	dueTimer, ms, what, subject key, origin -> value
//
// So the first ones are found without a search, and who holds the time of a timer in its state clears it.
// A timer is not found by its subject: who sets one clears it when the subject is erased.
const dueTimer = 6

// What a timer is of. The numbers are stored: append only.
const (
	timerStrategy = 1
	timerJourney  = 2
	timerTrigger  = 3
	timerCampaign = 4
)

// maxTimerOrigin bounds the origin of a timer, in bytes.
const maxTimerOrigin = 1 << 10

var errTimer = errors.New("a stored timer is corrupt")

// timer is one timer that falls due.
type timer struct {
	ms         int64
	what       byte
	subjectKey []byte
	origin     string
	value      []byte
}

func timerKey(dst []byte, ms int64, what byte, subjectKey []byte, origin string) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, dueTimer), uint64(ms)^signBit)
	return append(append(append(dst, what), subjectKey...), origin...)
}

func parseTimer(key, value []byte) (t timer, ok bool) {
	const head = 1 + 8 + 1
	if len(key) < head+2 || len(key) < head+2+int(key[head+1]) {
		return t, false
	}
	end := head + 2 + int(key[head+1])
	return timer{
		ms: int64(binary.BigEndian.Uint64(key[1:]) ^ signBit), what: key[head-1], subjectKey: key[head:end:end],
		origin: string(key[end:]), value: value,
	}, true
}

// setTimer has fireTimer called once when ms, in milliseconds since 1970, has passed. Set again for the same
// time it gets another value. The value is not kept.
func (d *Data) setTimer(u *update, ms int64, what byte, subjectKey []byte, origin string, value []byte) error {
	if len(origin) > maxTimerOrigin {
		return errTimer
	}
	key := timerKey(nil, ms, what, subjectKey, origin)
	d.timers.raised(key)
	return u.replace(store.Due, key, u.Get(store.Due, key), value)
}

// clearTimer takes a timer back. There need be none.
func (d *Data) clearTimer(u *update, ms int64, what byte, subjectKey []byte, origin string) error {
	key := timerKey(nil, ms, what, subjectKey, origin)
	stored := u.Get(store.Due, key)
	if stored == nil {
		return nil
	}
	return u.remove(store.Due, key, stored)
}

// fireTimers fires what is due, from the front. A timer that is set meanwhile fires with the next operation,
// one that is cleared meanwhile does not. Version of the result is how many fired.
func (d *Data) fireTimers(u *update, at At, body []byte) (Result, error) {
	var op command.FireTimers
	if err := op.Decode(body); err != nil {
		return Result{}, err
	}
	keys := d.dueTimers(u, op.UntilMS, int(op.Limit))
	fired := uint64(0)
	for _, key := range keys {
		stored := u.Get(store.Due, key)
		if stored == nil {
			continue
		}
		t, ok := parseTimer(key, slices.Clone(stored))
		if !ok {
			return Result{}, errTimer
		}
		if err := u.remove(store.Due, key, stored); err != nil {
			return Result{}, err
		}
		if err := d.fireTimer(u, at, &t); err != nil {
			return Result{}, err
		}
		fired++
	}
	return Result{Version: fired}, nil
}

// fireTimer does what a timer was set for.
func (d *Data) fireTimer(u *update, at At, t *timer) error {
	switch t.what {
	case timerStrategy:
		return d.fireStrategy(u, at, t)
	case timerJourney:
		return d.fireJourney(u, at, t.ms, t.subjectKey, t.origin)
	default:
		return errTimer
	}
}

// dueTimers are the keys of the first timers that are due.
func (d *Data) dueTimers(u *update, untilMS int64, limit int) (keys [][]byte) {
	from, since := d.timers.from([]byte{dueTimer})
	for _, key := range d.timers.batch { // set by this batch, and not in the front yet
		if bytes.Compare(key, from) < 0 {
			from = key
		}
	}
	below := dueAbove(dueTimer, untilMS)
	if bytes.Compare(from, below) >= 0 {
		return nil
	}
	u.ScanBetween(store.Due, from, below, func(key, _ []byte) bool {
		keys = append(keys, slices.Clone(key))
		return len(keys) < limit
	})
	front := below
	if len(keys) > 0 {
		front = keys[0]
	}
	d.timers.advance([]byte{dueTimer}, front, since)
	return keys
}

// NextTimer is when the first timer is due, in milliseconds since 1970; ok is false where none is until a time.
// It looks at the front alone, no further than that time, which need not be far: all that was set lately and
// lies before it is gone through. It is safe for concurrent use.
func (d *Data) NextTimer(untilMS int64) (ms int64, ok bool, err error) {
	from, since := d.timers.from([]byte{dueTimer})
	below := dueAbove(dueTimer, untilMS)
	if bytes.Compare(from, below) >= 0 {
		return 0, false, nil
	}
	r, err := d.store.Acquire()
	if err != nil {
		return 0, false, err
	}
	defer r.Release()
	var first []byte
	r.ScanBetween(store.Due, from, below, func(key, _ []byte) bool {
		first = slices.Clone(key)
		return false
	})
	if first == nil {
		d.timers.advance([]byte{dueTimer}, below, since)
		return 0, false, nil
	}
	if len(first) < 9 {
		return 0, false, errTimer
	}
	d.timers.advance([]byte{dueTimer}, first, since)
	return int64(binary.BigEndian.Uint64(first[1:]) ^ signBit), true, nil
}
