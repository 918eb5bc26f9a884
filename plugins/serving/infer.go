package serving

import (
	"context"
	"fmt"

	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/wasm"
)

// MaxInferRows bounds the rows of one Infer.
const MaxInferRows = 1024

// Infer scores rows of features as they are, in the order of the manifest, into scores: to try a model, not
// for decisions. No subject is read, nothing is held against the version, and no other stands in for it. A
// NaN feature is missing; a NaN score means that the model abstains. Strategies have no scores:
// CodeInvalid. The other errors are those of Score.
func (s *Set) Infer(ctx context.Context, name string, rows [][]float64, scores []float64) error {
	m, ok := s.models[name]
	if !ok {
		return nba.Errorf(nba.CodePluginUnknown, "no version of the model is served here")
	}
	features := len(m.version.manifest.Features)
	switch {
	case len(rows) > MaxInferRows:
		return nba.Errorf(nba.CodeTooLarge, "at most %d rows are scored at once", MaxInferRows)
	case len(scores) != len(rows):
		return fmt.Errorf("inferring with model %s: room for %d scores of %d rows", name, len(scores), len(rows))
	case features == 0:
		return nba.Errorf(nba.CodeInvalid, "the plugin takes no rows of features")
	}
	for _, row := range rows {
		if len(row) != features {
			return nba.Errorf(nba.CodeInvalid, "a row has %d features, the model takes %d", len(row), features)
		}
	}
	instance, err := m.version.pool.Acquire(ctx)
	if err != nil {
		return m.failed(err)
	}
	if err := m.infer(ctx, instance, rows, scores); err != nil {
		m.version.pool.Discard(instance)
		return m.failed(err)
	}
	m.version.pool.Put(instance)
	return nil
}

// infer makes one guest call a row: rows may differ in the features of the subject, of which a call has one.
func (m *model) infer(ctx context.Context, instance *wasm.Instance, rows [][]float64, scores []float64) error {
	subjectN := m.inputs.subjectN
	for i, row := range rows {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		subject, candidate := instance.Subject(), instance.Candidates(1)
		for n, f := range row[:subjectN] {
			wasm.PutFloat(subject, n, f)
		}
		for n, f := range row[subjectN:] {
			wasm.PutFloat(candidate, n, f)
		}
		used, err := instance.Score(ctx, 1)
		if err != nil {
			return err
		}
		m.count(1, used)
		scores[i] = instance.ScoreAt(0)
	}
	return nil
}
