package api

import (
	"strconv"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// maxResponses bounds the responses of one request.
const maxResponses = 1000

// The names of each JSON object of a request, in the order of the cases that read them.
var (
	decisionNames  = []string{"subject", "channel", "direction", "placements", "contexts", "decisionRequestId", "excludedActions", "options"}
	subjectNames   = []string{"id", "type"}
	placementNames = []string{"id", "limit"}
	contextNames   = []string{"type", "key", "value"}
	optionNames    = []string{"explain", "simulate", "catalogVersion", "timeoutMs", "consistency"}
	responseNames  = []string{"decisionId", "responseToken", "action", "treatment", "outcome", "behaviour", "value", "outcomeTime"}
	documentNames  = []string{"id", "type", "version", "attributes", "consents", "channelConsents"}
	patchNames     = []string{"attributes", "consents", "channelConsents"}
	attributeNames = []string{"name", "type", "purposes"}
)

// decisionRequest reads the body of POST /v1/decisions into req, reusing its slices. The strings of
// req are parts of text.
func (r *jsonReader) decisionRequest(text string, req *nba.DecisionRequest, maxTimeout time.Duration) error {
	*req = nba.DecisionRequest{
		Placements: req.Placements[:0], Contexts: req.Contexts[:0], ExcludedActions: req.ExcludedActions[:0],
		Options: nba.DecisionOptions{Explain: nba.ExplainNone},
	}
	r.reset(text)
	r.members(decisionNames, func(field int) {
		switch field {
		case 0:
			r.subject(&req.Subject)
		case 1:
			req.Channel = r.stringOf(nba.MaxTextBytes)
		case 2:
			req.Direction = nba.Direction(r.oneOf(string(nba.Inbound), string(nba.Outbound)))
		case 3:
			r.items(nba.MaxPlacements, func(int) { r.placement(req) })
		case 4:
			r.items(nba.MaxContexts, func(int) { r.contextValue(req) })
		case 5:
			req.DecisionRequestID = r.stringOf(nba.MaxTextBytes)
		case 6:
			r.items(nba.MaxExcludedActions, func(int) {
				req.ExcludedActions = append(req.ExcludedActions, r.stringOf(nba.MaxTextBytes))
			})
		case 7:
			r.options(&req.Options, maxTimeout)
		}
	})
	if r.fault == nil && len(r.problems) == 0 {
		if ref, err := req.Subject.Normalize(); err != nil {
			return err //nolint:wrapcheck // an *nba.Error with its pointer
		} else if req.Subject = ref; req.Channel == "" {
			r.invalidAt("channel", "the channel is missing")
		}
	}
	return r.finish()
}

func (r *jsonReader) subject(ref *nba.SubjectRef) {
	r.members(subjectNames, func(field int) {
		switch field {
		case 0:
			ref.ID = r.stringOf(nba.MaxSubjectIDBytes)
		case 1:
			ref.Type = nba.SubjectType(r.stringOf(nba.MaxTextBytes))
		}
	})
}

func (r *jsonReader) placement(req *nba.DecisionRequest) {
	var p nba.PlacementRequest
	r.members(placementNames, func(field int) {
		switch field {
		case 0:
			p.ID = r.stringOf(nba.MaxTextBytes)
		case 1:
			p.Limit = int(r.integer(0, nba.MaxPlacementLimit))
		}
	})
	if p.ID == "" {
		r.invalidAt("id", "the placement id is missing")
	}
	for i := range req.Placements {
		if req.Placements[i].ID == p.ID {
			r.invalidAt("id", "the placement is asked for twice: use limit")
		}
	}
	req.Placements = append(req.Placements, p)
}

func (r *jsonReader) contextValue(req *nba.DecisionRequest) {
	var c nba.ContextValue
	hasValue := false
	r.members(contextNames, func(field int) {
		switch field {
		case 0:
			c.Type = r.stringOf(nba.MaxTextBytes)
		case 1:
			c.Key = r.stringOf(nba.MaxTextBytes)
		case 2:
			c.Value, hasValue = r.stringOf(nba.MaxTextBytes), true
		}
	})
	if c.Key == "" {
		r.invalidAt("key", "the context key is missing")
	}
	if !hasValue {
		r.invalidAt("value", "the context value is missing")
	}
	req.Contexts = append(req.Contexts, c)
}

func (r *jsonReader) options(o *nba.DecisionOptions, maxTimeout time.Duration) {
	r.members(optionNames, func(field int) {
		switch field {
		case 0:
			o.Explain = nba.Explain(r.oneOf(string(nba.ExplainNone), string(nba.ExplainReasons), string(nba.ExplainFull)))
		case 1:
			o.Simulate = r.boolean()
		case 2:
			o.CatalogVersion = r.unsigned()
		case 3:
			o.TimeoutMS = int(r.integer(0, maxTimeout.Milliseconds()))
		case 4:
			o.Consistency = r.oneOf("stale", "leader", "linearizable")
		}
	})
}

// oneOf reads a string that is one of a few.
func (r *jsonReader) oneOf(words ...string) string {
	if !r.expect('"', "a string") {
		return ""
	}
	s := r.str()
	list := ""
	for i, word := range words {
		if s == word {
			return word
		}
		if i > 0 {
			list += ", "
		}
		list += word
	}
	r.invalid("the value must be one of " + list)
	return ""
}

// responses reads the body of POST /v1/responses: one response, or an array of them.
func (r *jsonReader) responses(text string) (list []nba.Response, isArray bool, err error) {
	r.reset(text)
	if isArray = r.peek() == '['; isArray {
		r.items(maxResponses, func(int) { list = append(list, r.response()) })
		if r.fault == nil && len(list) == 0 {
			r.invalid("the array holds no response")
		}
	} else {
		list = append(list, r.response())
	}
	return list, isArray, r.finish()
}

func (r *jsonReader) response() (response nba.Response) {
	r.members(responseNames, func(field int) {
		switch field {
		case 0:
			response.DecisionID = r.stringOf(nba.MaxTextBytes)
		case 1:
			response.ResponseToken = r.stringOf(nba.MaxTextBytes)
		case 2:
			response.Action = r.stringOf(nba.MaxTextBytes)
		case 3:
			response.Treatment = r.stringOf(nba.MaxTextBytes)
		case 4:
			response.Outcome = r.outcome()
		case 5:
			response.Behaviour = r.stringOf(nba.MaxTextBytes)
		case 6:
			response.Value = r.float()
		case 7:
			response.OutcomeTime = r.time()
		}
	})
	if r.fault != nil {
		return response
	}
	if response.Outcome == "" && len(r.problems) == 0 {
		r.invalidAt("outcome", "the outcome is missing")
	}
	if response.ResponseToken == "" && (response.DecisionID == "" || response.Action == "") && len(r.problems) == 0 {
		r.invalid("the response names no proposition: give responseToken, or decisionId and action")
	}
	return response
}

func (r *jsonReader) outcome() nba.Outcome {
	words := make([]string, len(nba.ReportedOutcomes))
	for i, outcome := range nba.ReportedOutcomes {
		words[i] = string(outcome)
	}
	return nba.Outcome(r.oneOf(words...))
}

func (r *jsonReader) time() time.Time {
	text := r.stringOf(nba.MaxTextBytes)
	if text == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		r.invalid("the value must be a time as RFC 3339 has it, such as 2026-01-31T09:30:00Z")
	}
	return t
}

