package admission_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/arbiterhq/arbiter/plugins/admission"
	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/sdk/abi"
)

// strategy is the conformance strategy with a golden decision, and another manifest.
func strategy(t *testing.T, change func(m *artifact.Manifest)) []byte {
	t.Helper()
	vectors, module, err := abi.LoadStrategy("strategy.json")
	if err != nil {
		t.Fatal(err)
	}
	m, err := artifact.Parse(module)
	if err != nil {
		t.Fatal(err)
	}
	for _, call := range vectors.Calls {
		if call.Name == "time and chance of the decision" {
			m.Decisions = []artifact.GoldenDecision{{Name: "drawn", Seed: call.Seed, Input: call.Input, Output: call.Answer}}
		}
	}
	change(m)
	return embed(t, module, m)
}

func TestAdmitStrategy(t *testing.T) {
	admitted, err := admission.Admit(context.Background(), newSandbox(t), strategy(t, func(*artifact.Manifest) {}), admission.Policy{})
	if err != nil {
		t.Fatal(err)
	}
	admitted.Pool.Release()
}

func TestStrategyRefusals(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(m *artifact.Manifest)
		want   []string
	}{
		{"another answer", func(m *artifact.Manifest) { m.Decisions[0].Output = json.RawMessage(`{"picks":[]}`) }, []string{"rule golden", "/decisions/0"}},
		{"another seed", func(m *artifact.Manifest) { m.Decisions[0].Seed++ }, []string{"rule golden", "/decisions/0"}},
		{"too many candidates", func(m *artifact.Manifest) { m.Limits.MaxRows = 1 }, []string{"rule golden", "limits.maxRows"}},
		{"too little fuel", func(m *artifact.Manifest) { m.Limits.FuelBase = 5000 }, []string{"rule golden", "fuel"}},
		{"fuel for more than a millisecond", func(m *artifact.Manifest) { m.Limits.FuelPerRow = 100_000 }, []string{"rule fuel", "64 candidates"}},
		{"a capability that it does not declare", func(m *artifact.Manifest) { m.Capabilities = m.Capabilities[1:] }, []string{"rule imports", "arbiter_v1.log", "plugin.yaml"}},
		{"a strategy for a scorer", func(m *artifact.Manifest) {
			*m = artifact.Manifest{Name: m.Name, Version: m.Version, Kind: artifact.KindScorer, ABI: 1, Limits: m.Limits,
				Capabilities: []string{"log", "param_get", "metric_add"}, Features: []artifact.Feature{{Name: "a", Recipe: artifact.Recipe{Attribute: "a"}}}}
		}, []string{"rule imports", "capabilities of its manifest"}},
	} {
		t.Run(tt.name, func(t *testing.T) { refused(t, newSandbox(t), strategy(t, tt.change), tt.want...) })
	}
}
