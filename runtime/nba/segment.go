package nba

// Limits of what is asked of segments.
const (
	// DefaultParts is into how many parts scores are cut unless it is told: deciles.
	DefaultParts = 10
	MaxParts     = 100
)

// SegmentRequest asks about subjects by segments or scores.
type SegmentRequest struct {
	// Sample is how many subjects to look at, chosen by Seed; 0 means DefaultCampaignSample. Where there are fewer
	// all are looked at.
	Sample int    `json:"sample,omitempty"`
	Seed   uint64 `json:"seed,omitempty"`
	// Model and Parts are of cuts: a model of the active catalog, and into how many equal parts.
	Model string `json:"model,omitempty"`
	Parts int    `json:"parts,omitempty"`
}

// Segments are those of the active catalog.
type Segments struct {
	CatalogVersion uint64 `json:"catalogVersion"`
	// Subjects are all, Sampled those that were looked at.
	Subjects uint64    `json:"subjects"`
	Sampled  uint64    `json:"sampled"`
	Segments []Segment `json:"segments"`
}

// Segment is a named condition, with how many are in it.
type Segment struct {
	Name  string `json:"name"`
	Label string `json:"label"`
	When  string `json:"when"`
	// Sampled are those of the sample, Share their share of it, and Subjects that share of all.
	Sampled  uint64  `json:"sampled"`
	Share    float64 `json:"share"`
	Subjects uint64  `json:"subjects"`
}

// ScoreCuts part the subjects by what a model says of them: the first part is below the first cut, the last from
// the last cut on.
type ScoreCuts struct {
	Model    string    `json:"model"`
	Parts    int       `json:"parts"`
	Subjects uint64    `json:"subjects"`
	Sampled  uint64    `json:"sampled"`
	Cuts     []float64 `json:"cuts"`
}