// subjectDocument reads the body of PUT /v1/subjects/{id}. id and type may be left out; if they are
// there they must be those of the path. A version is accepted, so that what GET gave can be put, and
// means nothing: If-Match does.
func (r *jsonReader) subjectDocument(text string, ref nba.SubjectRef) (doc nba.SubjectDocument, err error) {
	doc.SubjectRef = ref
	hasAttributes := false
	r.reset(text)
	r.members(documentNames, func(field int) {
		switch field {
		case 0:
			if r.stringOf(nba.MaxSubjectIDBytes) != ref.ID {
				r.invalid("the id is not that of the path")
			}
		case 1:
			if r.stringOf(nba.MaxTextBytes) != string(ref.Type) {
				r.invalid("the type is not that of the query parameter type, which defaults to " + string(nba.DefaultSubjectType))
			}
		case 2:
			r.unsigned()
		case 3:
			hasAttributes = true
			doc.Attributes = map[string]any{}
			r.attributes(doc.Attributes, false)
		case 4:
			doc.Consents = r.answers("purposes")
		case 5:
			doc.ChannelConsents = r.answers("channels")
		}
	})
	if !hasAttributes && r.fault == nil {
		r.invalidAt("attributes", "the attributes are missing: an empty object means none")
	}
	return doc, r.finish()
}

