package trigger

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the expected output of testdata/*.txt")

// TestText runs the cases of testdata: events with their times in, triggers out. A file tells in its first
// lines which rule it is about.
//
//	strategy window=tumbling:10m aggregate=sum raise=crossing atLeast=5 lateness=2m
//	event 10:00:05 value=3 received=10:00:06
//	clock 10:30
//	read 10:31
//
// The clock follows the times that events are received at; timers fire when it passes them. Cases are
// separated by ====, and ---- begins what is expected.
func TestText(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var out []string
			for i, one := range strings.Split(string(content), "====\n") {
				script, want, _ := strings.Cut(one, "----\n")
				got := (&scripted{t: t}).run(script)
				if got != want && !*update {
					t.Errorf("case %d:\n%s----\ngot:\n%swant:\n%s", i+1, script, got, want)
				}
				out = append(out, script+"----\n"+got)
			}
			if *update {
				if err := os.WriteFile(file, []byte(strings.Join(out, "====\n")), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

const scriptID = 7

// scripted runs one case.
type scripted struct {
	t       testing.TB
	spec    Spec
	machine Machine
	state   []byte
	clockMS int64
	timerMS int64
	sweepMS int64
	out     strings.Builder
}

func (s *scripted) run(script string) string {
	for line := range strings.Lines(script) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		words := strings.Fields(line)
		switch words[0] {
		case "strategy":
			s.spec = specFrom(s.t, words[1:])
		case "event":
			s.event(words[1:])
		case "clock":
			s.clock(at(s.t, words[1]))
			fmt.Fprintf(&s.out, "%s: %s\n", line, s.shown())
		case "read":
			value, ok, err := s.machine.Read(s.state, scriptID, &s.spec, at(s.t, words[1]))
			if err != nil {
				s.t.Fatal(err)
			}
			fmt.Fprintf(&s.out, "%s: %s\n", line, shownValue(value, ok))
		default:
			s.t.Fatalf("%s: no such command", line)
		}
	}
	return s.out.String()
}

func (s *scripted) shown() string {
	switch {
	case s.state == nil:
		return "nothing is kept"
	case s.timerMS != 0:
		return fmt.Sprintf("%d bytes, timer %s", len(s.state), clockText(s.timerMS))
	default:
		return fmt.Sprintf("%d bytes", len(s.state))
	}
}

func shownValue(value int64, ok bool) string {
	if !ok {
		return "none"
	}
	return strconv.FormatFloat(float64(value)/Unit, 'g', -1, 64)
}

func (s *scripted) event(words []string) {
	in := Event{TimeMS: at(s.t, words[0]), Template: []byte(words[0])}
	in.ReceivedMS = max(in.TimeMS, s.clockMS)
	for _, word := range words[1:] {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "value":
			number, err := strconv.ParseFloat(value, 64)
			if err != nil {
				s.t.Fatal(err)
			}
			in.Value = int64(number * Unit)
		case "received":
			in.ReceivedMS = at(s.t, value)
		case "ends":
			in.Ends = true
		default:
			s.t.Fatalf("%s: no such part of an event", word)
		}
	}
	s.clock(in.ReceivedMS)
	if s.spec.Stateless() {
		s.t.Fatal("the strategy keeps nothing")
	}
	change, err := s.machine.Event(s.state, scriptID, &s.spec, &in, s.clockMS)
	s.follow("event "+words[0], change, err)
}

// clock fires what is due until a time, in its order.
func (s *scripted) clock(ms int64) {
	for s.timerMS != 0 && s.timerMS <= ms || s.sweepMS != 0 && s.sweepMS <= ms {
		if s.timerMS != 0 && (s.sweepMS == 0 || s.timerMS <= s.sweepMS) {
			due := s.timerMS
			s.clockMS = max(s.clockMS, due)
			change, err := s.machine.Fire(s.state, scriptID, &s.spec, due, s.clockMS)
			s.timerMS = 0
			change.ClearMS = 0
			s.follow("timer "+clockText(due), change, err)
			continue
		}
		s.clockMS = max(s.clockMS, s.sweepMS)
		s.sweepMS = 0
		change, err := s.machine.Sweep(s.state, s.clockMS)
		s.follow("sweep", change, err)
	}
	s.clockMS = max(s.clockMS, ms)
}

func (s *scripted) follow(what string, c Change, err error) {
	if err != nil {
		s.t.Fatalf("%s: %v", what, err)
	}
	if c.Full {
		s.t.Fatalf("%s: the state is full", what)
	}
	s.state = append([]byte(nil), c.State...)
	if c.State == nil {
		s.state = nil
	}
	if c.ClearMS != 0 && c.ClearMS != s.timerMS {
		s.t.Fatalf("%s: clears a timer that is not set", what)
	}
	if c.ClearMS != 0 {
		s.timerMS = 0
	}
	if c.SetMS != 0 {
		s.timerMS = c.SetMS
	}
	if c.SweepMS != 0 {
		s.sweepMS = c.SweepMS
	}
	if c.UnsweepMS != 0 {
		s.sweepMS = 0
	}
	for _, r := range c.Raised {
		fmt.Fprintf(&s.out, "%s: trigger %s of %s\n", what, shownValue(r.Value, r.HasValue), r.Template)
	}
	if c.Cancel {
		fmt.Fprintf(&s.out, "%s: takes back what was raised\n", what)
	}
}

// at reads 10:00, 10:00:05 or 2d10:00, of days from the first of 2026.
func at(t testing.TB, text string) int64 {
	t.Helper()
	day := 0
	if before, after, ok := strings.Cut(text, "d"); ok {
		day, _ = strconv.Atoi(before)
		text = after
	}
	layout := "15:04:05"
	if strings.Count(text, ":") == 1 {
		layout = "15:04"
	}
	clock, err := time.Parse(layout, text)
	if err != nil {
		t.Fatal(err)
	}
	return time.Date(2026, 1, 1+day, clock.Hour(), clock.Minute(), clock.Second(), 0, time.UTC).UnixMilli()
}

func clockText(ms int64) string {
	at := time.UnixMilli(ms).UTC()
	day := int(at.Sub(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)) / (24 * time.Hour))
	if day == 0 {
		return at.Format("15:04:05")
	}
	return fmt.Sprintf("%dd%s", day, at.Format("15:04:05"))
}

func specFrom(t testing.TB, words []string) (s Spec) {
	t.Helper()
	s.ValidMS = 3600 * 1000
	span := func(text string) int64 {
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		return d.Milliseconds()
	}
	number := func(text string) int64 {
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			t.Fatal(err)
		}
		return int64(n * Unit)
	}
	for _, word := range words {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "window":
			kind, size, _ := strings.Cut(value, ":")
			size, slice, _ := strings.Cut(size, "/")
			switch kind {
			case "tumbling":
				s.Window, s.SizeMS = Tumbling, span(size)
			case "sliding":
				s.Window, s.SizeMS, s.SliceMS = Sliding, span(size), span(slice)
			case "session":
				s.Window, s.SizeMS = Session, span(size)
			case "count":
				s.Window = TumblingCount
				s.Count, _ = strconv.ParseInt(size, 10, 64)
			case "last":
				s.Window = SlidingCount
				s.Count, _ = strconv.ParseInt(size, 10, 64)
			default:
				t.Fatalf("%s: no such window", kind)
			}
		case "aggregate":
			s.Aggregate = map[string]Aggregate{"count": Count, "sum": Sum, "min": Min, "max": Max, "distinct": Distinct, "last": Last}[value]
		case "raise":
			s.Raise = map[string]Raise{"never": Never, "each": Each, "crossing": Crossing, "end": End, "absent": Absent}[value]
		case "atLeast":
			s.HasThreshold, s.Threshold = true, number(value)
		case "below":
			s.HasThreshold, s.Below, s.Threshold = true, true, number(value)
		case "lateness":
			s.LatenessMS = span(value)
		case "within":
			s.WithinMS = span(value)
		case "first":
			s.First = true
		default:
			t.Fatalf("%s: no such part of a strategy", word)
		}
	}
	if !s.Valid() {
		t.Fatalf("%v is no strategy", words)
	}
	return s
}
