package command

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/arbiterhq/arbiter/plugins/rollout"
)

// TestRolloutsTravel: what is proposed is what is applied, and only once every node knows it.
func TestRolloutsTravel(t *testing.T) {
	start := StartRollout{Plugin: "churn", Version: "2.0.0", Spec: rollout.Spec{Auto: true, Steps: []rollout.Step{{Stage: rollout.Canary, Permille: 10}}}}
	ready := AcknowledgeRollout{Rollout: "churn-7", Ready: rollout.NodeReady{Node: "n1", Failure: "no"}}
	change := ChangeRollout{Rollout: "churn-7", Verb: rollout.TakeBack, Request: "r", IfRevision: 3, Auto: true, Checks: []rollout.Check{{Guardrail: rollout.GuardErrors, Value: 7}}}
	count := CountRollout{Report: rollout.Report{Node: "n1", Sequence: 9, Entries: []rollout.Entry{{Rollout: "churn-7", Revision: 3, Arms: [2]rollout.Counts{{Calls: 1}, {Fuel: rollout.Histogram{0, 2}}}}}}}
	var gotStart StartRollout
	var gotReady AcknowledgeRollout
	var gotChange ChangeRollout
	var gotCount CountRollout
	for _, c := range []struct {
		kind      Kind
		want, got any
		encoded   []byte
	}{
		{RolloutStarted, &start, &gotStart, body(t, &start, RolloutStarted)}, {RolloutAcknowledged, &ready, &gotReady, body(t, &ready, RolloutAcknowledged)},
		{RolloutChanged, &change, &gotChange, body(t, &change, RolloutChanged)}, {RolloutCounted, &count, &gotCount, body(t, &count, RolloutCounted)},
	} {
		if err := DecodeControl(c.encoded, c.got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, c.got); diff != "" {
			t.Errorf("kind %d (-want +got):\n%s", c.kind, diff)
		}
		if level, known := Needs(c.kind, 1); !known || level != LevelRollouts {
			t.Errorf("kind %d needs level %d", c.kind, level)
		}
	}
}