// subjectPatch reads the body of PATCH /v1/subjects/{id}: a JSON merge patch (RFC 7396).
func (r *jsonReader) subjectPatch(text string, ref nba.SubjectRef) (patch nba.SubjectPatch, err error) {
	patch.SubjectRef = ref
	r.reset(text)
	r.members(patchNames, func(field int) {
		switch field {
		case 0:
			patch.Attributes = map[string]any{}
			r.attributes(patch.Attributes, true)
		case 1:
			patch.Consents = map[string]*bool{}
			r.consents(patch.Consents, "purposes", true)
		case 2:
			patch.ChannelConsents = map[string]*bool{}
			r.consents(patch.ChannelConsents, "channels", true)
		}
	})
	return patch, r.finish()
}

// attributes reads attribute values; null is allowed in a patch alone.
func (r *jsonReader) attributes(into map[string]any, nullable bool) {
	r.entries("an object", func(name string) {
		if _, twice := into[name]; twice {
			r.invalid("the name occurs twice in its object")
		}
		if len(into) == nba.MaxAttributes {
			r.invalid("more than " + strconv.Itoa(nba.MaxAttributes) + " attributes")
			r.skip()
			return
		}
		if r.peek() == 'n' && !nullable {
			r.wrongType("a bool, a number or a string; leave an absent attribute out")
			return
		}
		into[name] = r.scalar(nba.MaxStringBytes)
	})
}

// answers reads purposes or channels with true or false.
func (r *jsonReader) answers(what string) map[string]bool {
	read := map[string]*bool{}
	r.consents(read, what, false)
	answers := make(map[string]bool, len(read))
	for name, given := range read {
		answers[name] = *given
	}
	return answers
}

// consents reads purposes or channels with true (granted) or false (refused); null, in a patch alone,
// removes.
func (r *jsonReader) consents(into map[string]*bool, what string, nullable bool) {
	r.entries("an object", func(purpose string) {
		if _, twice := into[purpose]; twice {
			r.invalid("the name occurs twice in its object")
		}
		if len(into) == nba.MaxPurposes {
			r.invalid("more than " + strconv.Itoa(nba.MaxPurposes) + " " + what)
			r.skip()
			return
		}
		if nullable && r.null() {
			into[purpose] = nil
			return
		}
		given := r.boolean()
		into[purpose] = &given
	})
}

// declarations reads the body of PUT /v1/attributes.
func (r *jsonReader) declarations(text string) (list []nba.AttributeDeclaration, err error) {
	r.reset(text)
	found := false
	r.members([]string{"attributes"}, func(int) {
		found = true
		r.items(nba.MaxAttributes, func(int) { list = append(list, r.declaration()) })
	})
	if !found && r.fault == nil {
		r.invalidAt("attributes", "the attributes are missing")
	}
	return list, r.finish()
}

func (r *jsonReader) declaration() (d nba.AttributeDeclaration) {
	r.members(attributeNames, func(field int) {
		switch field {
		case 0:
			d.Name = r.stringOf(nba.MaxTextBytes)
		case 1:
			var known bool
			if d.Type, known = nba.ParseKind(r.stringOf(nba.MaxTextBytes)); !known {
				r.invalid("an attribute type is one of bool, int, float, string, time")
			}
		case 2:
			r.items(nba.MaxPurposes, func(int) { d.Purposes = append(d.Purposes, r.stringOf(nba.MaxTextBytes)) })
		}
	})
	return d
}
