package compiler

import (
	"fmt"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/plugins/wasmbin"
)

// Summary describes an artifact for people.
type Summary struct {
	Name              string         `json:"name"`
	Version           string         `json:"version"`
	Kind              string         `json:"kind"`
	Purpose           string         `json:"purpose"`
	Output            string         `json:"output,omitempty"`
	Digest            string         `json:"digest"`
	SizeBytes         int            `json:"sizeBytes"`
	MemoryBytes       int            `json:"memoryBytes"`
	DataBytes         int            `json:"dataBytes"`
	Features          []InputSummary `json:"features"`
	SubjectFeatures   int            `json:"subjectFeatures"`
	CandidateFeatures int            `json:"candidateFeatures"`
	GoldenRows        int            `json:"goldenRows"`
	// Attributes, Capabilities, Parameters and SignedBy are as in the manifest and its signature, which is
	// not verified.
	Attributes   []string          `json:"attributes,omitempty"`
	Capabilities []string          `json:"capabilities,omitempty"`
	Parameters   map[string]string `json:"parameters,omitempty"`
	SignedBy     string            `json:"signedBy,omitempty"`
	Limits       artifact.Limits   `json:"limits"`
	Source       *artifact.Source  `json:"source,omitempty"`
	// Cost is what a call is predicted to take.
	Cost Cost `json:"predictedCost"`
}

// Cost is a prediction from the fuel that the manifest asks for: fuel counts instructions, and what
// compile emits takes nearly the same way through them whatever the row is.
type Cost struct {
	// FuelOneRow bounds the fuel of a call of one row.
	FuelOneRow int64 `json:"fuelOneRow"`
	// OneRowNS is the time of a call of one row, FurtherRowNS that of each further row of a call, in
	// nanoseconds of a present-day server core. Memory that is not in the caches can double them.
	OneRowNS     float64 `json:"oneRowNs"`
	FurtherRowNS float64 `json:"furtherRowNs"`
}

// costOf predicts. The constants were fitted to arbiter model bench over the reference models, most of
// which they hit within 20 %.
func costOf(m *artifact.Manifest) Cost {
	const callNS = 90
	fuelNS := 0.085 // of what is no tree
	if m.Source != nil && len(m.Source.Layouts) > 0 {
		switch m.Source.Layouts[0] {
		case "stream8", "loop8", "rows8":
			fuelNS = 0.04
		default: // the trees are walked in memory, or all of them are computed
			fuelNS = 0.057
		}
	}
	return Cost{FuelOneRow: m.Fuel(1), OneRowNS: callNS + fuelNS*float64(m.Fuel(1)), FurtherRowNS: fuelNS * float64(m.Limits.FuelPerRow)}
}

// InputSummary is one feature and where it comes from, in words.
type InputSummary struct {
	Name  string `json:"name"`
	Scope string `json:"scope"`
	From  string `json:"from"`
}

// Inspect describes an artifact from its manifest and outline, without running it.
func Inspect(module []byte) (*Summary, error) {
	m, err := artifact.Parse(module)
	if err != nil {
		return nil, err
	}
	outline, err := wasmbin.Decode(module)
	if err != nil {
		return nil, err
	}
	by, err := artifact.SignedBy(module)
	if err != nil {
		return nil, err
	}
	s := &Summary{Name: m.Name, Version: m.Version, Kind: m.Kind, Purpose: m.Purpose, Output: m.Output,
		Digest: artifact.Digest(module), SizeBytes: len(module), DataBytes: outline.DataBytes,
		SubjectFeatures: m.SubjectFeatures(), CandidateFeatures: m.CandidateFeatures(),
		GoldenRows: len(m.Golden) + len(m.Decisions), Attributes: m.Attributes, Capabilities: m.Capabilities,
		Parameters: m.Parameters, SignedBy: by, Limits: m.Limits, Source: m.Source, Cost: costOf(m)}
	for _, memory := range outline.Memories {
		s.MemoryBytes += int(memory.Min) * wasmbin.PageBytes
	}
	for i := range m.Features {
		f := &m.Features[i]
		s.Features = append(s.Features, InputSummary{Name: f.Name, Scope: f.Scope, From: describe(&f.Recipe)})
	}
	return s, nil
}

// describe puts a recipe in words.
func describe(r *artifact.Recipe) string {
	text := ""
	switch {
	case r.OneHot != nil:
		text = fmt.Sprintf("attribute %s is %q", r.OneHot.Attribute, r.OneHot.Level)
	case r.Bucket != nil:
		text = fmt.Sprintf("attribute %s in %d buckets", r.Bucket.Attribute, len(r.Bucket.Bounds)+1)
	case r.Log != nil && r.Log.Offset != 0:
		text = fmt.Sprintf("log of attribute %s + %g", r.Log.Attribute, r.Log.Offset)
	case r.Log != nil:
		text = "log of attribute " + r.Log.Attribute
	case r.Ratio != nil:
		text = fmt.Sprintf("attribute %s / attribute %s", r.Ratio.Attribute, r.Ratio.By)
	case r.History != nil:
		text = describeHistory(r.History)
	case r.EventStrategy != "":
		text = "what event strategy " + r.EventStrategy + " counts"
	case r.ActionProperty != "":
		text = "action property " + r.ActionProperty
	case r.Context != "":
		text = "context " + r.Context
	case len(r.Levels) > 0:
		text = fmt.Sprintf("attribute %s as one of %d levels", r.Attribute, len(r.Levels))
	default:
		text = "attribute " + r.Attribute
	}
	if r.Default != nil {
		text += fmt.Sprintf(", or %g", *r.Default)
	}
	return text
}

func describeHistory(h *artifact.History) string {
	what := map[string]string{artifact.AggregateContacts: "propositions", artifact.AggregateAccepts: "acceptances"}[h.Aggregate]
	switch {
	case h.Aggregate == artifact.AggregateDaysSince && h.Outcome == "":
		what = "days since the last proposition"
	case h.Aggregate == artifact.AggregateDaysSince:
		what = "days since the last response " + h.Outcome
	case h.Aggregate == artifact.AggregateResponses:
		what = "responses " + h.Outcome
	}
	switch {
	case h.SameAction:
		what += " of the same action"
	case h.Action != "":
		what += " of action " + h.Action
	}
	if h.Channel != "" {
		what += " on channel " + h.Channel
	}
	if h.Days > 0 {
		what += fmt.Sprintf(" in %d days", h.Days)
	}
	return "history: " + what
}
