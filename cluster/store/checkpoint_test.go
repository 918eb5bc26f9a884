package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// FuzzMark: a slot is refused, or decodes to what encodes to it.
func FuzzMark(f *testing.F) {
	m := &mark{seq: 7, file: "state-2.db", pageSize: 4096, note: []byte(`{"index":12}`)}
	copy(m.meta[metaMagicAt:], []byte{0xED, 0xDA, 0x0C, 0xED})
	slot, err := m.append(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(slot[:200])
	f.Add(slot[:markHead])
	f.Add([]byte(markMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMark(b)
		if err != nil {
			return
		}
		again, err := m.append(nil)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := decodeMark(again); err != nil || !reflect.DeepEqual(m, n) {
			t.Errorf("%+v became %+v, %v", m, n, err)
		}
	})
}

// TestMarksSurviveRot: each slot can be lost, one at a time, and a mark that is written next is found.
func TestMarksSurviveRot(t *testing.T) {
	first := &mark{file: "state.db", pageSize: 4096}
	copy(first.meta[metaMagicAt:], []byte{0xED, 0xDA, 0x0C, 0xED})
	for writes := range 4 {
		for slot := range 2 {
			path := filepath.Join(t.TempDir(), "state.marks")
			m, err := createMarks(path, realDisk{}, first, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			for i := range writes {
				if err := m.put(&mark{file: fmt.Sprint("f", i), pageSize: 4096, meta: first.meta}); err != nil {
					t.Fatal(err)
				}
			}
			want := m.newest().seq
			if _, err := m.file.WriteAt(make([]byte, 100), int64(slot)*markSlot); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := m.close(); err != nil {
					t.Fatal(err)
				}
				if m, err = openMarks(path, realDisk{}); err != nil || m.newest().seq != want {
					t.Fatalf("%d writes, slot %d lost: %+v, %v", writes, slot, m, err)
				}
				want++
				if err := m.put(&mark{file: "next", pageSize: 4096, meta: first.meta}); err != nil {
					t.Fatal(err)
				}
			}
			if err := m.close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// moody is a disk whose writes fail now and then.
type moody struct {
	realDisk
	failing atomic.Bool
	mu      sync.Mutex
	rng     *rand.Rand
}

func (m *moody) mood() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failing.Load() && m.rng.IntN(100) == 0 {
		return unix.ENOSPC
	}
	return nil
}

func (m *moody) opened(db *bbolt.DB, f *os.File) {
	ops := reflect.ValueOf(db).Elem().FieldByName("ops").FieldByName("writeAt")
	writeAt := (*func([]byte, int64) (int, error))(unsafe.Pointer(ops.UnsafeAddr()))
	*writeAt = func(b []byte, at int64) (int, error) {
		if err := m.mood(); err != nil && at >= 2*int64(db.Info().PageSize) {
			n, _ := f.WriteAt(b[:len(b)/2], at)
			return n, err
		}
		return f.WriteAt(b, at)
	}
}

func (m *moody) claim(*os.File, int64, int64) error { return m.mood() }

func (m *moody) writeAt(f *os.File, b []byte, at int64) error {
	if strings.Contains(f.Name(), ".run-") {
		if err := m.mood(); err != nil {
			return errors.Join(m.realDisk.writeAt(f, b[:len(b)/2], at), err)
		}
	}
	return m.realDisk.writeAt(f, b, at)
}

// TestWritesThatFail: flushes and checkpoints fail in their midst, again and again. Readers see the right
// state all the time, and so does who opens the file afterwards.
func TestWritesThatFail(t *testing.T) {
	for seed := range uint64(3) {
		rng := rand.New(rand.NewPCG(seed, 3))
		d := &moody{rng: rand.New(rand.NewPCG(seed, 4))}
		path := filepath.Join(t.TempDir(), "state.db")
		s, err := Open(path, cutOptions(d))
		if err != nil {
			t.Fatal(err)
		}
		d.failing.Store(true)
		h := &history{state: map[string]string{}}
		failed, promise := 0, 0
		for range 300 {
			if err := h.log(s, rng); err != nil {
				t.Fatal(err)
			}
			if rng.IntN(10) == 0 {
				n := len(h.updates)
				if s.Checkpoint(nil) == nil {
					promise = n
				} else {
					failed++
				}
			}
			if rng.IntN(30) == 0 && s.Merge() != nil {
				failed++
			}
			if rng.IntN(20) == 0 {
				if _, state, err := present(s); err != nil || !maps.Equal(state, h.state) {
					t.Fatalf("seed %d: after %d updates the state is another one, %v", seed, len(h.updates), err)
				}
			}
		}
		if failed == 0 {
			t.Error("nothing failed")
		}
		d.failing.Store(rng.IntN(2) == 0)
		if s.Close() == nil {
			promise = len(h.updates)
		}
		if s, err = h.check(filepath.Dir(path), promise, realDisk{}); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSyncThatFails: after a sync failed nothing is believed that it should have made durable. The store
// takes no more writes, and opens as of the checkpoint before.
func TestSyncThatFails(t *testing.T) {
	d := &unsyncable{}
	path := filepath.Join(t.TempDir(), "state.db")
	s, err := Open(path, Options{disk: d})
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, Subjects, "a", "1")
	if err := s.Checkpoint([]byte("one")); err != nil {
		t.Fatal(err)
	}
	put(t, s, Subjects, "a", "2")
	d.failing.Store(true)
	if err := s.Checkpoint([]byte("two")); !errors.Is(err, unix.EIO) {
		t.Errorf("got %v", err)
	}
	d.failing.Store(false)
	if err := s.Update(func(*Tx) error { return nil }); !errors.Is(err, unix.EIO) {
		t.Errorf("an update after a sync that failed: %v", err)
	}
	if s.Writable() == nil || s.Checkpoint(nil) == nil {
		t.Error("it is said to be writable")
	}
	if got := get(t, s, Subjects, "a"); got != "2" {
		t.Errorf("reads %s", got)
	}
	if err := s.Close(); err == nil {
		t.Error("Close says nothing")
	}
	if s, err = Open(path, Options{}); err != nil {
		t.Fatal(err)
	}
	if got := get(t, s, Subjects, "a"); got != "1" || string(s.Note()) != "one" {
		t.Errorf("opened with %s and %s", got, s.Note())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

type unsyncable struct {
	realDisk
	failing atomic.Bool
}

func (u *unsyncable) sync(f *os.File) error {
	if u.failing.Load() {
		return unix.EIO
	}
	return u.realDisk.sync(f)
}

// TestStreamUnderWrites: while a snapshot is streamed, updates go on; what arrives is the state of one
// moment.
func TestStreamUnderWrites(t *testing.T) {
	s := openTest(t, Options{FlushWrites: 200, FlushInterval: time.Millisecond, CheckpointInterval: 5 * time.Millisecond, RunBytes: 1 << 20})
	value := bytes.Repeat([]byte("v"), 500)
	const keys = 2000
	round := func(r int) {
		for at := 0; at < keys; at += 50 {
			if err := s.Update(func(tx *Tx) error {
				for k := at; k < at+50; k++ {
					if err := tx.Put(Subjects, fmt.Appendf(nil, "key-%05d", k), append(value, fmt.Sprint(r)...)); err != nil {
						return err
					}
				}
				return tx.Put(Meta, []byte("n"), fmt.Appendf(nil, "%d-%05d", r, at))
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	round(0)
	before, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	full, err := s.Size()
	if err != nil {
		t.Fatal(err)
	}
	stream := before.Stream()
	head := make([]byte, 1000)
	if _, err := io.ReadFull(stream, head); err != nil {
		t.Fatal(err)
	}
	for r := 1; r <= 30; r++ {
		round(r)
	}
	if err := s.Checkpoint(nil); err != nil {
		t.Fatal(err)
	}
	grown, err := s.Size()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d KB, with a snapshot out over 30 rewrites of everything %d KB", full>>10, grown>>10)
	rest, err := io.ReadAll(stream)
	if err != nil {
		t.Fatal(err)
	}
	if got := int64(len(head) + len(rest)); got != stream.Size() {
		t.Errorf("%d bytes, %d were announced", got, stream.Size())
	}
	if err := stream.Close(); err != nil {
		t.Fatal(err)
	}
	other := openTest(t, Options{})
	if err := other.Restore(io.MultiReader(bytes.NewReader(head), bytes.NewReader(rest))); err != nil {
		t.Fatal(err)
	}
	for k := range keys {
		if got := get(t, other, Subjects, fmt.Sprintf("key-%05d", k)); got != string(value)+"0" {
			t.Fatalf("key %d has ...%s", k, got[max(0, len(got)-3):])
		}
	}
}

// TestStreamThatTakesTooLong: nobody reads it, and the file grows meanwhile.
func TestStreamThatTakesTooLong(t *testing.T) {
	s := openTest(t, Options{FlushWrites: 200, FlushInterval: time.Millisecond, StreamGrowth: 1 << 20})
	put(t, s, Subjects, "a", string(make([]byte, 1<<20)))
	snapshot, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	stream := snapshot.Stream()
	for i := range 8 {
		put(t, s, Subjects, fmt.Sprint(i), string(make([]byte, 1<<20)))
	}
	if err := errors.Join(s.Flush(), s.Merge()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * watchInterval)
	if _, err := io.ReadAll(stream); !errors.Is(err, ErrStreamTooLong) {
		t.Errorf("got %v", err)
	}
	if err := stream.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestMemoryIsBounded: several stores share a little memory, and are updated faster than their files.
func TestMemoryIsBounded(t *testing.T) {
	const memory = 4 << 20
	shared := NewShared(memory)
	var wg sync.WaitGroup
	most := atomic.Int64{}
	for range 4 {
		s := openTest(t, Options{Shared: shared, FlushWrites: 1 << 20, FlushBytes: 1 << 30})
		wg.Go(func() {
			for i := range 4000 {
				put(t, s, Subjects, fmt.Sprint(i), string(make([]byte, 2000)))
				most.Store(max(most.Load(), shared.used.Load()))
			}
		})
	}
	wg.Wait()
	t.Logf("at most %d KB of %d KB", most.Load()>>10, memory>>10)
	if most.Load() > memory+4*smallShare {
		t.Errorf("%d bytes were pending", most.Load())
	}
}

// TestMergeIsSpread: a merge leaves the processors to others, unless somebody waits for it.
func TestMergeIsSpread(t *testing.T) {
	s := openTest(t, Options{})
	took := func(merge func() error) time.Duration {
		for i := range 4000 {
			put(t, s, Subjects, fmt.Sprintf("%016d", i*7919%4000), string(make([]byte, 500)))
		}
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if err := merge(); err != nil {
			t.Fatal(err)
		}
		return time.Since(start)
	}
	_ = took(s.merge)
	spread, waited := took(s.merge), took(s.Merge)
	t.Logf("took %s, and %s where somebody waits", spread, waited)
	if spread < waited {
		t.Errorf("a merge took %s, less than one that somebody waits for: %s", spread, waited)
	}
}
