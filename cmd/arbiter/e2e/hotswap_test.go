package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

const modelFolder = "../../../examples/model"

// TestSwapUnderLoad swaps between two versions of the model 100 times while decisions run. No call
// fails, no decision is degraded, every scored proposition of a decision names one digest, and that
// digest always gives the same propensity for the same subject.
func TestSwapUnderLoad(t *testing.T) {
	t.Parallel()
	s := start(t, "dev", "--no-demo", "--subscribers", "64")
	second := compileShifted(t)
	pushed := decode[nba.PluginVersion](t, s.call("POST", "/v1/plugins", second), 201)
	if pushed.State != nba.StateStaged {
		t.Fatalf("pushed version is %s, want staged", pushed.State)
	}
	first := activeVersion(t, s, pushed.Name)

	load := &swapLoad{s: s, known: map[string]map[string]float64{}}
	stop := make(chan struct{})
	var workers sync.WaitGroup
	for w := range 6 {
		workers.Go(func() { load.run(w, stop) })
	}
	for i := range 100 {
		version := []string{pushed.Version, first.Version}[i%2]
		got := decode[nba.PluginVersion](t, s.call("POST", fmt.Sprintf("/v1/plugins/%s/versions/%s/activate", pushed.Name, version), nil), 200)
		if got.State != nba.StateActive {
			t.Fatalf("swap %d: state %s", i, got.State)
		}
	}
	close(stop)
	workers.Wait()
	for _, failure := range load.failures {
		t.Error(failure)
	}
	if load.calls.Load() < 100 || len(load.known) != 2 {
		t.Errorf("%d decisions over %d digests: the load did not overlap the swaps", load.calls.Load(), len(load.known))
	}
	t.Logf("100 swaps during %d decisions", load.calls.Load())
}

// compileShifted compiles the demo's model with another base score, as version 2.0.0.
func compileShifted(t *testing.T) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(modelFolder, "churn.xgb.json"))
	if err != nil {
		t.Fatal(err)
	}
	var model map[string]any
	if err := json.Unmarshal(raw, &model); err != nil {
		t.Fatal(err)
	}
	model["learner"].(map[string]any)["learner_model_param"].(map[string]any)["base_score"] = "3E-1"
	shifted, err := json.Marshal(model)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	in, out := filepath.Join(dir, "churn.xgb.json"), filepath.Join(dir, "churn.wasm")
	if err := os.WriteFile(in, shifted, 0o600); err != nil {
		t.Fatal(err)
	}
	stdout, stderr, code := runCLI(t, "model", "compile", in, "--features", filepath.Join(modelFolder, "features.yaml"),
		"--name", "churn", "--version", "2.0.0", "-o", out)
	if code != 0 {
		t.Fatalf("model compile: exit %d\n%s%s", code, stdout, stderr)
	}
	module, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return module
}

func activeVersion(t *testing.T, s *server, name string) nba.PluginVersion {
	t.Helper()
	list := decode[struct{ Items []nba.PluginVersion }](t, s.call("GET", "/v1/plugins", nil), 200)
	for _, v := range list.Items {
		if v.Name == name && v.State == nba.StateActive {
			return v
		}
	}
	t.Fatalf("no active version of %s in %+v", name, list)
	return nba.PluginVersion{}
}

// swapLoad runs decisions and checks each.
type swapLoad struct {
	s     *server
	calls atomic.Int64

	mu       sync.Mutex
	known    map[string]map[string]float64 // digest -> subject and action -> propensity
	failures []string
}

func (l *swapLoad) run(worker int, stop <-chan struct{}) {
	for i := worker; ; i++ {
		select {
		case <-stop:
			return
		default:
		}
		subject := subscriberID(1 + i%64)
		r, err := l.s.tryCall("POST", "/v1/decisions", map[string]any{
			"subject": map[string]any{"id": subject}, "channel": "callcentre", "options": map[string]any{"simulate": i%2 == 0},
		})
		l.calls.Add(1)
		l.mu.Lock()
		l.check(subject, r, err)
		l.mu.Unlock()
	}
}

func (l *swapLoad) check(subject string, r reply, err error) {
	var d nba.Decision
	if err != nil || r.status != 200 || unmarshal(r.body, &d) != nil || d.Degraded {
		l.failures = append(l.failures, fmt.Sprintf("a decision failed or was degraded: %v, status %d: %s", err, r.status, r.body))
		return
	}
	digest := ""
	for _, p := range d.Propositions {
		for _, item := range p.Items {
			if item.Model == nil {
				continue
			}
			if digest != "" && digest != item.Model.Digest {
				l.failures = append(l.failures, "a decision mixes two versions of the model")
			}
			digest = item.Model.Digest
			if l.known[digest] == nil {
				l.known[digest] = map[string]float64{}
			}
			key := subject + " " + item.Action
			if before, ok := l.known[digest][key]; ok && before != item.Propensity {
				l.failures = append(l.failures, "one digest gave two propensities for one subject and action")
			}
			l.known[digest][key] = item.Propensity
		}
	}
}
