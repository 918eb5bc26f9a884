package store

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// onlyRuns never merges by itself.
var onlyRuns = Options{FlushInterval: time.Hour, MergeAfter: time.Hour, CheckpointInterval: time.Hour}

// runsOf are the run files in the folder of a store.
func runsOf(t *testing.T, s *Store) []string {
	t.Helper()
	found, err := filepath.Glob(runPrefix(s.path) + "*")
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestRunsAreMerged: what was flushed lies in a run, then in the bbolt file, and reads, also those that
// began before, do not notice.
func TestRunsAreMerged(t *testing.T) {
	s := openTest(t, onlyRuns)
	put(t, s, Subjects, "a", "1")
	put(t, s, Subjects, "b", "1")
	if err := errors.Join(s.Flush(), s.Merge(), s.Flush()); err != nil {
		t.Fatal(err)
	}
	put(t, s, Subjects, "a", "2")
	if err := s.Update(func(tx *Tx) error { return tx.Delete(Subjects, []byte("b")) }); err != nil {
		t.Fatal(err)
	}
	put(t, s, Subjects, "c", "")
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	before, err := s.Acquire()
	if err != nil {
		t.Fatal(err)
	}
	value := before.Get(Subjects, []byte("a"))
	if n := len(runsOf(t, s)); n != 1 {
		t.Fatalf("%d run files", n)
	}
	check := func(r *Reader) {
		t.Helper()
		if a, b, c := r.Get(Subjects, []byte("a")), r.Get(Subjects, []byte("b")), r.Get(Subjects, []byte("c")); string(a) != "2" || b != nil || c == nil {
			t.Errorf("reads %q, %q, %q", a, b, c)
		}
	}
	check(before)
	if err := s.Merge(); err != nil {
		t.Fatal(err)
	}
	if n := len(runsOf(t, s)) + len(s.pending.Load().runs); n != 0 {
		t.Errorf("%d run files after the merge", n)
	}
	after, err := s.Acquire()
	if err != nil {
		t.Fatal(err)
	}
	check(after)
	after.Release()
	check(before)
	if string(value) != "2" {
		t.Errorf("the value became %q", value)
	}
	before.Release()
	if n := len(s.oldRuns.files); n != 2 {
		t.Errorf("%d run files are to be closed", n)
	}
	if err := whole(s); err != nil {
		t.Error(err)
	}
}

// TestNumbersOfRunFiles: a file is not made under the name of one that a snapshot still reads.
func TestNumbersOfRunFiles(t *testing.T) {
	s := openTest(t, onlyRuns)
	put(t, s, Subjects, "a", "1")
	snapshot, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		put(t, s, Subjects, "a", fmt.Sprint(i+2))
		if err := errors.Join(s.Flush(), s.Merge()); err != nil {
			t.Fatal(err)
		}
	}
	if got := snapshot.Get(Subjects, []byte("a")); string(got) != "1" {
		t.Errorf("the snapshot reads %q", got)
	}
	var stream bytes.Buffer
	if _, err := snapshot.WriteTo(&stream); err != nil {
		t.Fatal(err)
	}
	snapshot.Release()
	if err := s.Restore(&stream); err != nil {
		t.Fatal(err)
	}
	if got := get(t, s, Subjects, "a"); got != "1" || len(runsOf(t, s)) > 0 {
		t.Errorf("restored %q with %v", got, runsOf(t, s))
	}
}

// TestRotInRuns: what changed in a run is noticed: keys when the store is opened, values before they
// come into the bbolt file. What lies behind the last checkpoint does not matter.
func TestRotInRuns(t *testing.T) {
	f := func(name string, harm func(content []byte) []byte, wantOpen, wantMerge error) {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "state.db")
			s, err := Open(path, onlyRuns)
			if err != nil {
				t.Fatal(err)
			}
			for i := range 20 {
				put(t, s, Subjects, fmt.Sprint("key-", i), string(bytes.Repeat([]byte("v"), 300)))
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			run := runsOf(t, s)[0]
			content, err := os.ReadFile(run)
			if err == nil {
				err = os.WriteFile(run, harm(content), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			s, err = Open(path, onlyRuns)
			if !errors.Is(err, wantOpen) {
				t.Fatalf("opening: %v, want %v", err, wantOpen)
			}
			if err != nil {
				return
			}
			if err := s.Merge(); !errors.Is(err, wantMerge) {
				t.Errorf("merging: %v, want %v", err, wantMerge)
			}
			if err := s.Close(); (err != nil) != (wantMerge != nil) {
				t.Errorf("closing: %v", err)
			}
		})
	}
	flip := func(at int) func([]byte) []byte {
		return func(b []byte) []byte { b[at] ^= 4; return b }
	}
	f("nothing", func(b []byte) []byte { return b }, nil, nil)
	f("magic", flip(3), ErrDamaged, nil)
	f("length", flip(42), ErrDamaged, nil)
	f("key", flip(runHead+entryHead+1), ErrDamaged, nil)
	f("value", func(b []byte) []byte { b[bytes.IndexByte(b, 'v')] = 'w'; return b }, nil, ErrDamaged)
	f("cut short", func(b []byte) []byte { return b[:len(b)-runPage] }, ErrDamaged, nil)
	f("none", func([]byte) []byte { return nil }, ErrDamaged, nil)
	f("more behind the checkpoint", func(b []byte) []byte { return append(b, "anything"...) }, nil, nil)
}

