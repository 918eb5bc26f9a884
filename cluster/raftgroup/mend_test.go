package raftgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

const mendSegment = 64 << 10

// cutRotation makes a log whose last segment is sealed while the metadata does not know, as a kill
// between the two leaves it, and returns its last index.
func cutRotation(t *testing.T, dir string) uint64 {
	t.Helper()
	log, err := wal.Open(dir, wal.WithSegmentSize(mendSegment))
	if err != nil {
		t.Fatal(err)
	}
	last := uint64(0)
	for last < 100 { // of 2 KiB: three segments
		last++
		if err := log.StoreLog(&raft.Log{Index: last, Term: 1, Data: make([]byte, 2<<10), AppendedAt: time.Unix(int64(last), 0)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	meta := &metadb.BoltMetaDB{}
	state, err := meta.Load(dir)
	if err != nil || len(state.Segments) < 3 {
		t.Fatalf("%d segments, %v", len(state.Segments), err)
	}
	// Forget the last rotation: the segment before the last becomes the tail again.
	n := len(state.Segments) - 2
	tail := state.Segments[n]
	last = tail.MaxIndex
	tail.SealTime, tail.MaxIndex, tail.IndexStart = time.Time{}, 0, 0
	forgotten := types.PersistentState{NextSegmentID: state.NextSegmentID - 1, Segments: append(state.Segments[:n:n], tail)}
	next := filepath.Join(dir, segment.FileName(state.Segments[n+1])) // was not made yet
	if err := errors.Join(meta.CommitState(forgotten), meta.Close(), os.Remove(next)); err != nil {
		t.Fatal(err)
	}
	return last
}

func TestMendTail(t *testing.T) {
	dir := t.TempDir()
	if mended, err := mendTail(dir); mended || err != nil {
		t.Fatalf("an empty folder: %v, %v", mended, err)
	}
	last := cutRotation(t, dir)
	if mended, err := mendTail(dir); !mended || err != nil {
		t.Fatalf("a cut rotation: %v, %v", mended, err)
	}
	if mended, err := mendTail(dir); mended || err != nil {
		t.Fatalf("a mended log: %v, %v", mended, err)
	}
	log, err := wal.Open(dir, wal.WithSegmentSize(mendSegment))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if got, err := log.LastIndex(); err != nil || got != last {
		t.Fatalf("the log ends at %d, %v; want %d", got, err, last)
	}
	if err := log.StoreLog(&raft.Log{Index: last + 1, Term: 1, Data: []byte("next")}); err != nil {
		t.Fatalf("writing after mending: %v", err)
	}
	for i := uint64(1); i <= last+1; i++ {
		var entry raft.Log
		if err := log.GetLog(i, &entry); err != nil || entry.Index != i {
			t.Fatalf("entry %d: %v", i, err)
		}
	}
}

// TestLibraryStillNeedsMending tells when a later raft-wal makes mendTail unnecessary.
func TestLibraryStillNeedsMending(t *testing.T) {
	dir := t.TempDir()
	last := cutRotation(t, dir)
	log, err := wal.Open(dir, wal.WithSegmentSize(mendSegment))
	if err != nil {
		t.Skip(fmt.Sprint("the library refuses such a log: ", err))
	}
	defer log.Close()
	if err := log.StoreLog(&raft.Log{Index: last + 1, Term: 1}); err == nil {
		t.Error("raft-wal mends a cut rotation by itself now: remove mendTail")
	}
}
