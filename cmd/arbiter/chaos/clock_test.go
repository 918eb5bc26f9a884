package chaos

import (
	"encoding/binary"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const envClock = "CHAOS_CLOCK"

// clockSource is added to Go's package time for the program under test alone: it moves the wall clock
// by the milliseconds that stand in a file which is mapped into the process. The monotonic clock goes
// on as ever, as it does when a machine's clock is set.
const clockSource = `package time

import (
	"sync/atomic"
	"syscall"
	"unsafe"
)

var chaosOffset = chaosClock()

func chaosClock() *int64 {
	path, ok := syscall.Getenv("` + envClock + `")
	if !ok {
		return new(int64)
	}
	fd, err := syscall.Open(path, syscall.O_RDONLY, 0)
	if err != nil {
		panic("the clock file: " + err.Error())
	}
	mapped, err := syscall.Mmap(fd, 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		panic("mapping the clock file: " + err.Error())
	}
	return (*int64)(unsafe.Pointer(&mapped[0]))
}

func chaosNow(sec int64, nsec int32) (int64, int32) {
	at := sec*1000000000 + int64(nsec)
	if chaosOffset != nil {
		at += atomic.LoadInt64(chaosOffset) * 1000000
	}
	return at / 1000000000, int32(at % 1000000000)
}
`

// buildWithClock builds the program with a clock that a test can set.
func buildWithClock(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Skipf("the sources of Go are needed for a clock that can be set: %v", err)
	}
	original := filepath.Join(strings.TrimSpace(string(root)), "src/time/time.go")
	source, err := os.ReadFile(original)
	if err != nil {
		t.Skipf("the sources of Go are needed for a clock that can be set: %v", err)
	}
	const read = "	sec, nsec, mono := runtimeNow()\n"
	begin := strings.Index(string(source), "func Now() Time {\n")
	if begin < 0 || !strings.HasPrefix(string(source[begin+len("func Now() Time {\n"):]), read) {
		t.Skip("this version of Go reads its clock in another way")
	}
	changed := string(source[:begin]) + strings.Replace(string(source[begin:]), read, read+"	sec, nsec = chaosNow(sec, nsec)\n", 1)
	files := map[string]string{"time.go": changed, "chaos.go": clockSource}
	overlay := map[string]map[string]string{"Replace": {}}
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		overlay["Replace"][filepath.Join(filepath.Dir(original), name)] = path
	}
	list, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	overlayFile, program := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "arbiter")
	if err := os.WriteFile(overlayFile, list, 0o600); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if out, err := exec.Command("go", "build", "-overlay", overlayFile, "-o", program, "..").CombinedOutput(); err != nil {
		t.Fatalf("building the program with another clock: %v\n%s", err, out)
	}
	t.Logf("built with a clock that can be set in %.0f s", time.Since(began).Seconds())
	return program
}

// settable gives each node a clock of its own.
func settable(program string) setup {
	return func(t *testing.T, c *cluster, i int) {
		t.Helper()
		n := c.nodes[i]
		n.program, n.clock = program, filepath.Join(c.dir, n.id+".clock")
		n.env = append(n.env, envClock+"="+n.clock)
		if err := n.setClock(0); err != nil {
			t.Fatal(err)
		}
	}
}

// setClock moves the wall clock of a node to so far from the true time.
func (n *node) setClock(offset time.Duration) error {
	file, err := os.OpenFile(n.clock, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = file.WriteAt(binary.NativeEndian.AppendUint64(nil, uint64(offset.Milliseconds())), 0)
	return err
}

// clockFaults set clocks, one or all, a little or a lot, ahead or back, once or again and again.
func clockFaults() []fault {
	anywhere := func(n *nemesis) time.Duration {
		most := []time.Duration{50 * time.Millisecond, time.Second, time.Minute, 26 * time.Hour}[n.random.IntN(4)]
		return time.Duration(n.random.Int64N(int64(2*most))) - most
	}
	back := func(n *nemesis) func() error {
		return func() error {
			for _, other := range n.c.nodes {
				if err := other.setClock(0); err != nil {
					return err
				}
			}
			return nil
		}
	}
	return []fault{
		{name: "clock-one", strike: func(n *nemesis) (func() error, error) { return back(n), n.one().setClock(anywhere(n)) }},
		{name: "clock-all", strike: func(n *nemesis) (func() error, error) {
			for _, other := range n.c.nodes {
				if err := other.setClock(anywhere(n)); err != nil {
					return nil, err
				}
			}
			return back(n), nil
		}},
		{name: "clock-strobe", strike: func(n *nemesis) (func() error, error) {
			victim := n.one()
			for range 100 {
				if err := victim.setClock(anywhere(n)); err != nil {
					return nil, err
				}
				time.Sleep(5 * time.Millisecond)
			}
			return back(n), nil
		}},
	}
}

// TestClockJumps sets the clocks of nodes under load, between kills and pauses.
func TestClockJumps(t *testing.T) {
	if short() {
		t.Skip("part of make chaos")
	}
	s := seed(t)
	c := newCluster(t, *flagNodes, settable(buildWithClock(t)))
	declare(t, c)
	n := newNemesis(t, c, s, 700*time.Millisecond, append(clockFaults(), processFaults()[0], processFaults()[3])...)
	torment(t, c, n, nemesisTime(0), newRegisters(s, current(c)), newCounters(s, current(c)), newSet(s, current(c)), newLedger(s))
}

// TestTheClockJumps proves that a node built so believes its clock.
func TestTheClockJumps(t *testing.T) {
	if short() {
		t.Skip("part of make chaos")
	}
	c := newCluster(t, 1, settable(buildWithClock(t)))
	declare(t, c)
	n := c.nodes[0]
	if a := n.put("clocked", 1, nil); a.fate != applied {
		t.Fatal(a.status, a.err)
	}
	if err := n.setClock(-48 * time.Hour); err != nil {
		t.Fatal(err)
	}
	var decision struct {
		DecidedAt time.Time `json:"decidedAt"`
	}
	a := decide(n, "clocked", "")
	if err := json.Unmarshal(a.body, &decision); err != nil {
		t.Fatal(err, string(a.body))
	}
	if off := time.Until(decision.DecidedAt); off > -47*time.Hour {
		t.Errorf("the node decided at %v, %v from now, want two days ago", decision.DecidedAt, off)
	}
}
