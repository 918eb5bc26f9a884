package rollout

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

var update = flag.Bool("update", false, "rewrite the expected states of the text cases")

// TestCases runs every script in testdata: commands above the line, the state after each below it.
func TestCases(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d cases, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			script, want, _ := strings.Cut(string(content), "----\n")
			s := newScript()
			for line := range strings.Lines(script) {
				if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
					s.run(line)
				}
			}
			s.survives(t)
			if got := s.out.String(); got != want {
				if *update {
					if err := os.WriteFile(file, []byte(script+"----\n"+got), 0o600); err != nil {
						t.Fatal(err)
					}
					return
				}
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

// script runs commands on a state.
type script struct {
	state   *State
	members []string
	now     time.Time
	started int
	shown   map[string]string
	out     strings.Builder
}

func newScript() *script {
	return &script{state: &State{}, shown: map[string]string{}, members: []string{"n1", "n2"}, now: time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)}
}

// run is one command: a verb, operands, and options of the form name=value.
func (s *script) run(line string) {
	fields := strings.Fields(line)
	options := map[string]string{}
	var operands []string
	for _, f := range fields[1:] {
		if name, value, ok := strings.Cut(f, "="); ok {
			options[name] = value
		} else {
			operands = append(operands, f)
		}
	}
	note, err := s.do(fields[0], operands, options)
	if err != nil {
		note = string(nba.CodeOf(err)) + ": " + err.Error()
	}
	fmt.Fprintf(&s.out, "%s\n", line)
	if note != "" {
		fmt.Fprintf(&s.out, "  %s\n", note)
	}
	if fields[0] == "show" {
		s.show(operands[0])
		return
	}
	for i := range s.state.Rollouts {
		r := &s.state.Rollouts[i]
		if text := brief(r); text != s.shown[r.ID] {
			fmt.Fprintf(&s.out, "  %s\n", text)
			s.shown[r.ID] = text
		}
	}
}

func brief(r *Rollout) string {
	text := fmt.Sprintf("%s %s->%s %s", r.ID, r.Incumbent, r.Version, r.Stage)
	if r.Stage.Comparing() {
		text += fmt.Sprintf(" step %d of %d, %d per mille", r.Step+1, len(r.Spec.Steps), r.Permille())
	}
	if r.Paused {
		text += ", paused"
	}
	if r.Cause != "" {
		text += ", " + r.Cause
	}
	for _, c := range r.Breach {
		text += ": " + c.Guardrail + " " + c.Detail
	}
	return text
}

func (s *script) show(id string) {
	r, _ := s.state.Find(id)
	for _, e := range r.History {
		fmt.Fprintf(&s.out, "  %s %s %s %d %s%s\n", e.At.Format("15:04:05"), e.Event, e.Stage, e.Permille, e.Node, e.Reason)
	}
	for _, c := range Assess(r) {
		fmt.Fprintf(&s.out, "  %s %s %d of %d %s\n", c.Guardrail, c.State, c.Value, c.Limit, c.Unit)
	}
}

func (s *script) do(verb string, operands []string, options map[string]string) (note string, err error) {
	before := s.state
	defer func() {
		if err == nil && s.state == before && verb != "show" && verb != "wait" && verb != "members" && verb != "judge" && note == "" {
			note = "nothing changed"
		}
	}()
	switch verb {
	case "members":
		s.members = operands
	case "wait":
		d, err := time.ParseDuration(operands[0])
		s.now = s.now.Add(d)
		return "", err
	case "start":
		return "", s.start(operands, options)
	case "ack":
		s.state, _, err = s.state.Acknowledge(operands[0], NodeReady{Node: operands[1], Failure: options["failure"]}, s.members, s.now)
	case "count":
		return "", s.count(operands, options)
	case "judge":
		return s.judge(operands[0])
	case "activated":
		s.state, _ = s.state.Activated(operands[0], options["digest"], s.now)
	case "show":
	default:
		c := Change{ID: operands[0], Verb: Verb(verb), Force: slices.Contains(operands, "force"), Request: options["request"], Members: s.members, At: s.now}
		c.IfRevision, _ = strconv.ParseUint(options["revision"], 10, 64)
		var effect Effect
		if s.state, effect, _, err = s.state.Change(c); effect.Plugin != "" {
			note = "activates " + effect.Plugin + " " + effect.Version
		}
	}
	return note, err
}

