package node

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

const consentCatalog = `apiVersion: arbiter/v1
kind: Catalog
name: consents
consent: {channels: deny}
channels:
  - {name: sms, direction: outbound, placements: [message]}
  - {name: web, consent: allow, placements: [hero]}
issues: [{name: Grow, groups: [{name: Plans}]}, {name: Serve, groups: [{name: Usage}]}]
actions:
  - {name: upgrade, issue: Grow, group: Plans, value: 50, treatments: [{name: s, channel: sms}, {name: w, channel: web}]}
  - {name: usage-alert, issue: Serve, group: Usage, purpose: service, value: 1, treatments: [{name: s, channel: sms}, {name: w, channel: web}]}
`

func activateConsentCatalog(t *testing.T, n *Node) {
	t.Helper()
	stored, err := n.PutCatalog(t.Context(), []byte(consentCatalog), "*")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.ActivateCatalog(t.Context(), stored.Version, ""); err != nil {
		t.Fatal(err)
	}
}

// best is the first action proposed in a channel.
func best(t *testing.T, n *Node, channel string) string {
	t.Helper()
	req := request("S-1", channel)
	if channel == "sms" {
		req.Direction = nba.Outbound
	}
	d := decide(t, n, req)
	if len(d.Propositions) == 0 || len(d.Propositions[0].Items) == 0 {
		return ""
	}
	return d.Propositions[0].Items[0].Action
}

