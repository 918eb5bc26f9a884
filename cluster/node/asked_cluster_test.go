package node

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// TestReplayOnEveryNode: each node of a cluster makes a decision again as the one that made it, also after
// the subject changed, and tells the same why-not.
func TestReplayOnEveryNode(t *testing.T) {
	cluster := openCluster(t, 3, 4)
	loadDemo(t, cluster[0], 40)
	made := map[string]string{}
	explain := []nba.Explain{nba.ExplainNone, nba.ExplainReasons, nba.ExplainFull}
	for i := range 40 {
		req := request(fmt.Sprintf("S-%06d", i+1), "web")
		req.Options.Explain = explain[i%3]
		d := decide(t, cluster[i%3], req)
		for p := range d.Propositions { // a decision that came from another node has nil for none; the API writes both alike
			d.Propositions[p].Items = append([]nba.Proposition{}, d.Propositions[p].Items...)
		}
		made[d.DecisionID] = asJSON(t, d)
	}
	for i := range 40 {
		patch := nba.SubjectPatch{SubjectRef: nba.SubjectRef{ID: fmt.Sprintf("S-%06d", i+1)}, Attributes: map[string]any{"tenure": 1, "contract": "Two year"}}
		if _, err := cluster[(i+1)%3].PatchSubject(t.Context(), patch, nil); err != nil {
			t.Fatal(err)
		}
	}
	for id, want := range made {
		for at, n := range cluster {
			again, err := n.ReplayDecision(t.Context(), id, 0)
			if err != nil || !again.Identical {
				t.Fatalf("node %d: %v, %+v", at+1, err, again.Differences)
			}
			if got := asJSON(t, again.Decision); got != want {
				t.Fatalf("node %d (-then +again):\n%s", at+1, cmp.Diff(want, got))
			}
		}
	}
	var first nba.WhyNot
	for at, n := range cluster {
		why, err := n.WhyNot(t.Context(), request("S-000007", "web"), "device-renewal")
		if err != nil {
			t.Fatal(err)
		}
		if why.At = first.At; at > 0 && cmp.Diff(first, why) != "" {
			t.Errorf("node %d (-first +this):\n%s", at+1, cmp.Diff(first, why))
		}
		first = why
	}
}

// TestSimulationOnEveryNode: a simulation is read and ended through any node.
func TestSimulationOnEveryNode(t *testing.T) {
	cluster := openCluster(t, 3, 4)
	loadDemo(t, cluster[0], 40)
	job, err := cluster[1].Simulate(t.Context(), nba.SimulationRequest{Sample: 40, Channels: []string{"web"}})
	if err != nil {
		t.Fatal(err)
	}
	done := simulatedBy(t, cluster[2], job.ID)
	if done.State != nba.SimulationDone || done.Result.Subjects != 40 || done.Result.Groups != 4 || done.Result.Changed != 0 {
		t.Errorf("%+v, %+v", done, done.Result)
	}
	if again, err := cluster[0].CancelSimulation(t.Context(), job.ID); err != nil || again.State != nba.SimulationDone {
		t.Errorf("%+v, %v", again, err)
	}
	if _, err := cluster[0].Simulation(t.Context(), job.ID+"x"); nba.CodeOf(err) != nba.CodeNotFound {
		t.Errorf("of a node that is not there: %v", err)
	}
}

// TestReplayNamesWhatWasRemoved: a plugin version that was removed is named, and nothing is made up.
func TestReplayNamesWhatWasRemoved(t *testing.T) {
	n := openNode(t, t.TempDir())
	loadDemo(t, n, 50)
	subject := modelled(t, n, 50)
	d := decide(t, n, request(subject.ID, "web"))
	if _, err := n.PushPlugin(t.Context(), historyModule(t, "2.0.0"), true); err != nil {
		t.Fatal(err)
	}
	if again, err := n.ReplayDecision(t.Context(), d.DecisionID, 0); err != nil || !again.Identical {
		t.Fatalf("with the version retired: %v, %+v", err, again.Differences)
	}
	if err := n.RemovePlugin(t.Context(), "churn", "1.0.0"); err != nil {
		t.Fatal(err)
	}
	_, err := n.ReplayDecision(t.Context(), d.DecisionID, 0)
	if nba.CodeOf(err) != nba.CodeReplayUnavailable || !strings.Contains(err.Error(), "1.0.0") || !strings.Contains(err.Error(), "churn") {
		t.Errorf("with the version removed: %v", err)
	}
}
