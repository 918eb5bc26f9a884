package fsm

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Restore is where a group stands with a restore from a backup. The zero Restore: there was none.
type Restore struct {
	// Backup is the one that the group was, or is being, filled from.
	Backup [16]byte
	// Base is added to the log index wherever the state keeps one.
	Base uint64
	// Open is true while the group is being filled: it then takes nothing else.
	Open bool
}

// keyRestore is local, as is what the log position says: all replicas have it, and it is in no digest, so
// that a state that was restored has the digest of the one that was backed up.
var keyRestore = []byte("restore")

func readRestore(r *store.Reader) Restore {
	v := r.Get(store.Meta, keyRestore)
	var out Restore
	if len(v) != len(out.Backup)+9 {
		return Restore{}
	}
	copy(out.Backup[:], v)
	for i := range 8 {
		out.Base |= uint64(v[len(out.Backup)+i]) << (8 * i)
	}
	out.Open = v[len(v)-1] == 1
	return out
}

func (m *machine) putRestore(u *update, next Restore) error {
	v := append([]byte{}, next.Backup[:]...)
	for i := range 8 {
		v = append(v, byte(next.Base>>(8*i)))
	}
	open := byte(0)
	if next.Open {
		open = 1
	}
	m.filling = next
	return u.local(keyRestore, append(v, open))
}

// Restoring is where the group stands with a restore, as of the last batch. It is safe for concurrent use.
func (m *machine) Restoring() Restore { return *m.restored.Load() }

// closed refuses what may not be done while the group is filled from a backup.
func (m *machine) closed(kind command.Kind) *nba.Error {
	const firstOfCluster, lastOfCluster command.Kind = 120, 139 // who is in the cluster, and the restore itself
	switch {
	case !m.filling.Open && !m.reload, kind == command.NodeAnnounced, kind >= firstOfCluster && kind <= lastOfCluster,
		kind == command.Attributed: // its inner operation is looked at again
		return nil
	}
	return nba.Errorf(nba.CodeUnavailable, "the cluster is being restored from a backup: wait until it is ready")
}

func errRestore(text string) (Result, error) { return refuse(nba.Errorf(nba.CodeConflict, "%s", text)) }

// beginRestore opens the group if it is empty.
func (m *machine) beginRestore(u *update, body []byte, empty func() (bool, error)) (Result, error) {
	var op command.BeginRestore
	if err := op.Decode(body); err != nil {
		return Result{}, err
	}
	if m.filling.Backup == op.Backup && m.filling.Open {
		return Result{Duplicate: true}, nil
	}
	ok, err := empty()
	if err != nil {
		return Result{}, err
	}
	if !ok || m.filling != (Restore{}) {
		return errRestore("a backup is restored into a cluster that holds nothing yet: start one with new data folders")
	}
	return Result{}, m.putRestore(u, Restore{Backup: op.Backup, Base: op.Base, Open: true})
}

// filledFrom refuses pairs of another backup than the one that the group is open for.
func (m *machine) filledFrom(backup [16]byte) *nba.Error {
	if m.filling.Open && m.filling.Backup == backup {
		return nil
	}
	return nba.Errorf(nba.CodeConflict, "the group is not open for this backup: begin the restore again, into new data folders")
}

func (m *machine) endRestore(u *update) error {
	done := m.filling
	done.Open = false
	m.reload = true
	return m.putRestore(u, done)
}

// load puts pairs into the state. take sees each before, with what is there; false leaves it out.
func load(u *update, pairs []byte, take func(b store.Bucket, key, old []byte) bool) error {
	for len(pairs) > 0 {
		bucket, key, value, rest, ok := command.NextPair(pairs)
		b := store.Bucket(bucket)
		if !ok || b == store.Meta || int(b) >= store.Buckets {
			return fmt.Errorf("a pair of a restore: %w", command.ErrMalformed)
		}
		pairs = rest
		old := u.Get(b, key)
		if old != nil && string(old) == string(value) || !take(b, key, old) {
			continue
		}
		if err := u.replace(b, key, old, value); err != nil {
			return err
		}
	}
	return nil
}

// restore answers the operations of a restore.
func (d *Data) restore(u *update, op command.Op) (Result, error) {
	switch op.Kind {
	case command.RestoreBegun:
		return d.beginRestore(u, op.Body, func() (bool, error) {
			for b := range store.Bucket(store.Buckets) {
				if b != store.Meta && !emptyBucket(u, b) {
					return false, nil
				}
			}
			return true, nil
		})
	case command.PairsLoaded:
		var p command.LoadPairs
		if err := p.Decode(op.Body); err != nil {
			return Result{}, err
		}
		if refused := d.filledFrom(p.Backup); refused != nil {
			return refuse(refused)
		}
		return Result{}, load(u, p.Pairs, func(b store.Bucket, _, old []byte) bool {
			if b == store.Subjects && old == nil {
				d.count++
			}
			return true
		})
	}
	var p command.EndRestore
	if err := p.Decode(op.Body); err != nil {
		return Result{}, err
	}
	if d.filling.Backup == p.Backup && !d.filling.Open {
		return Result{Duplicate: true}, nil
	}
	if refused := d.filledFrom(p.Backup); refused != nil {
		return refuse(refused)
	}
	if u.digest != p.Digest {
		return errRestore("what was restored into a group is not what was sent: begin again, into new data folders")
	}
	return Result{}, d.endRestore(u)
}

