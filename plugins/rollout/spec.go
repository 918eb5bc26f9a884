package rollout

import (
	"fmt"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Spec tells how a version is rolled out. WithDefaults fills in what was left out.
type Spec struct {
	// Steps come after prepared, in order; the last is followed by active.
	Steps []Step `json:"steps"`
	// Auto goes to the next step by itself once the hold of a step has passed and the guardrails have seen
	// enough. Otherwise somebody promotes.
	Auto bool `json:"auto"`
	// Salt is hashed with the subject; by default the id of the rollout. Two rollouts with one salt choose the
	// same subjects.
	Salt string `json:"salt,omitempty"`
	// WindowSeconds is how far the guardrails look back: at one to two windows. Default 300.
	WindowSeconds int `json:"windowSeconds,omitempty"`
	// ShadowPermille is the share of decisions that are scored in the shadow; default 1000.
	ShadowPermille int        `json:"shadowPermille,omitempty"`
	Guardrails     Guardrails `json:"guardrails"`
}

// Step is one step of a rollout.
type Step struct {
	// Stage is Shadow or Canary.
	Stage Stage `json:"stage"`
	// Permille is the share of the subjects that get the candidate, of a canary.
	Permille int `json:"permille,omitempty"`
	// HoldSeconds is how long the step lasts at least when Auto is set.
	HoldSeconds int `json:"holdSeconds,omitempty"`
}

// Guardrails are limits on what the candidate does compared with the incumbent. Zero means the default and
// -1 that the guardrail is off.
type Guardrails struct {
	// MinCalls is how many calls of each version the guardrails want to see before they judge; default 500.
	MinCalls int `json:"minCalls,omitempty"`
	// ErrorPPM is by how much the share of failed calls may exceed the incumbent's; default 10000 (1%).
	ErrorPPM int `json:"errorPpm,omitempty"`
	// DegradedPPM is the same of degraded decisions; default 10000.
	DegradedPPM int `json:"degradedPpm,omitempty"`
	// FuelPermille is the most p99 of fuel a call, relative to the incumbent's; default 3000 (three times).
	FuelPermille int `json:"fuelPermille,omitempty"`
	// LatencyPermille is the most p99 of the time a call takes, relative to the incumbent's; default 3000.
	// It does not count below LatencyFloorMicros; default 1000.
	LatencyPermille    int `json:"latencyPermille,omitempty"`
	LatencyFloorMicros int `json:"latencyFloorMicros,omitempty"`
	// ShiftPPM is the most population stability index of the scores against the incumbent's; default 250000 (0.25).
	ShiftPPM int `json:"shiftPpm,omitempty"`
	// AcceptancePPM is by how much the acceptance rate may fall, relative to the incumbent's, before a
	// significant fall counts; default 100000 (10%). MinPropositions is how many propositions of each version
	// it takes to judge; default 1000.
	AcceptancePPM   int `json:"acceptancePpm,omitempty"`
	MinPropositions int `json:"minPropositions,omitempty"`
	// RatioMilli is the most chi-square of the split of the subjects between the versions, in thousandths;
	// default 24000, which chance exceeds once in a million. MinSubjects is how many it takes; default 1000.
	RatioMilli  int `json:"ratioMilli,omitempty"`
	MinSubjects int `json:"minSubjects,omitempty"`
}

// The limits of a Spec.
const (
	MaxSteps         = 16
	maxSaltBytes     = 128
	maxHoldSeconds   = 90 * 24 * 3600
	maxWindowSeconds = 24 * 3600
	maxGuardrail     = 1 << 30
	off              = -1
)

// DefaultSteps are the shadow, then 1%, 10% and 50% of the subjects, each held for ten minutes.
func DefaultSteps() []Step {
	return []Step{{Stage: Shadow, HoldSeconds: 600}, {Stage: Canary, Permille: 10, HoldSeconds: 600},
		{Stage: Canary, Permille: 100, HoldSeconds: 600}, {Stage: Canary, Permille: 500, HoldSeconds: 600}}
}

// WithDefaults is s with everything filled in but the salt. Steps that are nil are DefaultSteps; an empty
// list means that active comes right after prepared.
func (s Spec) WithDefaults() Spec {
	if s.Steps == nil {
		s.Steps = DefaultSteps()
	}
	g := &s.Guardrails
	for _, d := range []struct {
		value    *int
		fallback int
	}{{&s.WindowSeconds, 300}, {&s.ShadowPermille, 1000}, {&g.MinCalls, 500}, {&g.ErrorPPM, 10_000}, {&g.DegradedPPM, 10_000},
		{&g.FuelPermille, 3000}, {&g.LatencyPermille, 3000}, {&g.LatencyFloorMicros, 1000}, {&g.ShiftPPM, 250_000},
		{&g.AcceptancePPM, 100_000}, {&g.MinPropositions, 1000}, {&g.RatioMilli, 24_000}, {&g.MinSubjects, 1000}} {
		if *d.value == 0 {
			*d.value = d.fallback
		}
	}
	return s
}

// Validate reports everything wrong with a Spec, as an *nba.Error with CodeInvalid. Zeros are fine.
func (s *Spec) Validate() error {
	wrong := &nba.Error{Code: nba.CodeInvalid, Message: "the rollout cannot be done like this"}
	add := func(pointer, detail string, args ...any) {
		wrong.Details = append(wrong.Details, nba.Detail{Pointer: pointer, Code: nba.CodeInvalid, Detail: fmt.Sprintf(detail, args...)})
	}
	if len(s.Steps) > MaxSteps {
		add("/steps", "at most %d steps", MaxSteps)
	}
	share := 0
	for i, step := range s.Steps {
		at := fmt.Sprintf("/steps/%d", i)
		switch {
		case step.Stage == Shadow && step.Permille != 0:
			add(at+"/permille", "a shadow has no share of the subjects: nobody sees its scores")
		case step.Stage == Shadow && i > 0:
			add(at+"/stage", "the shadow comes first, and once")
		case step.Stage == Shadow:
		case step.Stage != Canary:
			add(at+"/stage", "a step is shadow or canary; active follows the last one by itself")
		case step.Permille < 1 || step.Permille > 1000:
			add(at+"/permille", "the share of the subjects is between 1 and 1000 per mille")
		case step.Permille <= share:
			add(at+"/permille", "the share grows from step to step")
		default:
			share = step.Permille
		}
		if step.HoldSeconds < 0 || step.HoldSeconds > maxHoldSeconds {
			add(at+"/holdSeconds", "a hold is between 0 and %d seconds", maxHoldSeconds)
		}
	}
	if len(s.Salt) > maxSaltBytes {
		add("/salt", "a salt has at most %d bytes", maxSaltBytes)
	}
	if s.WindowSeconds < 0 || s.WindowSeconds > maxWindowSeconds {
		add("/windowSeconds", "a window is between 1 and %d seconds", maxWindowSeconds)
	}
	if s.ShadowPermille < 0 || s.ShadowPermille > 1000 {
		add("/shadowPermille", "the share of decisions is between 1 and 1000 per mille")
	}
	s.Guardrails.check(add)
	if len(wrong.Details) > 0 {
		return wrong
	}
	return nil
}

func (g *Guardrails) check(add func(pointer, detail string, args ...any)) {
	for _, limit := range []struct {
		name  string
		value int
		least int
	}{{"minCalls", g.MinCalls, 0}, {"minPropositions", g.MinPropositions, 0}, {"minSubjects", g.MinSubjects, 0},
		{"latencyFloorMicros", g.LatencyFloorMicros, 0}, {"errorPpm", g.ErrorPPM, off}, {"degradedPpm", g.DegradedPPM, off},
		{"fuelPermille", g.FuelPermille, off}, {"latencyPermille", g.LatencyPermille, off}, {"shiftPpm", g.ShiftPPM, off},
		{"acceptancePpm", g.AcceptancePPM, off}, {"ratioMilli", g.RatioMilli, off}} {
		if limit.value < limit.least || limit.value > maxGuardrail {
			if limit.least == off {
				add("/guardrails/"+limit.name, "a limit is between 1 and %d, 0 for the default, or -1 to switch the guardrail off", maxGuardrail)
			} else {
				add("/guardrails/"+limit.name, "the number is between 1 and %d, or 0 for the default", maxGuardrail)
			}
		}
	}
}
