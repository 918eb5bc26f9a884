package project

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/arbiterhq/arbiter/plugins/admission"
	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/wasm"
	"github.com/arbiterhq/arbiter/sdk/abi"
)

// decisions are the cases of a strategy, with what their inputs leave out.
func (doc *document) decisions() (list []artifact.GoldenDecision, err error) {
	if len(doc.Cases) > artifact.MaxGoldenDecisions {
		return nil, nba.Errorf(nba.CodePluginRefused, "%s: %d cases; at most %d become golden decisions", SpecFile, len(doc.Cases), artifact.MaxGoldenDecisions)
	}
	for i := range doc.Cases {
		c := &doc.Cases[i]
		if c.Features != nil || c.Score != nil || c.Input == nil || c.Output == nil {
			return nil, nba.Errorf(nba.CodePluginRefused, "%s: case %d: a case of a strategy has input and output", SpecFile, i)
		}
		d := artifact.GoldenDecision{Name: c.Name, Seed: c.Seed, Parameters: c.Parameters}
		if err := completeInput(c.Input); err != nil {
			return nil, nba.Errorf(nba.CodePluginRefused, "%s: case %q: %w", SpecFile, c.Name, err)
		}
		if d.Input, err = json.Marshal(c.Input); err == nil {
			d.Output, err = json.Marshal(c.Output)
		}
		if err != nil {
			return nil, nba.Errorf(nba.CodePluginRefused, "%s: case %q is not JSON: %w", SpecFile, c.Name, err)
		}
		list = append(list, d)
	}
	return list, nil
}

// completeInput fills in what a case leaves out, so that it need only say what it is about.
func completeInput(input map[string]any) error {
	orElse(input, map[string]any{"nowMs": 1_700_000_000_000, "channel": "web", "direction": string(nba.Inbound), "contexts": []any{},
		"subject": map[string]any{}, "features": map[string]any{}, "placements": []any{map[string]any{"name": "main", "limit": 1}}})
	placements, ok := input["placements"].([]any)
	if !ok {
		return fmt.Errorf("placements are a list of objects with name and limit")
	}
	candidates, ok := input["candidates"].([]any)
	if !ok || len(candidates) == 0 {
		return fmt.Errorf("input needs a list of candidates")
	}
	for i := range candidates {
		c, ok := candidates[i].(map[string]any)
		action, named := c["action"].(string)
		if !ok || !named {
			return fmt.Errorf("candidate %d is no object with an action", i)
		}
		treatments := make([]any, len(placements))
		for p := range treatments {
			treatments[p] = []any{action}
		}
		orElse(c, map[string]any{"issue": "issue", "group": "group", "propensity": 0.5, "contextWeight": 1, "value": 1, "lever": 1,
			"priority": 0.5, "properties": map[string]any{}, "treatments": treatments})
	}
	return nil
}

// orElse adds the defaults that an object lacks.
func orElse(object, defaults map[string]any) {
	for name, value := range defaults {
		if _, given := object[name]; !given {
			object[name] = value
		}
	}
}

// measureStrategy fills in the fuel of a strategy: what the dearest decisions took, with a margin, as far
// as a call may last.
func (b *bench) measureStrategy(ctx context.Context, s *Spec, limits *artifact.Limits) error {
	most := s.Manifest.Limits.MaxRows
	one, err := b.dearestDecision(ctx, s, 1)
	if err != nil {
		return err
	}
	many, err := b.dearestDecision(ctx, s, most)
	if err != nil {
		return err
	}
	margin := min(float64(strategyMargin), float64(probeFuel)/float64(many))
	if margin < 1.2 {
		return nba.Errorf(nba.CodePluginRefused, "a decision of %d candidates uses %d fuel, and a call is granted at most %d: lower maxRows in %s, or do less for each candidate",
			most, many, probeFuel, SpecFile)
	}
	limits.FuelPerRow = int64(margin * float64(max(many, one)-one) / float64(max(most-1, 1)))
	limits.FuelBase = int64(margin*float64(many)) - int64(most)*limits.FuelPerRow
	return nil
}

// dearestDecision is the most fuel that a decision of so many candidates took, or one of the cases with no
// more: again and again, so that a collection of garbage is among them.
func (b *bench) dearestDecision(ctx context.Context, s *Spec, candidates int) (most uint64, err error) {
	const rounds = 50
	made, err := madeDecision(&s.Manifest, candidates)
	if err != nil {
		return 0, err
	}
	cases := []artifact.GoldenDecision{made}
	for _, c := range s.Manifest.Decisions {
		if c.Output = nil; candidates > 1 {
			cases = append(cases, c)
		}
	}
	for range rounds {
		for i := range cases {
			_, fuel, err := admission.Answer(ctx, b.instance, &b.admitted.Manifest.Limits, s.Manifest.Parameters, &cases[i])
			if err != nil {
				return most, err
			}
			most = max(most, fuel)
		}
	}
	return most, nil
}

// madeDecision is a decision of so many candidates that look like those of a catalog.
func madeDecision(m *artifact.Manifest, n int) (artifact.GoldenDecision, error) {
	subject := map[string]any{}
	for i, name := range m.Attributes {
		subject[name] = i
	}
	features := map[string]any{}
	for i := range m.Features {
		features[m.Features[i].Name] = 0.5
	}
	candidates := make([]any, n)
	for i := range candidates {
		candidates[i] = map[string]any{"action": fmt.Sprintf("an-action-of-the-catalog-%d", i), "propensity": digits15(1 / float64(i+3)), "priority": digits15(10 / float64(i+3)),
			"properties": map[string]any{"value": 10.5, "minutes": i}}
	}
	input := map[string]any{"subject": subject, "features": features, "candidates": candidates}
	if err := completeInput(input); err != nil {
		return artifact.GoldenDecision{}, err
	}
	text, err := json.Marshal(input)
	return artifact.GoldenDecision{Input: text}, err
}

