package admission_test

import (
	"context"
	"math"
	"testing"

	"github.com/arbiterhq/arbiter/plugins/admission"
	"github.com/arbiterhq/arbiter/runtime/wasm"
	"github.com/arbiterhq/arbiter/sdk/abi"
)

// The host side of the contract's test vectors: all calls go to one instance, in order.
func TestConformance(t *testing.T) {
	vectors, module, err := abi.Load("scorer.json")
	if err != nil {
		t.Fatal(err)
	}
	s := newSandbox(t)
	ctx := context.Background()
	admitted, err := admission.Admit(ctx, s, module, admission.Policy{})
	if err != nil {
		t.Fatal(err)
	}
	defer admitted.Pool.Release()
	instance, err := admitted.Pool.Acquire(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer admitted.Pool.Put(instance)
	spec := admitted.Pool.Spec()
	for _, call := range vectors.Calls {
		t.Run(call.Name, func(t *testing.T) {
			if call.Refused {
				other := spec
				other.SubjectFeatures, other.CandidateFeatures, other.MaxRows = call.SubjectFeatures, call.CandidateFeatures, call.Rows
				pool, err := s.Load(ctx, admitted.Metered, other)
				if err == nil {
					pool.Release()
				}
				if wasm.ReasonOf(err) != wasm.ReasonLayout {
					t.Errorf("error %v, want one for %s", err, wasm.ReasonLayout)
				}
				return
			}
			if call.SubjectFeatures != spec.SubjectFeatures || call.CandidateFeatures != spec.CandidateFeatures || call.Status != 0 || call.Rows == 0 {
				t.Skip("this host calls a guest with the geometry of its manifest and with rows only")
			}
			for n, f := range call.Subject {
				wasm.PutFloat(instance.Subject(), n, orNaN(f))
			}
			for row, features := range call.Candidates {
				for n, f := range features {
					wasm.PutFloat(instance.Candidates(call.Rows), row*len(features)+n, orNaN(f))
				}
			}
			if _, err := instance.Score(ctx, call.Rows); err != nil {
				t.Fatal(err)
			}
			for row, want := range call.Scores {
				got := wasm.Float(instance.Scores(call.Rows), row)
				if math.Float64bits(got) != math.Float64bits(orNaN(want)) && !(math.IsNaN(got) && want == nil) {
					t.Errorf("row %d: %v, want %v", row, got, orNaN(want))
				}
			}
		})
	}
}

func orNaN(f *float64) float64 {
	if f == nil {
		return math.NaN()
	}
	return *f
}
