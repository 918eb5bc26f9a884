package node

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/router"
	"github.com/arbiterhq/arbiter/cluster/store/record"
	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/plugins/serving"
	"github.com/arbiterhq/arbiter/runtime/consent"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/replay"
)

// Consents is what a subject said to purposes and channels, and what follows from it now. read is as for
// Subject.
func (n *Node) Consents(ctx context.Context, ref nba.SubjectRef, read *nba.Read) (doc nba.ConsentDocument, err error) {
	err = n.readRecord(ctx, ref, read, func(r *record.Record) error {
		doc = n.consentDocument(ctx, r)
		return nil
	})
	return doc, err
}

// readRecord calls use with the record of a subject, read as current as read asks for, here or on another
// node; it sets read.Age. use must keep nothing of the record.
func (n *Node) readRecord(ctx context.Context, ref nba.SubjectRef, read *nba.Read, use func(*record.Record) error) (err error) {
	if ref, err = n.admit(ctx, ref); err != nil {
		return err
	}
	want, err := normalize(read)
	if err != nil {
		return err
	}
	return n.router.AtReader(ctx, router.Slot(ref), want, func() error {
		reading, age, err := n.router.AcquireRead(ctx, ref, want)
		if err != nil {
			return err
		}
		defer reading.Release()
		answered(read, age)
		return use(&reading.Record)
	}, func(node string) error { return n.recordFrom(ctx, node, ref, want, read, use) })
}

func (n *Node) consentDocument(ctx context.Context, r *record.Record) nba.ConsentDocument {
	v := n.acquire()
	defer v.release()
	dict, now := n.Dictionary(ctx), n.clock.Now().UTC().Truncate(time.Millisecond)
	doc := nba.ConsentDocument{SubjectRef: r.Ref(), Version: r.Version(), Purposes: []nba.PurposeConsent{}, Channels: []nba.ChannelConsent{},
		Effective: &nba.EffectiveConsents{At: now, Purposes: map[string]bool{}, Channels: map[string]bool{}}}
	doc.ID = strings.Clone(doc.ID)
	allowPurposes := false
	if v.catalog != nil {
		allowPurposes = v.catalog.Consent.AllowPurposes
		for _, channel := range v.catalog.Channels {
			_, doc.Effective.Channels[channel.Name] = consent.Channel(r, channel.Name, now, channel.AllowUnanswered)
		}
	}
	mask := consent.MaskAt(dict, r, now, allowPurposes)
	names := map[nba.PurposeID]string{}
	for _, p := range dict.Purposes() {
		names[p.ID] = p.Name
		doc.Effective.Purposes[p.Name] = mask.Has(p.ID)
	}
	for _, a := range r.Answers(nil) {
		period := periodOf(a)
		if a.Channel == "" {
			doc.Purposes = append(doc.Purposes, nba.PurposeConsent{PrivacyUsagePurpose: names[a.Purpose], Status: a.State, ValidFor: period})
			continue
		}
		doc.Channels = append(doc.Channels, nba.ChannelConsent{Channel: a.Channel, Status: a.State, ValidFor: period})
		if _, known := doc.Effective.Channels[a.Channel]; !known {
			doc.Effective.Channels[a.Channel] = a.At(now.UnixMilli()) == nba.Granted
		}
	}
	return doc
}

func periodOf(a nba.Consent) *nba.TimePeriod {
	if a.From == 0 && a.Until == 0 {
		return nil
	}
	moment := func(ms int64) *time.Time {
		if ms == 0 {
			return nil
		}
		t := time.UnixMilli(ms).UTC()
		return &t
	}
	return &nba.TimePeriod{StartDateTime: moment(a.From), EndDateTime: moment(a.Until)}
}

