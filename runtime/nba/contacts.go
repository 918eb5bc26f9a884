package nba

import "time"

// SubjectContacts is where a subject stands with the contact policies of the active catalog.
type SubjectContacts struct {
	SubjectRef
	CatalogVersion uint64    `json:"catalogVersion"`
	At             time.Time `json:"at"`
	// Policies are in the order of the catalog.
	Policies []ContactStanding `json:"policies"`
	// Contacts are those that are remembered, newest first.
	Contacts []Contact `json:"contacts"`
}

// ContactStanding is where a subject stands with one policy. A policy that counts for each action, or
// another part of a contact, apart is there once for each that has contacts.
type ContactStanding struct {
	Policy string `json:"policy"`
	// Kind is limit, suppression, coolOff or quietHours.
	Kind  string `json:"kind"`
	Code  string `json:"code"`
	Label string `json:"label"`
	// On is the other subject, such as the account, that the contacts count on.
	On *SubjectRef `json:"on,omitempty"`
	// Channel to Action are what the counted contacts share; empty means any.
	Channel   string    `json:"channel,omitempty"`
	Direction Direction `json:"direction,omitempty"`
	Issue     string    `json:"issue,omitempty"`
	Group     string    `json:"group,omitempty"`
	Action    string    `json:"action,omitempty"`
	// Max is how many there may be (for a suppression, how many outcomes it takes), Used how many count,
	// and Reserved how many of those were proposed and may still be shown.
	Max      int `json:"max,omitempty"`
	Used     int `json:"used"`
	Reserved int `json:"reserved,omitempty"`
	// Reached tells that the policy lets nothing more through now, FreeAt when it does again if nothing
	// else happens.
	Reached bool       `json:"reached"`
	Since   *time.Time `json:"since,omitempty"`
	FreeAt  *time.Time `json:"freeAt,omitempty"`
}

// Contact is one contact as policies count it. Names of what left the catalog are empty.
type Contact struct {
	Time       time.Time `json:"time"`
	DecisionID string    `json:"decisionId"`
	Channel    string    `json:"channel,omitempty"`
	Direction  Direction `json:"direction,omitempty"`
	Issue      string    `json:"issue,omitempty"`
	Group      string    `json:"group,omitempty"`
	Action     string    `json:"action,omitempty"`
	Outcomes   []Outcome `json:"outcomes,omitempty"`
	// ReservedUntil is until when the contact may still be shown, of one without an outcome.
	ReservedUntil *time.Time `json:"reservedUntil,omitempty"`
}
