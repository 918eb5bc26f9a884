package artifact

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"github.com/arbiterhq/arbiter/runtime/history"
)

// Feature is one input of a scorer.
type Feature struct {
	// Name is the model's own name of the feature, unique within the manifest.
	Name string `json:"name"`
	// Scope is ScopeSubject or ScopeCandidate; "" means ScopeSubject.
	Scope  string `json:"scope,omitempty"`
	Recipe Recipe `json:"recipe"`
}

// Recipe tells how the host makes a feature out of what it knows. Exactly one of Attribute, OneHot,
// Bucket, Log, Ratio, History, EventStrategy, ActionProperty and Context is set. A feature is missing when its input is absent, was not
// consented to, or is of the wrong kind; Default then replaces it, and without a Default the model
// gets NaN.
type Recipe struct {
	// Attribute is the subject attribute whose numeric value is the feature: bools are 0 and 1, times
	// are milliseconds since 1970. With Levels the attribute is a string and the feature is its
	// position in Levels; a string that is none of them is missing.
	Attribute string   `json:"attribute,omitempty"`
	Levels    []string `json:"levels,omitempty"`
	OneHot    *OneHot  `json:"oneHot,omitempty"`
	Bucket    *Bucket  `json:"bucket,omitempty"`
	Log       *Log     `json:"log,omitempty"`
	Ratio     *Ratio   `json:"ratio,omitempty"`
	History   *History `json:"history,omitempty"`
	// EventStrategy is the name of an event strategy of the catalog whose aggregate is the feature, as of
	// the decision. It is missing where the strategy has none, and where it may not be read for the plugin's
	// purpose.
	EventStrategy string `json:"eventStrategy,omitempty"`
	// ActionProperty is a numeric property of the candidate action, such as "value"; candidate scope.
	ActionProperty string `json:"actionProperty,omitempty"`
	// Context is the key of a context value of the request that is read as a number.
	Context string `json:"context,omitempty"`
	// Default replaces a missing feature; nil leaves it missing.
	Default *float64 `json:"default,omitempty"`
}

// OneHot is 1 when the attribute equals Level, 0 when it has another value, and missing when it is
// absent. Level is compared as text: exactly for strings, by value for numbers, and for bools true
// matches yes, true and 1 and false matches no, false and 0 in any case; see BoolLevel.
type OneHot struct {
	Attribute string `json:"attribute"`
	Level     string `json:"level"`
}

// Bucket is the number of Bounds that are less than or equal to the attribute: 0 below the first
// bound, len(Bounds) from the last one on. Bounds ascend strictly.
type Bucket struct {
	Attribute string    `json:"attribute"`
	Bounds    []float64 `json:"bounds"`
}

// Log is the natural logarithm of the attribute plus Offset, and missing where that is not above 0. With
// Offset 1 it is exact for small numbers too, as log1p is.
type Log struct {
	Attribute string  `json:"attribute"`
	Offset    float64 `json:"offset,omitempty"`
}

// Ratio is one attribute divided by another, and missing where either is, or where the divisor is 0.
type Ratio struct {
	Attribute string `json:"attribute"`
	By        string `json:"by"`
}

// The aggregates of a History.
const (
	AggregateContacts  = "contacts"  // how many propositions were made
	AggregateAccepts   = "accepts"   // how many were accepted
	AggregateResponses = "responses" // how many had Outcome
	AggregateDaysSince = "daysSince" // days since the last of them, as a fraction; missing when there is none
)

// History is an aggregate of the subject's interaction history before the decision. Of a long history
// the newest MaxTouches entries count. The history is missing for a subject that did not consent to the
// plugin's purpose.
type History struct {
	// Aggregate is one of the Aggregate constants.
	Aggregate string `json:"aggregate"`
	// Outcome is what AggregateResponses counts and AggregateDaysSince looks for; "" means
	// propositions.
	Outcome string `json:"outcome,omitempty"`
	// Days is how far back entries count; 0 means as far as the history is kept.
	Days int `json:"days,omitempty"`
	// Channel and Action restrict the entries to those of one channel or action; SameAction to those of
	// the candidate action, which makes the feature one of the candidate.
	Channel    string `json:"channel,omitempty"`
	Action     string `json:"action,omitempty"`
	SameAction bool   `json:"sameAction,omitempty"`
}

// MaxTouches bounds how many entries of a history are read for one call.
const MaxTouches = history.MaxTouches

// MaxHistoryDays bounds History.Days.
const MaxHistoryDays = 3650

// AttributeNames appends the subject attributes that the recipe reads to into.
func (r *Recipe) AttributeNames(into []string) []string {
	if name := r.AttributeName(); name != "" {
		into = append(into, name)
	}
	if r.Ratio != nil {
		into = append(into, r.Ratio.By)
	}
	return into
}

// ScopeOf is the scope that the recipe needs.
func (r *Recipe) ScopeOf() string {
	if r.ActionProperty != "" || r.History != nil && r.History.SameAction {
		return ScopeCandidate
	}
	return ScopeSubject
}

// AttributeName is the subject attribute the recipe reads, of a ratio the first, or "".
func (r *Recipe) AttributeName() string {
	switch {
	case r.OneHot != nil:
		return r.OneHot.Attribute
	case r.Bucket != nil:
		return r.Bucket.Attribute
	case r.Log != nil:
		return r.Log.Attribute
	case r.Ratio != nil:
		return r.Ratio.Attribute
	default:
		return r.Attribute
	}
}

// BoolLevel reads the level of a one-hot recipe as a bool: yes, true and 1, no, false and 0, in any
// case. ok is false for any other level, which no bool matches.
func BoolLevel(level string) (value, ok bool) {
	if len(level) > 5 {
		return false, false
	}
	lower := make([]byte, len(level))
	for i := range len(level) {
		c := level[i]
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		lower[i] = c
	}
	switch string(lower) {
	case "true", "yes", "1":
		return true, true
	case "false", "no", "0":
		return false, true
	}
	return false, false
}

// FeatureHash is the sha256 over the canonical JSON of features, scopes filled in: the two sides of
// a call agree on what stands where exactly when their hashes agree.
func FeatureHash(features []Feature) string {
	canonical := append([]Feature{}, features...)
	for i := range canonical {
		if canonical[i].Scope == "" {
			canonical[i].Scope = ScopeSubject
		}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(canonical); err != nil {
		// Only a NaN or an infinity in a recipe cannot be encoded, and Validate refuses those.
		b.WriteString(err.Error())
	}
	sum := sha256.Sum256(bytes.TrimSuffix(b.Bytes(), []byte("\n")))
	return "sha256:" + hex.EncodeToString(sum[:])
}
