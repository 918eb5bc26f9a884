package nba

import "time"

// WhyNot tells why an action is not proposed to a subject now, or that it is.
type WhyNot struct {
	Subject        SubjectRef `json:"subject"`
	Action         string     `json:"action"`
	Channel        string     `json:"channel"`
	CatalogVersion uint64     `json:"catalogVersion"`
	At             time.Time  `json:"at"`
	// Proposed tells that the action is proposed: in Placement, at Rank.
	Proposed  bool   `json:"proposed"`
	Placement string `json:"placement,omitempty"`
	Rank      int    `json:"rank,omitempty"`
	// Stage is where the action leaves the funnel first, Code and Label the reason as explanations show
	// them.
	Stage string `json:"stage,omitempty"`
	Code  string `json:"code,omitempty"`
	Label string `json:"label,omitempty"`
	// Clause is the condition that is not met, as the catalog has it; empty where it is none.
	Clause string `json:"clause,omitempty"`
	// Parts are the parts of it that are not as they would have to be.
	Parts []WhyNotPart `json:"parts"`
	// Changes are the nearest that would take the action past this stage: all of them together.
	Changes []string `json:"changes"`
	// Ranking is there for an action that reached arbitration.
	Ranking *WhyNotRanking `json:"ranking,omitempty"`
}

// WhyNotPart is one thing that is not as it would have to be.
type WhyNotPart struct {
	Clause   string `json:"clause"`
	Actual   string `json:"actual"`
	Required string `json:"required"`
}

// WhyNotRanking is how an action compared in arbitration.
type WhyNotRanking struct {
	Rank int `json:"rank"`
	Of   int `json:"of"`

	Propensity    float64 `json:"propensity"`
	ContextWeight float64 `json:"contextWeight"`
	Value         float64 `json:"value"`
	Lever         float64 `json:"lever"`
	Priority      float64 `json:"priority"`
	// BeatenBy are the propositions in the placements that the action has treatments for.
	BeatenBy []WhyNotRival `json:"beatenBy"`
}

// WhyNotRival is a proposition that an action competed with.
type WhyNotRival struct {
	Action    string  `json:"action"`
	Placement string  `json:"placement"`
	Rank      int     `json:"rank"`
	Priority  float64 `json:"priority"`
}
