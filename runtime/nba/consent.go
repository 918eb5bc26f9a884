package nba

import (
	"fmt"
	"time"
)

// ConsentState is what a subject said to a purpose or a channel. The names are those of the API.
type ConsentState uint8

// The states. The numbers are stored: append only.
const (
	// Unanswered: the subject said nothing, so the default of the catalog holds.
	Unanswered ConsentState = iota
	Granted
	Refused
	// Withdrawn: granted once, and taken back. It counts as refused.
	Withdrawn

	consentStates
)

var consentNames = [...]string{"unanswered", "granted", "refused", "withdrawn"}

// String is the name of s.
func (s ConsentState) String() string {
	if s >= consentStates {
		return "unknown"
	}
	return consentNames[s]
}

// Valid tells whether s is one of the states.
func (s ConsentState) Valid() bool { return s < consentStates }

// MarshalText gives the name of s.
func (s ConsentState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what a subject said. Unanswered is not said by anybody, so it is not taken.
func (s *ConsentState) UnmarshalText(text []byte) error {
	for state := Granted; state < consentStates; state++ {
		if consentNames[state] == string(text) {
			*s = state
			return nil
		}
	}
	return fmt.Errorf("a status is granted, refused or withdrawn")
}

// Limits of the consents of one subject.
const (
	MaxChannelConsents  = 64
	MaxChannelNameBytes = 64
	// MaxConsentMS is the last moment a period may name: the end of the year 9999.
	MaxConsentMS = 253_402_300_799_999
)

// Consent is one answer of a subject: to a channel, or without one to a purpose.
type Consent struct {
	Purpose PurposeID
	Channel string
	State   ConsentState
	// From is inclusive and Until exclusive, in milliseconds since 1970; 0 is without bound.
	From, Until int64
}

// At is the answer as it counts at a moment, in milliseconds since 1970: Granted, Refused or Unanswered.
// A consent that was granted for a period is no consent outside of it, also where the default is to
// allow: it was asked for and is not there. What was refused or withdrawn for a period is unanswered
// outside of it.
func (c *Consent) At(ms int64) ConsentState {
	inside := ms >= c.From && (c.Until == 0 || ms < c.Until)
	switch {
	case c.State == Unanswered || c.State != Granted && !inside:
		return Unanswered
	case c.State == Granted && inside:
		return Granted
	default:
		return Refused
	}
}

// Consenting is a Subject that tells more of its consents than Subject does: those for a period, those
// that were refused, and those to channels.
type Consenting interface {
	Subject
	// PurposesAt are the purposes the subject consented to at a moment, and those it said no to.
	PurposesAt(ms int64) (granted, refused PurposeSet)
	// ChannelAt is the answer to a channel at a moment: Granted, Refused or Unanswered.
	ChannelAt(channel string, ms int64) ConsentState
}

// TimePeriod is a period as TM Forum writes it: startDateTime inclusive, endDateTime exclusive here.
type TimePeriod struct {
	StartDateTime *time.Time `json:"startDateTime,omitempty"`
	EndDateTime   *time.Time `json:"endDateTime,omitempty"`
}

// PurposeConsent is the answer of a subject to one purpose, in the words of TMF644.
type PurposeConsent struct {
	PrivacyUsagePurpose string       `json:"privacyUsagePurpose"`
	Status              ConsentState `json:"status"`
	ValidFor            *TimePeriod  `json:"validFor,omitempty"`
}

// ChannelConsent is the answer of a subject to being addressed in one channel.
type ChannelConsent struct {
	Channel  string       `json:"channel"`
	Status   ConsentState `json:"status"`
	ValidFor *TimePeriod  `json:"validFor,omitempty"`
}

// ConsentDocument is what a subject said, as the API shows and takes it.
type ConsentDocument struct {
	SubjectRef
	Version  uint64           `json:"version,omitempty"`
	Purposes []PurposeConsent `json:"purposes"`
	Channels []ChannelConsent `json:"channels"`
	// Effective is what follows from it now, with the defaults of the active catalog. It is shown and
	// not taken.
	Effective *EffectiveConsents `json:"effective,omitempty"`
}

// EffectiveConsents tell what is allowed: for every purpose of the dictionary, and for every channel of
// the active catalog and every channel the subject answered to.
type EffectiveConsents struct {
	At       time.Time       `json:"at"`
	Purposes map[string]bool `json:"purposes"`
	Channels map[string]bool `json:"channels"`
}

// UsedConsents tell what the consents of a subject came to in one decision: what was handed over for it,
// and what was withheld.
type UsedConsents struct {
	// Usable are the purposes its data was used for, Withheld the others.
	Usable   []string `json:"usable"`
	Withheld []string `json:"withheld,omitempty"`
	// Channel is what the subject had said to the channel of the decision: granted, refused or
	// unanswered; ChannelAllowed is what followed.
	Channel        string `json:"channel"`
	ChannelAllowed bool   `json:"channelAllowed"`
	// Attributes are the names of those that were read, by policies, values or models.
	Attributes []string `json:"attributes,omitempty"`
	// Models are the plugins that were asked, with what they ask for and were not handed.
	Models []WithheldFromModel `json:"models,omitempty"`
}

// WithheldFromModel names what a plugin asks for and was not handed in one decision: attributes, and
// "history" for the interaction history.
type WithheldFromModel struct {
	Name     string   `json:"name"`
	Version  string   `json:"version"`
	Withheld []string `json:"withheld,omitempty"`
}

// IsChannelName tells whether name can be the name of a channel: it begins with a letter and has up to
// MaxChannelNameBytes letters, digits, dots, hyphens and underscores.
func IsChannelName(name string) bool {
	if name == "" || len(name) > MaxChannelNameBytes {
		return false
	}
	for i := range len(name) {
		c := name[i]
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (i == 0 || c != '_' && c != '-' && c != '.' && (c < '0' || c > '9')) {
			return false
		}
	}
	return true
}

// ChannelNameRule says what IsChannelName asks for.
const ChannelNameRule = "a channel name begins with a letter and has up to 64 letters, digits, dots, hyphens or underscores"

// ConsentOf is the state of a plain yes or no.
func ConsentOf(granted bool) ConsentState {
	if granted {
		return Granted
	}
	return Refused
}
