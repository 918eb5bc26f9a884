package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

// history is what was logged: every update, and so every state there ever was. It stands for the raft log.
type history struct {
	updates [][]change
	state   map[string]string // after all updates
	harmed  bool              // the pages of the checkpoint cannot be read
}

type change struct {
	bucket  Bucket
	key     string
	name    string // of bucket and key in a state
	value   string
	deleted bool
}

func nameOf(b Bucket, key string) string { return string([]byte{'0' + byte(b), '/'}) + key }

func (h *history) at(n int) map[string]string {
	state := map[string]string{}
	for _, u := range h.updates[:n] {
		applyTo(state, u)
	}
	return state
}

func applyTo(state map[string]string, u []change) {
	for _, c := range u {
		if c.deleted {
			delete(state, c.name)
		} else {
			state[c.name] = c.value
		}
	}
}

// log adds an update and applies it to the store.
func (h *history) log(s *Store, rng *rand.Rand) error {
	u := make([]change, 1+rng.IntN(12))
	for i := range u {
		u[i] = change{bucket: []Bucket{Subjects, History, Decisions}[rng.IntN(3)], key: fmt.Sprintf("key-%03d", rng.IntN(300)), deleted: rng.IntN(5) == 0}
		u[i].name = nameOf(u[i].bucket, u[i].key)
		if !u[i].deleted {
			u[i].value = strings.Repeat(fmt.Sprint(rng.Uint32()), rng.IntN(60))
		}
	}
	h.updates = append(h.updates, u)
	applyTo(h.state, u)
	return h.replay(s, len(h.updates)-1)
}

