package node

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/arbiterhq/arbiter/examples"
	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/plugins/compiler"
	"github.com/arbiterhq/arbiter/plugins/rollout"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/wasm/wasmtest"
)

// shiftedModule is the churn model with another base score, so that its scores can be told apart.
func shiftedModule(t *testing.T, version string) []byte {
	t.Helper()
	var model map[string]any
	if err := json.Unmarshal(examples.ChurnModel(), &model); err != nil {
		t.Fatal(err)
	}
	model["learner"].(map[string]any)["learner_model_param"].(map[string]any)["base_score"] = "3E-1"
	shifted, err := json.Marshal(model)
	if err != nil {
		t.Fatal(err)
	}
	features, err := compiler.LoadFeatures(examples.ChurnFeatures(), "features.yaml")
	if err != nil {
		t.Fatal(err)
	}
	out, err := compiler.Compile(shifted, compiler.Options{Name: "churn", Version: version, Features: features})
	if err != nil {
		t.Fatal(err)
	}
	return out.Module
}

// strayingModule is admitted, and then gives most subjects a score that is no probability.
func strayingModule(t *testing.T, version string) []byte {
	t.Helper()
	m := &artifact.Manifest{Name: "churn", Version: version, Kind: artifact.KindScorer, ABI: artifact.ABIVersion, Output: artifact.OutputProbability,
		Features: []artifact.Feature{{Name: "tenure", Scope: artifact.ScopeSubject, Recipe: artifact.Recipe{Attribute: "tenure"}}},
		Limits:   artifact.Limits{MemoryPages: 4, FuelBase: 100_000, FuelPerRow: 10_000, MaxRows: 64}}
	module, err := artifact.Embed(wasmtest.Guest{Weights: []float64{1}}.Module(), m)
	if err != nil {
		t.Fatal(err)
	}
	return module
}

