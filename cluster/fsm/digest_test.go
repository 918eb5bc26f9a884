package fsm

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// TestDigestIsFixed pins the digest: replicas of two releases must agree on it.
func TestDigestIsFixed(t *testing.T) {
	var p pairs
	sum := Digest{}
	for _, pair := range []struct {
		bucket     store.Bucket
		key, value string
	}{{store.Subjects, "a", "value"}, {store.History, "key", ""}, {store.Catalogs, "c", strings.Repeat("x", smallPair+1)}} {
		sum = plus(sum, p.of(pair.bucket, []byte(pair.key), []byte(pair.value)))
	}
	if got := hex.EncodeToString(command.AppendDigest(nil, sum)); got != wantDigest {
		t.Errorf("got %s, want %s", got, wantDigest)
	}
	if minus(sum, sum) != (Digest{}) || plus(minus(Digest{}, sum), sum) != (Digest{}) {
		t.Error("minus does not undo plus")
	}
}

const wantDigest = "6926a57a0010acc1710fd2c3f05f95d7"

// TestDigestTellsPairsApart: a byte elsewhere, or in another part, is another hash.
func TestDigestTellsPairsApart(t *testing.T) {
	var p pairs
	seen := map[Digest]string{}
	for _, pair := range []struct {
		bucket     store.Bucket
		key, value string
	}{
		{1, "", ""}, {2, "", ""}, {1, "a", ""}, {1, "", "a"}, {1, "ab", "c"}, {1, "a", "bc"}, {1, "a", "cb"}, {1, "\x00", ""}, {1, "", "\x00"},
		{1, "a", strings.Repeat("b", smallPair)}, {1, "a", strings.Repeat("b", smallPair+1)},
	} {
		d := p.of(pair.bucket, []byte(pair.key), []byte(pair.value))
		if other, taken := seen[d]; taken {
			t.Errorf("%q %q has the hash of %s", pair.key, pair.value, other)
		}
		seen[d] = fmt.Sprintf("%q %q", pair.key, pair.value)
	}
}

// TestDigestOfAnOldStore: a store that an earlier release wrote has no digest, or an old one.
func TestDigestOfAnOldStore(t *testing.T) {
	for name, spoil := range map[string]func(tx *store.Tx) error{
		"none": func(tx *store.Tx) error { return tx.Delete(store.Meta, keyDigest) },
		"old":  func(tx *store.Tx) error { return tx.Put(store.Meta, keyDigest, appendMarked(nil, Marked{Index: 7})) },
	} {
		d := newData(t)
		d.ApplyBatch(script(t, 50))
		want := d.Digest()
		if err := d.Store().Update(spoil); err != nil {
			t.Fatal(err)
		}
		again, err := NewData(d.Store())
		if err != nil || again.Digest() != want {
			t.Errorf("%s: got %+v, %v, want %+v", name, again.Digest(), err, want)
		}
	}
}

// TestReplicaThatDiffersStops: two replicas apply the same entries; one of them has lost a byte.
func TestReplicaThatDiffersStops(t *testing.T) {
	logs := script(t, 100)
	good, bad := newData(t), newData(t)
	good.ApplyBatch(logs)
	applied := 60
	for bad.ApplyBatch(logs[:applied]); bad.Subjects() == 0; applied++ {
		bad.Apply(logs[applied])
	}
	var spoiled []byte
	if err := bad.Store().Update(func(tx *store.Tx) error {
		tx.Scan(store.Subjects, nil, func(key, value []byte) bool {
			spoiled = bytes.Clone(key)
			return false
		})
		value := bytes.Clone(tx.Get(store.Subjects, spoiled))
		value[4] ^= 0x40 // of the version
		return tx.Put(store.Subjects, spoiled, value)
	}); err != nil {
		t.Fatal(err)
	}
	if err := bad.Verify(); !errors.Is(err, ErrDiverged) {
		t.Errorf("Verify: got %v, want ErrDiverged", err)
	}
	bad.ApplyBatch(logs[applied:])
	next := logs[len(logs)-1].Index + 1
	// The next write of that subject carries the fault into the digest, which the marks then compare.
	put := entry(t, next, &command.Put{Key: spoiled, Record: rec(t, 0, 0)})
	mark := entry(t, next+1, &command.Mark{})
	for _, d := range []*Data{good, bad} {
		d.ApplyBatch([]*raft.Log{put, mark})
		if d.Err() != nil || d.Mark().Index != next+1 {
			t.Fatalf("got mark %+v, %v", d.Mark(), d.Err())
		}
	}
	if good.Mark() == bad.Mark() {
		t.Fatal("the replicas have the same digest")
	}
	compare := entry(t, next+2, &command.Mark{Of: good.Mark().Index, Digest: good.Mark().Digest})
	for _, c := range []struct {
		d    *Data
		want error
	}{{good, nil}, {bad, ErrDiverged}} {
		c.d.ApplyBatch([]*raft.Log{compare})
		if err := c.d.Err(); !errors.Is(err, c.want) || (c.want == nil) != (err == nil) {
			t.Errorf("got %v, want %v", err, c.want)
		}
	}
	if good.Mark().Index != next+2 {
		t.Errorf("the mark is at %d", good.Mark().Index)
	}
	// A mark of another place says nothing about this one.
	if good.Apply(entry(t, next+3, &command.Mark{Of: 1, Digest: Digest{Hi: 1}})); good.Err() != nil {
		t.Error(good.Err())
	}
}

// BenchmarkDigest is what the digest costs a write: the old pair out, the new one in.
func BenchmarkDigest(b *testing.B) {
	for _, size := range []int{0, 100, 350, 1000, 4000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			u := update{pairs: &pairs{}}
			key, old, value := key("447700900123"), make([]byte, size), make([]byte, size)
			for i := range value {
				value[i] = byte(rand.Uint32())
			}
			b.ReportAllocs()
			for b.Loop() {
				u.digest = plus(minus(u.digest, u.pairs.of(store.Subjects, key, old)), u.pairs.of(store.Subjects, key, value))
			}
		})
	}
}

// TestMarksDoNotDependOnBatches: the leader applies entries as they come, a replica that was away many at
// once. Their digests at a mark must be the same.
func TestMarksDoNotDependOnBatches(t *testing.T) {
	declare := func(name string) *command.DeclareAttributes {
		return &command.DeclareAttributes{Attributes: []nba.AttributeDeclaration{{Name: name, Type: nba.KindInt}}}
	}
	entries := []*raft.Log{entry(t, 1, declare("a")), entry(t, 2, &command.Mark{}), entry(t, 3, declare("b")), entry(t, 4, &command.Mark{}), entry(t, 5, declare("c"))}
	one, many := newControl(t, nil), newControl(t, nil)
	for _, e := range entries {
		one.Apply(e)
	}
	many.ApplyBatch(entries)
	if one.Mark() != many.Mark() || one.Mark().Index != 4 || one.Digest() != many.Digest() {
		t.Errorf("one by one %+v and %+v, at once %+v and %+v", one.Mark(), one.Digest(), many.Mark(), many.Digest())
	}
	if err := errors.Join(one.Err(), many.Err()); err != nil {
		t.Error(err)
	}
}
