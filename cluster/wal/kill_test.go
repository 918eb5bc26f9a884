package wal

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"
)

const killedDir = "ARBITER_TEST_KILLED_LOG"

// TestMain lets the tests start themselves as the process that is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv(killedDir); dir != "" {
		writeUntilKilled(dir)
		return
	}
	os.Exit(m.Run())
}

func killedOptions() Options { return Options{SegmentBytes: 256 << 10, Logger: quiet()} }

func killedName(i int) string { return fmt.Sprintf("data-%02d", i) }

// killedEntry is what a group writes at an index: it can be told from the index.
func killedEntry(index uint64) Entry {
	data := make([]byte, 100+index*37%4000)
	for i := range data {
		data[i] = byte(index + uint64(i))
	}
	return Entry{Index: index, Term: index / 100, Data: data}
}

// writeUntilKilled appends to several groups and tells what is durable.
func writeUntilKilled(dir string) {
	l, err := Open(dir, killedOptions())
	if err != nil {
		fmt.Println("error", err)
		return
	}
	for i := range 4 {
		g, err := l.Group(killedName(i))
		if err != nil {
			fmt.Println("error", err)
			return
		}
		go func() {
			for {
				first, last := g.Bounds()
				if err := g.Append([]Entry{killedEntry(last + 1), killedEntry(last + 2)}); err != nil {
					fmt.Println("error", err)
					return
				}
				fmt.Printf("wrote %d %d\n", i, last+2) // one write to the pipe, which the parent has
				if last%50 == 0 && last > first+100 {
					if err := g.TruncateHead(last - 20); err != nil {
						fmt.Println("error", err)
						return
					}
				}
				if last%30 == 0 {
					if err := g.Set("vote", fmt.Append(nil, last)); err != nil {
						fmt.Println("error", err)
						return
					}
					fmt.Printf("voted %d %d\n", i, last)
				}
			}
		}()
	}
	select {}
}

// TestKilledProcess kills a process that writes, again and again, and looks for what it said.
func TestKilledProcess(t *testing.T) {
	dir, rounds := t.TempDir(), 12
	if testing.Short() {
		rounds = 4
	}
	var wrote, voted [4]uint64
	for n := range rounds {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), killedDir+"="+dir)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		kill := time.AfterFunc(50*time.Millisecond+rand.N(400*time.Millisecond), func() { _ = child.Process.Kill() })
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var i int
			var at uint64
			switch k, _ := fmt.Sscanf(lines.Text(), "wrote %d %d", &i, &at); {
			case k == 2:
				wrote[i] = at
			default:
				if k, _ := fmt.Sscanf(lines.Text(), "voted %d %d", &i, &at); k == 2 {
					voted[i] = at
				} else if len(lines.Text()) > 4 && lines.Text()[:5] == "error" {
					t.Error(lines.Text())
				}
			}
		}
		_ = child.Wait() // it was killed
		kill.Stop()
		look(t, dir, n, wrote[:], voted[:])
	}
	t.Logf("groups have written %d", wrote)
}

func look(t *testing.T, dir string, round int, wrote, voted []uint64) {
	t.Helper()
	l, err := Open(dir, killedOptions())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for i := range wrote {
		g := group(t, l, killedName(i))
		first, last := g.Bounds()
		if damage, damaged := g.Damage(); damaged || g.Verify(0) != 0 || last < wrote[i] {
			t.Errorf("round %d: group %d has %d to %d of %d, %v %s", round, i, first, last, wrote[i], damaged, damage)
		}
		for at := first; at <= last && at > 0; at++ {
			var e Entry
			if err := g.Read(at, &e); err != nil || !equal(e, killedEntry(at)) {
				t.Fatalf("round %d: entry %d of group %d: %v", round, at, i, err)
			}
		}
		var vote uint64
		if _, err := fmt.Sscan(string(g.Get("vote")), &vote); voted[i] > 0 && (err != nil || vote < voted[i]) {
			t.Errorf("round %d: the vote of group %d is %q, it said %d", round, i, g.Get("vote"), voted[i])
		}
	}
}
