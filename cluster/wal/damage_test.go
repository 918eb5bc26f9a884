package wal

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestDamage spoils one block of a log that was closed, at random, and looks whether every group
// either has what it was told is durable or says what it lost. Nothing may be lost silently.
func TestDamage(t *testing.T) {
	lives := 200
	if testing.Short() {
		lives = 15
	}
	harmless, lost := 0, 0
	for life := range lives {
		seed := uint64(life)
		random := rand.New(rand.NewPCG(seed, 5))
		d := newDisk(seed)
		models := make([]*told, 1+random.IntN(4))
		for i := range models {
			models[i] = newTold(fmt.Sprintf("data-%02d", i))
		}
		for n := range 1 + random.IntN(4) {
			if err := generation(d, models, seed<<8+uint64(n), -1, 10+random.IntN(60)); err != nil {
				t.Fatal(err)
			}
		}
		where := d.spoil(random)
		damaged, err := inspect(d, models)
		if err != nil {
			t.Fatalf("life %d, %s: %v", life, where, err)
		}
		// What is lost must not be forgotten when the log is opened again and goes on.
		again, err := inspect(d, models)
		if err != nil {
			t.Fatalf("life %d, %s, opened again: %v", life, where, err)
		}
		if !slices.Equal(damaged, again) {
			t.Fatalf("life %d, %s: damaged are %v, and later %v", life, where, damaged, again)
		}
		if len(damaged) == 0 {
			harmless++
		} else {
			lost++
		}
	}
	t.Logf("%d blocks spoiled harmlessly, %d with a loss that was told", harmless, lost)
}

// spoil changes one block of one file.
func (d *disk) spoil(random *rand.Rand) string {
	names, _ := d.list()
	slices.Sort(names)
	name := names[random.IntN(len(names))]
	n := d.names[name]
	block := random.IntN(len(n.content) / blockBytes)
	p := n.content[block*blockBytes : (block+1)*blockBytes]
	switch random.IntN(3) {
	case 0:
		p[random.IntN(len(p))] ^= 1 << random.IntN(8)
	case 1:
		clear(p)
	default:
		for i := range p {
			p[i] = byte(random.Uint32())
		}
	}
	return fmt.Sprintf("block %d of %s", block, name)
}

// inspect opens the log and tells which groups lost something.
func inspect(d *disk, models []*told) (damaged []string, err error) {
	l, err := open(d, smallOptions())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	for _, m := range models {
		g, err := l.Group(m.name)
		if err != nil {
			return nil, err
		}
		g.Verify(0)
		damage, isDamaged := g.Damage()
		if isDamaged {
			damaged = append(damaged, m.name)
		}
		first, last := g.Bounds()
		if !damage.Any && (first != m.first || last != m.last) {
			return nil, fmt.Errorf("group %s has %d to %d, not %d to %d, and says %v, %s", m.name, first, last, m.first, m.last, isDamaged, damage)
		}
		for i := m.first; i <= m.last && i > 0 && !damage.Any; i++ {
			var e Entry
			err := g.Read(i, &e)
			if err == nil && !equal(e, m.entries[i]) {
				return nil, fmt.Errorf("entry %d of %s is not what was written, and no damage was told", i, m.name)
			}
			if err != nil && (!isDamaged || damage.First > i) {
				return nil, fmt.Errorf("entry %d of %s: %w, but damage is %s", i, m.name, err, damage)
			}
		}
		for key, want := range m.values {
			if got := string(g.Get(key)); got != want && !damage.Values {
				return nil, fmt.Errorf("value %s of %s is %q, not %q, and no damage was told", key, m.name, got, want)
			}
		}
	}
	return damaged, nil
}

// TestRepair: the damage of a group ends with Repair and stays ended; others keep what they have.
func TestRepair(t *testing.T) {
	d := newDisk(1)
	l := openDisk(t, d)
	a, b := group(t, l, "a"), group(t, l, "b")
	for i := uint64(1); i <= 20; i++ {
		appendOne(t, a, i, "of a")
		appendOne(t, b, i, "of b")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	n := d.names[segmentName(1)]
	at := bytes.Index(n.content, []byte("of a"))
	n.content[at] ^= 1
	l = openDisk(t, d)
	a, b = group(t, l, "a"), group(t, l, "b")
	if i := b.Verify(0); i != 0 {
		t.Errorf("entry %d of the other group is damaged", i)
	}
	if i := a.Verify(0); i != 1 {
		t.Errorf("the first damaged entry is %d, want 1", i)
	}
	var e Entry
	if err := a.Read(1, &e); !errors.Is(err, ErrDamaged) {
		t.Errorf("reading what is damaged: %v", err)
	}
	if err := a.Repair(nil); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if damage, damaged := a.Damage(); damaged {
			t.Errorf("after the repair: %s", damage)
		}
		if first, last := a.Bounds(); first != 0 || last != 0 {
			t.Errorf("after the repair the group has %d to %d", first, last)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = openDisk(t, d)
		a = group(t, l, "a")
	}
	appendOne(t, a, 21, "again")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestLostHeads takes both heads of a file away: what was in it is told as lost, until it is repaired.
func TestLostHeads(t *testing.T) {
	for _, newest := range []bool{false, true} {
		d := newDisk(1)
		l := openDisk(t, d)
		a := group(t, l, "a")
		for i := uint64(1); i <= 60; i++ {
			appendOne(t, a, i, string(make([]byte, 3000)))
		}
		number := uint64(2)
		if newest {
			number = l.tail.number
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		clear(d.names[segmentName(number)].content[:2*blockBytes])
		for range 2 {
			l = openDisk(t, d)
			a = group(t, l, "a")
			if _, damaged := a.Damage(); !damaged && a.Verify(0) == 0 {
				t.Errorf("file %d is lost and nothing was told", number)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
		l = openDisk(t, d)
		a = group(t, l, "a")
		if err := a.Repair(map[string][]byte{"term": {1}}); err != nil {
			t.Fatal(err)
		}
		appendOne(t, a, 61, "again")
		for range 2 {
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			l = openDisk(t, d)
			a = group(t, l, "a")
			if damage, damaged := a.Damage(); damaged || a.Verify(0) != 0 {
				t.Errorf("repaired, but %s", damage)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func openDisk(t testing.TB, d *disk) *Log {
	t.Helper()
	l, err := open(d, smallOptions())
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func group(t testing.TB, l *Log, name string) *Group {
	t.Helper()
	g, err := l.Group(name)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func appendOne(t testing.TB, g *Group, index uint64, data string) {
	t.Helper()
	if err := g.Append([]Entry{{Index: index, Term: 1, Data: []byte(data)}}); err != nil {
		t.Fatalf("entry %d: %v", index, err)
	}
}
