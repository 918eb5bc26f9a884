package wal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func smallOptions() Options {
	return Options{SegmentBytes: 64 << 10, MaxBatchBytes: 16 << 10, CacheBytes: 8 << 10, Logger: quiet()}
}

// told is what one group was told is durable, and what it was told nothing about yet.
type told struct {
	name        string
	first, last uint64
	entries     map[uint64]Entry
	values      map[string]string
	// pending is the write without an answer.
	pendingAppend []Entry
	pendingFirst  uint64
	pendingLast   uint64
	pendingClear  bool
	pendingKey    string
	pendingValue  string
	term          uint64
}

func newTold(name string) *told {
	return &told{name: name, entries: map[uint64]Entry{}, values: map[string]string{}}
}

func (m *told) settle() {
	m.pendingAppend, m.pendingFirst, m.pendingLast, m.pendingClear, m.pendingKey = nil, 0, 0, false, ""
}

// step does one random write.
func (m *told) step(g *Group, random *rand.Rand) error {
	switch n := random.IntN(100); {
	case n < 70:
		next := m.last + 1
		if m.first == 0 {
			next = 1 + random.Uint64N(50)
		}
		for range 1 + random.IntN(4) {
			data := make([]byte, random.IntN(3000))
			if random.IntN(100) == 0 {
				data = make([]byte, 80<<10) // larger than a file
			}
			for i := range data {
				data[i] = byte(random.Uint32())
			}
			e := Entry{Index: next, Term: m.term, Type: uint8(random.IntN(6)), Time: int64(random.Uint32()), Data: data}
			if random.IntN(10) == 0 {
				e.Extensions = []byte("extension")
			}
			m.pendingAppend = append(m.pendingAppend, e)
			next++
		}
		if err := g.Append(m.pendingAppend); err != nil {
			return err
		}
		m.appended(len(m.pendingAppend))
	case n < 80 && m.first > 0:
		m.pendingFirst = m.first + random.Uint64N(m.last-m.first+1)
		if err := g.TruncateHead(m.pendingFirst); err != nil {
			return err
		}
		m.first = m.pendingFirst
	case n < 88 && m.first > 0 && m.last > m.first:
		m.pendingLast = m.last - random.Uint64N(min(m.last-m.first, 5))
		m.term++
		if err := g.TruncateTail(m.pendingLast); err != nil {
			return err
		}
		m.last = m.pendingLast
	case n < 90 && m.first > 0:
		m.pendingClear = true
		if err := g.TruncateHead(m.last + 1); err != nil {
			return err
		}
		m.first, m.last = 0, 0
	default:
		m.pendingKey, m.pendingValue = fmt.Sprint("key", random.IntN(3)), fmt.Sprint(random.Uint64())
		if err := g.Set(m.pendingKey, []byte(m.pendingValue)); err != nil {
			return err
		}
		m.values[m.pendingKey] = m.pendingValue
	}
	m.settle()
	return nil
}

func (m *told) appended(n int) {
	for _, e := range m.pendingAppend[:n] {
		if m.first == 0 {
			m.first = e.Index
		}
		m.last = e.Index
		m.entries[e.Index] = e
	}
}

// check compares what a group has with what it was told, and takes over what it was not told.
func (m *told) check(g *Group) error {
	g.Verify(0)
	if d, damaged := g.Damage(); damaged {
		return fmt.Errorf("damage after a crash: %s", d)
	}
	first, last := g.Bounds()
	switch {
	case m.pendingClear && first == 0:
		m.first, m.last = 0, 0
	case m.pendingFirst > 0 && first == m.pendingFirst:
		m.first = first
	case m.pendingLast > 0 && last == m.pendingLast:
		m.last = last
	case len(m.pendingAppend) > 0 && last >= m.pendingAppend[0].Index:
		m.appended(min(len(m.pendingAppend), int(last-m.pendingAppend[0].Index)+1))
	}
	if key := m.pendingKey; key != "" && string(g.Get(key)) == m.pendingValue {
		m.values[key] = m.pendingValue
	}
	m.settle()
	if first != m.first || last != m.last {
		return fmt.Errorf("the log has %d to %d, not %d to %d", first, last, m.first, m.last)
	}
	return m.same(g)
}