func emptyBucket(u *update, b store.Bucket) bool {
	empty := true
	u.Scan(b, nil, func(_, _ []byte) bool {
		empty = false
		return false
	})
	return empty
}

// restore answers the operations of a restore. The parts of the control state come with the last of them, so
// that the state in memory, which is made of them, never holds half of a backup.
func (c *Control) restore(u *update, op command.Op) (Result, error) {
	switch op.Kind {
	case command.RestoreBegun:
		result, err := c.beginRestore(u, op.Body, func() (bool, error) { return c.untouched(u), nil })
		if err != nil || result.Err != nil || result.Duplicate {
			return result, err
		}
		return result, c.forgetAudit(u)
	case command.PairsLoaded:
		var p command.LoadPairs
		if err := p.Decode(op.Body); err != nil {
			return Result{}, err
		}
		if refused := c.filledFrom(p.Backup); refused != nil {
			return refuse(refused)
		}
		return Result{}, load(u, p.Pairs, func(b store.Bucket, key, _ []byte) bool { return !ControlPart(b, key) })
	}
	var p command.EndRestore
	if err := p.Decode(op.Body); err != nil {
		return Result{}, err
	}
	if c.filling.Backup == p.Backup && !c.filling.Open {
		return Result{Duplicate: true}, nil
	}
	if refused := c.filledFrom(p.Backup); refused != nil {
		return refuse(refused)
	}
	if err := c.finishBatch(u); err != nil { // what is in memory must not be written over the parts later
		return Result{}, err
	}
	if err := load(u, p.Parts, func(b store.Bucket, key, _ []byte) bool { return RestoredPart(b, key) }); err != nil {
		return Result{}, err
	}
	if raw := u.Get(store.Control, partKeys[partAudit]); raw != nil {
		if err := json.Unmarshal(raw, &c.next.Audit); err != nil {
			return Result{}, fmt.Errorf("reading the end of the audit log: %w", err)
		}
	}
	return Result{}, c.endRestore(u)
}

// restoredChange is what the audit log says of a restore.
func restoredChange(body []byte) []Change {
	var p command.EndRestore
	if p.Decode(body) != nil {
		return nil
	}
	return []Change{{Fact: "restored from backup", After: hex.EncodeToString(p.Backup[:])}}
}

// untouched tells whether nobody has put anything into the cluster but keys.
func (c *Control) untouched(u *update) bool {
	return c.next.Catalog.Head == 0 && len(c.next.Plugins.Versions()) == 0 && len(c.next.Dictionary.Attributes()) == 0 &&
		emptyBucket(u, store.Catalogs) && emptyBucket(u, store.Campaigns) && emptyBucket(u, store.Segments)
}

// forgetAudit removes the few records of a new cluster: those of the backup take their place.
func (c *Control) forgetAudit(u *update) error {
	var keys, values [][]byte
	u.Scan(store.History, nil, func(key, value []byte) bool {
		keys, values = append(keys, slices.Clone(key)), append(values, slices.Clone(value))
		return true
	})
	for i := range keys {
		if err := u.remove(store.History, keys[i], values[i]); err != nil {
			return err
		}
	}
	c.next.Audit, c.dirty[partAudit] = AuditHead{}, true
	return nil
}

// ControlPart tells whether a key is one of the parts of the control state, which take effect together.
func ControlPart(b store.Bucket, key []byte) bool {
	return b == store.Control && slices.ContainsFunc(partKeys[:], func(part []byte) bool { return string(part) == string(key) })
}

// RestoredPart tells whether a part of the control state comes from the backup: what the nodes of the
// cluster said of themselves does not.
func RestoredPart(b store.Bucket, key []byte) bool {
	return ControlPart(b, key) && string(key) != string(partKeys[partFeatures]) && string(key) != string(partKeys[partMembers])
}

// Summer computes the digest of pairs that are read. It is used by one goroutine.
type Summer struct {
	pairs pairs
	sum   Digest
}

// Add adds a pair. Those of store.Meta do not count.
func (s *Summer) Add(b store.Bucket, key, value []byte) {
	if b != store.Meta {
		s.sum = plus(s.sum, s.pairs.of(b, key, value))
	}
}

// Sum is the digest of what was added.
func (s *Summer) Sum() Digest { return s.sum }

// ReadMarked reads the digest that is stored with a state, and its log index; ok is false where none is.
func ReadMarked(get func(store.Bucket, []byte) []byte) (m Marked, ok bool) {
	return parseMarked(get(store.Meta, keyDigest))
}

// ReadBase reads what an earlier restore adds to the log index.
func ReadBase(get func(store.Bucket, []byte) []byte) uint64 {
	v := get(store.Meta, keyRestore)
	base := uint64(0)
	if len(v) == 16+9 {
		for i := range 8 {
			base |= uint64(v[16+i]) << (8 * i)
		}
	}
	return base
}
