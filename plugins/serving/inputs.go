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
	ratios     []ratioInput
	histories  []historyInput
	counted    []namedInput // what event strategies count
	contexts   []namedInput
	properties []namedInput    // places count within the candidate features
	told       []toldAttribute // of a strategy
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

// attributeFeature makes one feature of an attribute's value. It is small and branches little, because
// a model has dozens of them and a guest call takes less than a microsecond.
type attributeFeature struct {
	place   int32
	recipe  recipeKind
	missing float64    // what stands for a missing value: the default, or NaN
	ofBool  [2]float64 // the feature for false and for true, whatever the recipe
	text    string     // oneHot: the level as text; set for string attributes only
	number  float64    // oneHot: the level as a number; NaN, which equals nothing, if it is none; log: the offset
	table   *table     // bucket and ordinal
}

// table is what bucket and ordinal recipes look up.
type table struct {
	bounds []float64
	levels map[string]float64
}

type recipeKind uint8

const (
	recipeNumber recipeKind = iota
	recipeOneHot
	recipeBucket
	recipeOrdinal
	recipeLog
)

// namedInput is a context value or an action property that is a feature.
type namedInput struct {
	name    string
	place   int
	missing float64
}

// putSubject writes the subject features of call into area. touches are what readTouches found.
func (in *inputs) putSubject(area []byte, call *engine.ScoreCall, touches *touches) {
	for i := range in.attributes {
		a := &in.attributes[i]
		var value nba.Value
		if consent.Visible(a.purposes, in.purpose, call.Mask) {
			value, _ = call.Subject.Attribute(a.id)
		}
		a.put(area, value)
	}
	for i := range in.ratios {
		in.ratios[i].put(area, call, in.purpose)
	}
	for i := range in.histories {
		if h := &in.histories[i]; !h.sameAction {
			wasm.PutFloat(area, h.place, call.Reads.Aggregate(h.value(touches, "")))
		}
	}
	for i := range in.counted {
		c := &in.counted[i]
		value := c.missing
		if call.Counted != nil {
			if counted, ok := call.Counted.Counted(c.name, in.purpose, call.Mask); ok {
				value = counted
			}
		}
		wasm.PutFloat(area, c.place, call.Reads.Aggregate(value))
	}
	for i := range in.contexts {
		c := &in.contexts[i]
		wasm.PutFloat(area, c.place, contextNumber(call.Contexts, c.name, c.missing))
	}
}

// put writes all features made of value; the zero value is missing.
func (a *attributeInput) put(area []byte, value nba.Value) {
	switch value.Kind() {
	case nba.KindInvalid:
		for i := range a.features {
			f := &a.features[i]
			wasm.PutFloat(area, int(f.place), f.missing)
		}
	case nba.KindBool:
		bit := value.Bits() & 1
		for i := range a.features {
			f := &a.features[i]
			wasm.PutFloat(area, int(f.place), f.ofBool[bit])
		}
	case nba.KindString:
		text := value.Str()
		for i := range a.features {
			f := &a.features[i]
			wasm.PutFloat(area, int(f.place), f.ofText(text))
		}
	default:
		number, _ := value.Number()
		for i := range a.features {
			f := &a.features[i]
			wasm.PutFloat(area, int(f.place), f.ofNumber(number))
		}
	}
}

func (f *attributeFeature) ofText(text string) float64 {
	switch f.recipe {
	case recipeOneHot:
		if text == f.text {
			return 1
		}
		return 0
	case recipeOrdinal:
		if position, ok := f.table.levels[text]; ok {
			return position
		}
	}
	return f.missing
}

// ofNumber treats a NaN like a missing value.
func (f *attributeFeature) ofNumber(number float64) float64 {
	switch {
	case math.IsNaN(number):
	case f.recipe == recipeNumber:
		return number
	case f.recipe == recipeOneHot:
		if number == f.number {
			return 1
		}
		return 0
	case f.recipe == recipeBucket:
		return float64(bucket(f.table.bounds, number))
	case f.recipe == recipeLog:
		return logarithm(number, f.number, f.missing)
	}
	return f.missing
}

// logarithm is the logarithm of number + offset, missing where there is none.
func logarithm(number, offset, missing float64) float64 {
	y := math.Log(number + offset)
	if offset == 1 {
		y = math.Log1p(number)
	}
	if math.IsNaN(y) || math.IsInf(y, 0) {
		return missing
	}
	return y
}

// putCandidates writes one row for each candidate into area.
func (in *inputs) putCandidates(area []byte, candidates []engine.Candidate, touches *touches, reads *engine.Reads) {
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
		for i := range in.histories {
			if h := &in.histories[i]; h.sameAction {
				wasm.PutFloat(area, at+h.place, reads.Aggregate(h.value(touches, actionName(candidate))))
			}
		}
	}
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
	if len(in.histories) > 0 && !mask.Has(in.purpose) {
		names = append(names, historyName)
	}
	return names
}
