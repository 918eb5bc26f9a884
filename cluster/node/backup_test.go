package node

import (
	"io"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/cluster/backup"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// TestScheduledBackups: one is made when it is due and no other before the next is, only so many are kept, and
// the newest restores into a node with another number of groups, sealed as it is.
func TestScheduledBackups(t *testing.T) {
	n := openNode(t, t.TempDir())
	loadDemo(t, n, 50)
	key := make([]byte, backup.KeyBytes)
	n.cfg.Backups = ScheduledBackups{Dir: filepath.Join(t.TempDir(), "backups"), Interval: time.Hour, Keep: 2, Key: key}
	first, err := n.backUpOnce(t.Context())
	if err != nil || first == nil {
		t.Fatalf("the first backup: %+v %v", first, err)
	}
	if again, err := n.backUpOnce(t.Context()); again != nil || err != nil {
		t.Errorf("a backup within the hour: %+v %v", again, err)
	}
	n.cfg.Backups.Interval = time.Nanosecond
	var last *backup.Manifest
	for i := range 3 {
		if _, _, err := n.PutSubject(t.Context(), nba.SubjectDocument{SubjectRef: nba.SubjectRef{ID: "N-1"}}, nil); err != nil {
			t.Fatal(err)
		}
		if last, err = n.backUpOnce(t.Context()); err != nil || last == nil {
			t.Fatalf("backup %d: %+v %v", i, last, err)
		}
	}
	folder, err := backup.Open(n.cfg.Backups.Dir, key, false)
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	if list, err := folder.Manifests(); err != nil || len(list) != 2 || list[1].ID != last.ID {
		t.Errorf("%d backups are kept: %v", len(list), err)
	}

	cfg := DefaultConfig()
	cfg.DataDir, cfg.DataGroups, cfg.Logger = t.TempDir(), 3, slog.New(slog.NewTextHandler(io.Discard, nil))
	into, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer into.Close()
	from, to := io.Pipe()
	go func() { to.CloseWithError(folder.Send(last, to)) }()
	done, err := into.Restore(t.Context(), from, false, func(nba.Restored) error { return nil })
	if err != nil || !done.Done || done.Groups != 3 || done.Plugins != 1 {
		t.Fatalf("restored %+v: %v", done, err)
	}
	doc, err := into.Subject(t.Context(), nba.SubjectRef{ID: "N-1"}, nil)
	if err != nil || doc.Version != 3 {
		t.Errorf("a subject of version 3 is restored as %+v: %v", doc, err)
	}
	var out nba.Decision
	if err := into.Decide(t.Context(), &nba.DecisionRequest{Subject: nba.SubjectRef{ID: "S-000001"}, Channel: "web"}, &out); err != nil || out.Degraded {
		t.Errorf("a decision after the restore: degraded %t, %v", out.Degraded, err)
	}
}
