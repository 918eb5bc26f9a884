package replay

import (
	"slices"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Subject is a subject as a decision saw it. It implements nba.Subject, and nba.Historian with no history:
// what was computed of that is in Record.Answers.
type Subject struct {
	record *Record
	ref    nba.SubjectRef
}

var (
	_ nba.Historian  = (*Subject)(nil)
	_ nba.Consenting = (*Subject)(nil)
)

// Ref implements nba.Subject.
func (s *Subject) Ref() nba.SubjectRef { return s.ref }

// Version implements nba.Subject.
func (s *Subject) Version() uint64 { return s.record.SubjectVersion }

// Granted implements nba.Subject.
func (s *Subject) Granted() nba.PurposeSet { return s.record.Granted }

// Attribute implements nba.Subject.
func (s *Subject) Attribute(id nba.AttributeID) (nba.Value, bool) {
	value, _ := s.Read(id)
	return value, value.Kind() != nba.KindInvalid
}

// Read is what was read of an attribute: the zero Value if the subject did not have it. ok is false for
// one that was not read.
func (s *Subject) Read(id nba.AttributeID) (value nba.Value, ok bool) {
	at, ok := slices.BinarySearchFunc(s.record.Attributes, id, func(a Attribute, id nba.AttributeID) int { return int(a.ID) - int(id) })
	if !ok {
		return nba.Value{}, false
	}
	return s.record.Attributes[at].Value, true
}

// Touches implements nba.Historian: there are none.
func (s *Subject) Touches(func(*nba.Touch) bool) error { return nil }

// JourneyBytes implements journey.Holder: as it was for the decision. ok of Record.Stood tells whether it asked.
func (s *Subject) JourneyBytes() ([]byte, error) { return s.record.Journeys, nil }

// Stood tells whether the decision asked where the subject stands.
func (s *Subject) Stood() bool { return s.record.Stood }

// PurposesAt implements nba.Consenting: as they counted for the decision.
func (s *Subject) PurposesAt(int64) (granted, refused nba.PurposeSet) {
	return s.record.Granted, s.record.Refused
}

// ChannelAt implements nba.Consenting: as it counted for the decision.
func (s *Subject) ChannelAt(string, int64) nba.ConsentState { return s.record.Channel }
