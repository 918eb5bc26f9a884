package fsm

import (
	"bytes"
	"io"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/plugins/rollout"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// controlWithRollout has churn 1.0.0 active, 2.0.0 and 3.0.0 staged, two members, and a rollout of 2.0.0.
func controlWithRollout(t *testing.T) (*Control, string) {
	t.Helper()
	c := newControl(t, nil)
	for _, node := range []string{"n1", "n2"} {
		if got := do(t, c, announced(node, command.LevelRollouts, "n1", "n2")); got.Err != nil {
			t.Fatal(got.Err)
		}
	}
	for _, version := range []string{"1.0.0", "2.0.0", "3.0.0"} {
		digest := "sha256:" + string(bytes.Repeat([]byte(version[:1]), 64))
		if got := do(t, c, &command.StagePlugin{Plugin: nba.PluginVersion{Name: "churn", Version: version, Digest: digest}}); got.Err != nil {
			t.Fatal(got.Err)
		}
	}
	start := &command.StartRollout{Plugin: "churn", Version: "2.0.0", Spec: rollout.Spec{Steps: []rollout.Step{{Stage: rollout.Shadow}, {Stage: rollout.Canary, Permille: 100}}}}
	if got := do(t, c, start); nba.CodeOf(got.Err) != nba.CodeConflict {
		t.Errorf("nothing to compare with: %v", got.Err)
	}
	if got := do(t, c, &command.ActivatePlugin{Name: "churn", Version: "1.0.0"}); got.Err != nil {
		t.Fatal(got.Err)
	}
	got := do(t, c, start)
	id, ok := got.Value.(string)
	if !ok || !got.Created {
		t.Fatalf("start: %+v", got)
	}
	if again := do(t, c, start); again.Value != id || !again.Duplicate {
		t.Errorf("start again: %+v", again)
	}
	return c, id
}

func stage(t *testing.T, c *Control, id string) rollout.Stage {
	t.Helper()
	r, err := c.State().Rollouts.Find(id)
	if err != nil {
		t.Fatal(err)
	}
	return r.Stage
}

// TestRolloutActivatesAtOneIndex: the entry that makes the rollout active also swaps the active version,
// and the one that undoes it swaps it back.
func TestRolloutActivatesAtOneIndex(t *testing.T) {
	c, id := controlWithRollout(t)
	for _, node := range []string{"n1", "n2"} {
		if got := do(t, c, &command.AcknowledgeRollout{Rollout: id, Ready: rollout.NodeReady{Node: node}}); got.Err != nil {
			t.Fatal(got.Err)
		}
	}
	if got := stage(t, c, id); got != rollout.Shadow {
		t.Fatalf("after both nodes acknowledged: %s", got)
	}
	active := func() string { return c.State().Plugins.Active()["churn"][7:8] }
	for _, step := range []struct {
		verb   rollout.Verb
		stage  rollout.Stage
		active string
	}{{rollout.Promote, rollout.Canary, "1"}, {rollout.Promote, rollout.Active, "2"}, {rollout.Undo, rollout.RolledBack, "1"}} {
		request := &command.ChangeRollout{Rollout: id, Verb: step.verb, Request: string(step.stage)}
		for _, duplicate := range []bool{false, true} {
			if got := do(t, c, request); got.Err != nil || got.Duplicate != duplicate {
				t.Fatalf("%s: %+v", step.verb, got)
			}
			if stage(t, c, id) != step.stage || active() != step.active {
				t.Errorf("%s: stage %s, active %s", step.verb, stage(t, c, id), active())
			}
		}
	}
}

// TestActivatingDirectlyEndsTheRollout: who activates a version himself does not wait for a rollout.
func TestActivatingDirectlyEndsTheRollout(t *testing.T) {
	for _, op := range []operation{&command.ActivatePlugin{Name: "churn", Version: "3.0.0"}, &command.DeactivatePlugin{Name: "churn"}} {
		c, id := controlWithRollout(t)
		if got := do(t, c, &command.RemovePlugin{Name: "churn", Version: "2.0.0"}); nba.CodeOf(got.Err) != nba.CodeConflict {
			t.Errorf("removing the version that is rolled out: %v", got.Err)
		}
		do(t, c, op)
		r, _ := c.State().Rollouts.Find(id)
		if r.Stage != rollout.RolledBack || r.Cause != rollout.CauseSuperseded {
			t.Errorf("%T: %s %s", op, r.Stage, r.Cause)
		}
	}
}

// TestRolloutsSurviveSnapshots: the state is the same after opening again and after a restore, and two
// replicas that applied the same have the same digest.
func TestRolloutsSurviveSnapshots(t *testing.T) {
	c, id := controlWithRollout(t)
	other, _ := controlWithRollout(t)
	for _, m := range []*Control{c, other} {
		for _, node := range []string{"n1", "n2"} {
			do(t, m, &command.AcknowledgeRollout{Rollout: id, Ready: rollout.NodeReady{Node: node}})
		}
		r, _ := m.State().Rollouts.Find(id)
		report := rollout.Report{Node: "n1", Sequence: 4, Entries: []rollout.Entry{{Rollout: id, Revision: r.Revision,
			Arms: [2]rollout.Counts{{Calls: 9, Fuel: rollout.Histogram{0, 9}}, {Calls: 9, Errors: 1}}}}}
		for range 2 {
			if got := do(t, m, &command.CountRollout{Report: report}); got.Err != nil {
				t.Fatal(got.Err)
			}
		}
	}
	if c.Position().Digest != other.Position().Digest {
		t.Error("two replicas differ")
	}
	again, err := NewControl(c.Store(), nil)
	if err != nil {
		t.Fatal(err)
	}
	snapshot, err := c.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	var content bytes.Buffer
	if err := snapshot.Persist(discardable{&content}); err != nil {
		t.Fatal(err)
	}
	snapshot.Release()
	restored := newControl(t, nil)
	if err := restored.Restore(io.NopCloser(&content)); err != nil {
		t.Fatal(err)
	}
	for _, m := range []*Control{again, restored} {
		r, err := m.State().Rollouts.Find(id)
		if err != nil || r.Stage != rollout.Shadow || r.Windows.Total[rollout.ArmCandidate].Errors != 1 || r.Windows.Total[0].Fuel.Total() != 9 {
			t.Errorf("%+v, %v", r, err)
		}
	}
}

type discardable struct{ *bytes.Buffer }

func (discardable) ID() string    { return "test" }
func (discardable) Close() error  { return nil }
func (discardable) Cancel() error { return nil }

var _ raft.SnapshotSink = discardable{}

// TestRolloutTimesAreTheProposers: no node's clock is in the state.
func TestRolloutTimesAreTheProposers(t *testing.T) {
	c, id := controlWithRollout(t)
	r, _ := c.State().Rollouts.Find(id)
	if r.StartedAt.IsZero() || r.StartedAt.Location() != time.UTC || r.History[0].At != r.StartedAt {
		t.Errorf("%v %v", r.StartedAt, r.History)
	}
}
