package router

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/raftgroup"
	"github.com/arbiterhq/arbiter/cluster/store/record"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

const (
	childDirEnv  = "ARBITER_TEST_CRASH_DIR"
	childSeedEnv = "ARBITER_TEST_CRASH_SEED"
	pinnedSlot   = 3299
)

// childMain writes until it is killed, and prints a line for each write after it was acknowledged:
// the subject and its version, or a decision and its subject.
func childMain(dir, seed string) int {
	r, err := Open(context.Background(), crashOptions(dir))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ctx := context.Background()
	var mu sync.Mutex
	acknowledge := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Printf(format+"\n", args...)
	}
	acknowledge("ready")
	for w := range 8 {
		go func() {
			for i := 0; ; i++ {
				id := fmt.Sprintf("s%d-%d", w, i%20)
				version, _, err := r.PutSubject(ctx, ref(id), []record.Attr{attr(1, int64(i)), {ID: 2, Value: nba.String(seed)}}, 1, 0, nil)
				if err != nil {
					acknowledge("error %v", err)
					return
				}
				acknowledge("subject %s %d", id, version)
				d := testDecision(nba.SubjectRef{ID: id, Type: nba.Subscriber}, time.Now())
				if err := r.RecordDecision(ctx, d); err != nil {
					acknowledge("error %v", err)
					return
				}
				acknowledge("decision %s %s", d.ID, id)
			}
		}()
	}
	go func() {
		for i := 0; ; i++ {
			writes := testWrites(i*200, 200)
			if err := r.Import(ctx, writes); err != nil {
				acknowledge("error %v", err)
				return
			}
			acknowledge("import %d 200", i*200)
		}
	}()
	select {}
}

// crashOptions make snapshots and truncations frequent, so that kills meet them.
func crashOptions(dir string) Options {
	return Options{
		Dir: dir, DataGroups: 2, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Group: raftgroup.Options{SnapshotEntries: 50, SnapshotInterval: 30 * time.Millisecond, TrailingEntries: 5, SegmentBytes: 1 << 20},
	}
}

type acknowledged struct {
	versions  map[string]uint64
	decisions map[string]string // id -> subject
	imported  map[int]bool
}

func (a *acknowledged) read(t *testing.T, line string) {
	f := strings.Fields(line)
	switch {
	case len(f) == 3 && f[0] == "subject":
		version, err := strconv.ParseUint(f[2], 10, 64)
		if err != nil {
			return // the line was cut by the kill
		}
		a.versions[f[1]] = max(a.versions[f[1]], version)
	case len(f) == 3 && f[0] == "decision":
		a.decisions[f[1]] = f[2]
	case len(f) == 3 && f[0] == "import":
		if at, err := strconv.Atoi(f[1]); err == nil {
			a.imported[at] = true
		}
	case len(f) > 0 && f[0] == "error":
		t.Error(line)
	}
}

func (a *acknowledged) check(t *testing.T, r *Router) {
	t.Helper()
	lost := 0
	for id, version := range a.versions {
		reading, err := r.Acquire(ref(id))
		if err != nil {
			t.Errorf("subject %s: %v", id, err)
			continue
		}
		if reading.Version() < version {
			lost++
		}
		reading.Release()
	}
	for id := range a.decisions {
		if _, err := r.RecordResponse(context.Background(), command.Response{DecisionID: id, Action: "fiber-upgrade", Outcome: nba.Impression, Time: time.UnixMilli(1)}); err != nil {
			lost++
		}
	}
	for at := range a.imported {
		for i := at; i < at+200; i += 37 {
			if reading, err := r.Acquire(testRef(i)); err != nil {
				lost++
			} else {
				reading.Release()
			}
		}
	}
	if lost > 0 {
		t.Errorf("%d acknowledged writes are lost", lost)
	}
}

// TestKill kills a process that writes, at random moments, and looks for every write it
// acknowledged. Each round goes on with the folder of the one before. After every other kill the state
// files lose the pages that lead to the newest state, as in a power cut.
func TestKill(t *testing.T) {
	rounds := 10
	if testing.Short() {
		rounds = 3
	}
	dir := filepath.Join(t.TempDir(), "data")
	known := &acknowledged{versions: map[string]uint64{}, decisions: map[string]string{}, imported: map[int]bool{}}
	for round := range rounds {
		killOnce(t, dir, round, known)
		if round%2 == 1 {
			loseMetaPages(t, dir)
		}
		known.decisions = sample(known.decisions, 300)
		r := openTest(t, dir, func(o *Options) { *o = crashOptions(dir) })
		known.check(t, r)
		closeTest(t, r)
		if t.Failed() {
			return
		}
	}
	t.Logf("%d kills; at the end %d subjects with versions, %d imports", rounds, len(known.versions), len(known.imported))
}

// sample keeps the check short.
func sample(m map[string]string, n int) map[string]string {
	out := make(map[string]string, n)
	for k, v := range m {
		if len(out) == n {
			break
		}
		out[k] = v
	}
	return out
}

func killOnce(t *testing.T, dir string, round int, known *acknowledged) {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childDirEnv+"="+dir, childSeedEnv+"="+strconv.Itoa(round))
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "ready" {
		t.Fatalf("the child did not start: %s %v", lines.Text(), lines.Err())
	}
	kill := time.AfterFunc(time.Duration(50+rand.IntN(400))*time.Millisecond, func() { _ = child.Process.Kill() })
	defer kill.Stop()
	for lines.Scan() {
		known.read(t, lines.Text())
	}
	_ = child.Wait() // it was killed
}

// loseMetaPages leaves of each state file what a power cut may: the pages that lead to the newest state
// are lost, and something else was written behind the end. The marks beside the files tell where the last
// checkpoint is. What more a power cut may do is tested in package store.
func loseMetaPages(t testing.TB, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*", "state*.db"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no state files: %v", err)
	}
	noise := make([]byte, 8<<10)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	for _, path := range files {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range []int64{0, info.Size()} {
			if _, err := f.WriteAt(noise, at); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
