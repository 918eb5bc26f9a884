package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/arbiterhq/arbiter/plugins/rollout"
)

// renderRollout prints a rollout for people: where it stands, both versions side by side, the guardrails,
// and what happened.
func renderRollout(w io.Writer, p paint, v *rollout.View, now time.Time) {
	mode := "by hand"
	if v.Auto {
		mode = "by itself"
	}
	fmt.Fprintf(w, "%s  plugin %s %s -> %s, %s, %s, since %s\n", p.bold(v.ID), v.Plugin, v.Incumbent, p.bold(v.Version), stageText(p, v), mode, ago(now, v.Since))
	fmt.Fprintf(w, "%s  %s\n", p.dim("steps"), stepsLine(p, v))
	fmt.Fprintf(w, "%s  %s\n", p.dim("nodes"), nodesLine(p, v))
	for _, c := range v.Breach {
		fmt.Fprintf(w, "\n%s\n  %s\n", p.red("Taken back by "+c.Guardrail), strings.ReplaceAll(c.Detail, "; ", ";\n  "))
	}
	i, c := &v.Arms.Incumbent, &v.Arms.Candidate
	if i.Calls+c.Calls > 0 {
		fmt.Fprintln(w)
		renderArms(w, p, v)
	}
	if len(v.Guardrails) > 0 {
		fmt.Fprintln(w)
		t := newTable(p, "Guardrail", "", "Stands at", "Limit", "Incumbent", "Candidate", "Seen")
		right(t, 3, 4, 5, 6, 7)
		for k := range v.Guardrails {
			g := &v.Guardrails[k]
			t.AppendRow([]any{p.bold(g.Guardrail), checkState(p, g), quantity(g.Value, g.Unit), quantity(g.Limit, g.Unit),
				quantity(g.Incumbent, g.ArmUnit), quantity(g.Candidate, g.ArmUnit), seen(g)})
		}
		writeTable(w, t, 0)
	}
	fmt.Fprintln(w)
	t := newTable(p, "When", "What", "Stage", "")
	for k := range v.History {
		e := &v.History[k]
		what := e.Event
		if e.Auto {
			what += p.dim(" by itself")
		}
		stage := string(e.Stage)
		if e.Stage == rollout.Canary {
			stage += " " + share(e.Permille)
		}
		t.AppendRow([]any{stamp(e.At), what, stage, strings.TrimSpace(e.Node + " " + e.Reason)})
	}
	writeTable(w, t, 0)
	renderRolloutNext(w, p, v)
}

// renderRolloutNext tells what can be done.
func renderRolloutNext(w io.Writer, p paint, v *rollout.View) {
	switch {
	case v.Paused:
		fmt.Fprintf(w, "\n%s arbiter rollout resume %s\n", p.dim("To go on:"), v.ID)
	case v.Stage == rollout.Active:
		fmt.Fprintf(w, "\n%s arbiter rollout undo %s\n", p.dim("To return to "+v.Incumbent+":"), v.ID)
	case v.Stage == rollout.Staged:
		fmt.Fprintf(w, "\n%s arbiter rollout status %s\n", p.dim("The nodes are loading it. To see how far they are:"), v.ID)
	case v.Stage.Running() && !v.Auto:
		fmt.Fprintf(w, "\n%s arbiter rollout promote %s\n", p.dim("To go on:"), v.ID)
	}
}

func renderArms(w io.Writer, p paint, v *rollout.View) {
	i, c := &v.Arms.Incumbent, &v.Arms.Candidate
	t := newTable(p, "Since the step began", "Incumbent "+v.Incumbent, "Candidate "+v.Version)
	right(t, 2, 3)
	number := func(name string, a, b uint64) {
		if a+b > 0 {
			t.AppendRow([]any{name, thousands(int64(a)), thousands(int64(b))})
		}
	}
	number("subjects", i.Subjects, c.Subjects)
	number("decisions", i.Decisions, c.Decisions)
	number("degraded", i.Degraded, c.Degraded)
	number("calls", i.Calls, c.Calls)
	number("failed calls", i.Errors, c.Errors)
	number("left out in the shadow", i.Dropped, c.Dropped)
	number("propositions", i.Propositions, c.Propositions)
	number("accepted", i.Accepted, c.Accepted)
	number("fuel a call, p50", i.FuelP50, c.FuelP50)
	number("fuel a call, p99", i.FuelP99, c.FuelP99)
	t.AppendRow([]any{"time of a call, p50", nanos(i.NanosP50), nanos(c.NanosP50)})
	t.AppendRow([]any{"time of a call, p99", nanos(i.NanosP99), nanos(c.NanosP99)})
	if c.Compared > 0 {
		t.AppendRow([]any{"scores that differ", "", fmt.Sprintf("%.1f%% by %.3f", 100*float64(c.Differed)/float64(c.Compared), float64(c.DistancePPM)/1e6)})
	}
	writeTable(w, t, 0)
}

// stepsLine shows the way with the present step in brackets.
func stepsLine(p paint, v *rollout.View) string {
	var parts []string
	at := -1
	if v.Step > 0 {
		at = v.Step - 1
	}
	for k, s := range v.Steps {
		name := "shadow"
		if s.Stage == rollout.Canary {
			name = share(s.Permille)
		}
		if k == at {
			name = p.bold("[" + name + "]")
		}
		parts = append(parts, name)
	}
	active := "active"
	if v.Stage == rollout.Active {
		active = p.bold("[active]")
	}
	return strings.Join(append(parts, active), " -> ")
}

func nodesLine(p paint, v *rollout.View) string {
	ready := 0
	var troubles []string
	for _, n := range v.Nodes {
		if n.Failure == "" {
			ready++
		} else {
			troubles = append(troubles, n.Node+": "+n.Failure)
		}
	}
	line := fmt.Sprintf("%s ready", plural(ready, "node"))
	if len(v.Missing) > 0 {
		line += ", " + p.yellow("missing "+strings.Join(v.Missing, " "))
	}
	for _, t := range troubles {
		line += "\n       " + p.red(t)
	}
	return line
}

func checkState(p paint, c *rollout.Check) string {
	switch c.State {
	case rollout.CheckBreached:
		return p.red(c.State)
	case rollout.CheckOK:
		return p.green(c.State)
	}
	return p.dim(c.State)
}

// seen are the samples of the version that has fewer, of those that are wanted.
func seen(c *rollout.Check) string {
	if c.State == rollout.CheckOff {
		return "-"
	}
	return fmt.Sprintf("%s of %s", thousands(int64(min(c.Samples[0], c.Samples[1]))), thousands(int64(c.Need)))
}

// quantity prints a number of a Check in the unit people think in.
func quantity(n int64, unit string) string {
	switch unit {
	case "ppm":
		return fmt.Sprintf("%.2f%%", float64(n)/1e4)
	case "permille":
		return fmt.Sprintf("%.2fx", float64(n)/1000)
	case "index":
		return fmt.Sprintf("%.3f", float64(n)/1e6)
	case "milli":
		return fmt.Sprintf("%.1f", float64(n)/1000)
	case "nanos":
		return nanos(uint64(max(0, n)))
	default:
		return thousands(n)
	}
}

// nanos prints a time with as many digits as are worth reading.
func nanos(n uint64) string {
	d := time.Duration(n)
	switch {
	case d < 100*time.Microsecond:
		return d.Round(100 * time.Nanosecond).String()
	case d < 100*time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	default:
		return d.Round(time.Millisecond).String()
	}
}

// ago is how long ago something was, in the two largest units.
func ago(now, then time.Time) string {
	return max(0, now.Sub(then)).Round(time.Second).String()
}
