package serving

import (
	"math"
	"strconv"

	"github.com/arbiterhq/arbiter/runtime/consent"
	"github.com/arbiterhq/arbiter/runtime/engine"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/wasm"
)

// inputs is the manifest's feature list bound to a dictionary: what to read, and where each result
// goes. Every attribute is read once, however many features are made of it.
type inputs struct {
	purpose    nba.PurposeID
	attributes []attributeInput
	contexts   []namedInput
	properties []namedInput // places count within the candidate features
	subjectN   int
	candidateN int
	names      []string // of all features, in order; for explanations
}

// attributeInput is one subject attribute and the features made of it.
type attributeInput struct {
	id       nba.AttributeID
	name     string
	purposes nba.PurposeSet
	features []attributeFeature
}

// attributeFeature makes one feature of an attribute's value.
type attributeFeature struct {
	place   int
	recipe  recipeKind
	missing float64        // what stands for a missing value: the default, or NaN
	level   nba.Value      // oneHot: the level as a value of the attribute's type; invalid: never equal
	bounds  []float64      // bucket
	levels  map[string]int // ordinal
	onFalse float64        // ordinal of a bool: the position of the level that false matches, or missing
	onTrue  float64
}

type recipeKind uint8

const (
	recipeNumber recipeKind = iota
	recipeOneHot
	recipeBucket
	recipeOrdinal
)

// namedInput is a context value or an action property that is a feature.
type namedInput struct {
	name    string
	place   int
	missing float64
}

// putSubject writes the subject features of call into area.
func (in *inputs) putSubject(area []byte, call *engine.ScoreCall) {
	for i := range in.attributes {
		a := &in.attributes[i]
		var value nba.Value
		if consent.Visible(a.purposes, in.purpose, call.Mask) {
			value, _ = call.Subject.Attribute(a.id)
		}
		for j := range a.features {
			f := &a.features[j]
			wasm.PutFloat(area, f.place, f.of(value))
		}
	}
	for i := range in.contexts {
		c := &in.contexts[i]
		wasm.PutFloat(area, c.place, contextNumber(call.Contexts, c.name, c.missing))
	}
}

// putCandidates writes one row for each candidate into area.
func (in *inputs) putCandidates(area []byte, candidates []engine.Candidate) {
	for row, candidate := range candidates {
		at := row * in.candidateN
		for i := range in.properties {
			p := &in.properties[i]
			f, ok := candidate.Property(p.name)
			if !ok {
				f = p.missing
			}
			wasm.PutFloat(area, at+p.place, f)
		}
	}
}

// of is the feature made of value; the zero value is missing.
func (f *attributeFeature) of(value nba.Value) float64 {
	if value.Kind() == nba.KindInvalid {
		return f.missing
	}
	switch f.recipe {
	case recipeOneHot:
		// Floats by value, so that -0 is 0.
		if value == f.level || value.Kind() == nba.KindFloat && f.level.Kind() == nba.KindFloat && value.Float() == f.level.Float() {
			return 1
		}
		return 0
	case recipeBucket:
		if number, ok := value.Number(); ok && !math.IsNaN(number) {
			return float64(bucket(f.bounds, number))
		}
	case recipeOrdinal:
		switch value.Kind() {
		case nba.KindString:
			if position, ok := f.levels[value.Str()]; ok {
				return float64(position)
			}
		case nba.KindBool:
			if value.Bool() {
				return f.onTrue
			}
			return f.onFalse
		}
	default:
		if number, ok := value.Number(); ok {
			return number
		}
	}
	return f.missing
}

// bucket counts the bounds that are less than or equal to number.
func bucket(bounds []float64, number float64) int {
	low, high := 0, len(bounds)
	for low < high {
		middle := int(uint(low+high) >> 1)
		if bounds[middle] <= number {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low
}

// contextNumber reads the first context value of that key as a finite number.
func contextNumber(contexts []nba.ContextValue, key string, missing float64) float64 {
	for i := range contexts {
		if contexts[i].Key != key {
			continue
		}
		f, err := strconv.ParseFloat(contexts[i].Value, 64)
		if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return missing
		}
		return f
	}
	return missing
}

// explain records what the model sees for the next rows candidates. Without candidate features the
// one row stands for all candidates.
func (in *inputs) explain(instance *wasm.Instance, rows int, call *engine.ScoreCall) {
	if in.candidateN == 0 {
		features := in.seen(instance, 1, 0)
		for range call.Candidates {
			call.Features.Rows = append(call.Features.Rows, features)
		}
		return
	}
	for row := range rows {
		call.Features.Rows = append(call.Features.Rows, in.seen(instance, rows, row))
	}
}

// seen reads one row of features back from the guest's memory. Missing ones are left out.
func (in *inputs) seen(instance *wasm.Instance, rows, row int) map[string]float64 {
	features := make(map[string]float64, len(in.names))
	put := func(place int, f float64) {
		if !math.IsNaN(f) {
			features[in.names[place]] = f
		}
	}
	subject := instance.Subject()
	for n := range in.subjectN {
		put(n, wasm.Float(subject, n))
	}
	candidates := instance.Candidates(rows)
	for n := range in.candidateN {
		put(in.subjectN+n, wasm.Float(candidates, row*in.candidateN+n))
	}
	return features
}

// withheld names the attributes that the model asks for and may not see under mask, whether the
// subject has them or not.
func (in *inputs) withheld(mask nba.PurposeSet) (names []string) {
	for i := range in.attributes {
		if !consent.Visible(in.attributes[i].purposes, in.purpose, mask) {
			names = append(names, in.attributes[i].name)
		}
	}
	return names
}
