package campaign

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// TestCases runs testdata/*.txt: a line is an operation, the indented lines behind it are what it must give.
func TestCases(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.txt")
	if len(files) == 0 {
		t.Fatal("no cases")
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s := &script{state: &State{}, now: time.Date(2026, 3, 28, 12, 0, 0, 0, time.UTC)}
			var want []string
			line, at := "", 0
			check := func() {
				if line == "" {
					return
				}
				if got := s.run(line); got != strings.Join(want, "\n") {
					t.Errorf("%s:%d %s\n got %s\nwant %s", file, at, line, got, strings.Join(want, "\n"))
				}
			}
			for i, next := range append(strings.Split(string(text), "\n"), "end") {
				switch {
				case strings.HasPrefix(next, "#"), strings.TrimSpace(next) == "":
				case strings.HasPrefix(next, "  "):
					want = append(want, strings.TrimSpace(next))
				default:
					check()
					line, want, at = next, nil, i+1
				}
			}
		})
	}
}

// script runs the operations of a case.
type script struct {
	state *State
	now   time.Time
}

func (s *script) run(line string) string {
	before := fmt.Sprintf("%+v", s.state)
	kept := s.state
	words := strings.Fields(line)
	out := s.do(words[0], words[1:])
	if fmt.Sprintf("%+v", kept) != before {
		out += " and changed the state before"
	}
	return out
}

func (s *script) do(verb string, words []string) string {
	s.now = s.now.Add(time.Second)
	number := func(i int) uint64 { n, _ := strconv.ParseUint(words[i], 10, 64); return n }
	var err error
	changed := true
	switch verb {
	case "start":
		start := Start{Number: number(0), Campaign: words[1], CatalogVersion: 7, Groups: 2, At: s.now}
		if len(words) > 2 {
			due, _ := time.Parse(time.RFC3339, words[2])
			start.Due = &due
		}
		s.state, err = s.state.Start(start)
	case "finish":
		account := Account{Examined: number(2), Audience: number(2), Contacted: number(3)}
		account.Suppress("contact:X", number(2)-number(3))
		s.state, changed, err = s.state.Finish(number(0), number(1), account, s.now)
	case "due":
		return s.due(words)
	default:
		s.state, changed, err = s.state.Change(number(0), Verb(verb), s.now)
	}
	if err != nil {
		return string(nba.CodeOf(err))
	}
	if !changed {
		return "nothing"
	}
	return s.show()
}

func (s *script) show() string {
	var runs []string
	for i := range s.state.Runs {
		r := &s.state.Runs[i]
		var all Account
		for j := range r.Finished {
			all.Add(&r.Finished[j].Account)
		}
		runs = append(runs, fmt.Sprintf("%s %s %d/%d", r.ID(), r.State, len(r.Finished), all.Contacted))
	}
	return strings.Join(runs, ", ")
}

// due asks a schedule: expression with _ for spaces, zone, since, now.
func (s *script) due(words []string) string {
	zone, err := time.LoadLocation(words[1])
	if err != nil {
		return err.Error()
	}
	schedule, err := ParseSchedule(strings.ReplaceAll(words[0], "_", " "), zone)
	if err != nil {
		return "refused"
	}
	since, _ := time.Parse(time.RFC3339, words[2])
	now, _ := time.Parse(time.RFC3339, words[3])
	at, due := schedule.Due(since, now)
	if !due {
		return "not due, next " + schedule.Next(now).Format(time.RFC3339)
	}
	return "due " + at.Format(time.RFC3339)
}

// TestForgetsTheOldest: runs that are over make room, those that are not stay.
func TestForgetsTheOldest(t *testing.T) {
	s, at := &State{}, time.Unix(0, 0)
	var err error
	for i := uint64(1); i <= MaxRuns+5; i++ {
		if s, err = s.Start(Start{Number: i, Campaign: fmt.Sprint("c", i), CatalogVersion: 1, Groups: 1, At: at}); err != nil {
			t.Fatal(err)
		}
		if i == 1 {
			continue
		}
		if s, _, err = s.Change(i, Stop, at); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.Runs) != MaxRuns || s.Runs[0].Number != 1 {
		t.Errorf("%d runs, the first %d", len(s.Runs), s.Runs[0].Number)
	}
}

// TestAccountsAddUp: whatever is counted, in whatever order, parts added up are the whole, and their bytes read back.
func TestAccountsAddUp(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var parts [3]Account
		var whole Account
		for range 50 {
			part := &parts[random.IntN(3)]
			for _, a := range []*Account{part, &whole} {
				a.Examined++
			}
			what, name := random.IntN(4), fmt.Sprint(random.IntN(400))
			for _, a := range []*Account{part, &whole} {
				switch what {
				case 0:
					continue
				case 1:
					a.HeldOut++
				case 2:
					a.Suppress("stage:"+name, 1)
				default:
					a.Contact("a"+name, "sms", 1, 5)
				}
				a.Audience++
			}
		}
		var sum Account
		for i := range parts {
			sum.Add(&parts[i])
		}
		if err := sum.Check(); err != nil || !reflect.DeepEqual(sum, whole) {
			t.Fatalf("%v\n%+v\n%+v", err, sum, whole)
		}
		raw, err := sum.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := DecodeAccount(raw); err != nil || !reflect.DeepEqual(back, sum) {
			t.Fatalf("%+v, %v", back, err)
		}
	}
}

// TestLift compares with the worked examples of the paper that LiftOf names (method 10 in its table II).
func TestLift(t *testing.T) {
	for _, row := range []struct {
		a, b      Share
		low, high float64
	}{
		{Share{70, 56}, Share{80, 48}, 0.0524, 0.3339},
		{Share{10, 9}, Share{10, 3}, 0.1705, 0.8090},
		{Share{56, 5}, Share{29, 0}, -0.0381, 0.1926},
		{Share{10, 0}, Share{20, 0}, -0.1611, 0.2775},
		{Share{10, 10}, Share{10, 0}, 0.6075, 1.0000},
	} {
		lift, ok := LiftOf(row.a, row.b)
		if !ok || math.Abs(lift.Low-row.low) > 5e-5 || math.Abs(lift.High-row.high) > 5e-5 {
			t.Errorf("%v and %v: %.4f to %.4f, want %.4f to %.4f", row.a, row.b, lift.Low, lift.High, row.low, row.high)
		}
	}
	if _, ok := LiftOf(Share{1, 1}, Share{}); ok {
		t.Error("a lift against nobody")
	}
}

func FuzzDecodeAccount(f *testing.F) {
	f.Add([]byte(`{"examined":2,"audience":1,"contacted":0,"heldOut":0,"suppressed":[{"reason":"a:b","count":1}]}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		a, err := DecodeAccount(raw)
		if err != nil {
			return
		}
		again, err := a.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := DecodeAccount(again); err != nil || !reflect.DeepEqual(back, a) && len(a.Suppressed)+len(a.Actions) > 0 {
			t.Fatalf("%+v, %v", back, err)
		}
	})
}
