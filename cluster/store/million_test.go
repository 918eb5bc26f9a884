package store

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkMillion fills stores with 1,000,000 subjects of 1 KB, as many stores as a node has data groups,
// and measures what the issue asks for: opening warm and cold, reads of a hot set and of all, updates of
// random keys as fast as they go and at a rate, memory. Run it alone, with -benchtime 1x.
func BenchmarkMillion(b *testing.B) {
	if testing.Short() {
		b.Skip("it takes a minute")
	}
	for _, groups := range []int{1, 16} {
		b.Run(fmt.Sprintf("groups=%d", groups), func(b *testing.B) {
			for b.Loop() {
				m := &million{b: b, dir: b.TempDir(), stores: make([]*Store, groups)}
				m.open()
				m.fill()
				m.sizes("filled")
				m.reads()
				m.rate(10_000, 5*time.Second)
				m.rate(2_000, 5*time.Second)
				m.peak(5 * time.Second)
				m.sizes("updated")
				m.restart()
				m.close()
			}
		})
	}
}

const millionSubjects = 1_000_000

type million struct {
	b       *testing.B
	dir     string
	stores  []*Store
	options Options
}

func (m *million) must(err error) {
	m.b.Helper()
	if err != nil {
		m.b.Fatal(err)
	}
}

func (m *million) open() {
	m.options = Options{}.Default()
	for i := range m.stores {
		var err error
		m.stores[i], err = Open(filepath.Join(m.dir, fmt.Sprintf("s%02d.db", i)), m.options)
		m.must(err)
	}
}

func (m *million) close() {
	for _, s := range m.stores {
		m.must(s.Close())
	}
}

func (m *million) key(dst []byte, i int) ([]byte, *Store) {
	h := uint64(i) * 0x9E3779B97F4A7C15
	dst = append(dst[:0], "subscriber/"...)
	dst = binary.BigEndian.AppendUint64(dst, h)
	return dst, m.stores[h>>32%uint64(len(m.stores))]
}

func (m *million) value(i int) []byte {
	v := make([]byte, 1000)
	binary.LittleEndian.PutUint64(v, uint64(i))
	return v
}

func (m *million) fill() {
	start := time.Now()
	var key []byte
	const batch = 200
	for at := 0; at < millionSubjects; at += batch {
		by := map[*Store][]int{}
		for i := at; i < at+batch; i++ {
			_, s := m.key(key, i)
			by[s] = append(by[s], i)
		}
		for s, list := range by {
			m.must(s.Update(func(tx *Tx) error {
				for _, i := range list {
					key, _ = m.key(key, i)
					if err := tx.Put(Subjects, key, m.value(i)); err != nil {
						return err
					}
				}
				return nil
			}))
		}
	}
	m.b.Logf("filled in %.1fs", time.Since(start).Seconds())
}

func (m *million) sizes(when string) {
	total := int64(0)
	for _, s := range m.stores {
		m.must(s.Checkpoint(nil))
		n, err := s.Size()
		m.must(err)
		total += n
	}
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	m.b.Logf("%s: files %d MB, heap %d MB live, %d MB from the system", when, total>>20, stats.HeapAlloc>>20, (stats.Sys-stats.HeapReleased)>>20)
}

func (m *million) reads() {
	for _, set := range []struct {
		name string
		of   int
	}{{"hot set of 1,000", 1000}, {"all", millionSubjects}} {
		const reads = 500_000
		var key []byte
		var s *Store
		// Once before: a page that is not mapped yet costs a fault.
		for range 2 {
			rng := rand.New(rand.NewPCG(1, 2))
			start := time.Now()
			for range reads {
				key, s = m.key(key, rng.IntN(set.of))
				r, err := s.Acquire()
				m.must(err)
				if r.Get(Subjects, key) == nil {
					m.b.Fatal("a subject is missing")
				}
				r.Release()
			}
			m.b.Logf("reads of %s: %.0f /s on one core", set.name, reads/time.Since(start).Seconds())
		}
	}
}

func (m *million) update(i int) error {
	key, s := m.key(nil, i)
	defer s.SlowDown()
	return s.Update(func(tx *Tx) error { return tx.Put(Subjects, key, m.value(i)) })
}

// rate updates at a rate and measures how late each update ended.
func (m *million) rate(perSecond int, length time.Duration) {
	var late []time.Duration
	start := time.Now()
	step := time.Second / time.Duration(perSecond)
	for n := 0; ; {
		due := int(time.Since(start) / step)
		if time.Since(start) > length {
			break
		}
		for ; n < due; n++ {
			m.must(m.update(rand.IntN(millionSubjects)))
			late = append(late, time.Since(start)-time.Duration(n)*step)
		}
		time.Sleep(200 * time.Microsecond)
	}
	slices.Sort(late)
	at := func(q float64) time.Duration { return late[int(q*float64(len(late)-1))].Round(10 * time.Microsecond) }
	m.b.Logf("updates at %d /s: p50 %s, p99 %s, p99.9 %s, worst %s", perSecond, at(.5), at(.99), at(.999), at(1))
}

func (m *million) peak(length time.Duration) {
	var n atomic.Int64
	var worst time.Duration
	start := time.Now()
	for time.Since(start) < length {
		before := time.Now()
		m.must(m.update(rand.IntN(millionSubjects)))
		worst = max(worst, time.Since(before))
		n.Add(1)
	}
	m.b.Logf("updates as fast as they go: %.0f /s, worst %s", float64(n.Load())/time.Since(start).Seconds(), worst)
}

func (m *million) restart() {
	for _, cold := range []bool{false, true} {
		m.close()
		if cold {
			m.forget()
		}
		start := time.Now()
		m.open()
		opened := time.Since(start)
		for range 1000 {
			key, s := m.key(nil, rand.IntN(millionSubjects))
			r, err := s.Acquire()
			m.must(err)
			r.Get(Subjects, key)
			r.Release()
		}
		m.b.Logf("opened in %s, cold %v; with 1,000 reads %s", opened, cold, time.Since(start))
	}
}

// forget drops the pages of the closed files from memory.
func (m *million) forget() {
	for i := range m.stores {
		f, err := realDisk{}.open(filepath.Join(m.dir, fmt.Sprintf("s%02d.db", i)), 0, 0)
		m.must(err)
		m.must(unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED))
		m.must(f.Close())
	}
}
