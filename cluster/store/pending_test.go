package store

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

// TestPendingAgainstAMap runs random transactions, flushes and reopenings, and after each compares
// every kind of read with a plain map. It covers what is pending, what is being flushed, what is in
// the file, and what was deleted over each of them.
func TestPendingAgainstAMap(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		path := filepath.Join(t.TempDir(), "s.db")
		options := Options{FlushWrites: 1 + rng.IntN(200), FlushInterval: time.Hour, RunBytes: int64(2+rng.IntN(20)) << 13}
		s, err := Open(path, options)
		if err != nil {
			t.Fatal(err)
		}
		model := map[string]string{}
		for step := range 120 {
			switch rng.IntN(11) {
			case 0:
				err = s.Flush()
			case 3:
				if err = s.Merge(); errors.Is(err, errGivenUp) {
					err = nil
				}
			case 1:
				if err = s.Close(); err == nil {
					s, err = Open(path, options)
				}
			case 2:
				err = failingUpdate(s, rng)
			default:
				err = randomUpdate(s, rng, model)
			}
			if err != nil {
				t.Fatalf("seed %d, step %d: %v", seed, step, err)
			}
			compare(t, s, model, rng)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func randomKey(rng *rand.Rand) string {
	return fmt.Sprintf("%c%02d", 'a'+rune(rng.IntN(3)), rng.IntN(30))
}

func randomUpdate(s *Store, rng *rand.Rand, model map[string]string) error {
	after := maps.Clone(model)
	err := s.Update(func(tx *Tx) error {
		for range rng.IntN(20) {
			key := randomKey(rng)
			if got, ok := after[key]; string(tx.Get(History, []byte(key))) != got || (tx.Get(History, []byte(key)) != nil) != ok {
				return fmt.Errorf("the transaction reads %q, want %q", tx.Get(History, []byte(key)), got)
			}
			if rng.IntN(3) == 0 {
				delete(after, key)
				if err := tx.Delete(History, []byte(key)); err != nil {
					return err
				}
				continue
			}
			value := fmt.Sprint(rng.Uint32())[:rng.IntN(3)]
			after[key] = value
			if err := tx.Put(History, []byte(key), []byte(value)); err != nil {
				return err
			}
		}
		seen := 0
		tx.Scan(History, []byte("b"), func(key, value []byte) bool {
			seen++
			return after[string(key)] == string(value)
		})
		if want := len(under(after, "b")); seen != want {
			return fmt.Errorf("the transaction scans %d keys, want %d", seen, want)
		}
		return nil
	})
	if err == nil {
		maps.DeleteFunc(model, func(string, string) bool { return true })
		maps.Copy(model, after)
	}
	return err
}

var errOnPurpose = errors.New("on purpose")

func failingUpdate(s *Store, rng *rand.Rand) error {
	err := s.Update(func(tx *Tx) error {
		for range 5 {
			_ = tx.Put(History, []byte(randomKey(rng)), []byte("must not be seen"))
			_ = tx.Delete(History, []byte(randomKey(rng)))
		}
		return errOnPurpose
	})
	if errors.Is(err, errOnPurpose) {
		return nil
	}
	return fmt.Errorf("a transaction that failed returned %v", err)
}

func under(model map[string]string, prefix string) (keys []string) {
	for key := range model {
		if key[:len(prefix)] == prefix {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

func compare(t *testing.T, s *Store, model map[string]string, rng *rand.Rand) {
	t.Helper()
	r, err := s.Acquire()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	key := randomKey(rng)
	if value, ok := model[key]; (r.Get(History, []byte(key)) != nil) != ok || string(r.Get(History, []byte(key))) != value {
		t.Fatalf("Get(%s) = %q, want %q, %v", key, r.Get(History, []byte(key)), value, ok)
	}
	for _, prefix := range []string{"a", "b", "c", ""} {
		want := under(model, prefix)
		var got []string
		r.Scan(History, []byte(prefix), func(key, value []byte) bool {
			got = append(got, string(key))
			return model[string(key)] == string(value)
		})
		if !slices.Equal(got, want) {
			t.Fatalf("Scan(%q) = %v, want %v", prefix, got, want)
		}
		from := ""
		if prefix != "" && rng.IntN(2) == 0 {
			from = fmt.Sprintf("%s%02d", prefix, rng.IntN(30))
			want = slices.DeleteFunc(want, func(key string) bool { return key > from })
		}
		slices.Reverse(want)
		got = nil
		r.ScanBack(History, []byte(prefix), []byte(from), func(key, value []byte) bool {
			got = append(got, string(key))
			return model[string(key)] == string(value)
		})
		if !slices.Equal(got, want) {
			t.Fatalf("ScanBack(%q, %q) = %v, want %v", prefix, from, got, want)
		}
	}
}

// TestReadersSeeOneUpdate: readers run while updates and flushes do. Each update sets all keys to one
// number, so a reader that sees two numbers saw half of an update or of a flush, and one that sees a
// smaller number than was returned before it began saw an old state.
func TestReadersSeeOneUpdate(t *testing.T) {
	s := openTest(t, Options{FlushWrites: 50, FlushInterval: time.Millisecond, RunBytes: 64 << 10})
	var done sync.Mutex
	returned := 0
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				done.Lock()
				least := returned
				done.Unlock()
				r, err := s.Acquire()
				if err != nil {
					t.Error(err)
					return
				}
				seen := map[string]bool{}
				n := 0
				r.Scan(Subjects, []byte("k"), func(_, value []byte) bool {
					seen[string(value)] = true
					n++
					return true
				})
				_, scanErr := fmt.Sscan(string(r.Get(Subjects, []byte("k3"))), &n)
				r.Release()
				if least > 0 && (len(seen) != 1 || scanErr != nil || n < least) {
					t.Errorf("a reader saw %v and %d after update %d", seen, n, least)
					return
				}
			}
		})
	}
	for i := 1; i <= 3000; i++ {
		if err := s.Update(func(tx *Tx) error {
			for k := range 10 {
				if err := tx.Put(Subjects, []byte(fmt.Sprint("k", k)), []byte(fmt.Sprint(i))); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		done.Lock()
		returned = i
		done.Unlock()
	}
	close(stop)
	readers.Wait()
}
