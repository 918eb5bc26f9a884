package cli

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/plugins/rollout"
	"github.com/google/go-cmp/cmp"
)

// TestRolloutSpec: what the flags say, in the units of the API.
func TestRolloutSpec(t *testing.T) {
	f := rolloutFlags{steps: []string{"shadow", "0.5%", "10", "100%"}, hold: time.Minute, auto: true, shadow: "25%",
		guards: []string{"errors=0.5%", "fuel=1.5x", "shift=0.1", "latency=off", "calls=50", "floor=2ms", "acceptance=5%", "ratio=11"}}
	got, err := f.spec()
	want := rollout.Spec{Auto: true, ShadowPermille: 250, Steps: []rollout.Step{{Stage: rollout.Shadow, HoldSeconds: 60},
		{Stage: rollout.Canary, Permille: 5, HoldSeconds: 60}, {Stage: rollout.Canary, Permille: 100, HoldSeconds: 60}, {Stage: rollout.Canary, Permille: 1000, HoldSeconds: 60}},
		Guardrails: rollout.Guardrails{ErrorPPM: 5000, FuelPermille: 1500, ShiftPPM: 100_000, LatencyPermille: -1, MinCalls: 50, LatencyFloorMicros: 2000,
			AcceptancePPM: 50_000, RatioMilli: 11_000}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for _, c := range []struct{ steps, guard, want string }{
		{"shadow,quick", "", "--steps quick"}, {"0.01%", "", "--steps 0.01%"}, {"50%,10%", "", "grows"}, {"10%,shadow", "", "comes first"}, {"200%", "", "between 1 and 1000"},
		{"shadow", "errors", "NAME=LIMIT"}, {"shadow", "speed=3", "one of errors"}, {"shadow", "errors=0", "more than 0"}, {"shadow", "errors=-1", "more than 0"},
		{"shadow", "fuel=three", "more than 0"}, {"shadow", "floor=fast", "such as 1ms"}, {"shadow", "shift=NaN", "more than 0"}, {"shadow", "calls=off", "between 1"},
	} {
		f := rolloutFlags{steps: strings.Split(c.steps, ",")}
		if c.guard != "" {
			f.guards = []string{c.guard}
		}
		if _, err := f.spec(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("--steps %s --guard %s: %v, want %s", c.steps, c.guard, err, c.want)
		}
	}
}

// TestRolloutStatus: a canary that goes well, and one that was taken back.
func TestRolloutStatus(t *testing.T) {
	at := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	arm := func(n uint64) rollout.Counts {
		c := rollout.Counts{Decisions: n, Subjects: n, Calls: n, Rows: n, Propositions: 2 * n, Accepted: n / 5}
		for _, h := range []*rollout.Histogram{&c.Fuel, &c.Nanos} {
			*h = make(rollout.Histogram, rollout.Bin(9000)+1)
			(*h)[rollout.Bin(9000)] = n
		}
		c.Scores = make(rollout.Histogram, 6)
		c.Scores[5] = n
		return c
	}
	r := rollout.Rollout{ID: "churn-42", Candidate: rollout.Candidate{Plugin: "churn", Version: "1.1.0", Incumbent: "1.0.0"},
		Spec: rollout.Spec{Steps: rollout.DefaultSteps()}.WithDefaults(), Stage: rollout.Canary, Step: 2, StartedAt: at, Since: at.Add(time.Hour),
		Nodes: []rollout.NodeReady{{Node: "n1"}, {Node: "n2"}, {Node: "n3", Failure: "the module cannot be fetched"}},
		History: []rollout.Event{{At: at, Event: "started", Stage: rollout.Staged}, {At: at, Event: "ready", Stage: rollout.Staged, Node: "n1"},
			{At: at.Add(time.Hour), Event: "promoted", Stage: rollout.Canary, Permille: 100}}}
	r.Windows.Present = [2]rollout.Counts{arm(9000), arm(1000)}
	r.Windows.Total = r.Windows.Present
	canary := rollout.See(&r, []string{"n1", "n2", "n3"})
	golden(t, "rollout", func(w io.Writer, p paint) { renderRollout(w, p, &canary, at.Add(2*time.Hour)) })
	r.Windows.Present[1].Errors = 500
	r.Breach = rollout.Assess(&r)[:1]
	r.Stage, r.Step, r.Cause = rollout.RolledBack, 0, rollout.CauseBreach
	taken := rollout.See(&r, []string{"n1", "n2", "n3"})
	golden(t, "rollout-breach", func(w io.Writer, p paint) { renderRollout(w, p, &taken, at.Add(2*time.Hour)) })
}

// TestRolloutByPlugin: a rollout may be named by its plugin, whose newest it then is.
func TestRolloutByPlugin(t *testing.T) {
	n := newFakeNode(t)
	n.answer("GET /v1/rollouts/churn", 404, `{"title":"Not found","status":404,"code":"NOT_FOUND"}`)
	n.answer("GET /v1/rollouts", 200, `{"items":[{"id":"other-9","plugin":"other","stage":"shadow"},{"id":"churn-7","plugin":"churn","stage":"canary","permille":10,"steps":[]},{"id":"churn-2","plugin":"churn","stage":"rolledBack"}]}`)
	n.answer("POST /v1/rollouts/churn-7/promote", 200, `{"id":"churn-7","plugin":"churn","version":"1.1.0","stage":"active","steps":[]}`)
	stdout, stderr, code := n.run("rollout", "promote", "churn", "--force")
	if code != 0 || !strings.Contains(stdout, "churn-7") || !strings.Contains(stdout, "arbiter rollout undo churn-7") {
		t.Errorf("exit %d\n%s%s", code, stdout, stderr)
	}
	if got := n.requests[len(n.requests)-1]; !strings.HasPrefix(got, "POST /v1/rollouts/churn-7/promote?force=true") {
		t.Errorf("sent %s", got)
	}
	if _, _, code := n.run("rollout", "status", "unknown"); code == 0 {
		t.Error("an unknown rollout was found")
	}
	if stdout, _, code := n.run("rollout", "list"); code != 0 || !strings.Contains(stdout, "canary 1%") || !strings.Contains(stdout, "rolled back") {
		t.Errorf("list: exit %d\n%s", code, stdout)
	}
	n.answer("POST /v1/rollouts", 201, `{"id":"churn-8","plugin":"churn","version":"1.2.0","stage":"staged","steps":[]}`)
	if stdout, stderr, code := n.run("rollout", "start", "churn", "1.2.0", "--steps", "5%", "--auto"); code != 0 || !strings.Contains(stdout, "churn-8") {
		t.Errorf("start: exit %d\n%s%s", code, stdout, stderr)
	}
	if got := n.requests[len(n.requests)-1]; !strings.Contains(got, `"plugin":"churn","version":"1.2.0","steps":[{"stage":"canary","permille":50,"holdSeconds":600}],"auto":true`) {
		t.Errorf("sent %s", got)
	}
}
