package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func openTest(t testing.TB, options Options) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "state.db"), options)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func put(t testing.TB, s *Store, b Bucket, pairs ...string) {
	t.Helper()
	err := s.Update(func(tx *Tx) error {
		for i := 0; i < len(pairs); i += 2 {
			if err := tx.Put(b, []byte(pairs[i]), []byte(pairs[i+1])); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatalf("Update: %v", err)
	}
}

func get(t testing.TB, s *Store, b Bucket, key string) string {
	t.Helper()
	r, err := s.Acquire()
	if err != nil {
		t.Fatalf("Acquire: %v", err)
	}
	defer r.Release()
	return string(r.Get(b, []byte(key)))
}

func TestReadersSeeWhatWasCommitted(t *testing.T) {
	s := openTest(t, Options{})
	for i := range 100 {
		want := fmt.Sprint(i)
		put(t, s, Subjects, "key", want)
		if got := get(t, s, Subjects, "key"); got != want {
			t.Fatalf("got %s after %s was committed", got, want)
		}
	}
	old, err := s.Acquire()
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, Subjects, "key", "new")
	if got := string(old.Get(Subjects, []byte("key"))); got != "99" {
		t.Errorf("a reader that was out sees %s, want 99", got)
	}
	old.Release()
	if got := get(t, s, Subjects, "key"); got != "new" {
		t.Errorf("got %s after the old reader came back, want new", got)
	}
	if got := get(t, s, Decisions, "key"); got != "" {
		t.Errorf("another bucket holds %s", got)
	}
	if got := get(t, s, Subjects, "ke"); got != "" {
		t.Errorf("a key that is not there holds %s", got)
	}
}

func TestUpdateThatFailsChangesNothing(t *testing.T) {
	s := openTest(t, Options{})
	put(t, s, Meta, "a", "1")
	problem := errors.New("problem")
	err := s.Update(func(tx *Tx) error {
		if err := tx.Put(Meta, []byte("a"), []byte("2")); err != nil {
			return err
		}
		return problem
	})
	if !errors.Is(err, problem) || get(t, s, Meta, "a") != "1" {
		t.Errorf("got %v and %s", err, get(t, s, Meta, "a"))
	}
	put(t, s, Meta, "a", "3")
	if got := get(t, s, Meta, "a"); got != "3" {
		t.Errorf("got %s, want 3", got)
	}
}

func TestScan(t *testing.T) {
	s := openTest(t, Options{})
	put(t, s, History, "a", "", "b1", "", "b2", "", "b3", "", "c", "", "\xff\xff", "")
	r, err := s.Acquire()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	for _, test := range []struct {
		prefix, from, want string
		back               bool
		limit              int
	}{
		{prefix: "b", want: "b1 b2 b3 "},
		{prefix: "b", want: "b1 ", limit: 1},
		{prefix: "b", back: true, want: "b3 b2 b1 "},
		{prefix: "b", back: true, from: "b2", want: "b2 b1 "},
		{prefix: "b", back: true, from: "b25", want: "b2 b1 "},
		{prefix: "b", back: true, from: "b0", want: ""},
		{prefix: "d", back: true, want: ""},
		{prefix: "\xff", back: true, want: "\xff\xff "},
		{prefix: "\xff", back: true, from: "\xff\xff\xff", want: "\xff\xff "},
	} {
		got := ""
		n := 0
		add := func(k, _ []byte) bool { got += string(k) + " "; n++; return n != test.limit }
		if test.back {
			r.ScanBack(History, []byte(test.prefix), []byte(test.from), add)
		} else {
			r.Scan(History, []byte(test.prefix), add)
		}
		if got != test.want {
			t.Errorf("%+v: got %s", test, got)
		}
	}
}

func TestReadingDoesNotAllocate(t *testing.T) {
	s := openTest(t, Options{})
	put(t, s, Subjects, "key", "value")
	key := []byte("key")
	if allocs := testing.AllocsPerRun(100, func() {
		r, err := s.Acquire()
		if err != nil || r.Get(Subjects, key) == nil {
			t.Fatal("the key is missing")
		}
		r.Release()
	}); allocs != 0 {
		t.Errorf("a read allocated %v times", allocs)
	}
}

// TestGrowthBeyondTheMap grows the file far beyond the reserved address space while readers come and
// go: if a reader were kept open between reads, growing would wait for it for ever.
func TestGrowthBeyondTheMap(t *testing.T) {
	s := openTest(t, Options{InitialMmapBytes: 1 << 20})
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					get(t, s, Subjects, "k1")
				}
			}
		})
	}
	value := string(make([]byte, 64<<10))
	for i := range 300 {
		put(t, s, Subjects, fmt.Sprint("k", i), value)
	}
	close(stop)
	readers.Wait()
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	if size, err := s.Size(); err != nil || size < 16<<20 {
		t.Errorf("the file has %d bytes, %v", size, err)
	}
}

// TestReadersUnderWrites checks under the race detector that a read never sees half a commit, nor
// less than was committed before it began.
func TestReadersUnderWrites(t *testing.T) {
	s := openTest(t, Options{MaxIdleReaders: 2})
	const writes = 500
	var committed sync.Mutex
	last := uint64(0)
	put(t, s, Meta, "a", string(make([]byte, 8)), "b", string(make([]byte, 8)))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				committed.Lock()
				atLeast := last
				committed.Unlock()
				r, err := s.Acquire()
				if err != nil {
					t.Error(err)
					return
				}
				a, b := binary.BigEndian.Uint64(r.Get(Meta, []byte("a"))), binary.BigEndian.Uint64(r.Get(Meta, []byte("b")))
				r.Release()
				if a != b || a < atLeast {
					t.Errorf("read %d and %d after %d was committed", a, b, atLeast)
					return
				}
				if a == writes {
					return
				}
			}
		})
	}
	for i := uint64(1); i <= writes; i++ {
		v := string(binary.BigEndian.AppendUint64(nil, i))
		put(t, s, Meta, "a", v, "b", v)
		committed.Lock()
		last = i
		committed.Unlock()
	}
	wg.Wait()
}

