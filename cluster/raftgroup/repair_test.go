package raftgroup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	raftwal "github.com/hashicorp/raft-wal"

	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/cluster/wal"
)

// spoilLog changes the first file of a log.
func spoilLog(t *testing.T, dir string, change func(raw []byte)) {
	t.Helper()
	path := filepath.Join(dir, "log", fmt.Sprintf("%016x.log", 1))
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	change(raw)
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

// wipeBlocks takes away what was written early, and acknowledged.
func wipeBlocks(raw []byte) { clear(raw[60<<10 : 80<<10]) }

func TestDamagedVoterIsRepairedByTheOthers(t *testing.T) {
	c := newTestCluster(t, 3, 2, Options{})
	c.startAll()
	for k := range 60 {
		c.submit(k%2, fmt.Sprint(k))
	}
	c.same(30)
	c.stop("n2")
	spoilLog(t, c.dirs["n2"], wipeBlocks)
	n2 := c.start("n2")
	said := n2.groups[0].logs.String() + n2.groups[1].logs.String()
	if !strings.Contains(said, "does not vote before") {
		t.Errorf("nothing was said about the damage: %s", said)
	}
	c.waitLed()
	c.same(30)
	c.eventually("grown", func() error {
		for _, g := range n2.groups {
			if g.newborn() {
				return errors.New("not yet")
			}
		}
		return nil
	})
	c.stop("n1")
	c.waitLed()
	c.submit(0, "more")
	c.submit(1, "more")
	c.same(31)
	for _, g := range n2.groups {
		if damage, damaged := g.log.group.Damage(); damaged {
			t.Errorf("still damaged: %s", damage)
		}
	}
}

// TestAllDamagedVotersWait: what nobody has any more must not be given up silently.
func TestAllDamagedVotersWait(t *testing.T) {
	c := newTestCluster(t, 3, 1, Options{})
	c.startAll()
	for k := range 60 {
		c.submit(0, fmt.Sprint(k))
	}
	c.same(60)
	for _, id := range c.ids {
		c.stop(id)
		spoilLog(t, c.dirs[id], wipeBlocks)
	}
	for _, id := range c.ids {
		c.start(id)
	}
	for range 3 {
		_, err := c.nodes["n1"].groups[0].Submit(context.Background(), put(t, "new"))
		if err == nil {
			t.Fatal("a group of which all voters lost something goes on")
		}
	}
	for _, n := range c.nodes {
		if !n.groups[0].newborn() {
			t.Errorf("%s votes again", n.id)
		}
	}
}

func TestDamagedOnlyVoterRefuses(t *testing.T) {
	dir := t.TempDir()
	g := openTest(t, dir, Options{}, nil)
	for k := range 40 {
		if _, err := g.Submit(context.Background(), put(t, fmt.Sprint(k))); err != nil {
			t.Fatal(err)
		}
	}
	g.close(t)
	spoilLog(t, dir, wipeBlocks)
	state, err := OpenState(dir, store.Options{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer state.Close()
	data, err := fsm.NewData(state.Store)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Open(Config{Name: "data-00", Dir: dir, NodeID: "node-1", Logger: slog.New(slog.DiscardHandler)}, data)
	if err == nil || !strings.Contains(err.Error(), "restore a backup") {
		t.Errorf("a damaged log of the only voter: %v", err)
	}
}

func TestDamageThatTheStateHoldsIsCut(t *testing.T) {
	dir := t.TempDir()
	g := openTest(t, dir, Options{}, nil)
	for k := range 40 {
		if _, err := g.Submit(context.Background(), put(t, fmt.Sprint("subject-", k))); err != nil {
			t.Fatal(err)
		}
	}
	g.close(t) // the state has everything
	spoilLog(t, dir, func(raw []byte) { raw[bytes.Index(raw, []byte("subject-7"))] ^= 1 })
	g = openTest(t, dir, Options{}, nil)
	defer g.close(t)
	if _, err := g.Submit(context.Background(), put(t, "more")); err != nil {
		t.Fatal(err)
	}
	if g.data.Subjects() != 41 {
		t.Errorf("%d subjects, want 41", g.data.Subjects())
	}
}

// TestLogOfAnEarlierReleaseIsTakenOver opens a folder whose log is of raft-wal, as if the conversion
// had been cut short before.
func TestLogOfAnEarlierReleaseIsTakenOver(t *testing.T) {
	dir := t.TempDir()
	g := openTest(t, dir, Options{}, nil)
	for k := range 50 {
		if _, err := g.Submit(context.Background(), put(t, fmt.Sprint(k))); err != nil {
			t.Fatal(err)
		}
	}
	g.Group.closeKeepingLog(t)
	first, last := g.log.group.Bounds()
	old, err := raftwal.Open(mkdir(t, dir, "wal"), raftwal.WithSegmentSize(1<<20))
	if err != nil {
		t.Fatal(err)
	}
	for i := first; i <= last; i++ {
		var e raft.Log
		if err := errors.Join(g.log.GetLog(i, &e), old.StoreLog(&e)); err != nil {
			t.Fatal(err)
		}
	}
	term, err := g.log.GetUint64([]byte("CurrentTerm"))
	if err := errors.Join(err, old.SetUint64([]byte("CurrentTerm"), term), old.SetUint64([]byte("LastVoteTerm"), term),
		old.Set([]byte("LastVoteCand"), []byte("node-1")), old.Close(), g.log.Close(), g.state.Close(), os.RemoveAll(filepath.Join(dir, "log"))); err != nil {
		t.Fatal(err)
	}
	cut, err := wal.Open(filepath.Join(dir, "log"), wal.Options{SegmentBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	part, err := cut.Group("data-00")
	if err := errors.Join(err, part.Append([]wal.Entry{{Index: 1, Term: 1}}), cut.Close()); err != nil {
		t.Fatal(err)
	}
	g = openTest(t, dir, Options{SegmentBytes: 1 << 20}, nil)
	defer g.close(t)
	if _, err := os.Stat(filepath.Join(dir, "wal")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the old log is still there: %v", err)
	}
	if now, _ := g.log.GetUint64([]byte("CurrentTerm")); now <= term {
		t.Errorf("term %d after term %d", now, term)
	}
	if from, to := g.log.group.Bounds(); from != first || to < last {
		t.Errorf("the log has %d to %d, want %d to %d or more", from, to, first, last)
	}
	if _, err := g.Submit(context.Background(), put(t, "more")); err != nil {
		t.Fatal(err)
	}
	if g.data.Subjects() != 51 {
		t.Errorf("%d subjects, want 51", g.data.Subjects())
	}
}

func mkdir(t *testing.T, dir, name string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// closeKeepingLog closes a group, but leaves its own log to the caller.
func (g *Group) closeKeepingLog(t *testing.T) {
	t.Helper()
	g.log.own = false
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	g.log.own = true
}
