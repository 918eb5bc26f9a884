// Package report writes the result of a simulation as one self-contained HTML page: no script, no font and
// no image from elsewhere. The charts are SVG.
package report

import (
	"cmp"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

//go:embed simulation.html
var simulationPage string

// Bars are two values of one thing side by side, in proportion to the largest of all.
type Bars struct {
	Name, Detail string
	From, To     float64
	// FromWidth and ToWidth are in the units of the chart.
	FromWidth, ToWidth float64
	Y                  int
}

// Chart is a bar chart with two bars a line.
type Chart struct {
	Title, Unit string
	Lines       []Bars
	Height      int
}

// The geometry of charts, in the units of their SVG.
const (
	lineHeight = 34
	barWidth   = 420
	maxLines   = 30
)

type page struct {
	Result  *nba.SimulationResult
	Charts  []Chart
	Figures []figure
	At      string
	Options options
}

type options struct{ Bar, Label int }

type figure struct{ Name, From, To, Change string }

// WriteSimulation writes the page. It is the same for the same result.
func WriteSimulation(w io.Writer, r *nba.SimulationResult) error {
	t, err := template.New("simulation").Funcs(template.FuncMap{"nothing": nothing}).Parse(simulationPage)
	if err != nil {
		return fmt.Errorf("reading the page of a simulation: %w", err)
	}
	p := page{Result: r, At: r.At.UTC().Format(time.RFC3339), Options: options{Bar: barWidth, Label: 300}}
	p.Figures = figures(r)
	p.Charts = []Chart{
		chart("Propositions by action", "propositions", actionBars(r, func(a *nba.SimulationAction) float64 { return float64(a.Propositions) })),
		chart("Expected value by action", "propensity × value", actionBars(r, func(a *nba.SimulationAction) float64 { return a.ExpectedValue })),
		chart("Actions that left, by stage and reason", "removals", suppressionBars(r)),
	}
	if err := t.Execute(w, p); err != nil {
		return fmt.Errorf("writing the page of a simulation: %w", err)
	}
	return nil
}

func nothing(action string) string {
	if action == "" {
		return "nothing"
	}
	return action
}

func figures(r *nba.SimulationResult) []figure {
	count := func(name string, from, to int) figure {
		return figure{name, strconv.Itoa(from), strconv.Itoa(to), fmt.Sprintf("%+d", to-from)}
	}
	value := figure{"Expected value", Number(r.From.ExpectedValue), Number(r.To.ExpectedValue), Percent(r.From.ExpectedValue, r.To.ExpectedValue)}
	return []figure{
		value, count("Propositions", r.From.Propositions, r.To.Propositions), count("Decisions that propose nothing", r.From.Nothing, r.To.Nothing),
		count("Degraded decisions", r.From.Degraded, r.To.Degraded), count("Decisions in control groups", r.From.InControl, r.To.InControl),
	}
}

// Number is a number of a report: short, the same for the same number.
func Number(f float64) string {
	switch size := math.Abs(f); {
	case size >= 1000:
		return strconv.FormatFloat(f, 'f', 0, 64)
	case size >= 10:
		return strconv.FormatFloat(f, 'f', 1, 64)
	default:
		return strconv.FormatFloat(f, 'f', 2, 64)
	}
}

// Percent is how much a number changed, as a percentage.
func Percent(from, to float64) string {
	switch {
	case from == to:
		return "±0 %"
	case from == 0:
		return "new"
	default:
		return fmt.Sprintf("%+.1f %%", 100*(to-from)/from)
	}
}

// ActionPair is one action on both sides.
type ActionPair struct {
	Action   string
	From, To nba.SimulationAction
}

// Actions puts the actions of both sides side by side, those most proposed first.
func Actions(r *nba.SimulationResult) []ActionPair {
	var pairs []ActionPair
	at := map[string]int{}
	add := func(list []nba.SimulationAction, set func(*ActionPair, nba.SimulationAction)) {
		for _, a := range list {
			i, ok := at[a.Action]
			if !ok {
				i = len(pairs)
				at[a.Action] = i
				pairs = append(pairs, ActionPair{Action: a.Action})
			}
			set(&pairs[i], a)
		}
	}
	add(r.From.Actions, func(p *ActionPair, a nba.SimulationAction) { p.From = a })
	add(r.To.Actions, func(p *ActionPair, a nba.SimulationAction) { p.To = a })
	slices.SortFunc(pairs, func(a, b ActionPair) int {
		return cmp.Or(cmp.Compare(max(b.From.Propositions, b.To.Propositions), max(a.From.Propositions, a.To.Propositions)), cmp.Compare(a.Action, b.Action))
	})
	return pairs
}

// SuppressionPair is one reason on both sides.
type SuppressionPair struct {
	Stage, Code string
	From, To    int
}

// Suppressions puts the reasons of both sides side by side, in the order of the stages.
func Suppressions(r *nba.SimulationResult) []SuppressionPair {
	var pairs []SuppressionPair
	var stages []string
	at := map[[2]string]int{}
	add := func(list []nba.SimulationSuppression, set func(*SuppressionPair, int)) {
		for _, s := range list {
			key := [2]string{s.Stage, s.Code}
			i, ok := at[key]
			if !ok {
				i = len(pairs)
				at[key] = i
				pairs = append(pairs, SuppressionPair{Stage: s.Stage, Code: s.Code})
			}
			if !slices.Contains(stages, s.Stage) {
				stages = append(stages, s.Stage)
			}
			set(&pairs[i], s.Count)
		}
	}
	add(r.From.Suppressions, func(p *SuppressionPair, n int) { p.From = n })
	add(r.To.Suppressions, func(p *SuppressionPair, n int) { p.To = n })
	slices.SortStableFunc(pairs, func(a, b SuppressionPair) int {
		return cmp.Compare(slices.Index(stages, a.Stage), slices.Index(stages, b.Stage))
	})
	return pairs
}

func actionBars(r *nba.SimulationResult, value func(*nba.SimulationAction) float64) (lines []Bars) {
	for _, pair := range Actions(r) {
		lines = append(lines, Bars{Name: pair.Action, From: value(&pair.From), To: value(&pair.To)})
	}
	return lines
}

func suppressionBars(r *nba.SimulationResult) (lines []Bars) {
	for _, pair := range Suppressions(r) {
		lines = append(lines, Bars{Name: pair.Code, Detail: pair.Stage, From: float64(pair.From), To: float64(pair.To)})
	}
	return lines
}

// chart lays the lines out.
func chart(title, unit string, lines []Bars) Chart {
	lines = lines[:min(len(lines), maxLines)]
	largest := 0.0
	for i := range lines {
		largest = max(largest, lines[i].From, lines[i].To)
	}
	for i := range lines {
		l := &lines[i]
		l.Y = i * lineHeight
		if largest > 0 {
			l.FromWidth, l.ToWidth = math.Round(barWidth*l.From/largest), math.Round(barWidth*l.To/largest)
		}
	}
	return Chart{Title: title, Unit: unit, Lines: lines, Height: max(len(lines), 1) * lineHeight}
}

// FromText and ToText are the values at the ends of the bars.
func (b Bars) FromText() string { return text(b.From) }

// ToText is documented with FromText.
func (b Bars) ToText() string { return text(b.To) }

func text(f float64) string {
	if f == math.Trunc(f) {
		return strconv.FormatFloat(f, 'f', 0, 64)
	}
	return Number(f)
}
