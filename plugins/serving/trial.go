package serving

import (
	"context"
	"iter"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/arbiterhq/arbiter/plugins/rollout"
	"github.com/arbiterhq/arbiter/runtime/engine"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Plan tells what a Set serves.
type Plan struct {
	// Active maps plugin names to the digests of the versions in use.
	Active map[string]string
	// Trials are versions on their way into use, at most one of a plugin.
	Trials []Trial
	// Warm are the digests of versions that are kept loaded besides, as far as they are prepared.
	Warm []string
	// LastGood maps plugin names to the digests of the versions that stand in for the active ones when
	// those keep failing, as far as they are prepared.
	LastGood map[string]string
}

// Trial is a version that is compared with the active one of its plugin.
type Trial struct {
	Plugin string
	// Digest is that of the candidate; empty when it is not prepared here: the active version then serves
	// all subjects, and is counted.
	Digest string
	// Salt and Permille choose the subjects that get the candidate's scores.
	Salt     string
	Permille int
	// ShadowPermille is the share of decisions that the candidate scores after the fact.
	ShadowPermille int
	// Tally is told what both versions do.
	Tally *rollout.Tally
	// Own tells whether this node counts a subject; nil: all. Each subject is to be counted by one node.
	Own func(nba.SubjectRef) bool
}

// Equal tells whether two plans are served alike.
func (p *Plan) Equal(o *Plan) bool {
	return maps.Equal(p.Active, o.Active) && maps.Equal(p.LastGood, o.LastGood) && slices.Equal(p.Warm, o.Warm) && slices.EqualFunc(p.Trials, o.Trials, func(a, b Trial) bool {
		return a.Plugin == b.Plugin && a.Digest == b.Digest && a.Salt == b.Salt && a.Permille == b.Permille &&
			a.ShadowPermille == b.ShadowPermille && a.Tally == b.Tally
	})
}

// versions are all that the Set holds, one for each reference.
func (s *Set) versions() iter.Seq[*loaded] {
	return func(yield func(*loaded) bool) {
		for _, m := range s.models {
			if !yield(m.version) || m.lastGood != nil && !yield(m.lastGood.version) ||
				m.trial != nil && m.trial.candidate != nil && !yield(m.trial.candidate.version) {
				return
			}
		}
		for _, v := range s.warm {
			if !yield(v) {
				return
			}
		}
	}
}

// Plan is what the Set serves. The caller must not change it.
func (s *Set) Plan() *Plan { return &s.plan }

// trial is a Trial bound to the versions of a Set.
type trial struct {
	Trial
	salt      rollout.Salt
	candidate *model // nil when it is not prepared here
	calls     atomic.Uint64
}

// Arm is the version that a subject gets of a plugin on trial.
func (t *Trial) Arm(ref nba.SubjectRef) rollout.Arm {
	salt := rollout.NewSalt(t.Salt)
	return rollout.Assign(salt.Hash(ref), t.Permille)
}

// bindTrials binds the candidates of the plan. The caller holds mu.
func (h *Host) bindTrials(s *Set, dictionary *nba.Dictionary) (problems []nba.Detail) {
	for _, t := range s.plan.Trials {
		incumbent, ok := s.models[t.Plugin]
		if !ok {
			problems = append(problems, nba.Detail{Pointer: "/" + t.Plugin, Code: nba.CodeInvalid, Detail: "a plugin on trial has no active version"})
			continue
		}
		bound := &trial{Trial: t, salt: rollout.NewSalt(t.Salt)}
		if t.Digest != "" {
			candidate, found := h.bindOne(t.Plugin, t.Digest, dictionary)
			problems = append(problems, found...)
			if candidate != nil {
				candidate.lastGood = incumbent // when it keeps failing
			}
			bound.candidate = candidate
		}
		incumbent.trial = bound
	}
	return problems
}

// effort is what the guest calls for one call took. A nil one measures nothing.
type effort struct {
	rows int
	fuel uint64
	took time.Duration
}

func (e *effort) begin() (now time.Time) {
	if e != nil {
		now = time.Now()
	}
	return now
}

func (e *effort) end(rows int, fuel uint64, began time.Time) {
	if e != nil {
		e.add(rows, fuel, time.Since(began))
	}
}

func (e *effort) add(rows int, fuel uint64, took time.Duration) {
	e.rows, e.fuel, e.took = e.rows+rows, e.fuel+fuel, e.took+took
}

// score has a call answered by the version that the subject gets, and counts it. In the shadow of the
// incumbent the candidate scores the same later on.
func (t *trial) score(ctx context.Context, s *Set, incumbent *model, call *engine.ScoreCall) (*nba.ModelInfo, error) {
	hash := t.salt.Hash(call.Subject.Ref())
	arm, m := rollout.Assign(hash, t.Permille), incumbent
	if arm == rollout.ArmCandidate && t.candidate != nil {
		m = t.candidate
	} else {
		arm = rollout.ArmIncumbent
	}
	if t.Permille > 0 && (t.Own == nil || t.Own(call.Subject.Ref())) {
		t.Tally.Subject(arm, hash)
	}
	var spent effort
	info, err := m.answer(ctx, call, &spent)
	if err != nil || call.StandIn {
		t.Tally.Failed(arm)
		return info, err
	}
	t.Tally.Called(arm, spent.rows, spent.fuel, spent.took)
	for _, score := range call.Out[:spent.rows] {
		t.Tally.Score(arm, score, m.probability)
	}
	if t.ShadowPermille > 0 && t.candidate != nil {
		t.shadow(s, call, spent.rows)
	}
	return &m.info, nil
}