// digits15 is f with the digits that the host writes.
func digits15(f float64) float64 {
	f, _ = strconv.ParseFloat(strconv.FormatFloat(f, 'g', 15, 64), 64)
	return f
}

// decisions runs the rules and the cases of a strategy.
func (t *trialRun) decisions() {
	m := &t.spec.Manifest
	first := make([]string, len(m.Decisions))
	var total uint64
	err := error(nil)
	for round := 0; round < 2 && err == nil; round++ {
		for i := range m.Decisions {
			bare := m.Decisions[i]
			bare.Output = nil
			var answer []byte
			var fuel uint64
			answer, fuel, err = t.answer(&bare)
			total += fuel
			if err != nil {
				break
			}
			if round == 1 && first[i] != string(answer) {
				err = fmt.Errorf("case %q was answered in another way later; keep no state between calls, and do not depend on the order of maps", bare.Name)
				break
			}
			first[i] = string(answer)
		}
	}
	t.add("contract: the same decision gives the same answer", err, total)
	if full, err := madeDecision(m, m.Limits.MaxRows); err == nil {
		_, fuel, err := t.answer(&full)
		t.add(fmt.Sprintf("contract: %d candidates in one decision", m.Limits.MaxRows), err, fuel)
	}
	for i := range m.Decisions {
		bare := m.Decisions[i]
		want := bare.Output
		bare.Output = nil
		answer, fuel, err := t.answer(&bare)
		if err == nil {
			same, cerr := admission.SameJSON(answer, want)
			if err = cerr; err == nil && !same {
				err = fmt.Errorf("the answer is\n        %s\n      and the case wants\n        %s", short(answer), short(want))
			}
		}
		t.add("case: "+bare.Name, err, fuel)
	}
}

func short(text []byte) []byte { return text[:min(len(text), 2000)] }

func (t *trialRun) answer(golden *artifact.GoldenDecision) ([]byte, uint64, error) {
	answer, fuel, err := admission.Answer(t.ctx, t.bench.instance, &t.bench.admitted.Manifest.Limits, t.spec.Manifest.Parameters, golden)
	t.report.MaxFuel = max(t.report.MaxFuel, fuel)
	if err != nil {
		t.bench.replace(t.ctx)
	}
	return bytes.Clone(answer), fuel, err
}

// replace takes another instance after a call that failed, as a node does.
func (b *bench) replace(ctx context.Context) {
	b.admitted.Pool.Discard(b.instance)
	b.instance = nil
	if instance, err := b.admitted.Pool.Acquire(ctx); err == nil {
		b.instance = instance
	}
}

// recorder is a wasm.Host that remembers.
type recorder struct {
	parameters map[string]string
	logs       []abi.LogLine
	metrics    map[string]float64
}

// Param implements wasm.Host.
func (r *recorder) Param(key string) (string, bool) {
	value, ok := r.parameters[key]
	return value, ok
}

// Log implements wasm.Host.
func (r *recorder) Log(level wasm.LogLevel, text []byte) {
	r.logs = append(r.logs, abi.LogLine{Level: level.String(), Text: string(text)})
}

// Metric implements wasm.Host.
func (r *recorder) Metric(name string, value float64) {
	if r.metrics == nil {
		r.metrics = map[string]float64{}
	}
	r.metrics[name] += value
}

// conformStrategy runs the vectors of strategies.
func conformStrategy(ctx context.Context, b *bench) error {
	vectors, _, err := abi.LoadStrategy("strategy.json")
	if err != nil {
		return err
	}
	for i := range vectors.Calls {
		if err := b.strategyVector(ctx, &vectors.Calls[i]); err != nil {
			return fmt.Errorf("vector %q: %w", vectors.Calls[i].Name, err)
		}
	}
	return nil
}

func (b *bench) strategyVector(ctx context.Context, call *abi.StrategyCall) error {
	var input struct {
		NowMS      int64             `json:"nowMs"`
		Candidates []json.RawMessage `json:"candidates"`
	}
	if err := json.Unmarshal(call.Input, &input); err != nil {
		return err
	}
	host := &recorder{parameters: call.Parameters}
	answer, _, err := b.instance.Decide(ctx, call.Input, len(input.Candidates), wasm.Call{NowMS: input.NowMS, Seed: call.Seed, Host: host})
	if call.Failed {
		if wasm.ReasonOf(err) != wasm.ReasonStatus {
			return fmt.Errorf("the call must be refused with a status: %v", err)
		}
		b.replace(ctx)
		return nil
	}
	if err != nil {
		return err
	}
	same, err := admission.SameJSON(answer, call.Answer)
	switch {
	case err != nil:
		return err
	case !same:
		return fmt.Errorf("the answer is %s, want %s", short(answer), short(call.Answer))
	case len(host.logs) < len(call.Logs) || !slices.Equal(host.logs[len(host.logs)-len(call.Logs):], call.Logs): // an answer that did not fit is made twice
		return fmt.Errorf("the log has %d lines, or others than %v", len(host.logs), call.Logs)
	case len(host.logs) == len(call.Logs) && !maps.Equal(host.metrics, call.Metrics):
		return fmt.Errorf("the metrics are %v, want %v", host.metrics, call.Metrics)
	}
	return nil
}
