package nba

import (
	"encoding/json"
	"time"
)

// MaxFeatureRows bounds the rows of one FeatureRequest.
const MaxFeatureRows = 1000

// FeatureRequest asks for rows of features as a model would be handed them, for those who train models.
type FeatureRequest struct {
	// Plugin, with Version or in its active version, names the features; or Features lists them, each an
	// object with name and recipe as in a manifest, and Purpose whose consent they need.
	Plugin   string          `json:"plugin,omitempty"`
	Version  string          `json:"version,omitempty"`
	Features json.RawMessage `json:"features,omitempty"`
	Purpose  string          `json:"purpose,omitempty"`
	Rows     []FeatureRow    `json:"rows"`
}

// FeatureRow is one row that is asked for.
type FeatureRow struct {
	Subject SubjectRef `json:"subject"`
	// Action is the candidate, for features of the action.
	Action   string         `json:"action,omitempty"`
	Contexts []ContextValue `json:"contexts,omitempty"`
	// At is the moment up to which the interaction history counts; nil means now. Attributes are as they
	// are now.
	At *time.Time `json:"at,omitempty"`
}

// FeatureTable answers a FeatureRequest.
type FeatureTable struct {
	Names []string `json:"names"`
	// Rows are in the order of the request; null is a missing value, and a null row a subject that is
	// unknown.
	Rows [][]*float64 `json:"rows"`
}