// replay applies the updates from number from on.
func (h *history) replay(s *Store, from int) error {
	for i, u := range h.updates[from:] {
		err := s.Update(func(tx *Tx) error {
			for _, c := range u {
				var err error
				if c.deleted {
					err = tx.Delete(c.bucket, []byte(c.key))
				} else {
					err = tx.Put(c.bucket, []byte(c.key), []byte(c.value))
				}
				if err != nil {
					return err
				}
			}
			return tx.Put(Meta, []byte("n"), binary.BigEndian.AppendUint64(nil, uint64(from+i+1)))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// present reads how many updates the store has, and everything in it.
func present(s *Store) (n int, state map[string]string, err error) {
	r, err := s.Acquire()
	if err != nil {
		return 0, nil, err
	}
	defer r.Release()
	if v := r.Get(Meta, []byte("n")); len(v) == 8 {
		n = int(binary.BigEndian.Uint64(v))
	}
	state = map[string]string{}
	seen := 0
	for _, b := range []Bucket{Subjects, History, Decisions} {
		r.Scan(b, nil, func(k, v []byte) bool {
			state[nameOf(b, string(k))] = string(v)
			seen++ // pages that are not what they should be may lead in circles
			return seen < 10_000
		})
	}
	if seen == 10_000 {
		err = errors.New("the keys have no end")
	}
	return n, state, err
}

// check opens a store after a power cut, compares it with the history, and completes it from there.
func (h *history) check(dir string, promise int, d disk) (s *Store, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	path := filepath.Join(dir, "state.db")
	s, err = Open(path, cutOptions(d))
	if errors.Is(err, ErrNoCheckpoint) && promise == 0 {
		// It was cut while it was made: as raftgroup.OpenState does, begin anew, with the whole log.
		if err = d.remove(path); err == nil {
			s, err = Open(path, cutOptions(d))
		}
	}
	if err != nil {
		return nil, err
	}
	n, state, err := present(s)
	switch {
	case err != nil:
		return s, err
	case n < promise || n > len(h.updates):
		return s, fmt.Errorf("the state has %d updates; %d were promised, %d made", n, promise, len(h.updates))
	case !maps.Equal(state, h.at(n)):
		return s, fmt.Errorf("the state after %d updates is another one", n)
	}
	if note := s.Note(); len(note) == 8 && int(binary.BigEndian.Uint64(note)) > n {
		return s, fmt.Errorf("the note says %d, the state has %d updates", binary.BigEndian.Uint64(note), n)
	}
	if err := whole(s); err != nil {
		return s, err
	}
	if err := h.replay(s, n); err != nil {
		return s, err
	}
	if _, state, err = present(s); err == nil && !maps.Equal(state, h.state) {
		err = errors.New("the state after the replay is another one")
	}
	return s, err
}

// whole checks the structure of the bbolt file, which is not written meanwhile.
func whole(s *Store) error {
	s.filing.Lock()
	defer s.filing.Unlock()
	return s.db.View(func(tx *bbolt.Tx) error {
		for err := range tx.Check() {
			return err
		}
		return nil
	})
}

func cutOptions(d disk) Options {
	return Options{
		InitialMmapBytes: 1 << 20, FlushWrites: 60, FlushInterval: 3 * time.Millisecond, CheckpointWrites: 150, CheckpointInterval: 5 * time.Millisecond,
		RunBytes: 128 << 10, MergeAfter: 20 * time.Millisecond, growth: 100 << 10, disk: d,
	}
}

// live works on a store for a while: updates, checkpoints, flushes, restores, closing and opening.
func (h *history) live(t *testing.T, s *Store, r *recorder, rng *rand.Rand, steps int) *Store {
	t.Helper()
	for range steps {
		var err error
		switch rng.IntN(24) {
		case 0, 1:
			n := len(h.updates)
			if err = s.Checkpoint(binary.BigEndian.AppendUint64(nil, uint64(n))); err == nil {
				r.promise(n)
			}
		case 2:
			err = s.Flush()
		case 5:
			err = s.Merge()
		case 3:
			if rng.IntN(4) > 0 {
				break
			}
			n := len(h.updates)
			if err = s.Close(); err == nil {
				r.promise(n)
				s, err = Open(s.path, cutOptions(r))
			}
		case 4:
			if rng.IntN(4) > 0 || h.harmed {
				break
			}
			var snapshot *Snapshot
			if snapshot, err = s.Snapshot(); err == nil {
				r.promise(len(h.updates))
				stream := snapshot.Stream()
				err = errors.Join(readInto(s, stream), stream.Close())
			}
		default:
			err = h.log(s, rng)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// readInto restores a store from a stream of itself.
func readInto(s *Store, stream *Stream) error {
	in, err := s.Receive(s.Note())
	if err != nil {
		return err
	}
	if _, err := stream.WriteTo(in); err != nil {
		return errors.Join(err, in.Abort())
	}
	if err := errors.Join(in.Close(), stream.Close()); err != nil {
		return err
	}
	return s.Restore(in)
}

// WriteTo copies the stream.
func (s *Stream) WriteTo(to *Incoming) (n int64, err error) {
	buffer := make([]byte, 64<<10)
	for n < s.size {
		got, err := s.Read(buffer)
		if _, writeErr := to.Write(buffer[:got]); err != nil || writeErr != nil {
			return n, errors.Join(err, writeErr)
		}
		n += int64(got)
	}
	return n, nil
}

func imageFolder(t *testing.T) string {
	t.Helper()
	base := "/dev/shm" // thousands of images: in memory where there is such a place
	if _, err := os.Stat(base); err != nil {
		base = ""
	}
	dir, err := os.MkdirTemp(base, "arbiter-power-cut-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// cuts lives through many lives of one store. Each ends with a power cut at a random moment, also in the
// midst of opening after the one before; several other moments of each life are looked at too. It
// returns how many cuts were looked at, and the first thing that was wrong.
func cuts(t *testing.T, seed uint64, lives, looks int, lie bool, harm func(*Store)) (n int, err error) {
	rng := rand.New(rand.NewPCG(seed, 7))
	h := &history{state: map[string]string{}, harmed: harm != nil}
	dir := imageFolder(t)
	promise := 0
	for life := range lives {
		r := newRecorder(t, dir)
		r.lie = lie
		r.promise(promise)
		before := len(r.events)
		s, err := h.check(dir, promise, r)
		if err != nil {
			if s != nil {
				_ = s.Close()
			}
			return n, fmt.Errorf("seed %d, life %d: %w", seed, life, err)
		}
		if harm != nil {
			harm(s)
		}
		s = h.live(t, s, r, rng, 10+rng.IntN(60))
		r.mu.Lock()
		after := len(r.events) // what Close does counts for the next life only
		r.mu.Unlock()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		for look := range looks + 1 {
			n++
			files, promised := r.image(before+rng.IntN(after-before+1), rng)
			next := imageFolder(t)
			putImage(t, next, files)
			if look == looks {
				_ = os.RemoveAll(dir)
				dir, promise = next, promised
				continue
			}
			s, err := h.check(next, promised, realDisk{})
			if s != nil {
				err = errors.Join(err, s.Close())
			}
			if err != nil {
				return n, fmt.Errorf("seed %d, life %d, look %d: %w", seed, life, look, err)
			}
			_ = os.RemoveAll(next)
		}
	}
	return n, nil
}

// TestPowerCut cuts the power at thousands of moments. Whatever subset of the pages and sectors that were
// not synced is lost: the store opens as of a checkpoint, not older than the last that was promised, and
// the log from there gives everything that was ever written.
func TestPowerCut(t *testing.T) {
	seeds, lives := 6, 60
	if testing.Short() {
		seeds, lives = 3, 30
	}
	total := 0
	for seed := range seeds {
		n, err := cuts(t, uint64(seed), lives, 6, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		total += n
	}
	t.Logf("%d power cuts", total)
}

// TestPowerCutIsNoticed: the test above finds what is wrong with a disk that does not sync, and with a
// store that does not keep the pages of its checkpoint.
func TestPowerCutIsNoticed(t *testing.T) {
	for name, run := range map[string]func(seed uint64) error{
		"a disk that lies": func(seed uint64) error { _, err := cuts(t, seed, 20, 6, true, nil); return err },
		"pages are used again": func(seed uint64) error {
			_, err := cuts(t, seed, 20, 6, false, func(s *Store) {
				p := s.pins.take()
				for ; p == nil; p = s.pins.take() { // the file is being mapped anew
				}
				_ = p.base.tx.Rollback()
				s.pins.release(p)
			})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(10) {
				if err := run(seed); err != nil {
					t.Log(err)
					return
				}
			}
			t.Error("nothing was noticed")
		})
	}
}
