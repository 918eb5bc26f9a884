package router

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/arbiterhq/arbiter/cluster/store/record"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

const smallDiskEnv = "ARBITER_TEST_SMALL_DISK"

// onSmallDisk runs the test again in a process of its own that sees a disk of so many MiB, and gives that
// process the folder where it is.
func onSmallDisk(t *testing.T, mebibytes int) (folder string, here bool) {
	t.Helper()
	if folder := os.Getenv(smallDiskEnv); folder != "" {
		err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		if err == nil {
			err = unix.Mount("tmpfs", folder, "tmpfs", 0, fmt.Sprintf("size=%dm", mebibytes))
		}
		if err != nil {
			t.Skip("SKIPPED: no tmpfs can be mounted here:", err)
		}
		return folder, true
	}
	child := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=120s")
	child.Env = append(os.Environ(), smallDiskEnv+"="+t.TempDir())
	child.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
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

// TestFullDisk: somebody fills the disk under a node that is written. Writes are refused and say why,
// reads go on, and when there is room again the node goes on without a restart. Nothing acknowledged is
// lost, then nor after a restart.
func TestFullDisk(t *testing.T) {
	folder, here := onSmallDisk(t, 512)
	if !here {
		return
	}
	ctx := context.Background()
	dir := filepath.Join(folder, "data")
	r := openTest(t, dir, nil)
	written := map[string]int64{}
	write := func(i int64) error {
		id := fmt.Sprint("s", i%50)
		_, _, err := r.PutSubject(ctx, ref(id), []record.Attr{attr(1, i)}, 1, 0, nil)
		if err == nil {
			written[id] = i
		}
		return err
	}
	check := func(when string) {
		for id, i := range written {
			if got := show(t, r, id); !bytes.HasSuffix([]byte(got), []byte(fmt.Sprintf("1=%d", i))) {
				t.Errorf("%s: %s is %s, want %d", when, id, got, i)
			}
		}
	}
	i := int64(0)
	for ; i < 200; i++ {
		if err := write(i); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(folder, "somebody-else")
	fill := func(leave int64) {
		var stat unix.Statfs_t
		f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err == nil {
			if err = unix.Statfs(folder, &stat); err == nil {
				_, err = f.Write(make([]byte, max(0, int64(stat.Bavail)*stat.Bsize-leave)))
			}
			err = errors.Join(err, f.Close())
		}
		if err != nil && !errors.Is(err, unix.ENOSPC) { // the node also takes room
			t.Fatal(err)
		}
	}
	fill(10 << 20)
	var refused error
	before := i
	for deadline := time.Now().Add(10 * time.Second); refused == nil && time.Now().Before(deadline); i++ {
		refused = write(i)
	}
	var problem *nba.Error
	if !errors.As(refused, &problem) || problem.Code != nba.CodeUnavailable || !bytes.Contains([]byte(problem.Message), []byte("disk")) {
		t.Fatalf("a write on a full disk: %v", refused)
	}
	t.Log(problem.Message)
	fill(0)
	t.Logf("%d writes were taken before", i-before-1)
	check("on the full disk")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	recovered := false
	for deadline := time.Now().Add(10 * time.Second); !recovered && time.Now().Before(deadline); i++ {
		if recovered = write(i) == nil; !recovered {
			time.Sleep(20 * time.Millisecond)
		}
	}
	if !recovered {
		t.Fatalf("writes are refused although there is room: %v", write(i))
	}
	check("with room again")
	closeTest(t, r)
	r = openTest(t, dir, nil)
	check("after a restart")
}
