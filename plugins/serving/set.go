package serving

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/runtime/engine"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/wasm"
)

var _ engine.Scorer = (*Set)(nil)

// Set is an immutable choice of plugin versions, one for each plugin, bound to a dictionary. It is
// safe for concurrent use by all who hold a reference.
type Set struct {
	host   *Host
	plan   Plan
	models map[string]*model
	warm   []*loaded
	refs   atomic.Int64
}

// model is one plugin version of a Set.
type model struct {
	info        nba.ModelInfo
	version     *loaded
	inputs      inputs
	touches     touchPool
	probability bool
	metrics     modelMetrics
	trial       *trial // nil unless another version is compared with this one
	lastGood    *model // stands in when the version keeps failing; nil: none does
	aside       bool   // the Set serves no traffic: the version answers whatever it did before
	hosted      bool   // the guest has host functions
	log         *pluginLog
	counters    *counters
}

// Acquire takes a reference; false means that the last one is gone, and that a newer Set is in use.
func (s *Set) Acquire() bool {
	for {
		n := s.refs.Load()
		if n <= 0 {
			return false
		}
		if s.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Release gives a reference back. The last one frees what the Set holds; Release never waits for it.
func (s *Set) Release() {
	switch n := s.refs.Add(-1); {
	case n == 0:
		s.host.free(s)
	case n < 0:
		panic("serving: Set released more often than acquired")
	}
}

// Models are the names of the plugins in the Set, sorted.
func (s *Set) Models() []string { return slices.Sorted(maps.Keys(s.models)) }

// Manifest is the manifest of one plugin of the Set. The caller must not change it.
func (s *Set) Manifest(name string) (*artifact.Manifest, bool) {
	m, ok := s.models[name]
	if !ok {
		return nil, false
	}
	return m.version.manifest, true
}

// Info names the version of one plugin of the Set.
func (s *Set) Info(name string) (*nba.ModelInfo, bool) {
	m, ok := s.models[name]
	if !ok {
		return nil, false
	}
	return &m.info, true
}

// Score implements engine.Scorer. The caller holds a reference to the Set. It allocates nothing unless
// call.Features is set or it fails. Errors are *nba.Error: CodePluginUnknown, CodeOverloaded when no
// instance became free, CodeTimeout when ctx ended, CodeUnavailable when the guest failed; then its
// instance is discarded and replaced.
func (s *Set) Score(ctx context.Context, call *engine.ScoreCall) (*nba.ModelInfo, error) {
	m, ok := s.models[call.Model]
	if !ok {
		return nil, nba.Errorf(nba.CodePluginUnknown, "no version of the model is active; push and activate one")
	}
	if len(call.Out) != len(call.Candidates) {
		return nil, fmt.Errorf("scoring with model %s: room for %d scores of %d candidates", call.Model, len(call.Out), len(call.Candidates))
	}
	if len(call.Out) == 0 {
		return &m.info, nil
	}
	if m.trial != nil {
		return m.trial.score(ctx, s, m, call)
	}
	return m.answer(ctx, call, nil)
}

// answer has a version score call, or what stands in for it. spent may be nil.
func (m *model) answer(ctx context.Context, call *engine.ScoreCall, spent *effort) (*nba.ModelInfo, error) {
	return m.guard(func() error { return m.answerWith(ctx, call, spent) }, func(other *model) error {
		if err := other.answerWith(ctx, call, nil); err != nil {
			return err
		}
		call.StandIn = true
		return nil
	})
}

// answerWith scores call with an instance of the version.
func (m *model) answerWith(ctx context.Context, call *engine.ScoreCall, spent *effort) error {
	instance, err := m.version.pool.Acquire(ctx)
	if err != nil {
		return m.failed(err)
	}
	if err := m.score(ctx, instance, call, spent); err != nil {
		m.version.pool.Discard(instance)
		return m.failed(err)
	}
	m.version.pool.Put(instance)
	if m.strays(call.Out) {
		return m.failed(errRange)
	}
	return nil
}

// strays tells whether a score is none that the model may give.
func (m *model) strays(scores []float64) bool {
	if m.probability {
		for _, score := range scores {
			if score < 0 || score > 1 { // false for NaN, which abstains
				return true
			}
		}
	}
	return false
}

var errRange = errors.New("a score is no probability")

// score fills call.Out chunk by chunk, so that no guest call gets long. When the candidates differ in
// nothing that the model reads, one row is scored for all.
func (m *model) score(ctx context.Context, instance *wasm.Instance, call *engine.ScoreCall, spent *effort) error {
	in, rows := &m.inputs, len(call.Out)
	history, err := m.touches.read(in, call)
	if err != nil {
		return err
	}
	defer m.touches.put(history)
	if in.candidateN == 0 {
		rows = 1
	}
	host := m.host(call)
	defer m.version.calls.put(host)
	if call.Features != nil {
		call.Features.Rows, call.Features.Withheld = call.Features.Rows[:0], in.withheld(call.Mask)
	}
	for begin := 0; begin < rows; {
		if begin > 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		n := min(rows-begin, instance.MaxRows())
		// Again for each chunk: the guest may use its input as scratch.
		in.putSubject(instance.Subject(), call, history)
		if in.candidateN > 0 {
			in.putCandidates(instance.Candidates(n), call.Candidates[begin:begin+n], history, call.Reads)
		}
		if call.Features != nil {
			in.explain(instance, n, call)
		}
		began := spent.begin()
		if host != nil {
			instance.Serve(wasm.Call{Host: host})
		}
		used, err := instance.Score(ctx, n)
		if err != nil {
			return err
		}
		spent.end(n, used, began)
		m.count(n, used)
		for i := range n {
			call.Out[begin+i] = instance.ScoreAt(i)
		}
		begin += n
	}
	for i := rows; i < len(call.Out); i++ {
		call.Out[i] = call.Out[0]
	}
	return nil
}

func (m *model) count(rows int, fuel uint64) {
	m.metrics.calls.Inc()
	m.metrics.rows.Add(float64(rows))
	m.metrics.fuel.Add(float64(fuel))
}

// failed counts err and turns it into what the engine gets.
func (m *model) failed(err error) error {
	reason, code := string(wasm.ReasonOf(err)), nba.CodeUnavailable
	switch {
	case reason != "":
	case errors.Is(err, wasm.ErrBusy):
		reason, code = reasonBusy, nba.CodeOverloaded
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		reason, code = reasonTimeout, nba.CodeTimeout
	case errors.Is(err, errRange):
		reason = reasonRange
	case isBadAnswer(err):
		reason = reasonAnswer
	default:
		reason, code = reasonHost, nba.CodeInternal
	}
	m.metrics.errors.WithLabelValues(reason).Inc()
	return nba.Errorf(code, "model %s %s could not score: %w", m.info.Name, m.info.Version, err)
}

// OfKind are the names of the plugins of one kind in the Set, sorted; not nil.
func (s *Set) OfKind(kind string) []string {
	names := []string{}
	for _, name := range s.Models() {
		if s.models[name].version.manifest.Kind == kind {
			names = append(names, name)
		}
	}
	return names
}
