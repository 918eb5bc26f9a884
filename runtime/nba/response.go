package nba

import "time"

// Outcome is what a channel reports of a proposition.
type Outcome string

// The outcomes.
const (
	Impression Outcome = "Impression"
	Clicked    Outcome = "Clicked"
	Accepted   Outcome = "Accepted"
	Rejected   Outcome = "Rejected"
	Dismissed  Outcome = "Dismissed"
	Converted  Outcome = "Converted"
	// Ignored is not reported by a channel: it is recorded when the response timeout of the channel has
	// passed without an answer, an implicit negative.
	Ignored Outcome = "Ignored"
)

// Outcomes are all outcomes. The position of an outcome is stored: append only.
var Outcomes = [...]Outcome{Impression, Clicked, Accepted, Rejected, Dismissed, Converted, Ignored}

// ReportedOutcomes are those that channels report.
var ReportedOutcomes = Outcomes[:6:6]

// Index is the position of o in Outcomes, or -1.
func (o Outcome) Index() int {
	for i, known := range Outcomes {
		if o == known {
			return i
		}
	}
	return -1
}

// Response reports the outcome of one proposition. Either ResponseToken, or DecisionID with Action,
// tells which. OutcomeTime zero means now.
type Response struct {
	DecisionID    string    `json:"decisionId,omitempty"`
	ResponseToken string    `json:"responseToken,omitempty"`
	Action        string    `json:"action,omitempty"`
	Treatment     string    `json:"treatment,omitempty"`
	Outcome       Outcome   `json:"outcome"`
	Behaviour     string    `json:"behaviour,omitempty"`
	Value         float64   `json:"value,omitempty"`
	OutcomeTime   time.Time `json:"outcomeTime,omitzero"`
}

// ResponseReceipt acknowledges one committed response.
type ResponseReceipt struct {
	DecisionID string  `json:"decisionId"`
	Action     string  `json:"action"`
	Outcome    Outcome `json:"outcome"`
	// Duplicate is true when the same outcome of the same proposition was already recorded.
	Duplicate bool `json:"duplicate,omitempty"`
}

// Interaction is one line of a subject's interaction history, newest first in listings: a
// proposition (Outcome empty) or a response to one.
type Interaction struct {
	Time           time.Time `json:"time"`
	DecisionID     string    `json:"decisionId"`
	CatalogVersion uint64    `json:"catalogVersion,omitempty"`
	Channel        string    `json:"channel,omitempty"`
	Direction      Direction `json:"direction,omitempty"`
	Placement      string    `json:"placement,omitempty"`
	Rank           int       `json:"rank,omitempty"`
	Action         string    `json:"action"`
	Treatment      string    `json:"treatment,omitempty"`
	Outcome        Outcome   `json:"outcome,omitempty"`
	Behaviour      string    `json:"behaviour,omitempty"`
	Value          float64   `json:"value,omitempty"`
	Propensity     float64   `json:"propensity,omitempty"`
	Priority       float64   `json:"priority,omitempty"`
	ModelDigest    string    `json:"modelDigest,omitempty"`
}