// TestConsents: what a subject says decides in which channels and for which purposes it is addressed, on
// every node of a cluster, however it was said.
func TestConsents(t *testing.T) {
	cluster := openCluster(t, 3, 1)
	ctx := t.Context()
	activateConsentCatalog(t, cluster[0])
	ref := nba.SubjectRef{ID: "S-1", Type: nba.Subscriber}
	yes, no := true, false
	put := func(n *Node, doc nba.ConsentDocument) {
		t.Helper()
		doc.SubjectRef = ref
		if _, err := n.PutConsents(ctx, doc, nil); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(step, sms, web string) {
		t.Helper()
		for i, n := range cluster {
			if gotSMS, gotWeb := best(t, n, "sms"), best(t, n, "web"); gotSMS != sms || gotWeb != web {
				t.Errorf("%s: node %d proposes %s by sms and %s on the web, want %s and %s", step, i+1, gotSMS, gotWeb, sms, web)
			}
		}
	}
	if _, err := cluster[0].PutConsents(ctx, nba.ConsentDocument{SubjectRef: ref}, nil); nba.CodeOf(err) != nba.CodeSubjectUnknown {
		t.Errorf("consents of an unknown subject: %v", err)
	}
	if _, _, err := cluster[0].PutSubject(ctx, nba.SubjectDocument{SubjectRef: ref, Consents: map[string]bool{"marketing": true}}, nil); err != nil {
		t.Fatal(err)
	}
	expect("purpose granted, nothing said of channels", "usage-alert", "upgrade")
	if _, err := cluster[1].PatchSubject(ctx, nba.SubjectPatch{SubjectRef: ref, ChannelConsents: map[string]*bool{"sms": &yes, "web": &no}}, nil); err != nil {
		t.Fatal(err)
	}
	expect("sms granted and web refused by a patch", "upgrade", "usage-alert")
	now := time.Now().UTC().Truncate(time.Second)
	hour, ago := now.Add(time.Hour), now.Add(-time.Hour)
	put(cluster[2], nba.ConsentDocument{
		Purposes: []nba.PurposeConsent{{PrivacyUsagePurpose: "marketing", Status: nba.Granted, ValidFor: &nba.TimePeriod{StartDateTime: &ago, EndDateTime: &hour}}},
		Channels: []nba.ChannelConsent{{Channel: "sms", Status: nba.Withdrawn}, {Channel: "web", Status: nba.Granted, ValidFor: &nba.TimePeriod{EndDateTime: &hour}}},
	})
	expect("marketing for two hours, sms withdrawn", "usage-alert", "upgrade")
	put(cluster[0], nba.ConsentDocument{Purposes: []nba.PurposeConsent{{PrivacyUsagePurpose: "marketing", Status: nba.Granted, ValidFor: &nba.TimePeriod{EndDateTime: &ago}}},
		Channels: []nba.ChannelConsent{{Channel: "sms", Status: nba.Granted}}})
	expect("marketing until an hour ago", "usage-alert", "usage-alert")

	doc, err := cluster[1].Consents(ctx, ref, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := nba.ConsentDocument{SubjectRef: ref, Version: 4,
		Purposes: []nba.PurposeConsent{{PrivacyUsagePurpose: "marketing", Status: nba.Granted, ValidFor: &nba.TimePeriod{EndDateTime: &ago}}},
		Channels: []nba.ChannelConsent{{Channel: "sms", Status: nba.Granted}},
		Effective: &nba.EffectiveConsents{At: doc.Effective.At, Purposes: map[string]bool{"service": true, "marketing": false, "profiling": false},
			Channels: map[string]bool{"sms": true, "web": true}}}
	if diff := cmp.Diff(want, doc); diff != "" {
		t.Errorf("consents (-want +got):\n%s", diff)
	}
	// A subject document that is read and put back leaves everything as it was.
	subject, err := cluster[0].Subject(ctx, ref, nil)
	if err != nil || subject.Consents["marketing"] || !subject.ChannelConsents["sms"] {
		t.Fatalf("the subject says %v and %v, %v", subject.Consents, subject.ChannelConsents, err)
	}
	if _, _, err := cluster[0].PutSubject(ctx, subject, nil); err != nil {
		t.Fatal(err)
	}
	after, err := cluster[2].Consents(ctx, ref, nil)
	if diff := cmp.Diff(doc.Purposes, after.Purposes); err != nil || diff != "" || !cmp.Equal(doc.Channels, after.Channels) {
		t.Errorf("after a put of what was read (-want +got):\n%s %v %v", diff, after.Channels, err)
	}
}

func TestBadConsents(t *testing.T) {
	n := openNode(t, t.TempDir())
	loadDemo(t, n, 1)
	early, late := time.UnixMilli(1000), time.UnixMilli(2000)
	_, err := n.PutConsents(t.Context(), nba.ConsentDocument{SubjectRef: nba.SubjectRef{ID: "S-000001"},
		Purposes: []nba.PurposeConsent{{PrivacyUsagePurpose: "marketin", Status: nba.Granted}, {PrivacyUsagePurpose: "marketing", Status: nba.Granted},
			{PrivacyUsagePurpose: "marketing", Status: nba.Refused}},
		Channels: []nba.ChannelConsent{{Channel: "1", Status: nba.Granted}, {Channel: "sms", Status: nba.Granted, ValidFor: &nba.TimePeriod{StartDateTime: &late, EndDateTime: &early}}},
	}, nil)
	var got []string
	if e, ok := err.(*nba.Error); ok {
		for _, d := range e.Details {
			got = append(got, d.Pointer)
		}
	}
	if want := "/purposes/0/privacyUsagePurpose /purposes/2 /channels/0/channel /channels/1/validFor"; strings.Join(got, " ") != want {
		t.Errorf("mistakes at %v (%v), want %s", got, err, want)
	}
}

// TestDecisionsTellWhatWasWithheld: a stored decision says which purposes and attributes it used and what a
// model was not handed, on every node, and also after the subject said otherwise.
func TestDecisionsTellWhatWasWithheld(t *testing.T) {
	cluster := openCluster(t, 3, 1)
	loadDemo(t, cluster[0], 20)
	ctx, ref := t.Context(), nba.SubjectRef{ID: "S-000001", Type: nba.Subscriber}
	consents := func(status nba.ConsentState) {
		t.Helper()
		doc := nba.ConsentDocument{SubjectRef: ref, Purposes: []nba.PurposeConsent{{PrivacyUsagePurpose: "marketing", Status: nba.Granted},
			{PrivacyUsagePurpose: "profiling", Status: status}}, Channels: []nba.ChannelConsent{{Channel: "web", Status: nba.Granted}}}
		if _, err := cluster[0].PutConsents(ctx, doc, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, status := range []nba.ConsentState{nba.Granted, nba.Withdrawn} {
		consents(status)
		d := decide(t, cluster[0], request("S-000001", "web"))
		consents(nba.Refused)
		for i, n := range cluster {
			rec, err := n.Decision(ctx, d.DecisionID, nil)
			if err != nil || rec.Consents == nil {
				t.Fatalf("node %d: %+v, %v", i+1, rec.Consents, err)
			}
			c := rec.Consents
			wantUsable, withheld := "service marketing profiling", false
			if status == nba.Withdrawn {
				wantUsable, withheld = "service marketing", true
			}
			if strings.Join(c.Usable, " ") != wantUsable || c.Channel != "granted" || !c.ChannelAllowed || len(c.Models) != 1 ||
				(len(c.Models[0].Withheld) > 0) != withheld || len(c.Attributes) == 0 {
				t.Errorf("node %d, profiling %s: %+v", i+1, status, c)
			}
		}
	}
}
