package cli

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/arbiterhq/arbiter/plugins/rollout"
)

// spec turns the flags into what the API takes.
func (f *rolloutFlags) spec() (rollout.Spec, error) {
	spec := rollout.Spec{Auto: f.auto, Salt: f.salt, WindowSeconds: int(f.window.Seconds()), Steps: []rollout.Step{}}
	for _, text := range f.steps {
		step := rollout.Step{Stage: rollout.Shadow, HoldSeconds: int(f.hold.Seconds())}
		switch {
		case text == "" || text == "active":
			continue
		case text != "shadow":
			permille, err := scaled(text, "%", 10)
			if err != nil {
				return spec, fmt.Errorf("--steps %s: use shadow, or a share such as 5%%", text)
			}
			step.Stage, step.Permille = rollout.Canary, permille
		}
		spec.Steps = append(spec.Steps, step)
	}
	if f.shadow != "" {
		permille, err := scaled(f.shadow, "%", 10)
		if err != nil {
			return spec, fmt.Errorf("--shadow %s: use a share such as 10%%", f.shadow)
		}
		spec.ShadowPermille = permille
	}
	for _, text := range f.guards {
		if err := guard(&spec.Guardrails, text); err != nil {
			return spec, err
		}
	}
	return spec, spec.Validate()
}

// guardName is a guardrail as the command line names it, with its unit.
type guardName struct {
	name, unit string
	scale      float64
	into       *int
}

func guardNames(g *rollout.Guardrails) []guardName {
	return []guardName{
		{"errors", "%", 10_000, &g.ErrorPPM}, {"degraded", "%", 10_000, &g.DegradedPPM}, {"acceptance", "%", 10_000, &g.AcceptancePPM},
		{"fuel", "x", 1000, &g.FuelPermille}, {"latency", "x", 1000, &g.LatencyPermille}, {"shift", "", 1_000_000, &g.ShiftPPM},
		{"ratio", "", 1000, &g.RatioMilli}, {"calls", "", 1, &g.MinCalls}, {"propositions", "", 1, &g.MinPropositions}, {"subjects", "", 1, &g.MinSubjects},
		{"floor", "", 0, &g.LatencyFloorMicros},
	}
}

func guard(g *rollout.Guardrails, text string) error {
	name, value, ok := strings.Cut(text, "=")
	names := guardNames(g)
	i := slices.IndexFunc(names, func(n guardName) bool { return n.name == name })
	if !ok || i < 0 {
		known := make([]string, len(names))
		for k := range names {
			known[k] = names[k].name
		}
		return fmt.Errorf("--guard %s: use NAME=LIMIT with one of %s", text, strings.Join(known, ", "))
	}
	n := names[i]
	if value == "off" {
		*n.into = -1
		return nil
	}
	if name == "floor" {
		floor, err := time.ParseDuration(value)
		if err != nil || floor < time.Microsecond {
			return fmt.Errorf("--guard %s: use a time such as 1ms", text)
		}
		*n.into = int(floor.Microseconds())
		return nil
	}
	number, err := scaled(value, n.unit, n.scale)
	if err != nil {
		return fmt.Errorf("--guard %s: use a number more than 0%s, or off", text, map[string]string{"%": " with %", "x": " with x", "": ""}[n.unit])
	}
	*n.into = number
	return nil
}

// scaled reads a number that is more than 0, with its unit, which may be left out.
func scaled(text, unit string, scale float64) (int, error) {
	number, err := strconv.ParseFloat(strings.TrimSuffix(text, unit), 64)
	if err == nil && (!(number > 0) || number*scale > math.MaxInt32 || math.Round(number*scale) == 0) {
		err = strconv.ErrRange
	}
	return int(math.Round(number * scale)), err
}
