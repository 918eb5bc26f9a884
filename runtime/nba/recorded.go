package nba

import "time"

// DecisionRecord is a decision as it was answered, with what came of it.
type DecisionRecord struct {
	Decision
	Subject           SubjectRef `json:"subject"`
	Channel           string     `json:"channel"`
	Direction         Direction  `json:"direction"`
	DecisionRequestID string     `json:"decisionRequestId,omitempty"`
	// Consents are what the subject's consents came to; nil for a decision of a release that did not keep it,
	// or of a catalog that was removed since.
	Consents *UsedConsents `json:"consents,omitempty"`
	// Cause is what raised a decision that nobody asked for, nil for one that was asked for.
	Cause *DeliveryCause `json:"cause,omitempty"`
	// Responses are in the order of their times.
	Responses []RecordedResponse `json:"responses"`
}

// RecordedResponse is a response to one proposition of a decision.
type RecordedResponse struct {
	Action    string    `json:"action"`
	Treatment string    `json:"treatment,omitempty"`
	Placement string    `json:"placement"`
	Outcome   Outcome   `json:"outcome"`
	Behaviour string    `json:"behaviour,omitempty"`
	Value     float64   `json:"value,omitempty"`
	Time      time.Time `json:"time"`
}
