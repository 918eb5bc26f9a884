package wal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fillUp appends until the disk is full, checks that votes still go in and that what was written is
// there, frees space with free, and looks that entries go in again.
func fillUp(t *testing.T, l *Log, free func()) {
	t.Helper()
	g := group(t, l, "a")
	data := make([]byte, 4000)
	last := uint64(0)
	var err error
	for err == nil {
		if err = g.Append([]Entry{{Index: last + 1, Term: 1, Data: data}}); err == nil {
			last++
		}
	}
	if !errors.Is(err, ErrFull) || !l.Full() || l.Failed() != nil {
		t.Fatalf("a full disk gave %v, full is %v, failed is %v", err, l.Full(), l.Failed())
	}
	for term := range 500 { // more than the reserve would hold, were it not used again
		if err := g.Set("term", []byte(fmt.Sprint(term))); err != nil {
			t.Fatalf("vote %d on a full disk: %v", term, err)
		}
	}
	if first, end := g.Bounds(); first != 1 || end != last {
		t.Fatalf("the log has %d to %d, want 1 to %d", first, end, last)
	}
	if i := g.Verify(0); i != 0 {
		t.Fatalf("entry %d is damaged", i)
	}
	free()
	for deadline := time.Now().Add(20 * time.Second); ; {
		if err = g.Append([]Entry{{Index: last + 1, Term: 1, Data: data}}); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("there is space again, and still: %v", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	if got := string(g.Get("term")); got != "499" {
		t.Errorf("the last vote is %q", got)
	}
}

func TestFullDisk(t *testing.T) {
	d := newDisk(1)
	d.space = 10 * smallOptions().SegmentBytes
	l := openDisk(t, d)
	fillUp(t, l, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.space = 0
	})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = openDisk(t, d)
	defer l.Close()
	g := group(t, l, "a")
	if damage, damaged := g.Damage(); damaged || g.Verify(0) != 0 {
		t.Errorf("after the disk was full: %s", damage)
	}
}

// TestFullDiskByTruncating frees the space of the log itself.
func TestFullDiskByTruncating(t *testing.T) {
	d := newDisk(1)
	d.space = 10 * smallOptions().SegmentBytes
	l := openDisk(t, d)
	defer l.Close()
	fillUp(t, l, func() {
		g := group(t, l, "a")
		_, last := g.Bounds()
		if err := g.TruncateHead(last); err != nil {
			t.Fatal(err)
		}
	})
}

// TestRealFullDisk fills a small file system.
func TestRealFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Skip("a small file system cannot be mounted here: ", err)
	}
	defer func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 512<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := Open(filepath.Join(dir, "log"), Options{SegmentBytes: 128 << 10, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	fillUp(t, l, func() {
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
	})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestSyncFailure: after a sync failed nothing is acknowledged any more, and a restart finds all that
// was acknowledged before.
func TestSyncFailure(t *testing.T) {
	d := newDisk(1)
	l := openDisk(t, d)
	g := group(t, l, "a")
	appendOne(t, g, 1, "one")
	d.mu.Lock()
	d.fail = unix.EIO
	d.mu.Unlock()
	for range 3 {
		if err := g.Append([]Entry{{Index: 2, Term: 1}}); !errors.Is(err, ErrFailed) {
			t.Errorf("after a sync failed: %v", err)
		}
	}
	if err := g.Set("term", nil); !errors.Is(err, ErrFailed) {
		t.Errorf("a vote after a sync failed: %v", err)
	}
	var e Entry
	if err := g.Read(1, &e); err != nil {
		t.Errorf("reading goes on, but: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	d.crash(false)
	l = openDisk(t, d)
	defer l.Close()
	if i := group(t, l, "a").Verify(1); i != 0 {
		t.Errorf("entry %d is damaged", i)
	}
}
