package fsm

import (
	"bytes"
	"slices"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// pairsOf are the pairs of a state, in chunks of a few.
func pairsOf(t *testing.T, s *store.Store) (chunks [][]byte) {
	t.Helper()
	r, err := s.Acquire()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	var chunk []byte
	for b := range store.Bucket(store.Buckets) {
		if b == store.Meta {
			continue
		}
		r.Scan(b, nil, func(key, value []byte) bool {
			if chunk = command.AppendPair(chunk, uint8(b), key, value); len(chunk) > 4<<10 {
				chunks, chunk = append(chunks, slices.Clone(chunk)), nil
			}
			return true
		})
	}
	return append(chunks, chunk)
}

// restoreLog is the log of a restore: the entries that fill an empty group with a state.
func restoreLog(t *testing.T, d *Data, backup [16]byte) (log []*raft.Log) {
	t.Helper()
	ops := []operation{&command.BeginRestore{Backup: backup, Base: d.Position().Index}}
	for _, chunk := range pairsOf(t, d.Store()) {
		ops = append(ops, &command.LoadPairs{Backup: backup, Pairs: chunk})
	}
	ops = append(ops, &command.EndRestore{Backup: backup, Digest: d.Digest().Digest})
	for i, op := range ops {
		log = append(log, entry(t, uint64(i)+1, op))
	}
	return log
}

// TestRestoredStateIsTheSame: a group that is filled from another, in whatever batches, has its digest, and goes
// on from there as a replica that started anew would.
func TestRestoredStateIsTheSame(t *testing.T) {
	source := newData(t)
	for _, answer := range source.ApplyBatch(script(t, 1500)) {
		if err, failed := answer.(error); failed {
			t.Fatal(err)
		}
	}
	backup := [16]byte{7}
	log := restoreLog(t, source, backup)
	for _, e := range scriptOf(t, 300, 99) { // what comes after it
		e.Index = uint64(len(log)) + 1
		log = append(log, e)
	}
	filled := len(restoreLog(t, source, backup))
	var states [][]byte
	for _, batch := range []int{1, 7, len(log)} {
		d := newData(t)
		for part := range slices.Chunk(log, batch) {
			for _, answer := range d.ApplyBatch(part) {
				if err, failed := answer.(error); failed {
					t.Fatalf("in batches of %d: %v", batch, err)
				}
			}
			if d.Position().Index == uint64(filled) && d.Digest().Digest != source.Digest().Digest {
				t.Errorf("in batches of %d the digest is another one", batch)
			}
		}
		if err := d.Verify(); err != nil {
			t.Error(err)
		}
		if d.Restoring() != (Restore{Backup: backup, Base: source.Position().Index}) {
			t.Errorf("after the restore: %+v", d.Restoring())
		}
		if d.Subjects() == 0 {
			t.Error("no subjects")
		}
		states = append(states, stateOf(t, d))
	}
	for _, other := range states[1:] {
		if !bytes.Equal(states[0], other) {
			t.Error("the state depends on how entries were batched")
		}
	}
}

// TestRestoresAreRefused: into a group that holds something, from another backup than it was opened for, and with
// another digest; and while a group is filled it takes nothing else.
func TestRestoresAreRefused(t *testing.T) {
	used := newData(t)
	do(t, used, &command.Put{Key: key("S-1"), Record: rec(t, 0, 0)})
	first, second := [16]byte{1}, [16]byte{2}
	if r := do(t, used, &command.BeginRestore{Backup: first}); nba.CodeOf(r.Err) != nba.CodeConflict {
		t.Errorf("into a group with a subject: %v", r.Err)
	}
	d := newData(t)
	pairs := command.AppendPair(nil, uint8(store.Idempotency), []byte("0123456789abcdef"), []byte{1})
	var sum Summer
	sum.Add(store.Idempotency, []byte("0123456789abcdef"), []byte{1})
	for _, step := range []struct {
		name string
		op   operation
		want nba.Code
	}{
		{"pairs without a beginning", &command.LoadPairs{Backup: first, Pairs: pairs}, nba.CodeConflict},
		{"the beginning", &command.BeginRestore{Backup: first, Base: 50}, ""},
		{"the beginning again", &command.BeginRestore{Backup: first, Base: 50}, ""},
		{"another beginning", &command.BeginRestore{Backup: second}, nba.CodeConflict},
		{"pairs of another backup", &command.LoadPairs{Backup: second, Pairs: pairs}, nba.CodeConflict},
		{"a subject meanwhile", &command.Put{Key: key("S-1"), Record: rec(t, 0, 0)}, nba.CodeUnavailable},
		{"pairs", &command.LoadPairs{Backup: first, Pairs: pairs}, ""},
		{"pairs again", &command.LoadPairs{Backup: first, Pairs: pairs}, ""},
		{"an end with another digest", &command.EndRestore{Backup: first, Digest: Digest{Lo: 1}}, nba.CodeConflict},
		{"the end", &command.EndRestore{Backup: first, Digest: sum.Sum()}, ""},
		{"the end again", &command.EndRestore{Backup: first, Digest: sum.Sum()}, ""},
		{"pairs after it", &command.LoadPairs{Backup: first, Pairs: pairs}, nba.CodeConflict},
		{"a beginning after it", &command.BeginRestore{Backup: second}, nba.CodeConflict},
		{"a subject after it", &command.Put{Key: key("S-1"), Record: rec(t, 0, 0)}, ""},
	} {
		if r := do(t, d, step.op); nba.CodeOf(r.Err) != step.want {
			t.Errorf("%s: %v, want %q", step.name, r.Err, step.want)
		}
	}
}
