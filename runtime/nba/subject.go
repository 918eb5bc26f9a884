package nba

import "strings"

// SubjectType tells what kind of party or thing a decision is for.
type SubjectType string

// The subject types. The zero value is not valid; DefaultSubjectType stands in for an omitted one.
const (
	Subscriber SubjectType = "subscriber"
	Account    SubjectType = "account"
	Device     SubjectType = "device"

	DefaultSubjectType = Subscriber
)

// SubjectTypes are all subject types. The position of a type is part of stored keys: append only.
var SubjectTypes = [...]SubjectType{Subscriber, Account, Device}

// MaxSubjectIDBytes bounds the length of a subject id.
const MaxSubjectIDBytes = 128

// SubjectRef names one subject. Ids are unique within their type.
type SubjectRef struct {
	ID   string      `json:"id"`
	Type SubjectType `json:"type,omitempty"`
}

// Normalize fills in an omitted type and checks both parts. It returns an *Error with CodeInvalid
// that names the failing part and never repeats the id.
func (r SubjectRef) Normalize() (SubjectRef, error) {
	if r.Type == "" {
		r.Type = DefaultSubjectType
	}
	if r.Type.Index() < 0 {
		return r, Invalid("/subject/type", "the subject type is not one of subscriber, account, device")
	}
	switch {
	case r.ID == "":
		return r, Invalid("/subject/id", "the subject id is missing")
	case len(r.ID) > MaxSubjectIDBytes:
		return r, Invalid("/subject/id", "the subject id is longer than 128 bytes")
	case strings.ContainsFunc(r.ID, func(c rune) bool { return c < 0x20 || c == 0x7f || c == '\uFFFD' }):
		return r, Invalid("/subject/id", "the subject id holds a control character or is not UTF-8")
	}
	return r, nil
}

// Index is the position of t in SubjectTypes, or -1.
func (t SubjectType) Index() int {
	for i, known := range SubjectTypes {
		if t == known {
			return i
		}
	}
	return -1
}

// Subject is the read-only record of one subject as of one log index. A Subject is used by one
// goroutine and only until it is released by whoever handed it out; the strings in its Values share
// the record's memory and must be copied to be kept.
type Subject interface {
	// Ref names the subject.
	Ref() SubjectRef
	// Version counts the subject's writes, from 1.
	Version() uint64
	// Attribute returns the stored value of an attribute, before any consent mask.
	Attribute(id AttributeID) (Value, bool)
	// Granted is the set of purposes the subject consented to.
	Granted() PurposeSet
}

// SubjectDocument is a subject as the API shows and takes it. Attribute values are bool, int64,
// float64 or string; times are RFC 3339 strings.
type SubjectDocument struct {
	SubjectRef
	Version    uint64          `json:"version,omitempty"`
	Attributes map[string]any  `json:"attributes"`
	Consents   map[string]bool `json:"consents,omitempty"`
	// ChannelConsents are the answers to channels, by name. In a put, nil leaves those that are stored.
	ChannelConsents map[string]bool `json:"channelConsents,omitempty"`
}
