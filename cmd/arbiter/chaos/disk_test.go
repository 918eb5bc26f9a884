package chaos

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// smallDisk gives each node a file system of its own, of so many bytes, in memory.
func smallDisk(bytes int64) setup {
	return func(t *testing.T, c *cluster, i int) {
		t.Helper()
		if err := unix.Mount("chaos", c.nodes[i].dir, "tmpfs", 0, fmt.Sprintf("size=%d", bytes)); err != nil {
			t.Skipf("no file system of a fixed size for %s: %v", c.nodes[i].id, err)
		}
	}
}

// fullDisk fills the file system of a node. The node must live on, refuse writes it cannot keep, and
// serve reads.
func fullDisk(n *nemesis) (func() error, error) {
	victim := n.one()
	ballast := filepath.Join(victim.dir, "ballast")
	if err := fill(ballast); err != nil {
		return nil, err
	}
	return func() error {
		if !victim.alive() {
			n.t.Errorf("%s ended when its disk was full:\n%s", victim.id, victim.tail())
		} else if _, a := victim.read("set-000000", "stale"); len(n.c.nodes) > 1 && a.fate != applied {
			n.t.Errorf("%s answers a stale read with status %d %v %s while its disk is full", victim.id, a.status, a.err, a.body)
		}
		return os.Remove(ballast)
	}, nil
}

// fill makes a file that takes all there is.
func fill(path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	var stat unix.Statfs_t
	if err := unix.Fstatfs(int(file.Fd()), &stat); err != nil {
		return err
	}
	if err := unix.Fallocate(int(file.Fd()), 0, 0, int64(stat.Bavail)*stat.Bsize); err != nil && !errors.Is(err, unix.ENOSPC) {
		return err
	}
	chunk := make([]byte, 4096)
	for end := int64(stat.Bavail) * stat.Bsize; ; end += int64(len(chunk)) { // what others freed meanwhile
		if _, err := file.WriteAt(chunk, end); err != nil {
			return nil
		}
	}
}

// slowDisk throttles what a node writes, by a control group of its own.
func slowDisk(n *nemesis) (func() error, error) {
	const operations = 60 // a second
	victim := n.one()
	group := filepath.Join("/sys/fs/cgroup/blkio", fmt.Sprintf("arbiter-chaos-%d-%s", time.Now().UnixNano(), victim.id))
	if err := os.Mkdir(group, 0o700); err != nil {
		return nil, errSkip{err}
	}
	var stat unix.Stat_t
	if err := unix.Stat(victim.dir, &stat); err != nil {
		return nil, err
	}
	device := fmt.Sprintf("%d:%d", unix.Major(stat.Dev), unix.Minor(stat.Dev))
	limit := filepath.Join(group, "blkio.throttle.write_iops_device")
	if err := os.WriteFile(limit, fmt.Appendf(nil, "%s %d", device, operations), 0o600); err != nil {
		return nil, errSkip{errors.Join(err, os.Remove(group))}
	}
	if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), fmt.Append(nil, victim.pid()), 0o600); err != nil {
		return nil, errSkip{errors.Join(err, os.Remove(group))}
	}
	return func() error {
		err := os.WriteFile(limit, fmt.Appendf(nil, "%s 0", device), 0o600)
		if victim.alive() {
			err = errors.Join(err, os.WriteFile("/sys/fs/cgroup/blkio/cgroup.procs", fmt.Append(nil, victim.pid()), 0o600))
		}
		return errors.Join(err, os.Remove(group))
	}, nil
}

// errSkip is a fault that this machine does not offer.
type errSkip struct{ error }

// logFiles are the files of a node's log, the one written last at the end.
func logFiles(dir string) (files []string, err error) {
	var newest time.Time
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || !isLog(path) {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		files = append(files, path)
		if last := len(files) - 1; info.ModTime().Before(newest) && last > 0 {
			files[last], files[last-1] = files[last-1], files[last]
		} else {
			newest = info.ModTime()
		}
		return nil
	})
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("there is no log below %s", dir)
	}
	return files, err
}

