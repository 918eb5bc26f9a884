package fsm

import (
	"encoding/binary"
	"slices"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/store"
)

// forgetEvents removes what is old from the front: nothing is searched for.
func (d *Data) forgetEvents(u *update, f *command.ForgetEvents) error {
	before := d.events.eventNumbers
	if err := d.forgetSeen(u, f); err != nil {
		return err
	}
	if err := d.stripEvents(u, f); err != nil {
		return err
	}
	if d.events.eventNumbers != before {
		if err := d.saveEventNumbers(u); err != nil {
			return err
		}
	}
	return d.forgetLetters(u, f)
}

// oldBatches are the keys and values of batches from a number on, as long as old tells, at most limit.
func oldBatches(u *update, from uint64, limit uint32, old func(b *batch) bool) (keys, values [][]byte, err error) {
	u.ScanBetween(store.Events, batchKey(nil, from), []byte{eventBatch + 1}, func(key, value []byte) bool {
		var b batch
		if b, err = openBatch(key, value); err != nil || !old(&b) {
			return false
		}
		keys, values = append(keys, slices.Clone(key)), append(values, value)
		return len(keys) < int(limit)
	})
	return keys, values, err
}

// forgetSeen removes batches altogether.
func (d *Data) forgetSeen(u *update, f *command.ForgetEvents) error {
	keys, values, err := oldBatches(u, d.events.seen, f.Limit, func(b *batch) bool { return b.ms < f.SeenMS })
	if err != nil {
		return err
	}
	for i, key := range keys {
		b, _ := openBatch(key, values[i]) // it was read before
		for {
			e, place, ok, err := b.next()
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			if err := d.forgetOne(u, &e, b.first, place); err != nil {
				return err
			}
		}
		if err := u.remove(store.Events, key, values[i]); err != nil {
			return err
		}
		d.events.seen = b.end()
		d.events.kept = max(d.events.kept, b.end())
	}
	return nil
}

// forgetOne forgets that an event was applied.
func (d *Data) forgetOne(u *update, e *command.AppliedEvent, first, place uint64) error {
	known, stored := &d.events.known, u.Get(store.Seen, e.Key)
	if err := known.open(stored); err != nil {
		return err
	}
	if known.find(e.Hash[:]) != nil {
		return u.replace(store.Seen, e.Key, stored, known.without(e.Hash[:]))
	}
	d.key = append(append(d.key[:0], e.Key...), e.Hash[:]...)
	return u.remove(store.Seen, d.key, binary.AppendUvarint(binary.AppendUvarint(nil, first), place))
}

// stripEvents leaves of batches what is needed to recognize their events.
func (d *Data) stripEvents(u *update, f *command.ForgetEvents) error {
	keys, values, err := oldBatches(u, d.events.kept, f.Limit, func(b *batch) bool {
		return b.ms < f.KeptMS || f.MaxKept > 0 && d.events.next-b.end() >= f.MaxKept
	})
	if err != nil {
		return err
	}
	for i, key := range keys {
		b, _ := openBatch(key, values[i])
		end, value := b.end(), b.head(make([]byte, 0, len(values[i])), true)
		for {
			e, place, ok, err := b.next()
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			bare := command.AppliedEvent{Hash: e.Hash, Key: e.Key, TimeMS: e.TimeMS, ReceivedMS: e.ReceivedMS}
			value = bare.AppendKept(binary.AppendUvarint(value, place))
		}
		if err := u.replaceKept(store.Events, key, values[i], slices.Clone(value)); err != nil {
			return err
		}
		d.events.kept = end
	}
	return nil
}

// EventsDue tells whether a ForgetEvents would remove anything. It is safe for concurrent use.
func (d *Data) EventsDue(f *command.ForgetEvents) (bool, error) {
	r, err := d.store.Acquire()
	if err != nil {
		return false, err
	}
	defer r.Release()
	numbers := readEventNumbers(r.Get(store.Events, []byte{eventMark}))
	next := numbers.next
	r.ScanBack(store.Events, []byte{eventBatch}, nil, func(key, value []byte) bool {
		var b batch
		if b, err = openBatch(key, value); err == nil {
			next = max(next, b.end())
		}
		return false
	})
	due := false
	first := func(from uint64, old func(b *batch) bool) {
		r.ScanBetween(store.Events, batchKey(nil, from), []byte{eventBatch + 1}, func(key, value []byte) bool {
			var b batch
			if b, err = openBatch(key, value); err == nil && old(&b) {
				due = true
			}
			return false
		})
	}
	first(numbers.seen, func(b *batch) bool { return b.ms < f.SeenMS })
	first(numbers.kept, func(b *batch) bool {
		return b.ms < f.KeptMS || f.MaxKept > 0 && next-b.end() >= f.MaxKept
	})
	return due || lettersDue(r, f), err
}
