package api

import (
	"context"
	"net/http"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

func getConsents(ctx context.Context, core Core, in *request) (reply, error) {
	ref, err := subjectRef(in)
	if err != nil {
		return reply{}, err
	}
	read, err := readOf(in)
	if err != nil {
		return reply{}, err
	}
	doc, err := core.Consents(ctx, ref, &read)
	if err != nil {
		return reply{}, err
	}
	// No 304: what is effective depends on the time and the catalog too.
	out, err := jsonReply(http.StatusOK, doc)
	out.etag, out.age = etagOf(doc.Version), ageOf(&read)
	return out, err
}

func putConsents(ctx context.Context, core Core, in *request) (reply, error) {
	ref, condition, err := existing(in)
	if err != nil {
		return reply{}, err
	}
	doc, err := new(jsonReader).consentDocument(string(in.body), ref)
	if err != nil {
		return reply{}, err
	}
	version, err := core.PutConsents(ctx, doc, condition.version)
	if err != nil {
		return reply{}, err
	}
	out, err := jsonReply(http.StatusOK, subjectVersion{SubjectRef: ref, Version: version})
	out.etag = etagOf(version)
	return out, err
}

// consentDocument reads the body of PUT /v1/subjects/{id}/consents: what GET gave, where the members it
// only shows are passed over.
func (r *jsonReader) consentDocument(text string, ref nba.SubjectRef) (doc nba.ConsentDocument, err error) {
	doc.SubjectRef = ref
	var hasPurposes, hasChannels bool
	r.reset(text)
	r.members([]string{"id", "type", "version", "effective", "purposes", "channels"}, func(field int) {
		switch field {
		case 0:
			if r.stringOf(nba.MaxSubjectIDBytes) != ref.ID {
				r.invalid("the id is not that of the path")
			}
		case 1:
			if r.stringOf(nba.MaxTextBytes) != string(ref.Type) {
				r.invalid("the type is not that of the query parameter type, which defaults to " + string(nba.DefaultSubjectType))
			}
		case 2, 3:
			r.skip()
		case 4:
			hasPurposes = true
			r.items(nba.MaxPurposes, func(int) {
				var c nba.PurposeConsent
				c.PrivacyUsagePurpose, c.Status, c.ValidFor = r.consent("privacyUsagePurpose")
				doc.Purposes = append(doc.Purposes, c)
			})
		case 5:
			hasChannels = true
			r.items(nba.MaxChannelConsents, func(int) {
				var c nba.ChannelConsent
				c.Channel, c.Status, c.ValidFor = r.consent("channel")
				doc.Channels = append(doc.Channels, c)
			})
		}
	})
	if r.fault == nil && !(hasPurposes && hasChannels) {
		r.invalidAt("", "the purposes or the channels are missing: an empty list means that nothing was said")
	}
	return doc, r.finish()
}

// consent reads one answer; key names its purpose or channel.
func (r *jsonReader) consent(key string) (name string, state nba.ConsentState, period *nba.TimePeriod) {
	r.members([]string{key, "status", "validFor"}, func(field int) {
		switch field {
		case 0:
			name = r.stringOf(nba.MaxTextBytes)
		case 1:
			word := r.oneOf(nba.Granted.String(), nba.Refused.String(), nba.Withdrawn.String())
			_ = state.UnmarshalText([]byte(word)) // oneOf has reported another word
		case 2:
			period = r.period()
		}
	})
	if r.fault == nil && (name == "" || state == nba.Unanswered) {
		r.invalid("an answer has the members " + key + " and status")
	}
	return name, state, period
}

func (r *jsonReader) period() *nba.TimePeriod {
	p := &nba.TimePeriod{}
	r.members([]string{"startDateTime", "endDateTime"}, func(field int) {
		at := r.time()
		switch {
		case at.IsZero():
		case field == 0:
			p.StartDateTime = &at
		default:
			p.EndDateTime = &at
		}
	})
	return p
}
