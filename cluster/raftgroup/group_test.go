package raftgroup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"go.uber.org/goleak"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/cluster/store/record"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

func TestMain(m *testing.M) {
	if words := os.Getenv(huntEnv); words != "" {
		if err := huntNode(strings.Fields(words)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// lockedBuffer collects what is logged.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

type testGroup struct {
	*Group
	data  *fsm.Data
	state *State
	logs  *lockedBuffer
}

func (g *testGroup) close(t testing.TB) {
	t.Helper()
	if err := errors.Join(g.Group.Close(), g.state.Close()); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// machine may stand between the group and the data machine.
func openTest(t testing.TB, dir string, options Options, wrap func(*fsm.Data) Machine) *testGroup {
	t.Helper()
	logs := &lockedBuffer{}
	logger := slog.New(slog.NewTextHandler(logs, nil))
	state, err := OpenState(dir, store.Options{}, logger)
	if err != nil {
		t.Fatal(err)
	}
	data, err := fsm.NewData(state.Store)
	if err != nil {
		t.Fatal(err)
	}
	var machine Machine = data
	if wrap != nil {
		machine = wrap(data)
	}
	g, err := Open(Config{Name: "data-00", Dir: dir, NodeID: "node-1", Options: options, Logger: logger}, machine)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := g.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	return &testGroup{Group: g, data: data, state: state, logs: logs}
}

func put(t testing.TB, id string) *command.Put {
	if t != nil {
		t.Helper()
	}
	b, err := record.Append(nil, nil, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	return &command.Put{Key: command.AppendSubjectKey(nil, nba.SubjectRef{ID: id, Type: nba.Subscriber}), Record: b}
}

func TestStartAndStopAreQuietAndQuick(t *testing.T) {
	dir := t.TempDir()
	for i := range 3 {
		start := time.Now()
		g := openTest(t, dir, Options{}, nil)
		took := time.Since(start)
		if _, err := g.Submit(context.Background(), put(t, fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
		if g.data.Subjects() != int64(i+1) {
			t.Errorf("%d subjects, want %d", g.data.Subjects(), i+1)
		}
		g.close(t)
		g.Group.Close()
		t.Logf("ready after %s", took)
		if took > 3*time.Second {
			t.Errorf("ready only after %s", took)
		}
		if logged := g.logs.String(); logged != "" {
			t.Errorf("logged: %s", logged)
		}
	}
}

func TestSnapshotsTruncateTheLog(t *testing.T) {
	dir := t.TempDir()
	options := Options{SnapshotEntries: 20, SnapshotInterval: 10 * time.Millisecond, TrailingEntries: 3, SegmentBytes: 1 << 20}
	g := openTest(t, dir, options, nil)
	for i := range 300 {
		if _, err := g.Submit(context.Background(), put(t, fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	deadline := time.Now().Add(5 * time.Second)
	for {
		first, err := g.log.FirstIndex()
		if err != nil {
			t.Fatal(err)
		}
		if first > 100 && g.snapshots.newest.Load() >= first-1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the log still begins at %d; the newest snapshot is at %d", first, g.snapshots.newest.Load())
		}
		time.Sleep(5 * time.Millisecond)
	}
	g.close(t)

	g = openTest(t, dir, options, nil)
	defer g.close(t)
	if g.data.Subjects() != 300 {
		t.Errorf("%d subjects, want 300", g.data.Subjects())
	}
}

func TestSnapshotIsDueByBytes(t *testing.T) {
	g := openTest(t, t.TempDir(), Options{SnapshotInterval: time.Hour, SnapshotBytes: 1}, nil)
	defer g.close(t)
	if _, err := g.Submit(context.Background(), put(t, "a")); err != nil {
		t.Fatal(err)
	}
	if g.snapshotDue() {
		t.Error("due although the log is smaller than the state")
	}
	g.log.bytes.Store(1 << 30)
	if !g.snapshotDue() {
		t.Error("not due with 1 GiB of log")
	}
	if err := g.Snapshot(); err != nil {
		t.Fatal(err)
	}
	if g.snapshotDue() || g.log.bytes.Load() != 0 {
		t.Errorf("still due after a snapshot, with %d bytes of log", g.log.bytes.Load())
	}
}

// gate holds the state machine back.
type gate struct {
	*fsm.Data
	closed chan struct{}
}

func (g gate) ApplyBatch(entries []*raft.Log) []any {
	for _, e := range entries {
		if e.Type == raft.LogCommand {
			<-g.closed
			break
		}
	}
	return g.Data.ApplyBatch(entries)
}

func TestQueueIsBounded(t *testing.T) {
	closed := make(chan struct{})
	g := openTest(t, t.TempDir(), Options{MaxQueue: 4, MaxInFlight: 1, MaxEntryOps: 2}, func(d *fsm.Data) Machine { return gate{d, closed} })
	defer g.close(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	codes := map[nba.Code]int{}
	for i := range 20 {
		wg.Go(func() {
			_, err := g.Submit(context.Background(), put(t, fmt.Sprint(i)))
			mu.Lock()
			defer mu.Unlock()
			codes[nba.CodeOf(err)]++
		})
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		mu.Lock()
		n := codes[nba.CodeOverloaded]
		mu.Unlock()
		if n >= 14 { // at most 2 in flight and 4 queued
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("got %v", codes)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	_, err := g.Submit(ctx, put(t, "late"))
	late := 0
	switch nba.CodeOf(err) {
	case nba.CodeOverloaded:
	case nba.CodeTimeout: // there was a place left in the queue
		late = 1
	default:
		t.Errorf("got %v", err)
	}
	close(closed)
	wg.Wait()
	if _, err := g.Submit(context.Background(), put(t, "last")); err != nil {
		t.Error(err)
	}
	if codes[""]+codes[nba.CodeOverloaded] != 20 || int(g.data.Subjects()) != codes[""]+late+1 {
		t.Errorf("got %v and %d subjects", codes, g.data.Subjects())
	}
}

func TestDeadlineLeavesTheFateOpen(t *testing.T) {
	closed := make(chan struct{})
	g := openTest(t, t.TempDir(), Options{}, func(d *fsm.Data) Machine { return gate{d, closed} })
	defer g.close(t)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if _, err := g.Submit(ctx, put(t, "a")); nba.CodeOf(err) != nba.CodeTimeout || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	close(closed)
	if _, err := g.Submit(context.Background(), put(t, "b")); err != nil {
		t.Fatal(err)
	}
	if g.data.Subjects() != 2 {
		t.Errorf("%d subjects, want both", g.data.Subjects())
	}
}

func TestCloseFinishesWhatIsUnderWay(t *testing.T) {
	g := openTest(t, t.TempDir(), Options{}, nil)
	var wg sync.WaitGroup
	var mu sync.Mutex
	stored := 0
	for w := range 32 {
		wg.Go(func() {
			for i := 0; ; i++ {
				_, err := g.Submit(context.Background(), put(t, fmt.Sprint(w, "-", i)))
				if nba.CodeOf(err) == nba.CodeUnavailable {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				stored++
				mu.Unlock()
			}
		})
	}
	time.Sleep(30 * time.Millisecond)
	if err := g.Group.Close(); err != nil {
		t.Error(err)
	}
	wg.Wait()
	if int(g.data.Subjects()) != stored || stored == 0 {
		t.Errorf("%d subjects, %d acknowledged", g.data.Subjects(), stored)
	}
	if err := g.state.Close(); err != nil {
		t.Error(err)
	}
}

func TestLogFailureStopsTheGroup(t *testing.T) {
	dir := t.TempDir()
	g := openTest(t, dir, Options{}, nil)
	if _, err := g.Submit(context.Background(), put(t, "kept")); err != nil {
		t.Fatal(err)
	}
	g.log.broken.Store(true) // as after a write that failed
	g.fail(errors.New("disk full"))
	for range 3 {
		if _, err := g.Submit(context.Background(), put(t, "lost")); nba.CodeOf(err) != nba.CodeUnavailable {
			t.Errorf("got %v, want UNAVAILABLE", err)
		}
	}
	if _, err := g.Propose(context.Background(), nil); nba.CodeOf(err) != nba.CodeUnavailable {
		t.Errorf("got %v, want UNAVAILABLE", err)
	}
	if err := g.Ready(); nba.CodeOf(err) != nba.CodeUnavailable {
		t.Errorf("ready: %v", err)
	}
	g.close(t)
	if !strings.Contains(g.logs.String(), "disk full") {
		t.Errorf("the reason was not logged: %s", g.logs.String())
	}
	g = openTest(t, dir, Options{}, nil)
	defer g.close(t)
	if g.data.Subjects() != 1 {
		t.Errorf("%d subjects after the restart, want 1", g.data.Subjects())
	}
}

// TestRealLogFailure takes the log files away from under a running group.
func TestRealLogFailure(t *testing.T) {
	g := openTest(t, t.TempDir(), Options{SegmentBytes: 1 << 20}, nil)
	if err := g.log.shared.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Submit(context.Background(), put(t, "a")); nba.CodeOf(err) != nba.CodeUnavailable {
		t.Errorf("got %v, want UNAVAILABLE", err)
	}
	if g.Ready() == nil {
		t.Error("the group is still ready")
	}
	g.close(t)
}

func TestMachineFailureStopsTheGroup(t *testing.T) {
	g := openTest(t, t.TempDir(), Options{}, nil)
	var entry command.Builder
	entry.Reset(1)
	encoded, err := (&command.ActivateCatalog{Version: 1}).Append(nil) // not for a data group
	if err != nil {
		t.Fatal(err)
	}
	entry.Add(encoded)
	if _, err := g.Propose(context.Background(), entry.Bytes()); nba.CodeOf(err) != nba.CodeUnavailable {
		t.Errorf("got %v, want UNAVAILABLE", err)
	}
	if g.Ready() == nil {
		t.Error("the group is still ready")
	}
	if err := g.WaitReady(context.Background()); err != nil && !strings.Contains(err.Error(), "data-00") {
		t.Errorf("got %v", err)
	}
	g.close(t)
}

// TestDamagedState: a state that cannot be opened is made again from the log, if that is whole. Otherwise
// the start must fail: going on would lose what was acknowledged.
func TestDamagedState(t *testing.T) {
	remove := func(name string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	damage := func(name string, size int64) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			path := filepath.Join(dir, name)
			if err := errors.Join(os.Truncate(path, 0), os.Truncate(path, size)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, test := range []struct {
		name     string
		trailing uint64
		harm     func(t *testing.T, dir string)
		ok       bool
	}{
		{"the log is whole, no file", 10_000, remove("state.db"), true},
		{"the log is whole, no marks", 10_000, remove("state.marks"), true},
		{"the log is whole, marks of zeros", 10_000, damage("state.marks", 32<<10), true},
		{"the log is whole, an empty file", 10_000, damage("state.db", 0), true},
		{"the log is whole, a file of zeros", 10_000, damage("state.db", 1<<20), true},
		{"the log is short, nothing damaged", 1, func(*testing.T, string) {}, true},
		{"the log is short, no file", 1, remove("state.db"), false},
		{"the log is short, no marks", 1, remove("state.marks"), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			g := openTest(t, dir, Options{SnapshotInterval: time.Hour, TrailingEntries: test.trailing}, nil)
			for i := range 50 {
				if _, err := g.Submit(context.Background(), put(t, fmt.Sprint(i))); err != nil {
					t.Fatal(err)
				}
				if i%20 == 19 {
					if err := g.Snapshot(); err != nil {
						t.Fatal(err)
					}
				}
			}
			g.close(t)
			test.harm(t, dir)
			if !test.ok {
				for range 2 { // nor does a second attempt believe what the first left
					openFails(t, dir)
				}
				return
			}
			g = openTest(t, dir, Options{SnapshotInterval: time.Hour}, nil)
			defer g.close(t)
			if g.data.Subjects() != 50 {
				t.Errorf("%d subjects, want 50", g.data.Subjects())
			}
		})
	}
}

func openFails(t *testing.T, dir string) {
	t.Helper()
	logger := slog.New(slog.NewTextHandler(&lockedBuffer{}, nil))
	state, err := OpenState(dir, store.Options{}, logger)
	if err != nil {
		t.Fatal(err)
	}
	data, err := fsm.NewData(state.Store)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Name: "data-00", Dir: dir, NodeID: "node-1", Logger: logger}, data); err == nil || !strings.Contains(err.Error(), "lost") {
		t.Errorf("got %v, want that entries are lost", err)
	}
	if err := state.Close(); err != nil {
		t.Error(err)
	}
}

// TestManyQuietRestarts: every start adds entries that hold no operations, so snapshots come to stand
// further than the state, and the log is truncated beyond it.
func TestManyQuietRestarts(t *testing.T) {
	dir := t.TempDir()
	options := Options{SnapshotInterval: time.Hour, TrailingEntries: 1}
	for i := range 12 {
		g := openTest(t, dir, options, nil)
		if i == 0 {
			if _, err := g.Submit(context.Background(), put(t, "a")); err != nil {
				t.Fatal(err)
			}
		}
		if i%3 == 2 {
			if err := g.Snapshot(); err != nil {
				t.Fatal(err)
			}
		}
		if g.data.Subjects() != 1 {
			t.Fatalf("start %d: %d subjects, want 1", i, g.data.Subjects())
		}
		g.close(t)
	}
	g := openTest(t, dir, options, nil)
	defer g.close(t)
	if g.data.Subjects() != 1 {
		t.Errorf("%d subjects, want 1", g.data.Subjects())
	}
}

func TestHCLog(t *testing.T) {
	var out lockedBuffer
	l := newHCLog(slog.New(slog.NewTextHandler(&out, nil))).Named("raft").With("node", "n1")
	l.Info("unheard")
	l.Debug("unheard")
	l.Warn("heard", "servers", hclog.Fmt("%d of %d", 1, 3))
	l.Error("also heard", "error", errors.New("cause"))
	got := out.String()
	for _, want := range []string{"level=WARN", "raft: heard", `servers="1 of 3"`, "node=n1", "level=ERROR", "error=cause"} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is missing in %s", want, got)
		}
	}
	if strings.Contains(got, "unheard") {
		t.Errorf("too much: %s", got)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	if err := (Options{}).Default().Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	err := Options{MaxQueue: -1, SegmentBytes: 1, HeartbeatTimeout: time.Millisecond, MaxInFlight: -1}.Default().Validate()
	for _, want := range []string{"MaxQueue", "SegmentBytes", "HeartbeatTimeout", "MaxInFlight"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not mentioned in %v", want, err)
		}
	}
}
