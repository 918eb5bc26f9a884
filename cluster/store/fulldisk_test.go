package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

const smallDiskEnv = "ARBITER_TEST_SMALL_DISK"

// onSmallDisk runs the test again in a process of its own that sees a disk of so many MiB, and gives that
// process the folder where it is.
func onSmallDisk(t *testing.T, mebibytes int) (folder string, here bool) {
	t.Helper()
	if folder := os.Getenv(smallDiskEnv); folder != "" {
		if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			t.Skip("SKIPPED: no mount is private here:", err)
		}
		if err := unix.Mount("tmpfs", folder, "tmpfs", 0, fmt.Sprintf("size=%dm", mebibytes)); err != nil {
			t.Skip("SKIPPED: no tmpfs can be mounted here:", err)
		}
		return folder, true
	}
	child := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=120s")
	child.Env = append(os.Environ(), smallDiskEnv+"="+t.TempDir())
	child.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Getuid() != 0 {
		child.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		child.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
	}
	out, err := child.CombinedOutput()
	switch {
	case err != nil && child.ProcessState == nil:
		t.Skip("SKIPPED: a process with mounts of its own cannot be started:", err)
	case err != nil:
		t.Fatalf("%v\n%s", err, out)
	case bytes.Contains(out, []byte("SKIPPED")):
		t.Skipf("%s", out)
	}
	t.Logf("%s", out)
	return "", false
}

// fill writes a file that leaves so many bytes of the disk.
func fill(t *testing.T, folder string, leave int64) (remove func()) {
	t.Helper()
	var stat unix.Statfs_t
	if err := unix.Statfs(folder, &stat); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, "somebody-else")
	if err := os.WriteFile(path, make([]byte, int64(stat.Bavail)*stat.Bsize-leave), 0o600); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFullDisk: somebody fills the disk while the store is written. It says so, reads go on, updates wait
// in bounded memory, and when there is room again all of them are in the file.
func TestFullDisk(t *testing.T) {
	folder, here := onSmallDisk(t, 64)
	if !here {
		return
	}
	space, err := OpenSpace(folder, SpaceOptions{Interval: 5 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer space.Close()
	path := filepath.Join(folder, "state.db")
	options := Options{FlushWrites: 100, FlushInterval: 10 * time.Millisecond, CheckpointInterval: 20 * time.Millisecond, Space: space}
	s, err := Open(path, options)
	if err != nil {
		t.Fatal(err)
	}
	value := string(bytes.Repeat([]byte("v"), 2000))
	put(t, s, Subjects, "first", value)
	waitFor(t, "room at the beginning", func() bool { return s.Writable() == nil })
	if err := s.Checkpoint([]byte("before")); err != nil {
		t.Fatal(err)
	}

	remove := fill(t, folder, 100<<10)
	waitFor(t, "a refusal", func() bool { return nba.CodeOf(s.Writable()) == nba.CodeUnavailable })
	t.Log(s.Writable())
	// What was agreed on before is applied all the same, as far as memory goes.
	const updates = 6000
	applied := make(chan int, updates)
	go func() {
		defer close(applied)
		for i := range updates {
			put(t, s, Subjects, fmt.Sprint("key-", i), value)
			applied <- i
		}
	}()
	last := 0
	for waiting := false; !waiting; {
		select {
		case last = <-applied:
		case <-time.After(500 * time.Millisecond):
			waiting = true
		}
	}
	if last < 100 || last > updates/2 {
		t.Errorf("%d updates were taken on a full disk, want some hundreds, or what was claimed before", last)
	}
	if get(t, s, Subjects, "first") != value || get(t, s, Subjects, fmt.Sprint("key-", last)) != value {
		t.Error("reads do not go on")
	}
	if err := s.Checkpoint([]byte("during")); err == nil {
		t.Error("a checkpoint was possible without room")
	}
	remove()
	for last = range applied {
	}
	if last != updates-1 {
		t.Fatalf("the updates ended at %d", last)
	}
	waitFor(t, "room again", func() bool { return s.Writable() == nil })
	if err := s.Checkpoint([]byte("after")); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(path, options); err != nil {
		t.Fatal(err)
	}
	for i := range updates {
		if get(t, s, Subjects, fmt.Sprint("key-", i)) != value {
			t.Fatalf("key %d is lost", i)
		}
	}
	if err := whole(s); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestInterruptedOnAFullDisk: closing does not wait for a disk that stays full, and the store is then as
// of the last checkpoint.
func TestInterruptedOnAFullDisk(t *testing.T) {
	folder, here := onSmallDisk(t, 32)
	if !here {
		return
	}
	path := filepath.Join(folder, "state.db")
	s, err := Open(path, Options{FlushWrites: 50, FlushInterval: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, Subjects, "kept", "yes")
	if err := s.Checkpoint([]byte("kept")); err != nil {
		t.Fatal(err)
	}
	remove := fill(t, folder, 0)
	done := make(chan error, 1)
	go func() {
		for i := 0; ; i++ {
			err := s.Update(func(tx *Tx) error { return tx.Put(Subjects, fmt.Append(nil, i), make([]byte, 10_000)) })
			if err != nil {
				done <- err
				return
			}
		}
	}()
	waitFor(t, "a refusal", func() bool { return s.Writable() != nil })
	t.Log(s.Writable())
	s.Interrupt()
	if err := <-done; err == nil {
		t.Error("the update was not interrupted")
	}
	if err := s.Close(); err == nil {
		t.Error("closing said nothing of what it could not write")
	}
	remove()
	if s, err = Open(path, Options{}); err != nil {
		t.Fatal(err)
	}
	if get(t, s, Subjects, "kept") != "yes" || string(s.Note()) != "kept" {
		t.Error("the checkpoint is lost")
	}
	if err := errors.Join(whole(s), s.Close()); err != nil {
		t.Error(err)
	}
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %s", what)
		}
	}
}
