package fsm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"

	"github.com/cespare/xxhash/v2"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/store"
)

// Digest stands for all replicated state of a machine: every key and value of every bucket but
// store.Meta. It is the sum, modulo 2^128, of one hash for each pair, so it follows each write and does
// not depend on their order; replicas that applied the same entries have the same. It finds faults, not
// forgers: the hash is not a cryptographic one.
type Digest = command.Digest

// The seeds of the two halves of the hash of a pair. They are part of the digest: never change them.
const (
	seedLow  = 0x6172626974657231
	seedHigh = 0x6172626974657232
)

// pairs hashes pairs. It is used by one goroutine.
type pairs struct {
	hash    xxhash.Digest
	scratch []byte
}

// smallPair is copied together, which is quicker than to hash it in parts.
const smallPair = 4 << 10

// of is the hash of one pair: over the number of the bucket (1), the length of the key (4), key, value.
func (p *pairs) of(b store.Bucket, key, value []byte) (d Digest) {
	p.scratch = append(p.scratch[:0], byte(b))
	p.scratch = binary.LittleEndian.AppendUint32(p.scratch, uint32(len(key)))
	p.scratch = append(p.scratch, key...)
	rest := value
	if len(value) <= smallPair {
		p.scratch, rest = append(p.scratch, value...), nil
	}
	half := func(seed uint64) uint64 {
		p.hash.ResetWithSeed(seed)
		_, _ = p.hash.Write(p.scratch) // a hash never fails
		_, _ = p.hash.Write(rest)
		return p.hash.Sum64()
	}
	return Digest{Lo: half(seedLow), Hi: half(seedHigh)}
}

func plus(a, b Digest) (sum Digest) {
	var carry uint64
	sum.Lo, carry = bits.Add64(a.Lo, b.Lo, 0)
	sum.Hi, _ = bits.Add64(a.Hi, b.Hi, carry)
	return sum
}

func minus(a, b Digest) (difference Digest) {
	var borrow uint64
	difference.Lo, borrow = bits.Sub64(a.Lo, b.Lo, 0)
	difference.Hi, _ = bits.Sub64(a.Hi, b.Hi, borrow)
	return difference
}

// update is the transaction of one batch. Replicated state is written through it alone, so that the
// digest follows. Its methods are told what was there: every caller has read it anyway.
type update struct {
	*store.Tx
	digest Digest
	pairs  *pairs
}

// insert puts a key that is not there.
func (u *update) insert(b store.Bucket, key, value []byte) error {
	u.digest = plus(u.digest, u.pairs.of(b, key, value))
	return u.Tx.Put(b, key, value)
}

// replace puts a key whose value is old, nil for one that is not there.
func (u *update) replace(b store.Bucket, key, old, value []byte) error {
	if old != nil {
		u.digest = minus(u.digest, u.pairs.of(b, key, old))
	}
	return u.insert(b, key, value)
}

// replaceKept is replace with a key and a value that never change.
func (u *update) replaceKept(b store.Bucket, key, old, value []byte) error {
	if old != nil {
		u.digest = minus(u.digest, u.pairs.of(b, key, old))
	}
	u.digest = plus(u.digest, u.pairs.of(b, key, value))
	return u.Tx.PutKept(b, key, value)
}

// remove deletes a key whose value is old.
func (u *update) remove(b store.Bucket, key, old []byte) error {
	u.digest = minus(u.digest, u.pairs.of(b, key, old))
	return u.Tx.Delete(b, key)
}

// local puts what belongs to this replica, or follows from the rest: it is not in the digest.
func (u *update) local(key, value []byte) error { return u.Tx.Put(store.Meta, key, value) }

// digestOf reads all of the state.
func digestOf(r *store.Reader) (sum Digest) {
	var p pairs
	for b := range store.Bucket(store.Buckets) {
		if b == store.Meta {
			continue
		}
		r.Scan(b, nil, func(key, value []byte) bool {
			sum = plus(sum, p.of(b, key, value))
			return true
		})
	}
	return sum
}

// ErrDiverged is in the error of a machine that stopped because its state is not that of its group.
var ErrDiverged = errors.New("the state of this replica differs from that of its group")

// Marked is a digest and the log index of the mark at which it was taken. Replicas of one group take
// it at the same place, so those of the same index are equal or something is wrong.
type Marked struct {
	Index  uint64
	Digest Digest
}

var (
	keyDigest = []byte("digest")
	keyMark   = []byte("mark")
)

func appendMarked(dst []byte, m Marked) []byte {
	return command.AppendDigest(binary.LittleEndian.AppendUint64(dst, m.Index), m.Digest)
}

func parseMarked(b []byte) (m Marked, ok bool) {
	if len(b) != 8+command.DigestBytes {
		return Marked{}, false
	}
	m.Index = binary.LittleEndian.Uint64(b)
	m.Digest, ok = command.ParseDigest(b[8:])
	return m, ok
}

// readDigest is the digest stored with the log position, or that of the state if the one stored stands
// elsewhere: an earlier release does not write it.
func readDigest(r *store.Reader, index uint64) Digest {
	if m, ok := parseMarked(r.Get(store.Meta, keyDigest)); ok && m.Index == index {
		return m.Digest
	}
	return digestOf(r)
}

// Digest is that of the state as of Position. It is safe for concurrent use.
func (m *machine) Digest() Marked {
	p := m.position.Load()
	return Marked{Index: p.Index, Digest: p.Digest}
}

// Mark is the newest mark this machine applied; its index is 0 before the first. It is safe for
// concurrent use.
func (m *machine) Mark() Marked { return *m.mark.Load() }

// Verify reads all of the state and compares it with the digest that was kept up: a difference means
// that the store lost or changed something. It takes as long as reading the state does.
func (m *machine) Verify() error {
	r, err := m.store.Acquire()
	if err != nil {
		return err
	}
	defer r.Release()
	kept, ok := parseMarked(r.Get(store.Meta, keyDigest))
	if !ok {
		return nil // nothing was applied yet
	}
	if digestOf(r) != kept.Digest {
		return fmt.Errorf("%w: at entry %d the store does not hold what was written to it", ErrDiverged, kept.Index)
	}
	return nil
}

// markState compares with an earlier mark and remembers this one.
func (m *machine) markState(u *update, at At, body []byte) (Result, error) {
	var op command.Mark
	if err := op.Decode(body); err != nil {
		return Result{}, err
	}
	if op.Of != 0 && m.marking.Index == op.Of && m.marking.Digest != op.Digest {
		return Result{}, fmt.Errorf("%w: they differ at entry %d; move the folder of this group away and restart the node, it then copies the state of another replica",
			ErrDiverged, op.Of)
	}
	// What the machine holds back until the end of the batch belongs to the digest here: another
	// replica may apply the same entries in other batches.
	if err := m.rules.finishBatch(u); err != nil {
		return Result{}, err
	}
	m.marking = Marked{Index: at.Index, Digest: u.digest}
	return Result{Version: at.Index, Value: m.marking}, u.local(keyMark, appendMarked(nil, m.marking))
}
