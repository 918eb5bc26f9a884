package node

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/arbiterhq/arbiter/examples"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

func simulated(t *testing.T, n *Node, req nba.SimulationRequest) nba.Simulation {
	t.Helper()
	job, err := n.Simulate(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return simulatedBy(t, n, job.ID)
}

// simulatedBy waits for a simulation.
func simulatedBy(t *testing.T, n *Node, id string) nba.Simulation {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		job, err := n.Simulation(t.Context(), id)
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("%+v, %v", job, err)
		}
		if job.State != nba.SimulationRunning {
			return job
		}
	}
}

// TestSimulation: the result is what decisions say, equal sides do not differ, and the same request gives
// the same result.
func TestSimulation(t *testing.T) {
	n := openNode(t, t.TempDir())
	loadDemo(t, n, 300)
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	document := bytes.Replace(examples.Catalog(), []byte("- name: family-plan\n"), []byte("- name: family-plan\n    lever: 400\n"), 1)
	req := nba.SimulationRequest{To: nba.SimulationSide{Document: string(document)}, Sample: 120, Seed: 7, Channels: []string{"web", "callcentre"}, At: &at}
	first := simulated(t, n, req)
	r := first.Result
	if first.State != nba.SimulationDone || r.Subjects != 120 || r.Population != 300 || r.Groups != r.AllGroups || r.From.Decisions != 240 || r.To.Decisions != 240 {
		t.Fatalf("%+v, %+v", first, r)
	}
	if r.Changed == 0 || len(r.Changes) == 0 || r.Changes[0].To != "family-plan" || len(r.Examples) == 0 || first.Progress.Done != 120 {
		t.Errorf("a lever of 400 changes nothing: %+v", r)
	}
	if again := simulated(t, n, req); cmp.Diff(first.Result, again.Result) != "" {
		t.Errorf("the same request gives another result:\n%s", cmp.Diff(first.Result, again.Result))
	}
	req.To = nba.SimulationSide{}
	same := simulated(t, n, req).Result
	if same.Changed != 0 || len(same.Changes) != 0 || cmp.Diff(same.From, same.To) != "" {
		t.Errorf("equal sides differ: %+v", same)
	}
	decideLike(t, n, same, at)
	history, _, err := n.History(t.Context(), nba.SubjectRef{ID: "S-000001"}, nil, 10, "")
	if err != nil || len(history) != 0 {
		t.Errorf("simulations left traces: %d, %v", len(history), err)
	}
}

// decideLike compares the proposals of a simulation of all subjects with those of simulated decisions.
func decideLike(t *testing.T, n *Node, _ *nba.SimulationResult, at time.Time) {
	t.Helper()
	all := simulated(t, n, nba.SimulationRequest{Sample: 300, Channels: []string{"web"}, At: &at}).Result
	want := map[string]int{}
	sample, err := n.router.Sample(t.Context(), 0, 300, func(context.Context) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range sample.Subjects {
		req := request(ref.ID, "web")
		req.Options.Simulate = true
		d := decide(t, n, req)
		for _, p := range d.Propositions {
			for _, item := range p.Items {
				want[item.Action]++
			}
		}
	}
	got := map[string]int{}
	for _, a := range all.From.Actions {
		got[a.Action] = a.Propositions
	}
	for action, count := range want {
		// Some conditions of the example depend on the day.
		if diff := got[action] - count; diff > 3 || diff < -3 {
			t.Errorf("%s: the simulation proposes it %d times, decisions %d times", action, got[action], count)
		}
	}
}

// TestSimulationsAreBounded: two run, a third is refused, and one that is cancelled makes room.
func TestSimulationsAreBounded(t *testing.T) {
	n := openNode(t, t.TempDir())
	loadDemo(t, n, 3000)
	req := nba.SimulationRequest{Sample: 3000}
	one, err := n.Simulate(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Simulate(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Simulate(t.Context(), req); nba.CodeOf(err) != nba.CodeOverloaded {
		t.Errorf("a third one: %v", err)
	}
	if cancelled, err := n.CancelSimulation(t.Context(), one.ID); err != nil || cancelled.State != nba.SimulationCancelled {
		t.Errorf("%+v, %v", cancelled, err)
	}
	if _, err := n.Simulate(t.Context(), req); err != nil {
		t.Errorf("after one was cancelled: %v", err)
	}
	if list := n.Simulations(t.Context()); len(list) != 3 {
		t.Errorf("%+v", list)
	}
	for name, bad := range map[string]nba.SimulationRequest{
		"sample": {Sample: nba.MaxSimulationSample + 1}, "channel": {Channels: []string{"none"}}, "version": {From: nba.SimulationSide{CatalogVersion: 1 << 40}},
		"both": {To: nba.SimulationSide{CatalogVersion: 1, Document: "x"}}, "plugin": {To: nba.SimulationSide{Plugins: map[string]string{"churn": "9.9.9"}}},
	} {
		if _, err := n.Simulate(t.Context(), bad); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, err := n.Simulation(t.Context(), "none"); nba.CodeOf(err) != nba.CodeNotFound {
		t.Errorf("an unknown simulation: %v", err)
	}
}
