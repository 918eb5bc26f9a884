package bulk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/client"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/google/go-cmp/cmp"
)

// node is a stand-in for a server: it stores the chunks it acknowledges and rejects each record "bad".
type node struct {
	mu       sync.Mutex
	stored   []string
	calls    int
	inFlight int
	most     int
	// answer may refuse the n-th call, from 1.
	answer func(call int, data string) error
}

func (n *node) ImportSubjects(ctx context.Context, in client.ImportRequest) (client.ImportSummary, []client.ImportResult, error) {
	n.mu.Lock()
	n.calls++
	call := n.calls
	n.inFlight++
	n.most = max(n.most, n.inFlight)
	n.mu.Unlock()
	time.Sleep(time.Millisecond)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.inFlight--
	if n.answer != nil {
		if err := n.answer(call, string(in.Data)); err != nil {
			return client.ImportSummary{}, nil, err
		}
	}
	n.stored = append(n.stored, string(in.Data))
	var summary client.ImportSummary
	var results []client.ImportResult
	header := bytes.Count(in.Header, []byte("\n"))
	for i, record := range strings.Split(strings.TrimSuffix(string(in.Data), "\n"), "\n") {
		summary.Read++
		if record == "bad" {
			summary.Rejected++
			results = append(results, client.ImportResult{Line: header + i + 1, Column: "c", Code: nba.CodeInvalid, Reason: "bad"})
		} else {
			summary.Accepted++
		}
	}
	return summary, results, ctx.Err()
}

type imported struct {
	checkpoint *Checkpoint
	rejected   []int
	err        error
}

// importText runs one import of text with chunks of two lines.
func importText(t *testing.T, n *node, text string, path string, checkpoint *Checkpoint, change func(*Options)) imported {
	t.Helper()
	in := strings.NewReader(text)
	s, err := NewSplitter(in, CSV, 0, 2)
	if err != nil {
		t.Fatal(err)
	}
	if checkpoint.Line > 1 {
		if err := s.Resume(in, checkpoint.Offset, checkpoint.Line); err != nil {
			t.Fatal(err)
		}
	}
	out := imported{checkpoint: checkpoint}
	opts := Options{Sender: n, Splitter: s, Format: CSV, RetryFor: 10 * time.Second, Checkpoint: checkpoint, CheckpointPath: path,
		Rejected: func(r client.ImportResult) error { out.rejected = append(out.rejected, r.Line); return nil }}
	if change != nil {
		change(&opts)
	}
	out.err = Run(t.Context(), opts)
	return out
}

func lines(n int) string {
	var b strings.Builder
	b.WriteString("id\n")
	for i := range n {
		fmt.Fprintf(&b, "%d\n", i)
	}
	return b.String()
}

func TestRunSendsEverythingInOrder(t *testing.T) {
	for inFlight := 1; inFlight <= 3; inFlight++ {
		n := &node{}
		out := importText(t, n, lines(9), "", &Checkpoint{Line: 1}, func(o *Options) { o.InFlight = inFlight })
		if out.err != nil {
			t.Fatal(out.err)
		}
		if inFlight == 1 {
			want := []string{"0\n1\n", "2\n3\n", "4\n5\n", "6\n7\n", "8\n"}
			if diff := cmp.Diff(n.stored, want); diff != "" {
				t.Errorf("chunks (-got +want):\n%s", diff)
			}
		}
		if n.most > inFlight || len(n.stored) != 5 {
			t.Errorf("in flight %d: %d chunks, up to %d at once", inFlight, len(n.stored), n.most)
		}
		if got, want := out.checkpoint.Counts, (Counts{Read: 9, Accepted: 9}); got != want {
			t.Errorf("counts: got %+v, want %+v", got, want)
		}
	}
}

func TestRunReportsLinesOfTheFile(t *testing.T) {
	out := importText(t, &node{}, "id\n1\nbad\n2\n3\n4\nbad\nbad\n", "", &Checkpoint{Line: 1}, nil)
	if out.err != nil {
		t.Fatal(out.err)
	}
	if diff := cmp.Diff(out.rejected, []int{3, 7, 8}); diff != "" {
		t.Errorf("rejected lines (-got +want):\n%s", diff)
	}
	if got, want := out.checkpoint.Counts, (Counts{Read: 7, Accepted: 4, Rejected: 3}); got != want {
		t.Errorf("counts: got %+v, want %+v", got, want)
	}
}

