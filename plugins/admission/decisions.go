package admission

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/plugins/strategy"
	"github.com/arbiterhq/arbiter/runtime/wasm"
)

// probeInput is what a strategy without golden decisions must answer: the least that a decision has.
const probeInput = `{"nowMs":1700000000000,"channel":"web","direction":"inbound","contexts":[],"subject":{},"features":{},` +
	`"placements":[{"name":"main","limit":1}],"candidates":[` +
	`{"action":"a","issue":"i","group":"g","propensity":0.5,"contextWeight":1,"value":1,"lever":1,"priority":0.5,"properties":{},"treatments":[["a"]]},` +
	`{"action":"b","issue":"i","group":"g","propensity":0.25,"contextWeight":1,"value":1,"lever":1,"priority":0.25,"properties":{},"treatments":[["b"]]}]}`

// replayDecisions runs a strategy before anybody depends on it: every golden decision must be answered as
// it says, every answer must be of the form of the contract, and the same input must give the same answer
// again with others between.
func replayDecisions(ctx context.Context, pool *wasm.Pool, manifest *artifact.Manifest) error {
	instance, err := pool.Acquire(ctx)
	if err != nil {
		return hostOr(ctx, err, "golden", "module", "no instance became free")
	}
	if err := replayAll(ctx, instance, manifest); err != nil {
		pool.Discard(instance)
		return err
	}
	pool.Put(instance)
	return nil
}

func replayAll(ctx context.Context, instance *wasm.Instance, manifest *artifact.Manifest) error {
	type replayed struct {
		where  string
		golden artifact.GoldenDecision
		answer string
	}
	all := []replayed{{where: "the least input", golden: artifact.GoldenDecision{Input: json.RawMessage(probeInput)}}}
	for i := range manifest.Decisions {
		all = append(all, replayed{where: fmt.Sprintf("manifest /decisions/%d", i), golden: manifest.Decisions[i]})
	}
	for round := range 2 {
		for i := range all {
			r := &all[i]
			answer, _, err := Answer(ctx, instance, &manifest.Limits, manifest.Parameters, &r.golden)
			if err != nil {
				return refuse("golden", r.where, "%s; correct the plugin, or its golden decision", clip(err.Error()))
			}
			if round == 0 {
				r.answer = string(answer)
			} else if r.answer != string(answer) {
				return refuse("pure", r.where, "the module gave another answer the second time; it must keep no state between calls")
			}
		}
	}
	return nil
}

// Answer gives a strategy the input of a golden decision and holds what it answers against its output,
// unless that is empty. parameters are those of the manifest. The answer is valid until the next call.
func Answer(ctx context.Context, instance *wasm.Instance, limits *artifact.Limits, parameters map[string]string, golden *artifact.GoldenDecision) (answer []byte, fuelUsed uint64, err error) {
	var input struct {
		NowMS      int64             `json:"nowMs"`
		Candidates []json.RawMessage `json:"candidates"`
	}
	if err := json.Unmarshal(golden.Input, &input); err != nil {
		return nil, 0, fmt.Errorf("the input is not of the form of the contract: %w", err)
	}
	candidates := len(input.Candidates)
	if candidates < 1 || candidates > limits.MaxRows {
		return nil, 0, fmt.Errorf("the input has %d candidates, and limits.maxRows says 1 to %d", candidates, limits.MaxRows)
	}
	if golden.Parameters != nil {
		parameters = golden.Parameters
	}
	answer, fuelUsed, err = instance.Decide(ctx, golden.Input, candidates,
		wasm.Call{NowMS: input.NowMS, Seed: golden.Seed, Host: goldenHost(parameters)})
	if err != nil {
		return nil, fuelUsed, err
	}
	if _, _, err := strategy.ParseAnswer(answer, candidates, nil); err != nil {
		return nil, fuelUsed, err
	}
	if len(golden.Output) == 0 {
		return answer, fuelUsed, nil
	}
	same, err := SameJSON(answer, golden.Output)
	if err == nil && !same {
		err = fmt.Errorf("the answer is not the one it should be, which has %d bytes; arbiter plugin test shows both", len(golden.Output))
	}
	return answer, fuelUsed, err
}

// SameJSON tells whether two texts mean the same: numbers as 64-bit floats, members in any order.
func SameJSON(a, b []byte) (bool, error) {
	var x, y any
	if err := json.Unmarshal(a, &x); err != nil {
		return false, fmt.Errorf("comparing JSON: %w", err)
	}
	if err := json.Unmarshal(b, &y); err != nil {
		return false, fmt.Errorf("comparing JSON: %w", err)
	}
	return reflect.DeepEqual(x, y), nil
}

// goldenHost answers parameters and drops the rest.
type goldenHost map[string]string

// Param implements wasm.Host.
func (h goldenHost) Param(key string) (string, bool) {
	value, ok := h[key]
	return value, ok
}

// Log implements wasm.Host.
func (goldenHost) Log(wasm.LogLevel, []byte) {}

// Metric implements wasm.Host.
func (goldenHost) Metric(string, float64) {}