// PutConsents replaces all answers of a subject, which must exist. ifVersion is as for PutSubject.
func (n *Node) PutConsents(ctx context.Context, doc nba.ConsentDocument, ifVersion *uint64) (version uint64, err error) {
	ref, err := n.admit(ctx, doc.SubjectRef)
	if err != nil {
		return 0, err
	}
	answers, err := answersOf(n.Dictionary(ctx), &doc)
	if err != nil {
		return 0, err
	}
	granted, refused, rest := record.MakeConsents(answers)
	return n.router.ChangeSubject(ctx, ref, router.SubjectChange{Forget: true, Grant: granted, Refuse: refused, Consents: rest}, ifVersion)
}

// answersOf reads the answers of a document; every mistake is reported.
func answersOf(dict *nba.Dictionary, doc *nba.ConsentDocument) (answers []nba.Consent, err error) {
	var mistakes []nba.Detail
	wrong := func(pointer, detail string) {
		mistakes = append(mistakes, nba.Detail{Pointer: pointer, Code: nba.CodeInvalid, Detail: detail})
	}
	seen := map[nba.Consent]bool{}
	add := func(at string, a nba.Consent, period *nba.TimePeriod) {
		if key := (nba.Consent{Purpose: a.Purpose, Channel: a.Channel}); seen[key] {
			wrong(at, "answered twice: a purpose or channel has one answer")
		} else {
			seen[key] = true
		}
		if period != nil {
			a.From, a.Until = consentMS(period.StartDateTime, at, wrong), consentMS(period.EndDateTime, at, wrong)
			if a.Until != 0 && a.Until <= a.From {
				wrong(at+"/validFor", "endDateTime must be after startDateTime: it is exclusive")
			}
		}
		answers = append(answers, a)
	}
	for i, p := range doc.Purposes {
		at := fmt.Sprintf("/purposes/%d", i)
		purpose, ok := dict.Purpose(p.PrivacyUsagePurpose)
		if !ok {
			wrong(at+"/privacyUsagePurpose", "no such purpose; the purposes are "+strings.Join(dict.PurposeNames(), ", "))
			continue
		}
		add(at, nba.Consent{Purpose: purpose.ID, State: p.Status}, p.ValidFor)
	}
	for i, c := range doc.Channels {
		at := fmt.Sprintf("/channels/%d", i)
		if !nba.IsChannelName(c.Channel) {
			wrong(at+"/channel", nba.ChannelNameRule)
			continue
		}
		add(at, nba.Consent{Channel: c.Channel, State: c.Status}, c.ValidFor)
	}
	if len(doc.Channels) > nba.MaxChannelConsents {
		wrong("/channels", fmt.Sprintf("at most %d channels", nba.MaxChannelConsents))
	}
	if len(mistakes) > 0 {
		return nil, &nba.Error{Code: nba.CodeInvalid, Message: "the consents were not accepted", Details: mistakes}
	}
	return answers, nil
}

func consentMS(t *time.Time, at string, wrong func(pointer, detail string)) int64 {
	if t == nil {
		return 0
	}
	ms := t.UnixMilli()
	if ms <= 0 || ms > nba.MaxConsentMS {
		wrong(at+"/validFor", "a period lies between the years 1970 and 9999")
		return 0
	}
	return ms
}

// channelAnswers are plain answers to channels; a nil one is removed.
func channelAnswers(in map[string]*bool) (record.Consents, error) {
	if in == nil {
		return nil, nil
	}
	var answers []nba.Consent
	var mistakes []nba.Detail
	for name, granted := range in {
		switch {
		case !nba.IsChannelName(name):
			mistakes = append(mistakes, nba.Detail{Pointer: "/channelConsents", Code: nba.CodeInvalid, Detail: nba.ChannelNameRule})
		case granted == nil:
			answers = append(answers, nba.Consent{Channel: name, State: nba.Unanswered})
		default:
			answers = append(answers, nba.Consent{Channel: name, State: nba.ConsentOf(*granted)})
		}
	}
	if len(answers) > nba.MaxChannelConsents {
		mistakes = append(mistakes, nba.Detail{Pointer: "/channelConsents", Code: nba.CodeTooLarge, Detail: fmt.Sprintf("at most %d channels", nba.MaxChannelConsents)})
	}
	if len(mistakes) > 0 {
		return nil, &nba.Error{Code: nba.CodeInvalid, Message: "the consents to channels were not accepted", Details: slices.Compact(mistakes)}
	}
	_, _, consents := record.MakeConsents(answers)
	return consents, nil
}

