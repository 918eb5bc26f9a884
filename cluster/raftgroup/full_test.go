package raftgroup

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/cluster/wal"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// TestFullLog: on a full disk a group refuses writes, stays what it is, and goes on by itself.
func TestFullLog(t *testing.T) {
	small := t.TempDir()
	if err := unix.Mount("tmpfs", small, "tmpfs", 0, "size=3m"); err != nil {
		t.Skip("a small file system cannot be mounted here: ", err)
	}
	defer func() {
		if err := unix.Unmount(small, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	ballast := filepath.Join(small, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := wal.Open(filepath.Join(small, "log"), wal.Options{SegmentBytes: 256 << 10, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	state, err := OpenState(dir, store.Options{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	data, err := fsm.NewData(state.Store)
	if err != nil {
		t.Fatal(err)
	}
	group, err := Open(Config{Name: "data-00", Dir: dir, NodeID: "node-1", Log: log, Logger: slog.New(slog.DiscardHandler)}, data)
	if err != nil {
		t.Fatal(err)
	}
	g := &testGroup{Group: group, data: data, state: state}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := g.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	written := int64(0)
	for err == nil {
		if _, err = g.Submit(ctx, put(t, fmt.Sprint(written))); err == nil {
			written++
		}
	}
	if nba.CodeOf(err) != nba.CodeUnavailable || !strings.Contains(err.Error(), "full") {
		t.Errorf("a full disk answers %v", err)
	}
	if g.data.Subjects() != written {
		t.Errorf("%d subjects, want %d", g.data.Subjects(), written)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	for ; ; time.Sleep(20 * time.Millisecond) {
		if _, err = g.Submit(ctx, put(t, "more")); err == nil || ctx.Err() != nil {
			break
		}
	}
	if err != nil || g.data.Subjects() != written+1 {
		t.Errorf("with space again: %v, %d subjects of %d", err, g.data.Subjects(), written+1)
	}
	g.close(t)
	if err := log.Close(); err != nil {
		t.Error(err)
	}
}