func snapshotOf(t testing.TB, s *Store) []byte {
	t.Helper()
	snapshot, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snapshot.Release()
	var b bytes.Buffer
	if n, err := snapshot.WriteTo(&b); err != nil || n != int64(b.Len()) {
		t.Fatalf("WriteTo: %d of %d bytes, %v", n, b.Len(), err)
	}
	return b.Bytes()
}

func TestSnapshotIsOneMoment(t *testing.T) {
	s := openTest(t, Options{})
	put(t, s, Subjects, "a", "1", "b", "")
	put(t, s, History, "h", string(make([]byte, 100_000)))
	snapshot, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, Subjects, "a", "2", "c", "3")
	var b bytes.Buffer
	if _, err := snapshot.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	snapshot.Release()
	snapshot.Release()

	other := openTest(t, Options{})
	put(t, other, Subjects, "z", "to go")
	if err := other.Restore(bytes.NewReader(b.Bytes())); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"a": "1", "b": "", "c": "", "z": ""} {
		if got := get(t, other, Subjects, key); got != want {
			t.Errorf("%s holds %s, want %s", key, got, want)
		}
	}
	if !bytes.Equal(snapshotOf(t, other), b.Bytes()) {
		t.Error("the snapshot of the restored store differs")
	}
	put(t, other, Subjects, "a", "5") // and it goes on
	if got := get(t, other, Subjects, "a"); got != "5" {
		t.Errorf("a holds %s, want 5", got)
	}
}

func TestDamagedSnapshotChangesNothing(t *testing.T) {
	s := openTest(t, Options{})
	put(t, s, Subjects, "a", "1", "bb", "22")
	put(t, s, Meta, "m", "mm")
	good := snapshotOf(t, s)
	target := openTest(t, Options{})
	put(t, target, Subjects, "kept", "yes")
	for at := range good {
		for _, bad := range [][]byte{good[:at], flipped(good, at)} {
			if err := target.Restore(bytes.NewReader(bad)); !errors.Is(err, ErrSnapshot) {
				t.Fatalf("damage at %d: got %v, want ErrSnapshot", at, err)
			}
			if get(t, target, Subjects, "kept") != "yes" {
				t.Fatalf("damage at %d: the state is gone", at)
			}
		}
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(target.path), "*")); len(left) != 2 {
		t.Errorf("files left: %v", left)
	}
}

func flipped(b []byte, at int) []byte {
	out := bytes.Clone(b)
	out[at] ^= 0x10
	return out
}

func TestRestoreWhileReading(t *testing.T) {
	s := openTest(t, Options{})
	put(t, s, Subjects, "a", "1")
	snapshot := snapshotOf(t, s)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if got := get(t, s, Subjects, "a"); got != "1" {
					t.Errorf("got %s, want 1", got)
					return
				}
			}
		})
	}
	for range 5 {
		if err := s.Restore(bytes.NewReader(snapshot)); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	wg.Wait()
}

func TestCloseWaitsForReaders(t *testing.T) {
	s := openTest(t, Options{})
	put(t, s, Subjects, "a", "1")
	r, err := s.Acquire()
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	select {
	case <-closed:
		t.Fatal("Close did not wait")
	case <-time.After(20 * time.Millisecond):
	}
	if got := string(r.Get(Subjects, []byte("a"))); got != "1" {
		t.Errorf("got %s during Close, want 1", got)
	}
	r.Release()
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	if _, err := s.Acquire(); !errors.Is(err, ErrClosed) {
		t.Errorf("Acquire after Close: %v", err)
	}
	if err := s.Update(func(*Tx) error { return nil }); !errors.Is(err, ErrClosed) {
		t.Errorf("Update after Close: %v", err)
	}
}

func TestFolderIsOpenedOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	f, err := OpenFolder(dir, Node{ClusterID: "c1", DataGroups: 3})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenFolder(dir, Node{ClusterID: "c2", DataGroups: 3}); nba.CodeOf(err) != nba.CodeConflict {
		t.Errorf("a second opening: got %v, want CONFLICT", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	f, err = OpenFolder(dir, Node{ClusterID: "c2", DataGroups: 5})
	if err != nil {
		t.Fatal(err)
	}
	if got := f.Node(); got.DataGroups != 3 || got.ClusterID != "c1" {
		t.Errorf("got %+v, want what the folder was made with", got)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for _, content := range []string{"", "{", `{"format":2,"dataGroups":3}`, `{"format":1,"dataGroups":0}`} {
		if err := os.WriteFile(filepath.Join(dir, "node.json"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenFolder(dir, Node{DataGroups: 3}); err == nil {
			t.Errorf("%q: the folder was opened", content)
		}
	}
}

// FuzzRestore feeds any bytes to Restore: they are refused, or a store whose own snapshot restores.
func FuzzRestore(f *testing.F) {
	s := openTest(f, Options{})
	put(f, s, Subjects, "a", "1", "b", "")
	f.Add(snapshotOf(f, s))
	f.Add([]byte(snapshotMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "x.db")
		if _, err := buildFile(path, Options{}.Default(), bytes.NewReader(b)); err == nil {
			if _, err := os.Stat(path); err != nil {
				t.Fatal(err)
			}
		}
	})
}

var _ io.WriterTo = (*Snapshot)(nil)