// openQuick is openNode with rollouts that are reported and judged many times a second.
func openQuick(t *testing.T, dir string) *Node {
	t.Helper()
	cfg := DefaultConfig()
	cfg.DataDir, cfg.RolloutEvery = dir, 20*time.Millisecond
	cfg.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	n, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

func awaitStage(t *testing.T, n *Node, id string, want rollout.Stage) rollout.View {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		v, err := n.Rollout(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if v.Stage == want {
			return v
		}
		if time.Now().After(deadline) {
			t.Fatalf("the rollout is %s, want %s: %+v", v.Stage, want, v)
		}
	}
}

// lenient guardrails judge early, and not what a busy machine does to times.
func lenient() rollout.Guardrails {
	return rollout.Guardrails{MinCalls: 20, ShiftPPM: -1, LatencyPermille: -1, FuelPermille: -1}
}

// models are the versions that scored the decisions about some subjects, simulated on a node.
func models(t *testing.T, n *Node, subjects int) (versions []string, decisions []nba.Decision) {
	t.Helper()
	for i := range subjects {
		req := request(fmt.Sprintf("S-%06d", 1+i), "callcentre")
		req.Options.Simulate = true
		d := decide(t, n, req)
		d.DecisionID, d.DecidedAt = "", time.Time{}
		version := ""
		for p := range d.Propositions {
			for j := range d.Propositions[p].Items {
				item := &d.Propositions[p].Items[j]
				item.ResponseToken, item.ExpiresAt = "", nil
				if item.Model != nil {
					version = item.Model.Version
				}
			}
		}
		versions, decisions = append(versions, version), append(decisions, d)
	}
	return versions, decisions
}

// TestRolloutOnThreeNodes goes through all steps by hand. A shadow changes no decision on any node, a canary
// gives each subject the same version on every node, and a promotion reaches all nodes within a second.
func TestRolloutOnThreeNodes(t *testing.T) {
	const subjects = 60
	cluster := openCluster(t, 3, 2)
	loadDemo(t, cluster[0], subjects)
	ctx := t.Context()
	if _, err := cluster[1].PushPlugin(ctx, shiftedModule(t, "2.0.0"), false); err != nil {
		t.Fatal(err)
	}
	_, before := models(t, cluster[0], subjects)
	view, err := cluster[2].StartRollout(ctx, rollout.Request{Plugin: "churn", Version: "2.0.0", Spec: rollout.Spec{
		Steps: []rollout.Step{{Stage: rollout.Shadow}, {Stage: rollout.Canary, Permille: 500}}, Guardrails: lenient()}})
	if err != nil {
		t.Fatal(err)
	}
	id := view.ID
	for _, n := range cluster {
		if got := awaitStage(t, n, id, rollout.Shadow); len(got.Nodes) != 3 || len(got.Missing) != 0 {
			t.Errorf("%+v missing %v", got.Nodes, got.Missing)
		}
		if _, after := models(t, n, subjects); cmp.Diff(before, after) != "" {
			t.Errorf("the shadow changed decisions:\n%s", cmp.Diff(before, after))
		}
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		v, err := cluster[0].Rollout(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		if c := v.Arms.Candidate; c.Calls+c.Dropped == v.Arms.Incumbent.Calls && c.Compared > 0 && c.Differed > 0 && v.Arms.Incumbent.Calls >= subjects {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("the counters of the shadow: %+v", v.Arms)
		}
	}
	promote(t, cluster[1], id, rollout.Canary)
	salt, share := rollout.NewSalt(id), 0
	var want []string
	for i := range subjects {
		version := "1.0.0"
		if rollout.Assign(salt.Hash(nba.SubjectRef{Type: nba.Subscriber, ID: fmt.Sprintf("S-%06d", 1+i)}), 500) == rollout.ArmCandidate {
			version, share = "2.0.0", share+1
		}
		want = append(want, version)
	}
	if share < subjects/4 || share > 3*subjects/4 {
		t.Errorf("%d of %d subjects at 500 per mille", share, subjects)
	}
	for i, n := range cluster {
		if got, _ := models(t, n, subjects); !sameWhereScored(got, want) {
			t.Errorf("node %d:\n%v, want\n%v", i+1, got, want)
		}
	}
	began := time.Now()
	promote(t, cluster[0], id, rollout.Active)
	for i, n := range cluster {
		if got, _ := models(t, n, 5); !sameWhereScored(got, slices.Repeat([]string{"2.0.0"}, 5)) {
			t.Errorf("node %d after the promotion: %v", i+1, got)
		}
	}
	took := time.Since(began)
	t.Logf("%v from the promotion to decisions of the version on every node", took.Round(time.Millisecond))
	if took > 5*time.Second { // the goal of one second is for a machine that does nothing else
		t.Errorf("it took %v until all nodes served it", took)
	}
	if _, err := cluster[2].ChangeRollout(ctx, id, rollout.Undo, false); err != nil {
		t.Fatal(err)
	}
	for _, n := range cluster {
		if got, _ := models(t, n, 5); !sameWhereScored(got, slices.Repeat([]string{"1.0.0"}, 5)) {
			t.Errorf("after undo: %v", got)
		}
	}
}

func promote(t *testing.T, n *Node, id string, want rollout.Stage) {
	t.Helper()
	v, err := n.ChangeRollout(t.Context(), id, rollout.Promote, false)
	if err != nil || v.Stage != want {
		t.Fatalf("promoted to %s, %v; want %s", v.Stage, err, want)
	}
}

// sameWhereScored compares the versions of decisions that a model had a part in.
func sameWhereScored(got, want []string) bool {
	scored := 0
	for i := range got {
		if got[i] != "" && got[i] != want[i] {
			return false
		}
		if got[i] != "" {
			scored++
		}
	}
	return scored > 0
}

// TestAMisbehavingVersionIsTakenBack: nobody watches, no decision fails, and the rollout tells which
// guardrail it was and by how much.
func TestAMisbehavingVersionIsTakenBack(t *testing.T) {
	n := openQuick(t, t.TempDir())
	loadDemo(t, n, 100)
	ctx := t.Context()
	for _, c := range []struct {
		module     []byte
		version    string
		step       rollout.Step
		guard      rollout.Guardrails
		guardrails string
	}{
		{strayingModule(t, "2.0.0"), "2.0.0", rollout.Step{Stage: rollout.Shadow}, lenient(), rollout.GuardErrors},
		{strayingModule(t, "2.0.0"), "2.0.0", rollout.Step{Stage: rollout.Canary, Permille: 400}, lenient(), rollout.GuardErrors + " or " + rollout.GuardDegraded},
		{shiftedModule(t, "3.0.0"), "3.0.0", rollout.Step{Stage: rollout.Shadow}, rollout.Guardrails{MinCalls: 200, ShiftPPM: 50_000, LatencyPermille: -1, FuelPermille: -1}, rollout.GuardShift},
	} {
		if _, err := n.PushPlugin(ctx, c.module, false); err != nil {
			t.Fatal(err)
		}
		view, err := n.StartRollout(ctx, rollout.Request{Plugin: "churn", Version: c.version, Spec: rollout.Spec{Steps: []rollout.Step{c.step}, Guardrails: c.guard}})
		if err != nil {
			t.Fatal(err)
		}
		awaitStage(t, n, view.ID, c.step.Stage)
		for i := 0; ; i++ {
			d := decide(t, n, request(fmt.Sprintf("S-%06d", 1+i%100), "callcentre"))
			if d.Degraded && c.step.Stage == rollout.Shadow {
				t.Fatalf("the shadow degraded a decision: %s", d.DegradedReason)
			}
			if i%20 == 0 {
				if v, err := n.Rollout(ctx, view.ID); err != nil || !v.Stage.Running() {
					break
				}
			}
			if i > 20_000 {
				t.Fatal("it was never taken back")
			}
		}
		v := awaitStage(t, n, view.ID, rollout.RolledBack)
		last := v.History[len(v.History)-1]
		breached := func(checks []rollout.Check) bool {
			return slices.ContainsFunc(checks, func(k rollout.Check) bool {
				return strings.Contains(c.guardrails, k.Guardrail) && k.State == rollout.CheckBreached && k.Value > k.Limit && k.Detail != ""
			})
		}
		if v.Cause != rollout.CauseBreach || !breached(v.Breach) || last.Event != "takenBack" || !last.Auto || !breached(last.Checks) {
			t.Errorf("%s %s: cause %s, breach %+v, last event %+v", c.version, c.step.Stage, v.Cause, v.Breach, last)
		}
		for i := range 100 {
			if d := decide(t, n, request(fmt.Sprintf("S-%06d", 1+i), "callcentre")); d.Degraded {
				t.Fatalf("still degraded after it was taken back: %s", d.DegradedReason)
			}
		}
	}
}

// TestRolloutsGoOnByThemselvesAndSurviveRestarts: with auto the version becomes active without anybody, and
// a node that was ended in the middle serves the same subjects the same version.
func TestRolloutsGoOnByThemselvesAndSurviveRestarts(t *testing.T) {
	dir := t.TempDir()
	n := openQuick(t, dir)
	loadDemo(t, n, 100)
	if _, err := n.PushPlugin(t.Context(), shiftedModule(t, "2.0.0"), false); err != nil {
		t.Fatal(err)
	}
	if _, err := n.StartRollout(t.Context(), rollout.Request{Plugin: "churn", Version: "1.0.0"}); nba.CodeOf(err) != nba.CodeConflict {
		t.Errorf("rolling out the active version: %v", err)
	}
	view, err := n.StartRollout(t.Context(), rollout.Request{Plugin: "churn", Version: "2.0.0", Spec: rollout.Spec{Auto: true, Guardrails: lenient(),
		Steps: []rollout.Step{{Stage: rollout.Shadow}, {Stage: rollout.Canary, Permille: 300}, {Stage: rollout.Canary, Permille: 600, HoldSeconds: 3600}}}})
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; ; i++ {
		decide(t, n, request(fmt.Sprintf("S-%06d", 1+i%100), "callcentre"))
		if v, err := n.Rollout(t.Context(), view.ID); err != nil || v.Permille == 600 {
			break
		}
		if i > 50_000 {
			v, _ := n.Rollout(t.Context(), view.ID)
			t.Fatalf("it does not go on: %+v", v)
		}
	}
	for n.current.Load().state.Index < n.router.Control().State().Index { // what is agreed on is put into service just after
		time.Sleep(time.Millisecond)
	}
	before, _ := models(t, n, 100)
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	n = openQuick(t, dir)
	if after, _ := models(t, n, 100); !slices.Equal(before, after) {
		t.Errorf("after the restart:\n%v, before\n%v", after, before)
	}
	recorded := map[string]string{} // decision to the version that scored it
	for i := range 100 {
		d := decide(t, n, request(fmt.Sprintf("S-%06d", 1+i), "callcentre"))
		for _, p := range d.Propositions {
			for _, item := range p.Items {
				if item.Model != nil {
					recorded[d.DecisionID] = item.Model.Version
				}
			}
		}
	}
	v, err := n.ChangeRollout(t.Context(), view.ID, rollout.Abort, false)
	if err != nil || v.Stage != rollout.RolledBack || v.Cause != rollout.CauseAborted {
		t.Errorf("%+v, %v", v, err)
	}
	seen := map[string]int{}
	for id, version := range recorded {
		seen[version]++
		if again, err := n.ReplayDecision(t.Context(), id, 0); err != nil || !again.Identical {
			t.Errorf("a decision of version %s made again: identical %v, %v", version, again.Identical, err)
		}
	}
	if len(seen) != 2 {
		t.Errorf("decisions by version: %v", seen)
	}
	if versions, _ := models(t, n, 20); slices.Contains(versions, "2.0.0") {
		t.Error("the aborted version still scores")
	}
}

// TestAcceptedPropositionsCountForTheVersionThatScored: in a canary.
func TestAcceptedPropositionsCountForTheVersionThatScored(t *testing.T) {
	n := openQuick(t, t.TempDir())
	loadDemo(t, n, 60)
	ctx := t.Context()
	if _, err := n.PushPlugin(ctx, shiftedModule(t, "2.0.0"), false); err != nil {
		t.Fatal(err)
	}
	view, err := n.StartRollout(ctx, rollout.Request{Plugin: "churn", Version: "2.0.0", Spec: rollout.Spec{Guardrails: lenient(), Steps: []rollout.Step{{Stage: rollout.Canary, Permille: 500}}}})
	if err != nil {
		t.Fatal(err)
	}
	awaitStage(t, n, view.ID, rollout.Canary)
	want := map[string]uint64{}
	for i := range 60 {
		d := decide(t, n, request(fmt.Sprintf("S-%06d", 1+i), "callcentre"))
		for _, p := range d.Propositions {
			for _, item := range p.Items {
				if item.Model == nil {
					continue
				}
				want[item.Model.Version]++
				for range 2 { // the second is a duplicate
					if _, err := n.Respond(ctx, []nba.Response{{ResponseToken: item.ResponseToken, Outcome: nba.Accepted}}); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	}
	if len(want) != 2 {
		t.Fatalf("versions: %v", want)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		v, err := n.Rollout(ctx, view.ID)
		if err != nil {
			t.Fatal(err)
		}
		i, c := v.Arms.Incumbent, v.Arms.Candidate
		if i.Accepted == want["1.0.0"] && c.Accepted == want["2.0.0"] && i.Propositions == want["1.0.0"] && c.Propositions == want["2.0.0"] && i.Decisions+c.Decisions == 60 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("want %v, got %+v", want, v.Arms)
		}
	}
}
