package nba

import (
	"errors"
	"fmt"
)

// Code classifies an error for callers and for the API. Codes are never reused or renamed.
type Code string

// The codes.
const (
	CodeInvalid           Code = "INVALID"                // the input breaks the contract
	CodeMalformed         Code = "MALFORMED"              // the input cannot be parsed at all
	CodeUnsupportedMedia  Code = "UNSUPPORTED_MEDIA"      // the content type is not accepted here
	CodeNotFound          Code = "NOT_FOUND"              // no such route or resource
	CodeSubjectUnknown    Code = "SUBJECT_UNKNOWN"        // no such subject
	CodeAttributeUnknown  Code = "ATTRIBUTE_UNKNOWN"      // no such attribute in the dictionary
	CodeActionUnknown     Code = "ACTION_UNKNOWN"         // no such action in the catalog
	CodeDecisionUnknown   Code = "DECISION_UNKNOWN"       // no such decision
	CodeSubjectErased     Code = "SUBJECT_ERASED"         // the subject was deleted, and the decision with it
	CodeReplayUnavailable Code = "REPLAY_UNAVAILABLE"     // what the decision was made of is not there any more
	CodePluginUnknown     Code = "PLUGIN_UNKNOWN"         // no such plugin or version
	CodeCatalogUnknown    Code = "CATALOG_UNKNOWN"        // no such catalog version, or none active yet
	CodeCatalogInvalid    Code = "CATALOG_INVALID"        // the catalog document has mistakes
	CodePluginRefused     Code = "PLUGIN_REFUSED"         // admission refused the artifact
	CodeModelInvalid      Code = "MODEL_INVALID"          // the model file cannot be compiled
	CodeConflict          Code = "CONFLICT"               // contradicts what is stored
	CodePrecondition      Code = "PRECONDITION_FAILED"    // If-Match does not hold
	CodePreconditionNeeds Code = "PRECONDITION_REQUIRED"  // If-Match is missing
	CodeKeyReused         Code = "IDEMPOTENCY_KEY_REUSED" // the key was used for another request
	CodeSubjectMissing    Code = "SUBJECT_MISSING"        // an event tells nobody whom it is about
	CodeEventLate         Code = "EVENT_LATE"             // an event comes later than its type allows
	CodeEventEarly        Code = "EVENT_EARLY"            // an event happens in the future
	CodeLetterUnknown     Code = "LETTER_UNKNOWN"         // no such dead letter
	CodeContactLimit      Code = "CONTACT_LIMIT"          // one more contact would exceed a contact policy
	CodeUnauthenticated   Code = "UNAUTHENTICATED"        // the caller did not prove who it is
	CodeForbidden         Code = "FORBIDDEN"              // the caller may not do this
	CodeRateLimited       Code = "RATE_LIMITED"           // the caller sends more than its key may
	CodeTooLarge          Code = "TOO_LARGE"              // beyond a documented limit
	CodeOverloaded        Code = "OVERLOADED"             // a bounded queue is full; retry later
	CodeUnavailable       Code = "UNAVAILABLE"            // no leader, starting, or shutting down
	CodeTimeout           Code = "TIMEOUT"                // the deadline of the request passed
	CodeInternal          Code = "INTERNAL"               // a fault of ours
)

// Detail is one mistake within an input. It never holds the offending value.
type Detail struct {
	// Pointer is where the mistake is: a JSON Pointer, or empty when Line tells it.
	Pointer string `json:"pointer,omitempty"`
	// File, Line and Column locate the mistake in a document; 0 means not applicable.
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	Code   Code   `json:"code"`
	// Detail says what is wrong and how to mend it.
	Detail string `json:"detail"`
}

// Error is an error with a code and a message that may be shown to the caller: it names the place
// and the remedy, and holds no secret, subject id or input value. Any other error type is internal
// and is shown as such.
type Error struct {
	Code    Code
	Message string
	Details []Detail
	cause   error
}

// Errorf makes an *Error. A %w in format becomes the cause, which Unwrap returns.
func Errorf(code Code, format string, args ...any) *Error {
	wrapped := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: wrapped.Error(), cause: errors.Unwrap(wrapped)}
}

// Invalid makes an *Error with CodeInvalid for one place of the input.
func Invalid(pointer, detail string) *Error {
	e := &Error{Code: CodeInvalid, Message: detail}
	if pointer != "" {
		e.Details = []Detail{{Pointer: pointer, Code: CodeInvalid, Detail: detail}}
	}
	return e
}

// Error implements error.
func (e *Error) Error() string {
	if len(e.Details) == 0 || len(e.Details) == 1 && e.Details[0].Detail == e.Message {
		return e.Message
	}
	d := e.Details[0]
	where := d.Pointer
	if d.Line > 0 {
		where = fmt.Sprintf("line %d", d.Line)
		if d.File != "" {
			where = fmt.Sprintf("%s:%d", d.File, d.Line)
		}
	}
	more := ""
	if n := len(e.Details) - 1; n > 0 {
		more = fmt.Sprintf(" (and %d more)", n)
	}
	return fmt.Sprintf("%s: %s: %s%s", e.Message, where, d.Detail, more)
}

// Unwrap returns the cause, if any.
func (e *Error) Unwrap() error { return e.cause }

// CodeOf is the code of the first *Error in err's chain, CodeInternal for any other error, and ""
// for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return CodeInternal
}