// pointers makes the values of a put like those of a patch; nil stays nil.
func pointers(in map[string]bool) map[string]*bool {
	if in == nil {
		return nil
	}
	out := make(map[string]*bool, len(in))
	for name, granted := range in {
		out[name] = &granted
	}
	return out
}

// plainConsents are the answers as they count now, as a subject document has them. channels is nil where
// the subject answered to none.
func plainConsents(dict *nba.Dictionary, r *record.Record, now time.Time) (purposes, channels map[string]bool) {
	purposes = map[string]bool{}
	granted, refused := r.PurposesAt(now.UnixMilli())
	for _, p := range dict.Purposes() {
		switch {
		case granted.Has(p.ID):
			purposes[p.Name] = true
		case refused.Has(p.ID):
			purposes[p.Name] = false
		}
	}
	if len(r.Consents()) == 0 {
		return purposes, nil
	}
	for _, a := range r.Answers(nil) {
		state := a.At(now.UnixMilli())
		if a.Channel == "" || state == nba.Unanswered {
			continue
		}
		if channels == nil {
			channels = make(map[string]bool, nba.MaxChannelConsents)
		}
		channels[a.Channel] = state == nba.Granted
	}
	return purposes, channels
}

// usedConsents is what the consents of its subject came to in a stored decision, which is told from what the
// decision read; nil if that was not kept, or its catalog is gone.
func (n *Node) usedConsents(v *view, rec *nba.DecisionRecord, kept command.Sections) *nba.UsedConsents {
	document := documentOf(v.state, rec.CatalogVersion)
	made, err := n.compiled(v.state, document)
	if err != nil {
		return nil // complete has said so
	}
	reads, err := readsOf(kept, n.texts.of(n, document))
	if err != nil {
		return nil
	}
	subject, dict := reads.Subject(rec.Subject), v.state.Dictionary
	mask := consent.MaskAt(dict, subject, rec.DecidedAt, made.Consent.AllowPurposes)
	used := &nba.UsedConsents{Usable: []string{}, Channel: reads.Channel.String()}
	for _, p := range dict.Purposes() {
		if mask.Has(p.ID) {
			used.Usable = append(used.Usable, p.Name)
		} else {
			used.Withheld = append(used.Withheld, p.Name)
		}
	}
	if channel, ok := made.Channel(rec.Channel); ok {
		_, used.ChannelAllowed = consent.Channel(subject, channel.Name, rec.DecidedAt, channel.AllowUnanswered)
	}
	for _, a := range reads.Attributes {
		if attribute, ok := dict.AttributeByID(a.ID); ok {
			used.Attributes = append(used.Attributes, attribute.Name)
		}
	}
	for _, version := range v.state.Plugins.Versions() {
		if slices.Contains(reads.Plugins, replay.PluginOf(version.Digest)) {
			used.Models = append(used.Models, withheldFrom(&version, dict, mask))
		}
	}
	return used
}

// withheldFrom is what a plugin version asks for and is not handed under a consent mask.
func withheldFrom(version *nba.PluginVersion, dict *nba.Dictionary, mask nba.PurposeSet) nba.WithheldFromModel {
	out := nba.WithheldFromModel{Name: version.Name, Version: version.Version}
	var m artifact.Manifest
	if json.Unmarshal(version.Manifest, &m) != nil || len(m.Features) == 0 {
		return out
	}
	if bound, err := serving.BindFeatures(m.Features, m.Purpose, dict); err == nil {
		out.Withheld = bound.Withheld(mask)
	}
	return out
}