func (s *script) start(operands []string, options map[string]string) error {
	s.started++
	c := Candidate{Plugin: operands[0], Version: operands[1], Digest: "sha256:" + operands[1], Incumbent: "1.0.0", IncumbentDigest: "sha256:1.0.0"}
	if from, ok := options["from"]; ok {
		c.Incumbent, c.IncumbentDigest = from, "sha256:"+from
	}
	spec := Spec{Steps: []Step{}, Auto: options["auto"] == "yes"}
	hold, _ := strconv.Atoi(options["hold"])
	for text := range strings.SplitSeq(options["steps"], ",") {
		switch share, err := strconv.Atoi(text); {
		case text == "":
		case text == "shadow":
			spec.Steps = append(spec.Steps, Step{Stage: Shadow, HoldSeconds: hold})
		case err == nil:
			spec.Steps = append(spec.Steps, Step{Stage: Canary, Permille: share, HoldSeconds: hold})
		}
	}
	spec.WindowSeconds, _ = strconv.Atoi(options["window"])
	for name, into := range map[string]*int{"min": &spec.Guardrails.MinCalls, "errors": &spec.Guardrails.ErrorPPM, "shift": &spec.Guardrails.ShiftPPM} {
		*into, _ = strconv.Atoi(options[name])
	}
	var err error
	s.state, _, _, err = s.state.Start(Start{ID: fmt.Sprintf("%s-%d", c.Plugin, s.started), Candidate: c, Spec: spec, At: s.now})
	return err
}

// count reports, for a node, counters such as candidate.calls=100.
func (s *script) count(operands []string, options map[string]string) error {
	r, err := s.state.Find(operands[0])
	if err != nil {
		return err
	}
	entry := Entry{Rollout: r.ID, Revision: r.Revision}
	if old, ok := options["revision"]; ok {
		entry.Revision, _ = strconv.ParseUint(old, 10, 64)
	}
	for name, text := range options {
		arm, field, ok := strings.Cut(name, ".")
		if !ok {
			continue
		}
		value, _ := strconv.ParseUint(text, 10, 64)
		c := &entry.Arms[ArmIncumbent]
		if arm == "candidate" {
			c = &entry.Arms[ArmCandidate]
		}
		c.set(field, value)
	}
	sequence, _ := strconv.ParseUint(operands[2], 10, 64)
	s.state, _, err = s.state.Count(&Report{Node: operands[1], Sequence: sequence, Entries: []Entry{entry}}, s.members, s.now)
	return err
}

// set makes the calls, histograms included: all calls burn 100 fuel and take 1 µs unless told.
func (c *Counts) set(field string, value uint64) {
	hit := func(h *Histogram, bin int, n uint64) {
		for len(*h) <= bin {
			*h = append(*h, 0)
		}
		(*h)[bin] = n
	}
	switch field {
	case "calls":
		c.Calls, c.Rows = value, value
		hit(&c.Fuel, Bin(100), value)
		hit(&c.Nanos, Bin(1000), value)
		hit(&c.Scores, ScoreBin(0.25, true), value)
	case "errors":
		c.Errors = value
	case "heavy": // calls of 10000 fuel besides
		hit(&c.Fuel, Bin(10000), value)
	case "slow": // calls of 5 ms besides
		hit(&c.Nanos, Bin(5_000_000), value)
	case "high": // scores of 0.97 besides
		hit(&c.Scores, ScoreBin(0.97, true), value)
	case "decisions":
		c.Decisions = value
	case "degraded":
		c.Degraded = value
	case "subjects":
		c.Subjects = value
	case "propositions":
		c.Propositions = value
	case "accepted":
		c.Accepted = value
	}
}

// judge does what the guardrails ask for, as the leader of the control group would.
func (s *script) judge(id string) (string, error) {
	r, err := s.state.Find(id)
	if err != nil {
		return "", err
	}
	v := Judge(r, s.now)
	if v.Verb == "" {
		return "nothing to do", nil
	}
	var effect Effect
	s.state, effect, _, err = s.state.Change(Change{ID: id, Verb: v.Verb, Auto: true, Checks: v.Checks, IfRevision: r.Revision, Members: s.members, At: s.now})
	note := string(v.Verb)
	if effect.Plugin != "" {
		note += ", activates " + effect.Plugin + " " + effect.Version
	}
	return note, err
}

// survives writes the state and reads it back.
func (s *script) survives(t *testing.T) {
	t.Helper()
	written, err := json.Marshal(s.state)
	if err != nil {
		t.Fatal(err)
	}
	read, err := Parse(written)
	if err != nil {
		t.Fatalf("%v: %s", err, written)
	}
	again, err := json.Marshal(read)
	if err != nil || string(again) != string(written) {
		t.Errorf("read back: %s, %v; want %s", again, err, written)
	}
}
