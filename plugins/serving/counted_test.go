package serving

import (
	"testing"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/runtime/engine"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/wasm"
)

// counts are what event strategies count, for tests.
type counts map[string]float64

func (c counts) Counted(strategy string, purpose nba.PurposeID, mask nba.PurposeSet) (float64, bool) {
	value, ok := c[strategy]
	return value, ok && mask.Has(purpose)
}

// TestCountedFeatures: what event strategies count is a feature, missing where it may not be read, and noted.
func TestCountedFeatures(t *testing.T) {
	missing := -1.0
	manifest := &artifact.Manifest{Name: "m", Purpose: nba.PurposeService, Features: []artifact.Feature{
		{Name: "used", Scope: artifact.ScopeSubject, Recipe: artifact.Recipe{EventStrategy: "usage", Default: &missing}},
		{Name: "other", Scope: artifact.ScopeSubject, Recipe: artifact.Recipe{EventStrategy: "other", Default: &missing}},
	}}
	for i := range manifest.Features {
		if problems := artifact.CheckFeature(&manifest.Features[i]); len(problems) > 0 {
			t.Fatal(problems)
		}
	}
	in, problems := bind(manifest, nba.NewDictionary())
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	area := make([]byte, 16)
	var reads engine.Reads
	reads.Record()
	in.putSubject(area, &engine.ScoreCall{Mask: ^nba.PurposeSet(0), Counted: counts{"usage": 2.5}, Reads: &reads}, nil)
	if a, b := wasm.Float(area, 0), wasm.Float(area, 1); a != 2.5 || b != -1 {
		t.Errorf("got %v %v", a, b)
	}
	if noted := reads.Recorded().Aggregates; len(noted) != 2 || noted[0] != 2.5 {
		t.Errorf("noted %v", noted)
	}
	in.putSubject(area, &engine.ScoreCall{Counted: counts{"usage": 2.5}}, nil)
	if a := wasm.Float(area, 0); a != -1 {
		t.Errorf("got %v without consent", a)
	}
	in.putSubject(area, &engine.ScoreCall{}, nil)
	if err := CheckNames(manifest, Names{EventStrategies: []string{"usage", "others"}}); nba.CodeOf(err) != nba.CodeInvalid {
		t.Errorf("got %v", err)
	}
}
