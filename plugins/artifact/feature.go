package artifact

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
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
// Bucket, ActionProperty and Context is set. A feature is missing when its input is absent, was not
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

// AttributeName is the subject attribute the recipe reads, or "".
func (r *Recipe) AttributeName() string {
	switch {
	case r.OneHot != nil:
		return r.OneHot.Attribute
	case r.Bucket != nil:
		return r.Bucket.Attribute
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
