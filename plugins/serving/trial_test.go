package serving_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/plugins/rollout"
	"github.com/arbiterhq/arbiter/plugins/serving"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/wasm/wasmtest"
)

// somebody is a subject with an id of his own.
type somebody struct {
	*subject
	id string
}

func (s somebody) Ref() nba.SubjectRef { return nba.SubjectRef{ID: s.id, Type: nba.Subscriber} }

// versions are two versions of one plugin that score tenure + value, the second one more by a thousand.
func versions(t *testing.T, h *serving.Host) (incumbent, candidate string) {
	t.Helper()
	var digests []string
	for i, version := range []string{"1.0.0", "2.0.0"} {
		m := manifest(version, feature("tenure", artifact.Recipe{Attribute: "tenure"}), feature("value", artifact.Recipe{ActionProperty: "value"}))
		b := module(t, wasmtest.Guest{Bias: float64(1000 * i), Weights: []float64{1, 1}}, m)
		if err := h.Prepare(t.Context(), artifact.Digest(b), b); err != nil {
			t.Fatal(err)
		}
		digests = append(digests, artifact.Digest(b))
	}
	return digests[0], digests[1]
}

// scores are those of many subjects in one Set, with the digest that gave them.
func scores(t *testing.T, h *serving.Host, plan serving.Plan) (lines []string) {
	t.Helper()
	d := dictionary(t)
	s, err := h.Serve(plan, d)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Release()
	for i := range 400 {
		c := call(d, person(t, d, map[string]nba.Value{"tenure": nba.Int(int64(i))}), action{"value": 10}, action{"value": 20})
		c.Subject = somebody{c.Subject.(*subject), fmt.Sprintf("S-%06d", i)}
		info, err := s.Score(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, fmt.Sprint(info.Version, info.Digest, c.Out))
	}
	return lines
}

func pluginName() string { return manifest("1.0.0").Name }

// TestAShadowChangesNothing: whatever share of decisions is scored in the shadow, and whatever the
// candidate says, the scores are those without it. What the candidate did is counted.
func TestAShadowChangesNothing(t *testing.T) {
	h := newHost(t, serving.Options{})
	incumbent, candidate := versions(t, h)
	plan := serving.Plan{Active: map[string]string{pluginName(): incumbent}}
	want := scores(t, h, plan)
	for _, share := range []int{1, 250, 1000} {
		tally := rollout.NewTally("r", 1)
		plan.Trials = []serving.Trial{{Plugin: pluginName(), Digest: candidate, Salt: "r", ShadowPermille: share, Tally: tally}}
		if got := scores(t, h, plan); !slices.Equal(got, want) {
			t.Errorf("%d per mille in the shadow: other scores", share)
		}
		shadowed := uint64(400 * share / 1000)
		var counts [2]rollout.Counts
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			if counts = tally.Counts(); counts[1].Calls+counts[1].Dropped >= shadowed {
				break
			}
		}
		c, i := counts[rollout.ArmCandidate], counts[rollout.ArmIncumbent]
		if c.Calls+c.Dropped != shadowed || c.Errors != 0 || i.Calls != 400 || i.Rows != 800 {
			t.Errorf("%d per mille: %+v", share, counts)
		}
		if c.Compared != 2*c.Calls || c.Differed != c.Compared || c.DistancePPM != c.Compared*1_000_000_000 || c.Subjects+i.Subjects != 0 {
			t.Errorf("%d per mille: compared %d, differed %d, distance %d", share, c.Compared, c.Differed, c.DistancePPM)
		}
		if c.Fuel.Total() != c.Calls || c.Scores.Total() != c.Rows {
			t.Errorf("%d per mille: %+v", share, c)
		}
	}
}

// TestCanaryChoosesBySubject: each subject gets the version of its arm, all of one decision from it, and a
// larger share moves only the difference.
func TestCanaryChoosesBySubject(t *testing.T) {
	h := newHost(t, serving.Options{})
	incumbent, candidate := versions(t, h)
	salt := rollout.NewSalt("r")
	var before []string
	for _, permille := range []int{0, 100, 500, 1000} {
		tally := rollout.NewTally("r", 1)
		trial := serving.Trial{Plugin: pluginName(), Digest: candidate, Salt: "r", Permille: permille, Tally: tally}
		got := scores(t, h, serving.Plan{Active: map[string]string{pluginName(): incumbent}, Trials: []serving.Trial{trial}})
		chosen := uint64(0)
		for i, line := range got {
			ref := nba.SubjectRef{ID: fmt.Sprintf("S-%06d", i), Type: nba.Subscriber}
			want := fmt.Sprint("1.0.0", incumbent, []float64{float64(i + 10), float64(i + 20)})
			if rollout.Assign(salt.Hash(ref), permille) == rollout.ArmCandidate {
				want = fmt.Sprint("2.0.0", candidate, []float64{float64(i + 1010), float64(i + 1020)})
				chosen++
			} else if before != nil && before[i] != line {
				t.Errorf("subject %d lost the candidate", i)
			}
			if line != want {
				t.Errorf("%d per mille, subject %d: %s, want %s", permille, i, line, want)
			}
		}
		counts := tally.Counts()
		if counts[1].Calls != chosen || counts[0].Calls != 400-chosen || permille > 0 && counts[1].Subjects != chosen {
			t.Errorf("%d per mille: %d chosen, %+v", permille, chosen, counts)
		}
		before = got
	}
}

