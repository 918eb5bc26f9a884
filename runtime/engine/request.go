package engine

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// MaxTimeoutMS bounds the deadline a caller may ask for.
const MaxTimeoutMS = 60_000

// The values of DecisionOptions.Consistency.
const (
	ConsistencyStale        = "stale"
	ConsistencyLeader       = "leader"
	ConsistencyLinearizable = "linearizable"
)

// ValidateRequest checks a request against a catalog and fills in what it leaves out: the subject
// type, the direction of the channel, all placements of the channel, one proposition a placement,
// no explanation, and consistency leader. Every mistake is reported at once as an *nba.Error with
// JSON pointers; it never repeats an input value. Decide needs a validated request.
func ValidateRequest(req *nba.DecisionRequest, c *catalog.Catalog) error {
	v := requestValidator{req: req, catalog: c}
	if subject, err := req.Subject.Normalize(); err != nil {
		v.adopt(err)
	} else {
		req.Subject = subject
	}
	v.channel()
	v.contexts()
	v.excluded()
	v.options()
	v.text("/decisionRequestId", req.DecisionRequestID, false)
	return v.err()
}

type requestValidator struct {
	req     *nba.DecisionRequest
	catalog *catalog.Catalog
	details []nba.Detail
}

func (v *requestValidator) fail(pointer string, code nba.Code, format string, args ...any) {
	v.details = append(v.details, nba.Detail{Pointer: pointer, Code: code, Detail: fmt.Sprintf(format, args...)})
}

// adopt takes over the details of another validation.
func (v *requestValidator) adopt(err error) {
	if e, ok := err.(*nba.Error); ok && len(e.Details) > 0 {
		v.details = append(v.details, e.Details...)
		return
	}
	v.fail("", nba.CodeInvalid, "%s", err.Error())
}

// err is the report; its code is ACTION_UNKNOWN if nothing else is wrong than unknown actions.
func (v *requestValidator) err() error {
	if len(v.details) == 0 {
		return nil
	}
	code := nba.CodeInvalid
	if !slices.ContainsFunc(v.details, func(d nba.Detail) bool { return d.Code != nba.CodeActionUnknown }) {
		code = nba.CodeActionUnknown
	}
	return &nba.Error{Code: code, Message: "the decision request is not valid", Details: v.details}
}

// text checks an optional or required free text.
func (v *requestValidator) text(pointer, value string, required bool) {
	switch {
	case value == "" && required:
		v.fail(pointer, nba.CodeInvalid, "this is required")
	case len(value) > nba.MaxTextBytes:
		v.fail(pointer, nba.CodeTooLarge, "at most %d bytes", nba.MaxTextBytes)
	case !utf8.ValidString(value):
		v.fail(pointer, nba.CodeInvalid, "this is not UTF-8")
	}
}

func (v *requestValidator) channel() {
	req := v.req
	if d := req.Direction; d != "" && d != nba.Inbound && d != nba.Outbound {
		v.fail("/direction", nba.CodeInvalid, "a direction is inbound or outbound")
	}
	channel, ok := v.catalog.Channel(req.Channel)
	switch {
	case req.Channel == "":
		v.fail("/channel", nba.CodeInvalid, "a channel is required: one of %s", strings.Join(v.catalog.ChannelNames(), ", "))
		return
	case !ok:
		v.fail("/channel", nba.CodeInvalid, "the catalog has no such channel: it has %s", strings.Join(v.catalog.ChannelNames(), ", "))
		return
	}
	if req.Direction == "" {
		req.Direction = channel.Direction
	}
	if len(req.Placements) == 0 {
		req.Placements = append(req.Placements[:0], channel.Requests...) // a copy: the caller may reuse its slice
		return
	}
	v.placements(channel)
}

func (v *requestValidator) placements(channel *catalog.Channel) {
	placements := v.req.Placements
	if len(placements) > nba.MaxPlacements {
		v.fail("/placements", nba.CodeTooLarge, "at most %d placements", nba.MaxPlacements)
		return
	}
	for i := range placements {
		p := &placements[i]
		if _, ok := channel.Placement(p.ID); !ok {
			names := make([]string, len(channel.Placements))
			for j := range channel.Placements {
				names[j] = channel.Placements[j].Name
			}
			v.fail(fmt.Sprintf("/placements/%d/id", i), nba.CodeInvalid, "the channel has no such placement: it has %s", strings.Join(names, ", "))
		} else if slices.ContainsFunc(placements[:i], func(earlier nba.PlacementRequest) bool { return earlier.ID == p.ID }) {
			v.fail(fmt.Sprintf("/placements/%d/id", i), nba.CodeInvalid, "this placement is asked for twice: raise its limit instead")
		}
		switch {
		case p.Limit == 0:
			p.Limit = 1
		case p.Limit < 0 || p.Limit > nba.MaxPlacementLimit:
			v.fail(fmt.Sprintf("/placements/%d/limit", i), nba.CodeInvalid, "a limit is between 1 and %d", nba.MaxPlacementLimit)
		}
	}
}

func (v *requestValidator) contexts() {
	contexts := v.req.Contexts
	if len(contexts) > nba.MaxContexts {
		v.fail("/contexts", nba.CodeTooLarge, "at most %d context values", nba.MaxContexts)
		return
	}
	for i := range contexts {
		c := &contexts[i]
		if !validText(c.Key) || !validText(c.Type) || !validText(c.Value) || c.Key == "" {
			at := fmt.Sprintf("/contexts/%d", i)
			v.text(at+"/type", c.Type, false)
			v.text(at+"/key", c.Key, true)
			v.text(at+"/value", c.Value, false)
		}
		for j := range i {
			if contexts[j].Key == c.Key && c.Key != "" {
				v.fail(fmt.Sprintf("/contexts/%d/key", i), nba.CodeInvalid, "this key is given twice: first in /contexts/%d", j)
				break
			}
		}
	}
}

func validText(s string) bool { return len(s) <= nba.MaxTextBytes && utf8.ValidString(s) }

func (v *requestValidator) excluded() {
	excluded := v.req.ExcludedActions
	if len(excluded) > nba.MaxExcludedActions {
		v.fail("/excludedActions", nba.CodeTooLarge, "at most %d excluded actions", nba.MaxExcludedActions)
		return
	}
	for i, name := range excluded {
		if _, ok := v.catalog.Action(name); !ok {
			v.fail(fmt.Sprintf("/excludedActions/%d", i), nba.CodeActionUnknown, "the catalog has no such action")
		}
	}
}

func (v *requestValidator) options() {
	o := &v.req.Options
	switch o.Explain {
	case "":
		o.Explain = nba.ExplainNone
	case nba.ExplainNone, nba.ExplainReasons, nba.ExplainFull:
	default:
		v.fail("/options/explain", nba.CodeInvalid, "explain is none, reasons or full")
	}
	switch o.Consistency {
	case "":
		o.Consistency = ConsistencyLeader
	case ConsistencyStale, ConsistencyLeader, ConsistencyLinearizable:
	default:
		v.fail("/options/consistency", nba.CodeInvalid, "consistency is stale, leader or linearizable")
	}
	if o.TimeoutMS < 0 || o.TimeoutMS > MaxTimeoutMS {
		v.fail("/options/timeoutMs", nba.CodeInvalid, "a timeout is between 1 and %d milliseconds; leave it out for the default", MaxTimeoutMS)
	}
}