// TestRunViewAgainstAMap: points and orders of a view, those that are kept up and those that are made.
func TestRunViewAgainstAMap(t *testing.T) {
	for seed := range uint64(10) {
		rng := rand.New(rand.NewPCG(seed, 5))
		s := openTest(t, onlyRuns)
		model := map[string]string{}
		for range 40 {
			for range rng.IntN(30) {
				b, key := Bucket(1+rng.IntN(3)), fmt.Sprint(rng.IntN(200))
				if rng.IntN(5) == 0 {
					delete(model, nameOf(b, key))
					if err := s.Update(func(tx *Tx) error { return tx.Delete(b, []byte(key)) }); err != nil {
						t.Fatal(err)
					}
					continue
				}
				value := fmt.Sprint(rng.Uint32())
				model[nameOf(b, key)] = value
				put(t, s, b, key, value)
			}
			if err := s.Flush(); err != nil {
				t.Fatal(err)
			}
			if rng.IntN(12) == 0 {
				if err := s.Merge(); err != nil {
					t.Fatal(err)
				}
			}
			r, err := s.Acquire()
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			for b := range Bucket(4) {
				if rng.IntN(3) > 0 { // an order may be asked for late
					continue
				}
				last := ""
				n := 0
				r.Scan(b, nil, func(k, v []byte) bool {
					if n++; n > 1 && string(k) <= last {
						t.Fatalf("%s follows %s", k, last)
					}
					last = string(k)
					if model[nameOf(b, last)] != string(v) {
						t.Fatalf("%s has %s, want %s", k, v, model[nameOf(b, last)])
					}
					return true
				})
				for name := range model {
					if name[0] == '0'+byte(b) {
						n--
					}
				}
				if n != 0 {
					t.Fatalf("bucket %d has %d keys too many", b, n)
				}
			}
			for name, value := range model {
				got[name] = string(r.Get(Bucket(name[0]-'0'), []byte(name[2:])))
				if got[name] != value {
					t.Fatalf("%s is %s, want %s", name, got[name], value)
				}
			}
			r.Release()
			if !maps.Equal(got, model) {
				t.Fatal("the state is another one")
			}
		}
	}
}

// FuzzRun: a run file that is opened is one whose entries can be read.
func FuzzRun(f *testing.F) {
	dir := f.TempDir()
	s, err := Open(filepath.Join(dir, "state.db"), onlyRuns)
	if err != nil {
		f.Fatal(err)
	}
	if err := s.Update(func(tx *Tx) error {
		return errors.Join(tx.Put(Subjects, []byte("key"), []byte("value")), tx.Delete(History, []byte("other")))
	}); err != nil {
		f.Fatal(err)
	}
	if err := s.Flush(); err != nil {
		f.Fatal(err)
	}
	seed, err := os.ReadFile(runPath(s.path, 1))
	if err := errors.Join(err, s.Close()); err != nil {
		f.Fatal(err)
	}
	f.Add(seed[:runPage])
	f.Add(append(bytes.Clone(seed[:runPage]), seed[:runPage]...))
	tooShort := bytes.Clone(seed[:runHead])
	clear(tooShort[24:])
	tooShort[32] = ' '
	f.Add(tooShort)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 0 {
			return
		}
		s := &Store{path: filepath.Join(t.TempDir(), "state.db"), options: Options{}.Default()}
		if err := os.WriteFile(runPath(s.path, 1), b, 0o600); err != nil {
			t.Fatal(err)
		}
		defer s.oldRuns.close()
		v, err := s.openRun(markRun{1, int64(len(b))})
		if err != nil {
			return
		}
		for b := range bucketEnd {
			for _, ref := range v.order(b) {
				if at, e := v.file.entryAt(ref); at != b || len(e.value) > len(v.file.data) {
					t.Error("an entry cannot be read")
				}
				v.file.intact(ref)
			}
		}
		v.file.release()
	})
}
