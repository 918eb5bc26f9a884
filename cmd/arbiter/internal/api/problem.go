package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// contentTypeProblem is the media type of RFC 9457.
const contentTypeProblem = "application/problem+json"

// The problems that HTTP itself knows and no other part needs.
const (
	codeMethodNotAllowed nba.Code = "METHOD_NOT_ALLOWED"
	codeHeadersTooLarge  nba.Code = "HEADERS_TOO_LARGE"
	codeRequestTimeout   nba.Code = "REQUEST_TIMEOUT"
)

// meaning is how a code shows itself in HTTP.
type meaning struct {
	status int
	title  string
}

// meanings is the one table from error code to HTTP status. A code that is not in it is a fault of
// ours and shown as CodeInternal; a test keeps it complete.
var meanings = map[nba.Code]meaning{
	nba.CodeInvalid:           {http.StatusUnprocessableEntity, "The input breaks the contract"},
	nba.CodeMalformed:         {http.StatusBadRequest, "The input cannot be parsed"},
	nba.CodeUnsupportedMedia:  {http.StatusUnsupportedMediaType, "The content type is not accepted here"},
	nba.CodeNotFound:          {http.StatusNotFound, "There is nothing here"},
	nba.CodeSubjectUnknown:    {http.StatusNotFound, "No such subject"},
	nba.CodeAttributeUnknown:  {http.StatusUnprocessableEntity, "No such attribute in the dictionary"},
	nba.CodeActionUnknown:     {http.StatusNotFound, "No such action"},
	nba.CodeDecisionUnknown:   {http.StatusNotFound, "No such decision"},
	nba.CodeSubjectErased:     {http.StatusGone, "The subject was erased"},
	nba.CodeReplayUnavailable: {http.StatusConflict, "The decision cannot be made again"},
	nba.CodePluginUnknown:     {http.StatusNotFound, "No such plugin version"},
	nba.CodeCatalogUnknown:    {http.StatusNotFound, "No such catalog version"},
	nba.CodeCatalogInvalid:    {http.StatusUnprocessableEntity, "The catalog has mistakes"},
	nba.CodePluginRefused:     {http.StatusUnprocessableEntity, "The plugin was refused"},
	nba.CodeModelInvalid:      {http.StatusUnprocessableEntity, "The model cannot be compiled"},
	nba.CodeConflict:          {http.StatusConflict, "The request contradicts what is stored"},
	nba.CodePrecondition:      {http.StatusPreconditionFailed, "The precondition does not hold"},
	nba.CodePreconditionNeeds: {http.StatusPreconditionRequired, "A precondition is required"},
	nba.CodeKeyReused:         {http.StatusUnprocessableEntity, "The idempotency key was used for another request"},
	nba.CodeSubjectMissing:    {http.StatusUnprocessableEntity, "The event names no subject"},
	nba.CodeEventLate:         {http.StatusUnprocessableEntity, "The event comes too late"},
	nba.CodeEventEarly:        {http.StatusUnprocessableEntity, "The event happens in the future"},
	nba.CodeLetterUnknown:     {http.StatusNotFound, "No such dead letter"},
	nba.CodeContactLimit:      {http.StatusConflict, "A contact limit is reached"},
	nba.CodeUnauthenticated:   {http.StatusUnauthorized, "Who are you?"},
	nba.CodeForbidden:         {http.StatusForbidden, "You may not do this"},
	nba.CodeRateLimited:       {http.StatusTooManyRequests, "Too many requests"},
	nba.CodeTooLarge:          {http.StatusRequestEntityTooLarge, "The input is too large"},
	nba.CodeOverloaded:        {http.StatusTooManyRequests, "The node is overloaded"},
	nba.CodeUnavailable:       {http.StatusServiceUnavailable, "The node cannot serve now"},
	nba.CodeTimeout:           {http.StatusGatewayTimeout, "The deadline passed"},
	nba.CodeInternal:          {http.StatusInternalServerError, "A fault of ours"},

	codeMethodNotAllowed: {http.StatusMethodNotAllowed, "The method is not allowed here"},
	codeHeadersTooLarge:  {http.StatusRequestHeaderFieldsTooLarge, "The request headers are too large"},
	codeRequestTimeout:   {http.StatusRequestTimeout, "The request did not arrive in time"},
}

// retryAfterSeconds is sent with OVERLOADED and UNAVAILABLE.
const retryAfterSeconds = "1"

// maxProblemErrors bounds the details of one problem.
const maxProblemErrors = 100

// Problem is the body of every answer that is not a success: RFC 9457 with the members code and
// errors.
type Problem struct {
	// Type is urn:arbiter:problem:<code in lower case, '-' for '_'>.
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	// Instance is urn:arbiter:request:<id>; the id is also in the X-Request-Id header and the log.
	Instance string       `json:"instance"`
	Code     nba.Code     `json:"code"`
	Errors   []nba.Detail `json:"errors,omitempty"`
}

// problemOf turns any error into what the caller may see. internal tells that err must be logged,
// because the caller does not see it.
func problemOf(err error, requestID string) (p Problem, internal bool) {
	shown, ok := errors.AsType[*nba.Error](err)
	if ok {
		_, ok = meanings[shown.Code]
	}
	switch {
	case ok && shown.Code == nba.CodeInternal:
		shown, internal = internalError(), true
	case ok:
	case errors.Is(err, context.DeadlineExceeded):
		shown = nba.Errorf(nba.CodeTimeout, "the deadline of the request passed; the change may still take effect")
	case errors.Is(err, context.Canceled):
		shown = nba.Errorf(nba.CodeUnavailable, "the node is shutting down; ask again")
	default:
		shown, internal = internalError(), true
	}
	m := meanings[shown.Code]
	p = Problem{
		Type: problemType(shown.Code), Title: m.title, Status: m.status, Detail: shown.Message,
		Instance: "urn:arbiter:request:" + requestID, Code: shown.Code, Errors: shown.Details,
	}
	if len(p.Errors) > maxProblemErrors {
		p.Errors = p.Errors[:maxProblemErrors]
		p.Detail += "; only the first 100 errors are listed"
	}
	return p, internal
}

func internalError() *nba.Error {
	return nba.Errorf(nba.CodeInternal, "the request met an internal fault; the log has it under the id of this request")
}

func problemType(code nba.Code) string {
	return "urn:arbiter:problem:" + strings.ReplaceAll(strings.ToLower(string(code)), "_", "-")
}

// reply is p as an HTTP answer.
func (p Problem) reply() reply {
	body, err := json.Marshal(p)
	if err != nil {
		panic(err) // a bug of ours: a Problem holds nothing that JSON cannot
	}
	r := reply{status: p.Status, contentType: contentTypeProblem, body: body}
	if p.Code == nba.CodeOverloaded || p.Code == nba.CodeUnavailable || p.Code == nba.CodeRateLimited {
		r.retryAfter = retryAfterSeconds
	}
	if p.Code == nba.CodeUnauthenticated {
		r.challenge = "Bearer" // RFC 6750
	}
	return r
}
