package catalog

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/runtime/expr"
	"github.com/arbiterhq/arbiter/runtime/journey"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

func describeJourneys(b *strings.Builder, c *Catalog) {
	for _, j := range c.Journeys {
		fmt.Fprintf(b, "journey %s (%s) for %s carries %v, keyed %v\n", j.Name, j.Label, j.Purpose.Name, j.Fields, j.Keyed())
		var def journey.Definition
		if err := def.Decode(j.definition); err != nil {
			fmt.Fprintln(b, "  its definition cannot be read:", err)
		}
		fmt.Fprintf(b, "  at most %d, replace %v, again %d\n", def.Instances, def.Replace, def.AgainMS)
		for i, s := range def.Stages {
			fmt.Fprintf(b, "  stage %s (%s): final %v, timeout %v to %d\n", s.Name, j.Stages[i].Label, s.Final, time.Duration(s.TimeoutMS)*time.Millisecond, s.To)
			if e, ok := c.Emit("journey:" + j.Name + "/" + s.Name + "#7"); ok != s.Emits {
				fmt.Fprintln(b, "    what it emits is not in the catalog")
			} else if ok {
				fmt.Fprintf(b, "    emits within %v in %d channels\n", e.Within, len(e.Channels))
			}
		}
		for _, on := range sortedKeys(j.onEvent) {
			for _, r := range j.onEvent[on] {
				fmt.Fprintf(b, "  event %s: rule %d from %d to %d, conditional %v\n", on, r.Kind, r.From, r.To, r.when != nil)
			}
		}
		for _, r := range j.onResponse {
			fmt.Fprintf(b, "  response %s of %s/%s/%s: rule %d from %d to %d\n", r.outcome, r.issue, r.group, r.action, r.Kind, r.From, r.To)
		}
	}
}

func journeyCatalog(t *testing.T) *Catalog {
	t.Helper()
	document, err := os.ReadFile("testdata/journeys.good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c, err := Compile(document, "journeys.good.yaml", testCatalogEnv(t))
	if err != nil {
		t.Fatal(renderProblems(err))
	}
	return c
}

type nobody struct{}

func (nobody) Ref() nba.SubjectRef                         { return nba.SubjectRef{} }
func (nobody) Version() uint64                             { return 1 }
func (nobody) Granted() nba.PurposeSet                     { return 0 }
func (nobody) Attribute(nba.AttributeID) (nba.Value, bool) { return nba.Value{}, false }
func effectsOf(c *Catalog, eventType, data string) (all []string) {
	vars := &expr.Vars{Subject: nobody{}, Event: new(expr.Event), Mask: ^nba.PurposeSet(0), Now: time.UnixMilli(1)}
	vars.Event.Reset(&nba.Event{Type: eventType, Source: "/shop", Data: json.RawMessage(data)})
	for _, e := range c.JourneyEvents(nil, eventType, vars) {
		line := fmt.Sprintf("key %q every %v rules %v by %s %s", e.Key, e.Every, e.Rules, e.Cause, e.Detail)
		for _, f := range e.Data {
			line += fmt.Sprintf(" %s=%s", f.Name, f.AppendText(nil))
		}
		all = append(all, line)
	}
	return all
}

// TestJourneyEvents: what events ask of journeys, worked out before they are in the log.
func TestJourneyEvents(t *testing.T) {
	c := journeyCatalog(t)
	for _, test := range []struct{ eventType, data, want string }{
		{"cart.updated", `{"cart": {"items": 2, "value": 199.95}}`, `key "" every false rules [{3 -2 0}] by event cart.updated items=2 shop=/shop value=199.95`},
		{"cart.updated", `{"cart": {"items": 0}}`, ``},
		{"cart.updated", `{}`, ``},
		{"checkout.paid", `{}`, `key "" every false rules [{1 0 1}] by event checkout.paid shop=/shop`},
		{"purchase.completed", `{"cart": {"value": "a text"}}`, `key "" every false rules [{2 -1 3}] by event purchase.completed shop=/shop value=a text`},
		{"something.else", `{}`, ``},
		{"complaint.opened", `{"ticket": "T-1"}`, `key "T-1" every false rules [{3 -2 0}] by event complaint.opened`},
		{"complaint.opened", `{"ticket": 4711}`, `key "4711" every false rules [{3 -2 0}] by event complaint.opened`},
		// Nobody knows which: none is begun.
		{"complaint.opened", `{}`, ``},
		{"complaint.opened", `{"ticket": "` + strings.Repeat("x", 65) + `"}`, ``},
	} {
		if got := strings.Join(effectsOf(c, test.eventType, test.data), "; "); got != test.want {
			t.Errorf("%s %s\n got %s\nwant %s", test.eventType, test.data, got, test.want)
		}
	}
}

// TestJourneyResponses: what responses ask of journeys.
func TestJourneyResponses(t *testing.T) {
	c := journeyCatalog(t)
	for _, test := range []struct {
		outcome nba.Outcome
		action  string
		want    string
	}{
		{nba.Converted, "cart-reminder", "cart [{2 -1 3}]"},
		{nba.Accepted, "cart-reminder", ""},
		{nba.Accepted, "cart-help", "complaint [{1 0 1}]"},
		{nba.Converted, "unknown", ""},
	} {
		got := ""
		for _, e := range c.JourneyResponse(nil, test.outcome, test.action) {
			var def journey.Definition
			if err := def.Decode(e.Definition); err != nil || !e.Every {
				t.Fatalf("%+v: %v", e, err)
			}
			got += fmt.Sprintf("%s %v", def.Name, e.Rules)
		}
		if got != test.want {
			t.Errorf("%s of %s asks for %q, want %q", test.outcome, test.action, got, test.want)
		}
	}
}

// TestJourneysDifferAndMerge: a change of a journey is told by its place, and journeys of several files are one
// list, in which a name stands once.
func TestJourneysDifferAndMerge(t *testing.T) {
	old, err := os.ReadFile("testdata/journeys.good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(old), "timeout: {after: 90s, to: abandoned}", "timeout: {after: 2h, to: abandoned}", 1)
	changed = strings.Replace(changed, "name: complaint\n", "name: ticket\n", 1)
	changes, err := Diff(old, []byte(changed))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range changes {
		got = append(got, c.String())
	}
	want := "journey cart stages/open/timeout/after: 90s -> 2h; journey complaint removed; journey ticket added"
	if strings.Join(got, "; ") != want {
		t.Errorf("got %s\nwant %s", strings.Join(got, "; "), want)
	}
	head, journeys, _ := strings.Cut(string(old), "journeys:\n")
	cart, complaint, _ := strings.Cut(journeys, "  - name: complaint\n")
	sources := []Source{{File: "a.yaml", Text: []byte(head)}, {File: "cart.yaml", Text: []byte("journeys:\n" + cart)},
		{File: "complaint.yaml", Text: []byte("journeys:\n  - name: complaint\n" + complaint)}}
	merged, problems := Merge(sources)
	if len(problems) > 0 {
		t.Fatalf("%+v", problems)
	}
	c, err := Compile(merged.Document, "merged", testCatalogEnv(t))
	if err != nil || len(c.Journeys) != 2 {
		t.Fatalf("%v", err)
	}
	sources = append(sources, Source{File: "twice.yaml", Text: []byte("journeys:\n" + cart)})
	if _, problems := Merge(sources); len(problems) != 1 || !strings.Contains(problems[0].Detail, `"cart" is in journeys twice: first at cart.yaml:2`) {
		t.Errorf("%+v", problems)
	}
}
