package serving

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/runtime/engine"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/wasm"
)

// Features makes rows of features without a model, by the code that scores: what a model with these
// features is handed, bit for bit. Those who train models use them. It is safe for concurrent use.
type Features struct {
	in      inputs
	touches touchPool
	names   []string
	at      []int // place in the inputs of each feature, in the order in which they were given
}

// BindFeatures binds features, in any order, to a dictionary; purpose "" means the default one. The error
// is an *nba.Error with CodeInvalid that lists everything wrong with them.
func BindFeatures(features []artifact.Feature, purpose string, dictionary *nba.Dictionary) (*Features, error) {
	m := &artifact.Manifest{Name: "features", Purpose: cmp.Or(purpose, artifact.DefaultPurpose)}
	f := &Features{at: make([]int, len(features))}
	wrong := &nba.Error{Code: nba.CodeInvalid, Message: "the features cannot be made"}
	seen := make(map[string]bool, len(features))
	for i := range features {
		feature := features[i]
		feature.Scope = cmp.Or(feature.Scope, feature.Recipe.ScopeOf())
		problems := artifact.CheckFeature(&feature)
		if seen[feature.Name] {
			problems = append(problems, "the feature has the same name as another one")
		}
		seen[feature.Name] = true
		for _, problem := range problems {
			wrong.Details = append(wrong.Details, nba.Detail{Pointer: fmt.Sprintf("/features/%d", i), Code: nba.CodeInvalid, Detail: problem})
		}
		f.names = append(f.names, feature.Name)
	}
	for _, scope := range [...]string{artifact.ScopeSubject, artifact.ScopeCandidate} {
		for i := range features {
			feature := features[i]
			if feature.Scope = cmp.Or(feature.Scope, feature.Recipe.ScopeOf()); feature.Scope == scope {
				f.at[i] = len(m.Features)
				m.Features = append(m.Features, feature)
			}
		}
	}
	if len(wrong.Details) > 0 {
		return nil, wrong
	}
	in, problems := bind(m, dictionary)
	if wrong.Details = problems; len(problems) > 0 {
		for i := range problems { // there is no plugin yet
			problems[i].Pointer = strings.TrimPrefix(problems[i].Pointer, "/"+m.Name)
			problems[i].Detail = strings.Replace(problems[i].Detail, " of plugin "+m.Name, "", 1)
		}
		return nil, wrong
	}
	f.in = in
	return f, nil
}

// Names are those of the features, in order.
func (f *Features) Names() []string { return f.names }

// Withheld names what the features ask for and a subject with this consent mask does not hand over:
// attributes, and "history" for the interaction history.
func (f *Features) Withheld(mask nba.PurposeSet) []string { return f.in.withheld(mask) }

// Row appends the features of call's subject, and of its only candidate if they need one, to into; a
// missing feature is NaN. Of call, Model, Out and Features are not used.
func (f *Features) Row(call *engine.ScoreCall, into []float64) ([]float64, error) {
	if f.in.candidateN > 0 && len(call.Candidates) != 1 {
		return nil, nba.Errorf(nba.CodeInvalid, "the features are also of the action: name the action of each row")
	}
	history, err := f.touches.read(&f.in, call)
	if err != nil {
		return nil, fmt.Errorf("making features: %w", err)
	}
	defer f.touches.put(history)
	area := make([]byte, 8*(f.in.subjectN+f.in.candidateN))
	f.in.putSubject(area, call, history)
	if f.in.candidateN > 0 {
		f.in.putCandidates(area[8*f.in.subjectN:], call.Candidates, history, call.Reads)
	}
	for _, n := range f.at {
		into = append(into, wasm.Float(area, n))
	}
	return into, nil
}