func (m *told) same(g *Group) error {
	for i := m.first; i <= m.last && i > 0; i++ {
		var e Entry
		if err := g.Read(i, &e); err != nil {
			return err
		}
		if !equal(e, m.entries[i]) {
			return fmt.Errorf("entry %d is not what was written", i)
		}
	}
	for key, want := range m.values {
		if got := string(g.Get(key)); got != want {
			return fmt.Errorf("value %s is %q, not %q", key, got, want)
		}
	}
	return nil
}

func equal(a, b Entry) bool {
	return a.Index == b.Index && a.Term == b.Term && a.Type == b.Type && a.Time == b.Time && bytes.Equal(a.Data, b.Data) && bytes.Equal(a.Extensions, b.Extensions)
}

// generation opens the log, compares, and writes until the power is cut or enough was written.
func generation(d *disk, models []*told, seed uint64, cutAfter, steps int) error {
	l, err := open(d, smallOptions())
	if err != nil {
		return fmt.Errorf("opening: %w", err)
	}
	var groups []*Group
	for _, m := range models {
		g, err := l.Group(m.name)
		if err != nil {
			return errors.Join(err, l.Close())
		}
		if err := m.check(g); err != nil {
			return errors.Join(fmt.Errorf("group %s: %w", m.name, err), l.Close())
		}
		groups = append(groups, g)
	}
	d.mu.Lock()
	d.cut = cutAfter
	d.mu.Unlock()
	var workers sync.WaitGroup
	problems := make([]error, len(models))
	for i, m := range models {
		workers.Add(1)
		go func() {
			defer workers.Done()
			random := rand.New(rand.NewPCG(seed, uint64(i)))
			for range steps {
				if err := m.step(groups[i], random); err != nil {
					if !errors.Is(err, errCut) && !errors.Is(err, ErrFailed) {
						problems[i] = err
					}
					return
				}
			}
		}()
	}
	workers.Wait()
	if err := l.Close(); err != nil && !errors.Is(err, errCut) && !errors.Is(err, ErrFailed) {
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

// TestPowerCuts takes the power away at thousands of points, and looks after each whether everything
// acknowledged is there, on the same disk generation after generation.
func TestPowerCuts(t *testing.T) {
	lives, generations := 240, 14
	if testing.Short() {
		lives = 12
	}
	var cuts int
	for life := range lives {
		seed := uint64(life)
		random := rand.New(rand.NewPCG(seed, 99))
		d := newDisk(seed)
		models := make([]*told, 1+random.IntN(5))
		for i := range models {
			models[i] = newTold(fmt.Sprintf("data-%02d", i))
		}
		for n := range generations {
			if err := generation(d, models, seed<<8+uint64(n), random.IntN(1+random.IntN(400)), 60); err != nil {
				t.Fatalf("life %d, generation %d: %v", life, n, err)
			}
			if d.cut == 0 {
				cuts++
			}
			d.crash(random.IntN(4) == 0)
		}
	}
	t.Logf("%d power cuts", cuts)
}

// TestEveryCut cuts the power of one short history at every operation there is.
func TestEveryCut(t *testing.T) {
	for cut := 0; ; cut++ {
		d := newDisk(7)
		models := []*told{newTold("a")}
		if err := generation(d, models, 7, -1, 5); err != nil {
			t.Fatal(err)
		}
		if err := generation(d, models, 8, cut, 80); err != nil {
			t.Fatal(err)
		}
		done := d.cut != 0
		d.crash(false)
		if err := generation(d, models, 9, -1, 40); err != nil {
			t.Fatalf("cut at operation %d: %v", cut, err)
		}
		if err := generation(d, models, 9, -1, 0); err != nil {
			t.Fatalf("cut at operation %d, opened again: %v", cut, err)
		}
		if done {
			t.Logf("%d operations", cut)
			return
		}
	}
}
