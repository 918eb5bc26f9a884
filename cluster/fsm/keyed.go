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

// KeyedEntry is what is kept for an idempotency key: the request it was used for, and its answer.
type KeyedEntry struct {
	Fingerprint [command.KeyBytes]byte
	// ExpiresMS is when the key has run out, in milliseconds since 1970.
	ExpiresMS int64
	Kind      command.Kind
	Result    Result // as the operation gave it, with Replayed
}

const keyedFormat = 1

const (
	keyedCreated   = 1 << 0
	keyedDuplicate = 1 << 1
)

var errKeyed = errors.New("a stored idempotency key is corrupt")

func (e *KeyedEntry) append(dst []byte) []byte {
	flags := byte(0)
	if e.Result.Created {
		flags |= keyedCreated
	}
	if e.Result.Duplicate {
		flags |= keyedDuplicate
	}
	dst = append(append(dst, keyedFormat), e.Fingerprint[:]...)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(e.ExpiresMS))
	dst = append(dst, byte(e.Kind), flags)
	dst = binary.AppendUvarint(dst, e.Result.Version)
	if e.Kind == command.DecisionRecorded {
		dst = append(dst, e.Result.Decision[:]...)
	}
	return dst
}

const keyedHead = 1 + command.KeyBytes + 8 + 2

// OpenKeyedEntry reads a stored idempotency key.
func OpenKeyedEntry(b []byte) (e KeyedEntry, err error) {
	if len(b) < keyedHead+1 || b[0] != keyedFormat {
		return KeyedEntry{}, errKeyed
	}
	copy(e.Fingerprint[:], b[1:])
	e.ExpiresMS = int64(binary.LittleEndian.Uint64(b[1+command.KeyBytes:]))
	e.Kind = command.Kind(b[keyedHead-2])
	flags := b[keyedHead-1]
	version, n := binary.Uvarint(b[keyedHead:])
	rest := b[keyedHead:]
	if n <= 0 || flags&^(keyedCreated|keyedDuplicate) != 0 {
		return KeyedEntry{}, errKeyed
	}
	rest = rest[n:]
	e.Result = Result{Version: version, Created: flags&keyedCreated != 0, Duplicate: flags&keyedDuplicate != 0, Replayed: true}
	if e.Kind == command.DecisionRecorded {
		if len(rest) != len(ulid.ULID{}) {
			return KeyedEntry{}, errKeyed
		}
		copy(e.Result.Decision[:], rest)
		rest = nil
	}
	if len(rest) != 0 {
		return KeyedEntry{}, errKeyed
	}
	return e, nil
}

// Answer is what the key answers to a request, unless it was used for another.
func (e *KeyedEntry) Answer(fingerprint [command.KeyBytes]byte) (Result, *nba.Error) {
	if e.Fingerprint != fingerprint {
		return Result{}, nba.Errorf(nba.CodeKeyReused, "the Idempotency-Key was used for another request: send a new key with a new request")
	}
	return e.Result, nil
}

// applyKeyed applies an operation unless its key did so before. What was refused changed nothing, so it
// is tried again under the same key.
func (d *Data) applyKeyed(u *update, at At, body []byte) (Result, error) {
	k := &d.keyed
	inner, err := k.Decode(body)
	if err != nil {
		return Result{}, err
	}
	stored := u.Get(store.Idempotency, k.ID[:])
	if stored != nil {
		entry, err := OpenKeyedEntry(stored)
		if err != nil {
			return Result{}, err
		}
		if entry.ExpiresMS > at.ProposedMS {
			result, reused := entry.Answer(k.Fingerprint)
			if reused != nil {
				return refuse(reused)
			}
			return result, nil
		}
	}
	result, err := d.applyOp(u, at, inner)
	if err != nil || result.Err != nil {
		return result, err
	}
	if stored != nil {
		if err := removeKey(u, k.ID); err != nil {
			return Result{}, err
		}
	}
	entry := KeyedEntry{Fingerprint: k.Fingerprint, ExpiresMS: at.ProposedMS + int64(k.TTL), Kind: inner.Kind, Result: result}
	if err := u.insert(store.Idempotency, k.ID[:], d.arena.keep(entry.append(d.arena.room(64)))); err != nil {
		return Result{}, err
	}
	d.key = appendDue(d.key[:0], entry.ExpiresMS, k.ID)
	return result, u.insert(store.Due, d.key, nil)
}

// Keyed looks an idempotency key up: ok is false when there is none that is still good at nowMS. It is
// safe for concurrent use.
func (d *Data) Keyed(id [command.KeyBytes]byte, nowMS int64) (e KeyedEntry, ok bool, err error) {
	r, err := d.store.Acquire()
	if err != nil {
		return e, false, err
	}
	defer r.Release()
	stored := r.Get(store.Idempotency, id[:])
	if stored == nil {
		return e, false, nil
	}
	e, err = OpenKeyedEntry(stored)
	return e, err == nil && e.ExpiresMS > nowMS, err
}

// What falls due is listed by time, each kind of it apart: the kind, the time, what it is.
const dueKey = 1 // an idempotency key

func appendDue(dst []byte, ms int64, id [command.KeyBytes]byte) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, dueKey), uint64(ms)^signBit)
	return append(dst, id[:]...)
}

func parseDue(key []byte) (ms int64, id [command.KeyBytes]byte, ok bool) {
	if len(key) != 1+8+command.KeyBytes || key[0] != dueKey {
		return 0, id, false
	}
	copy(id[:], key[9:])
	return int64(binary.BigEndian.Uint64(key[1:]) ^ signBit), id, true
}

func dueKeys(u *update, untilMS int64, limit int) (ids [][command.KeyBytes]byte) {
	u.ScanBetween(store.Due, []byte{dueKey}, dueAfter(untilMS), func(key, _ []byte) bool {
		if _, id, ok := parseDue(key); ok {
			ids = append(ids, id)
		}
		return len(ids) < limit
	})
	return ids
}

// dueAfter is above every key that is due at the time or before.
func dueAfter(ms int64) []byte {
	return binary.BigEndian.AppendUint64([]byte{dueKey}, uint64(min(ms, math.MaxInt64-1)+1)^signBit)
}

// removeKey removes a stored idempotency key and its entry in what is due.
func removeKey(u *update, id [command.KeyBytes]byte) error {
	stored := slices.Clone(u.Get(store.Idempotency, id[:]))
	entry, err := OpenKeyedEntry(stored)
	if err != nil {
		return err
	}
	if err := u.remove(store.Idempotency, id[:], stored); err != nil {
		return err
	}
	return u.remove(store.Due, appendDue(nil, entry.ExpiresMS, id), nil)
}