func TestRunGoesOnAfterARefusal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "checkpoint.json")
	text := lines(20)
	refuse := &client.Problem{Title: "no", Status: http.StatusUnprocessableEntity}
	for inFlight := 1; inFlight <= 3; inFlight++ {
		n := &node{answer: func(_ int, data string) error {
			if strings.HasPrefix(data, "8\n") {
				return refuse
			}
			return nil
		}}
		id := Identity{Server: "s", Size: int64(len(text)), Format: CSV}
		out := importText(t, n, text, path, &Checkpoint{Identity: id, Line: 1}, func(o *Options) { o.InFlight = inFlight })
		stop, ok := errors.AsType[*Interrupted](out.err)
		if !ok || stop.Line != 10 || !errors.Is(out.err, error(refuse)) {
			t.Fatalf("in flight %d: got %v, want a stop at line 10", inFlight, out.err)
		}
		saved, err := LoadCheckpoint(path, id)
		if err != nil || saved == nil {
			t.Fatalf("loading the checkpoint: %v", err)
		}
		if saved.Line != 10 || saved.Counts.Accepted != 8 || text[saved.Offset:saved.Offset+2] != "8\n" {
			t.Errorf("the checkpoint is at line %d with %+v", saved.Line, saved.Counts)
		}
		n.answer = nil
		out = importText(t, n, text, path, saved, nil)
		if out.err != nil || out.checkpoint.Counts.Accepted != 20 || out.checkpoint.Line != 22 {
			t.Errorf("the second run: %v, %+v", out.err, out.checkpoint)
		}
	}
}

func TestRunRetriesWhileTheNodeIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &node{answer: func(call int, _ string) error {
			switch {
			case call == 2:
				return &client.Unreachable{Addr: "a", Cause: errors.New("refused")}
			case call > 2 && call < 6:
				return &client.Problem{Status: http.StatusServiceUnavailable}
			}
			return nil
		}}
		waits := 0
		out := importText(t, n, lines(6), "", &Checkpoint{Line: 1}, func(o *Options) {
			o.Waiting = func(error, time.Duration) { waits++ }
		})
		if out.err != nil || out.checkpoint.Counts.Accepted != 6 || waits != 4 {
			t.Errorf("got %v, %+v after %d waits", out.err, out.checkpoint.Counts, waits)
		}
	})
}

func TestRunGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &node{answer: func(int, string) error { return &client.Unreachable{Addr: "a", Cause: errors.New("refused")} }}
		start := time.Now()
		out := importText(t, n, lines(6), "", &Checkpoint{Line: 1}, nil)
		if _, ok := errors.AsType[*client.Unreachable](out.err); !ok {
			t.Errorf("got %v, want unreachable", out.err)
		}
		if took := time.Since(start); took < 10*time.Second || took > 12*time.Second {
			t.Errorf("gave up after %v, want 10 s", took)
		}
	})
}

func TestRunStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	in := strings.NewReader(lines(6))
	s, err := NewSplitter(in, CSV, 0, 2)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{answer: func(call int, _ string) error { cancel(); return ctx.Err() }}
	err = Run(ctx, Options{Sender: n, Splitter: s, Format: CSV, RetryFor: time.Hour, Checkpoint: &Checkpoint{Line: 1}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want canceled", err)
	}
}

func TestCheckpointBelongsToOneImport(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "in.csv")
	write := func(text string) *os.File {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	identify := func(f *os.File, server, mapping string) Identity {
		t.Helper()
		id, err := Identify(f, server, CSV, []byte(mapping))
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	f := write("id\n1\n2\n")
	id := identify(f, "s", "m")
	path := CheckpointPath(file)
	if c, err := LoadCheckpoint(path, id); c != nil || err != nil {
		t.Errorf("without a file: got %v, %v", c, err)
	}
	saved := &Checkpoint{Identity: id, Offset: 5, Line: 3, Counts: Counts{Read: 1, Accepted: 1}}
	if err := saved.save(path); err != nil {
		t.Fatal(err)
	}
	loaded, err := LoadCheckpoint(path, identify(f, "s", "m"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(loaded, saved); diff != "" {
		t.Errorf("loaded (-got +want):\n%s", diff)
	}
	for name, other := range map[string]Identity{
		"server": identify(f, "other", "m"), "mapping": identify(f, "s", "other"), "no mapping": identify(f, "s", ""),
		"content": identify(write("id\n9\n2\n"), "s", "m"), "size": identify(write("id\n1\n2\n3\n"), "s", "m"),
	} {
		if _, err := LoadCheckpoint(path, other); !errors.Is(err, ErrCheckpointForeign) {
			t.Errorf("another %s: got %v", name, err)
		}
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadCheckpoint(path, id); !errors.Is(err, ErrCheckpointForeign) {
		t.Errorf("a torn checkpoint: got %v", err)
	}
	if err := errors.Join(RemoveCheckpoint(path), RemoveCheckpoint(path)); err != nil {
		t.Error(err)
	}
}