// TestATrialWithoutItsCandidateServesTheIncumbent: a node that could not load the candidate answers, and
// the split of the subjects shows that it does not take part.
func TestATrialWithoutItsCandidateServesTheIncumbent(t *testing.T) {
	h := newHost(t, serving.Options{})
	incumbent, _ := versions(t, h)
	tally := rollout.NewTally("r", 1)
	plan := serving.Plan{Active: map[string]string{pluginName(): incumbent}}
	want := scores(t, h, plan)
	plan.Trials = []serving.Trial{{Plugin: pluginName(), Salt: "r", Permille: 500, Tally: tally}}
	if got := scores(t, h, plan); !slices.Equal(got, want) {
		t.Error("other scores")
	}
	if c := tally.Counts(); c[0].Subjects != 400 || c[1].Subjects != 0 {
		t.Errorf("%+v", c)
	}
	plan.Trials[0].Digest = "sha256:unknown"
	if _, err := h.Serve(plan, dictionary(t)); nba.CodeOf(err) != nba.CodeUnavailable {
		t.Errorf("a candidate that is not prepared: %v", err)
	}
	plan.Trials[0].Plugin = "another"
	if _, err := h.Serve(plan, dictionary(t)); nba.CodeOf(err) != nba.CodeInvalid {
		t.Errorf("a trial without an incumbent: %v", err)
	}
}

// TestFailingCandidatesAreCounted: in the shadow their failures cost nobody anything, in a canary they are
// those of its subjects alone.
func TestFailingCandidatesAreCounted(t *testing.T) {
	h := newHost(t, serving.Options{})
	incumbent, _ := versions(t, h)
	m := manifest("3.0.0", feature("tenure", artifact.Recipe{Attribute: "tenure"}), feature("value", artifact.Recipe{ActionProperty: "value"}))
	broken := module(t, wasmtest.Guest{Behaviour: wasmtest.TrapIfNegative, Weights: []float64{1, 1}}, m)
	if err := h.Prepare(t.Context(), artifact.Digest(broken), broken); err != nil {
		t.Fatal(err)
	}
	d := dictionary(t)
	for _, trial := range []serving.Trial{{ShadowPermille: 1000}, {Permille: 500}} {
		trial.Plugin, trial.Digest, trial.Salt, trial.Tally = pluginName(), artifact.Digest(broken), "r", rollout.NewTally("r", 1)
		s, err := h.Serve(serving.Plan{Active: map[string]string{pluginName(): incumbent}, Trials: []serving.Trial{trial}}, d)
		if err != nil {
			t.Fatal(err)
		}
		failed := uint64(0)
		for i := range 200 {
			c := call(d, person(t, d, map[string]nba.Value{"tenure": nba.Int(-1)}), action{"value": 1})
			c.Subject = somebody{c.Subject.(*subject), fmt.Sprint("S-", i)}
			if _, err := s.Score(context.Background(), c); err != nil || c.StandIn {
				failed++
				if trial.Arm(c.Subject.Ref()) != rollout.ArmCandidate {
					t.Errorf("the incumbent failed: %v", err)
				}
			}
		}
		s.Release()
		var counts [2]rollout.Counts
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			if counts = trial.Tally.Counts(); counts[1].Calls+counts[1].Dropped >= 200 || trial.Permille > 0 {
				break
			}
		}
		if c := counts[1]; c.Errors == 0 || c.Errors != c.Calls || trial.Permille > 0 && c.Errors != failed || trial.Permille == 0 && failed > 0 || counts[0].Errors != 0 {
			t.Errorf("%d failed, %+v", failed, counts)
		}
	}
}

// TestWarmVersionsStay: what a Set keeps warm is not loaded again, however many others come and go.
func TestWarmVersionsStay(t *testing.T) {
	h := newHost(t, serving.Options{MaxWarm: 2})
	incumbent, candidate := versions(t, h)
	d := dictionary(t)
	s, err := h.Serve(serving.Plan{Active: map[string]string{pluginName(): candidate}, Warm: []string{incumbent, "sha256:unknown"}}, d)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		m := manifest(fmt.Sprintf("9.0.%d", i), feature("tenure", artifact.Recipe{Attribute: "tenure"}))
		b := module(t, wasmtest.Guest{Weights: []float64{1}, Bias: float64(i)}, m)
		if err := h.Prepare(t.Context(), artifact.Digest(b), b); err != nil {
			t.Fatal(err)
		}
	}
	if !h.Prepared(incumbent) {
		t.Error("the version that undo returns to is gone")
	}
	s.Release()
}
