package chaos

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The flags; see the package comment.
var (
	flagFor    = flag.Duration("chaos.for", 0, "how long each nemesis goes on; 0 is the short form")
	flagSeed   = flag.Uint64("chaos.seed", 0, "seed of all choices; 0 takes one from the clock")
	flagNodes  = flag.Int("chaos.nodes", 3, "nodes of the cluster")
	flagFaults = flag.String("chaos.faults", "", "only these faults, separated by commas")
	flagKeep   = flag.String("chaos.keep", "", "folder that keeps data, logs and histories")
	flagReads  = flag.Int64("chaos.reads", 0, "reads of the hunt; 0 hunts for -chaos.for")
)

const (
	envInside = "CHAOS_INSIDE" // set in the process that runs the tests
	envBinary = "CHAOS_BINARY" // the program under test
	envRole   = "CHAOS_ROLE"   // what this program is when it is not the test
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(func() int {
		if role := os.Getenv(envRole); role != "" {
			return playRole(role)
		}
		if os.Getenv(envInside) != "" {
			return inside(m)
		}
		code, err := outside(m)
		if err != nil {
			fmt.Fprintln(os.Stderr, "chaos:", err)
			return 1
		}
		return code
	}())
}

// outside builds the program and runs the tests again inside namespaces, or here where there can be
// none.
func outside(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "arbiter-chaos-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	binary := os.Getenv(envBinary)
	if binary == "" {
		binary = filepath.Join(dir, "arbiter")
		if out, err := exec.Command("go", "build", "-o", binary, "..").CombinedOutput(); err != nil {
			return 1, fmt.Errorf("building the program: %w\n%s", err, out)
		}
	}
	for name, value := range map[string]string{envInside: "plain", envBinary: binary, "TMPDIR": dir} {
		if err := os.Setenv(name, value); err != nil {
			return 1, err
		}
	}
	if os.Geteuid() != 0 {
		return m.Run(), nil
	}
	code, err := again("namespaces", &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL})
	if errors.Is(err, os.ErrPermission) {
		fmt.Fprintln(os.Stderr, "chaos: no namespaces here, running without them:", err)
		return m.Run(), nil
	}
	return code, err
}

// again runs this very program once more. It ends with this one, and all it started with it when it
// is the first process of its namespace.
func again(inside string, attr *syscall.SysProcAttr) (int, error) {
	self, err := os.Executable()
	if err != nil {
		return 1, err
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Env = append(os.Environ(), envInside+"="+inside)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = attr
	err = cmd.Run()
	if cmd.ProcessState == nil {
		return 1, fmt.Errorf("starting the tests in namespaces: %w", err)
	}
	return cmd.ProcessState.ExitCode(), nil
}

// namespaced tells that mounts and network are those of this test alone.
func namespaced() bool { return os.Getenv(envInside) == "namespaces" }

// inside prepares the namespaces and runs the tests.
func inside(m *testing.M) int {
	if namespaced() {
		if err := settle(); err != nil {
			fmt.Fprintln(os.Stderr, "chaos: preparing the namespaces:", err)
			return 1
		}
	}
	return m.Run()
}

// settle keeps mounts private, gives the process ids of this namespace a /proc, and brings loopback up.
func settle() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
}

// short tells that this is the short form.
func short() bool { return *flagFor == 0 }

// nemesisTime is how long faults go on in one test.
func nemesisTime(shortForm time.Duration) time.Duration {
	if short() {
		return shortForm
	}
	return *flagFor
}

// seed is the seed of the run, which the test prints with the command that repeats it.
func seed(t *testing.T) uint64 {
	t.Helper()
	s := *flagSeed
	if s == 0 {
		s = uint64(time.Now().UnixNano()) % 1_000_000
	}
	t.Logf("repeat with: go test ./cmd/arbiter/chaos -run '^%s$' -v -timeout 0 -chaos.seed %d -chaos.for %v -chaos.nodes %d -chaos.faults '%s'",
		strings.Split(t.Name(), "/")[0], s, *flagFor, *flagNodes, *flagFaults)
	return s
}
