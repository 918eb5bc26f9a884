package cli

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// modelList numbers the models of one decision, so that tables name them shortly and the digest is
// printed once.
type modelList struct{ models []nba.ModelInfo }

// mark is the short name of m in a table; "-" for a propensity that no model gave.
func (l *modelList) mark(m *nba.ModelInfo) string {
	if m == nil {
		return "-"
	}
	if !slices.Contains(l.models, *m) {
		l.models = append(l.models, *m)
	}
	for _, other := range l.models {
		if other.Name == m.Name && other != *m {
			return m.Name + " " + m.Version
		}
	}
	return m.Name
}

// render tells exactly which artifacts scored.
func (l *modelList) render(w io.Writer, p paint) {
	for _, m := range l.models {
		fmt.Fprintf(w, "  %s\n", p.dim(fmt.Sprintf("model %s %s, %s", m.Name, m.Version, shortDigest(m.Digest))))
	}
}

// contentOrder puts what is read first first, and the rest in alphabetical order.
func contentOrder(content map[string]string) []string {
	first := []string{"headline", "title", "body", "text", "script"}
	keys := slices.Sorted(maps.Keys(content))
	rank := func(key string) int {
		if i := slices.Index(first, key); i >= 0 {
			return i
		}
		return len(first)
	}
	slices.SortStableFunc(keys, func(a, b string) int { return rank(a) - rank(b) })
	return keys
}

// renderExplanation prints the funnel: how many actions came to each stage, and which left and why.
func renderExplanation(w io.Writer, p paint, e *nba.Explanation) {
	if len(e.Stages) == 0 {
		return
	}
	first, last := e.Stages[0].In, e.Stages[len(e.Stages)-1].Out
	fmt.Fprintf(w, "\n%s\n", p.bold(fmt.Sprintf("How %s became %d", plural(first, "action"), last)))
	stageWidth, actionWidth, codeWidth := 0, 0, 0
	for _, s := range e.Stages {
		stageWidth = max(stageWidth, len(s.Stage))
		for _, r := range s.Removed {
			actionWidth, codeWidth = max(actionWidth, len(r.Action)), max(codeWidth, len(r.Code))
		}
	}
	for _, s := range e.Stages {
		fmt.Fprintf(w, "\n  %s  %s  %s\n", p.cyan(pad(s.Stage, stageWidth)), pad(fmt.Sprintf("%2d → %d", s.In, s.Out), 7),
			funnelBar(p, s, first))
		for _, r := range s.Removed {
			indent := 4 + actionWidth + 2 + codeWidth + 2
			fmt.Fprintf(w, "    %s  %s  %s\n", pad(r.Action, actionWidth), p.yellow(pad(r.Code, codeWidth)),
				wrap(r.Label, decisionWidth-indent, indent))
		}
	}
	if len(e.Candidates) > 0 {
		renderCandidates(w, p, e.Candidates)
	}
}

// funnelBar draws what went on and what left at one stage, in proportion to all actions.
func funnelBar(p paint, s nba.Stage, all int) string {
	const width = 24
	if all == 0 {
		return ""
	}
	out := (s.Out*width + all/2) / all
	in := (s.In*width + all/2) / all
	if s.Out > 0 {
		out = max(out, 1)
	}
	return p.green(strings.Repeat("█", out)) + p.dim(strings.Repeat("░", max(in-out, 0)))
}

// renderCandidates prints the factors of every action that was ranked, and what each model was given.
func renderCandidates(w io.Writer, p paint, candidates []nba.CandidateExplanation) {
	fmt.Fprintf(w, "\n%s\n\n", p.bold("Every action that was ranked"))
	models := &modelList{}
	t := newTable(p, "Action", "P", "C", "V", "L", "Priority", "Model")
	right(t, 2, 3, 4, 5, 6)
	for _, c := range candidates {
		t.AppendRow([]any{c.Action, number(c.Propensity), number(c.ContextWeight), amount(c.Value), number(c.Lever),
			p.bold(amount(c.Priority)), models.mark(c.Model)})
	}
	writeTable(w, t, 2)
	shown := map[string]bool{}
	for _, c := range candidates {
		if c.Model == nil {
			continue
		}
		key := c.Model.Digest + featureLines(c.Features)
		if shown[key] {
			continue
		}
		shown[key] = true
		renderFeatures(w, p, &c)
	}
}

// renderFeatures prints what was handed to the model, and what consent kept from it.
func renderFeatures(w io.Writer, p paint, c *nba.CandidateExplanation) {
	if len(c.Features) > 0 {
		fmt.Fprintf(w, "\n%s\n", p.bold(fmt.Sprintf("What %s %s was given (%s)", c.Model.Name, c.Model.Version,
			plural(len(c.Features), "value"))))
		fmt.Fprint(w, featureLines(c.Features))
	}
	if len(c.WithheldAttributes) > 0 {
		fmt.Fprintf(w, "  %s %s\n", p.yellow("Withheld, no consent:"),
			wrap(strings.Join(c.WithheldAttributes, ", "), decisionWidth-24, 24))
	}
}

// featureLines prints features in columns, by name.
func featureLines(features map[string]float64) string {
	names := slices.Sorted(maps.Keys(features))
	cells, width := make([]string, len(names)), 0
	for i, name := range names {
		cells[i] = name + " = " + strconv.FormatFloat(features[name], 'g', 6, 64)
		width = max(width, len([]rune(cells[i])))
	}
	columns := max(1, (decisionWidth-2)/(width+2))
	rows := (len(cells) + columns - 1) / columns
	var b strings.Builder
	for r := range rows {
		line := " "
		for c := range columns {
			if i := c*rows + r; i < len(cells) {
				line += " " + pad(cells[i], width+1)
			}
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return b.String()
}
