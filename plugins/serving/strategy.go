package serving

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"sync"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/plugins/strategy"
	"github.com/arbiterhq/arbiter/runtime/consent"
	"github.com/arbiterhq/arbiter/runtime/engine"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/wasm"
)

var _ engine.Strategy = (*Set)(nil)

// toldAttribute is an attribute that a strategy is told of as it is.
type toldAttribute struct {
	id       nba.AttributeID
	name     string
	purposes nba.PurposeSet
}

// telling is the reusable memory of one call to a strategy.
type telling struct {
	attributes, features []strategy.Field
	area                 []byte
	input                []byte
	score                engine.ScoreCall // what features are made from
}

// tellings lends them.
type tellings struct{ pool sync.Pool }

func (p *tellings) get() *telling {
	if t, ok := p.pool.Get().(*telling); ok {
		return t
	}
	return &telling{}
}

func (p *tellings) put(t *telling) {
	clear(t.attributes) // the strings are the store's
	clear(t.input)
	*t = telling{attributes: t.attributes[:0], features: t.features[:0], area: t.area, input: t.input[:0]}
	p.pool.Put(t)
}

// Arrange implements engine.Strategy. The caller holds a reference to the Set. Errors are as those of
// Score.
func (s *Set) Arrange(ctx context.Context, call *engine.StrategyCall) (*nba.ModelInfo, error) {
	m, ok := s.models[call.Name]
	if !ok {
		return nil, nba.Errorf(nba.CodePluginUnknown, "no version of the strategy is active; push and activate one")
	}
	if m.version.manifest.Kind != artifact.KindStrategy {
		return nil, nba.Errorf(nba.CodeInvalid, "plugin %s is no strategy; name one in the catalog", call.Name)
	}
	return m.arrange(ctx, call)
}

// arrange has an instance of a version answer, or what stands in for it.
func (m *model) arrange(ctx context.Context, call *engine.StrategyCall) (*nba.ModelInfo, error) {
	return m.guard(func() error { return m.arrangeWith(ctx, call) }, func(other *model) error {
		call.Picks, call.ByPriority = call.Picks[:0], false
		if err := other.arrangeWith(ctx, call); err != nil {
			return err
		}
		call.StandIn = true
		return nil
	})
}

func (m *model) arrangeWith(ctx context.Context, call *engine.StrategyCall) error {
	t := m.version.tellings.get()
	defer m.version.tellings.put(t)
	candidates := min(len(call.Candidates), m.version.manifest.Limits.MaxRows)
	if err := m.tell(t, call); err != nil {
		return m.failed(err)
	}
	t.input = strategy.AppendInput(t.input, call, candidates, t.attributes, t.features)
	host := m.version.calls.get()
	defer m.version.calls.put(host)
	host.model, host.parameters, host.subject, host.mask, host.contexts = m, call.Parameters, call.Subject, call.Mask, call.Contexts
	instance, err := m.version.pool.Acquire(ctx)
	if err != nil {
		return m.failed(err)
	}
	answer, used, err := instance.Decide(ctx, t.input, candidates, wasm.Call{NowMS: call.Now.UnixMilli(), Seed: m.seed(call.Seed), Host: host})
	if err == nil {
		call.Picks, call.ByPriority, err = strategy.ParseAnswer(answer, candidates, call.Picks[:0])
		if err != nil {
			err = &badAnswer{err}
		}
	}
	if err != nil {
		m.version.pool.Discard(instance)
		return m.failed(err)
	}
	m.version.pool.Put(instance)
	m.count(candidates, used)
	for rest := candidates; rest < len(call.Candidates); rest++ { // what it was not told of comes behind
		call.Picks = append(call.Picks, engine.StrategyPick{Candidate: rest})
	}
	return nil
}

// badAnswer is the failure of a strategy whose answer breaks the contract.
type badAnswer struct{ error }

func isBadAnswer(err error) bool {
	_, ok := errors.AsType[*badAnswer](err)
	return ok
}

// tell reads what the manifest asks for, as far as the subject consented.
func (m *model) tell(t *telling, call *engine.StrategyCall) error {
	in := &m.inputs
	for i := range in.told {
		a := &in.told[i]
		if !consent.Visible(a.purposes, in.purpose, call.Mask) {
			continue
		}
		if value, ok := call.Subject.Attribute(a.id); ok {
			t.attributes = append(t.attributes, strategy.Field{Name: a.name, Value: value})
		}
	}
	if in.subjectN == 0 {
		return nil
	}
	t.score = engine.ScoreCall{Model: call.Name, Subject: call.Subject, Now: call.Now, Mask: call.Mask, Contexts: call.Contexts,
		History: call.History, Counted: call.Counted, Reads: call.Reads}
	history, err := m.touches.read(in, &t.score)
	if err != nil {
		return fmt.Errorf("making features: %w", err)
	}
	defer m.touches.put(history)
	if size := 8 * in.subjectN; cap(t.area) < size {
		t.area = make([]byte, size)
	}
	t.area = t.area[:8*in.subjectN]
	in.putSubject(t.area, &t.score, history)
	for n, name := range in.names {
		if f := wasm.Float(t.area, n); !math.IsNaN(f) {
			t.features = append(t.features, strategy.Field{Name: name, Value: nba.Float(f)})
		}
	}
	return nil
}

// seed gives each plugin numbers of its own in one decision.
func (m *model) seed(decision uint64) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(m.info.Name)) // never fails
	return decision ^ h.Sum64()
}
