package router

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/cluster/raftgroup"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatal(what)
}

func quickKeeping(o *Options) {
	o.KeepInterval, o.MarkInterval = 10*time.Millisecond, 10*time.Millisecond
}

// TestOldDecisionsAreRemoved: what is older than the retention goes by itself, the newer stays.
func TestOldDecisionsAreRemoved(t *testing.T) {
	r, ctx := openTest(t, t.TempDir(), quickKeeping), context.Background()
	if err := r.Control().SetRetention(ctx, nba.Retention{MaxAgeDays: 10, MaxPerSubject: 100, IdempotencyHours: 1}); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	const subjects, old = 20, 30
	for s := range subjects {
		subject := nba.SubjectRef{ID: fmt.Sprint(s), Type: nba.Subscriber}
		if _, _, err := r.PutSubject(ctx, subject, nil, 0, 0, nil); err != nil {
			t.Fatal(err)
		}
		for n := range old + 1 {
			d := testDecision(subject, now.Add(-20*24*time.Hour+time.Duration(n)*time.Second))
			if n == old {
				d = testDecision(subject, now)
			}
			if err := r.RecordDecision(ctx, d); err != nil {
				t.Fatal(err)
			}
		}
	}
	eventually(t, "the old decisions are still there", func() bool {
		left := map[string]bool{}
		for s := range subjects {
			items, _, _, err := r.History(ctx, ref(fmt.Sprint(s)), nba.Read{}, 1000, "")
			if err != nil {
				t.Fatal(err)
			}
			for _, item := range items {
				left[item.DecisionID] = true
				if item.Time.Before(now.Add(-time.Hour)) {
					return false
				}
			}
		}
		return len(left) == subjects
	})
	for _, d := range r.groups() {
		if err := d.machine.Verify(); err != nil {
			t.Error(err)
		}
	}
}

// TestGroupsAreMarked: groups with news compare their state, those without are left alone.
func TestGroupsAreMarked(t *testing.T) {
	dir, ctx := t.TempDir(), context.Background()
	r := openTest(t, dir, quickKeeping)
	for i := range 100 {
		if _, _, err := r.PutSubject(ctx, ref(fmt.Sprint(i)), nil, 0, 0, nil); err != nil {
			t.Fatal(err)
		}
	}
	machines := []marking{r.control.machine, r.groups()[0].machine, r.groups()[1].machine}
	settled := func() bool {
		for _, m := range machines {
			if m.Mark().Index == 0 || m.Mark() != m.Digest() {
				return false
			}
		}
		return true
	}
	eventually(t, "some group is not marked", settled)
	before := [3]fsm.Marked{machines[0].Mark(), machines[1].Mark(), machines[2].Mark()}
	time.Sleep(100 * time.Millisecond)
	for i, m := range machines {
		if m.Mark() != before[i] || m.Digest().Digest != m.Mark().Digest {
			t.Errorf("machine %d without news: mark %+v, digest %+v, was %+v", i, m.Mark(), m.Digest(), before[i])
		}
	}
	closeTest(t, r)
	r = openTest(t, dir, quickKeeping)
	for i := range 100 {
		if _, _, err := r.PutSubject(ctx, ref(fmt.Sprint(i)), nil, 0, 0, nil); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "data group 0 is not compared after the restart", func() bool { return r.groups()[0].machine.Mark().Index > before[1].Index })
	if err := r.Ready(); err != nil {
		t.Error(err)
	}
}

func TestMajority(t *testing.T) {
	a, b, c := command.Digest{Lo: 1}, command.Digest{Lo: 2}, command.Digest{Lo: 3}
	for _, step := range []struct {
		votes map[command.Digest]int
		want  command.Digest
		ok    bool
	}{
		{map[command.Digest]int{a: 1}, a, true},
		{map[command.Digest]int{a: 1, b: 2}, b, true},
		{map[command.Digest]int{a: 1, b: 1}, b, false},
		{map[command.Digest]int{a: 1, b: 1, c: 2}, c, true},
		{map[command.Digest]int{a: 2, b: 2, c: 1}, a, false},
	} {
		for range 8 { // maps have no order
			got, ok := majority(7, step.votes)
			if ok != step.ok || ok && got != (fsm.Marked{Index: 7, Digest: step.want}) {
				t.Errorf("%v: got %+v %v", step.votes, got, ok)
			}
		}
	}
}

func TestMarksTravel(t *testing.T) {
	r := openTest(t, t.TempDir(), quickKeeping)
	eventually(t, "the control group is not marked", func() bool { return r.control.machine.Mark().Index > 0 })
	reply, err := r.serveMark(context.Background(), "n2", []byte{0})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := parseMark(reply); err != nil || got != r.control.machine.Mark() {
		t.Errorf("got %+v, %v, want %+v", got, err, r.control.machine.Mark())
	}
	for _, bad := range [][]byte{nil, {9}, {0, 0}} {
		if _, err := r.serveMark(context.Background(), "n2", bad); err == nil {
			t.Errorf("%x was answered", bad)
		}
	}
	for at := range reply {
		if _, err := parseMark(reply[:at]); err == nil {
			t.Errorf("a mark cut at %d was read", at)
		}
	}
}

// TestClockThatJumpsIsNotBelieved: removing by age is the one thing that a wrong clock makes irreparable.
func TestClockThatJumpsIsNotBelieved(t *testing.T) {
	logger := slog.New(slog.NewTextHandler(io.Discard, nil))
	var s steady
	start := time.UnixMilli(1_750_000_000_000)
	for _, step := range []struct {
		wall, passed time.Duration
		want         bool
	}{
		{0, 0, true}, {time.Second, time.Second, true}, {50 * time.Second, 2 * time.Second, true},
		{48 * time.Hour, 3 * time.Second, false}, {48*time.Hour + time.Minute, time.Minute, false},
		{48*time.Hour + 59*time.Minute, 59 * time.Minute, false}, {49*time.Hour + time.Minute, 61 * time.Minute, true},
		{0, 62 * time.Minute, true}, // back: only what is too young is kept
		{time.Minute, 63 * time.Minute, true}, {time.Hour, 64 * time.Minute, false},
	} {
		if got := s.believe(start.Add(step.wall), step.passed, logger); got != step.want {
			t.Errorf("%s by the wall after %s: believed %v", step.wall, step.passed, got)
		}
	}
	if _, ok := new(steady).read(logger); !ok {
		t.Error("the first reading is doubted")
	}
}

func TestWritesWaitForTheUpgradeOfAllNodes(t *testing.T) {
	r, ctx := openTest(t, t.TempDir(), nil), context.Background()
	for _, op := range []raftgroup.Operation{&command.KeyedOp{}, &command.Decision{}, &command.Expire{}, &command.Mark{}, &command.SetRetention{}, &command.Put{}} {
		if err := r.allowed(op); err != nil {
			t.Errorf("%T: %v", op, err)
		}
	}
	features := r.Control().State().Features
	if features.Level != command.LevelKnown || len(features.Nodes) != 1 || features.Nodes[0].Node != aloneID {
		t.Errorf("got %+v", features)
	}
	if err := r.announce(ctx); err != nil {
		t.Error(err)
	}
	if index := r.Control().State().Index; index != r.control.machine.Position().Index {
		t.Error("an announcement that is known was repeated")
	}
}
