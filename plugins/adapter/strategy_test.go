package adapter_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/plugins/admission"
	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/runtime/wasm"
)

// TestStrategy admits an Extism plugin as a strategy: its golden decision is replayed, and it answers the
// documents of the contract.
func TestStrategy(t *testing.T) {
	const input = `{"nowMs":0,"channel":"web","direction":"inbound","contexts":[],"subject":{},"features":{},"placements":[{"name":"hero","limit":2}],"candidates":[` +
		`{"action":"a","issue":"i","group":"g","propensity":0.5,"contextWeight":1,"value":3,"lever":1,"priority":1.5,"properties":{},"treatments":[["t"]]},` +
		`{"action":"b","issue":"i","group":"g","propensity":0.5,"contextWeight":1,"value":0,"lever":1,"priority":0,"properties":{},"treatments":[["t"]]},` +
		`{"action":"c","issue":"i","group":"g","propensity":0.25,"contextWeight":1,"value":5,"lever":1,"priority":1.25,"properties":{},"treatments":[["t"]]}]}`
	m := &artifact.Manifest{Name: "dearest-first", Version: "1.0.0", Kind: artifact.KindStrategy, ABI: artifact.ABIVersion,
		Adapter:   &artifact.Adapter{Kind: artifact.AdapterExtism, Entrypoint: "decide"},
		Limits:    artifact.Limits{MemoryPages: 32, FuelBase: 400_000, FuelPerRow: 20_000, MaxRows: 16},
		Decisions: []artifact.GoldenDecision{{Name: "the dearest first", Input: json.RawMessage(input), Output: json.RawMessage(`{"picks":[{"candidate":2},{"candidate":0}]}`)}},
	}
	p := admit(t, newSandbox(t, wasm.Config{Instances: 1, MaxWait: time.Minute}), embed(t, testModule(t, "extism.wasm"), m), admission.Isolated()).Pool
	i, err := p.Acquire(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Put(i)
	for range 3 {
		answer, fuel, err := i.Decide(context.Background(), []byte(input), 3, wasm.Call{})
		if want := `{"picks":[{"candidate":2},{"candidate":0}]}`; err != nil || string(answer) != want || fuel == 0 {
			t.Errorf("it answers %s, %v with %d fuel, want %s", answer, err, fuel, want)
		}
	}
}
