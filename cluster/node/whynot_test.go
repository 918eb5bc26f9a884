package node

import (
	"fmt"
	"strings"
	"testing"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// TestWhyNotAgreesWithDecisions: for every action of the example catalog and many subjects, the stage and
// code are those of the explanation, and every removal comes with what would have to change.
func TestWhyNotAgreesWithDecisions(t *testing.T) {
	n := openNode(t, t.TempDir())
	loadDemo(t, n, 30)
	seen := map[string]int{}
	for i := range 30 {
		for _, channel := range []string{"web", "callcentre"} {
			req := request(fmt.Sprintf("S-%06d", i+1), channel)
			req.Options.Simulate, req.Options.Explain = true, nba.ExplainFull
			d := decide(t, n, req)
			proposed := map[string]bool{}
			for _, p := range d.Propositions {
				for _, item := range p.Items {
					proposed[item.Action] = true
				}
			}
			for _, stage := range d.Explanation.Stages {
				for _, removal := range stage.Removed {
					if proposed[removal.Action] {
						continue // the fallback, which arbitration holds back
					}
					why, err := n.WhyNot(t.Context(), request(req.Subject.ID, channel), removal.Action)
					if err != nil {
						t.Fatal(err)
					}
					if why.Proposed || why.Stage != stage.Stage || why.Code != removal.Code || len(why.Changes) == 0 {
						t.Errorf("%s: got %+v, the decision says %s in %s", removal.Action, why, removal.Code, stage.Stage)
					}
					seen[why.Stage]++
				}
			}
			for action := range proposed {
				if why, err := n.WhyNot(t.Context(), request(req.Subject.ID, channel), action); err != nil || !why.Proposed {
					t.Errorf("%s is proposed, and not according to %+v, %v", action, why, err)
				}
			}
		}
	}
	for _, stage := range []string{"consent", "channel", "eligibility", "applicability", "arbitration"} {
		if seen[stage] == 0 {
			t.Errorf("nothing left at stage %s: %v", stage, seen)
		}
	}
}

// whyCatalog has one action for each way to leave.
const whyCatalog = `apiVersion: arbiter/v1
kind: Catalog
name: why
channels: [{name: web, placements: [hero]}, {name: sms, direction: outbound, placements: [message]}]
issues: [{name: Grow, groups: [{name: Plans}]}]
tables:
  - {name: due, hit: first, inputs: [subject.tenure, subject.contract], outputs: [worth], rows: [[">= 24", "Two year", 5], ["[6..12]", "-", 3]]}
arbitration: {minPropensity: 0.02}
contactPolicies:
  - {name: night, quietHours: {from: "00:00", to: "23:59"}, channel: sms}
actions:
  - {name: best, issue: Grow, group: Plans, value: 100, treatments: [{name: t, channel: web}]}
  - {name: second, issue: Grow, group: Plans, value: 50, treatments: [{name: t, channel: web}]}
  - {name: rare, issue: Grow, group: Plans, value: 500, propensity: {starting: 0.01}, treatments: [{name: t, channel: web}]}
  - {name: worthless, issue: Grow, group: Plans, value: 0, treatments: [{name: t, channel: web}]}
  - {name: long, issue: Grow, group: Plans, value: 500, treatments: [{name: t, channel: web}],
     eligibility: [{when: 'subject.tenure >= 24 && (subject.partner || subject.dependents) && !(subject.openTickets > 0)', code: LONG}]}
  - {name: tabled, issue: Grow, group: Plans, value: 500, treatments: [{name: t, channel: web}], eligibility: [{table: due, code: NOT_DUE}]}
  - {name: context, issue: Grow, group: Plans, value: 500, treatments: [{name: t, channel: web}],
     applicability: [{when: '"page" in contexts && contexts["page"] == "plans"', code: PAGE}]}
  - {name: text, issue: Grow, group: Plans, value: 5, treatments: [{name: t, channel: sms}]}
  - {name: later, issue: Grow, group: Plans, value: 5, validity: {from: 2999-01-01}, treatments: [{name: t, channel: web}]}
`

// TestWhyNotTells: clause, actual, required and change for each kind of reason.
func TestWhyNotTells(t *testing.T) {
	n := openNode(t, t.TempDir())
	loadDemo(t, n, 5)
	stored, err := n.PutCatalog(t.Context(), []byte(whyCatalog), "*")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.ActivateCatalog(t.Context(), stored.Version, ""); err != nil {
		t.Fatal(err)
	}
	no := false
	if _, _, err := n.PutSubject(t.Context(), nba.SubjectDocument{SubjectRef: nba.SubjectRef{ID: "W"},
		Attributes: map[string]any{"tenure": 3, "contract": "One year", "partner": false, "openTickets": 2},
		Consents:   map[string]bool{nba.PurposeMarketing: true, nba.PurposeProfiling: true}}, nil); err != nil {
		t.Fatal(err)
	}
	if _, _, err := n.PutSubject(t.Context(), nba.SubjectDocument{SubjectRef: nba.SubjectRef{ID: "N"}, Attributes: map[string]any{},
		Consents: map[string]bool{nba.PurposeMarketing: no}}, nil); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ subject, action, channel, want string }{
		{"W", "best", "web", "proposed hero 1"},
		{"W", "second", "web", "arbitration OUTRANKED [priority: 25, not more than 50 of best] -> a priority above 50: a value above 100, or a lever above 2, or a propensity above 1"},
		{"W", "rare", "web", "arbitration BELOW_THRESHOLD [minPropensity: 0.01, not at least 0.02] -> a propensity of at least 0.02"},
		{"W", "worthless", "web", "arbitration ZERO_PRIORITY [value: 0, not more than 0] -> a value above 0"},
		{"W", "long", "web", `eligibility LONG [subject.tenure >= 24: 3, not at least 24] [subject.partner: false, not true] [subject.openTickets > 0: 2, not at most 0]` +
			` -> tenure: at least 24 (now 3); partner: true; openTickets: at most 0 (now 2)`},
		{"W", "tabled", "web", "eligibility NOT_DUE [subject.tenure: 3, not [6..12] (row 2)] -> tenure: [6..12]"},
		{"W", "context", "web", `applicability PAGE ["page" in contexts: not given, not given] [contexts["page"] == "plans": not given, not "plans"]` +
			` -> context "page": given (now not given); contexts["page"]: "plans" (now not given)`},
		{"W", "text", "web", "channel NO_TREATMENT [a treatment for the placement: web/hero, not one of sms/message] -> ask for sms/message, or give the action a treatment for what was asked for"},
		{"W", "later", "web", "NOT_YET_VALID"},
		{"W", "text", "sms", "contact QUIET_HOURS"},
		{"N", "best", "web", "consent NO_CONSENT [consent to purpose marketing: refused, not granted] -> the customer consents to marketing"},
	} {
		why, err := n.WhyNot(t.Context(), request(step.subject, step.channel), step.action)
		if err != nil {
			t.Errorf("%s: %v", step.action, err)
			continue
		}
		got := why.Stage + " " + why.Code
		if why.Proposed {
			got = fmt.Sprintf("proposed %s %d", why.Placement, why.Rank)
		} else {
			for _, p := range why.Parts {
				got += fmt.Sprintf(" [%s: %s, not %s]", p.Clause, p.Actual, p.Required)
			}
			got += " -> " + strings.Join(why.Changes, "; ")
		}
		if !strings.Contains(got, step.want) || strings.Contains(step.want, "->") && got != step.want {
			t.Errorf("%s in %s:\n got %s\nwant %s", step.action, step.channel, got, step.want)
		}
	}
	if _, err := n.WhyNot(t.Context(), request("W", "web"), "nothing"); nba.CodeOf(err) != nba.CodeActionUnknown {
		t.Errorf("an unknown action: %v", err)
	}
}