func isLog(path string) bool {
	return strings.HasSuffix(path, ".wal") || strings.HasSuffix(path, ".seg") || strings.HasSuffix(path, ".log") && strings.Contains(path, "/log/")
}

// written is where the last byte other than 0 of a file ends: logs are longer than what is in them.
func written(file *os.File) (int64, error) {
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	block := make([]byte, 64<<10)
	for end := info.Size(); end > 0; {
		from := max(0, end-int64(len(block)))
		part := block[:end-from]
		if _, err := file.ReadAt(part, from); err != nil {
			return 0, err
		}
		if trimmed := bytes.TrimRight(part, "\x00"); len(trimmed) > 0 {
			return from + int64(len(trimmed)), nil
		}
		end = from
	}
	return 0, nil
}

// tornTail kills a node and leaves behind its log what a write that never finished leaves.
func tornTail(n *nemesis) (func() error, error) {
	victim := n.one()
	victim.kill()
	files, err := logFiles(victim.dir)
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(files[len(files)-1], os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	end, err := written(file)
	if err != nil {
		return nil, err
	}
	// A log may end in a checksum whose last byte happens to be 0; leave room for it.
	garbage := make([]byte, 1+n.random.IntN(6000))
	for i := range garbage {
		garbage[i] = byte(n.random.Uint32())
	}
	_, err = file.WriteAt(garbage, (end+16)&^7)
	return nil, err
}

// otherBoot kills a node and makes it believe that the machine was restarted meanwhile: it must not
// trust what it had not synced.
func otherBoot(n *nemesis) (func() error, error) {
	victim := n.one()
	victim.kill()
	file, err := os.CreateTemp("", "boot-id-")
	if err != nil {
		return nil, err
	}
	defer file.Close()
	fmt.Fprintf(file, "%08x-0000-4000-8000-%012x\n", n.random.Uint32(), n.random.Uint64()>>16)
	return nil, unix.Mount(file.Name(), "/proc/sys/kernel/random/boot_id", "", unix.MS_BIND, "")
}

func diskFaults() []fault {
	return []fault{
		{name: "torn-tail", strike: tornTail},
		{name: "other-boot", root: true, replicas: 3, strike: otherBoot},
		{name: "slow-disk", root: true, strike: slowDisk},
		{name: "full-disk", root: true, strike: fullDisk},
	}
}

// TestDiskFaults fills, slows and damages the disks of nodes under load.
func TestDiskFaults(t *testing.T) {
	if short() {
		t.Skip("part of make chaos")
	}
	s := seed(t)
	var disk []setup
	if namespaced() {
		disk = append(disk, smallDisk(1<<30))
	}
	c := newCluster(t, *flagNodes, disk...)
	declare(t, c)
	var faults []fault
	for _, f := range diskFaults() {
		if f.name != "slow-disk" { // a file system in memory has no device to be slowed down
			faults = append(faults, f)
		}
	}
	n := newNemesis(t, c, s, 2*time.Second, faults...)
	torment(t, c, n, nemesisTime(0), newRegisters(s, current(c)), newSet(s, current(c)), newLedger(s))
}

// TestSlowDisk slows the disk of one node after the other.
func TestSlowDisk(t *testing.T) {
	if short() {
		t.Skip("part of make chaos")
	}
	s := seed(t)
	c := newCluster(t, *flagNodes)
	declare(t, c)
	n := newNemesis(t, c, s, 3*time.Second, append(diskFaults()[2:3], processFaults()[0])...)
	torment(t, c, n, nemesisTime(0), newRegisters(s, current(c)), newSet(s, current(c)))
}

// TestTheLogIsFound proves that torn-tail hits the log of a node, wherever it lies.
func TestTheLogIsFound(t *testing.T) {
	c := newCluster(t, 1)
	declare(t, c)
	if _, err := logFiles(c.nodes[0].dir); err != nil {
		var all []string
		_ = filepath.WalkDir(c.nodes[0].dir, func(path string, _ fs.DirEntry, _ error) error {
			all = append(all, path)
			return nil
		})
		t.Errorf("%v; it has %s", err, strings.Join(all, "\n"))
	}
}
