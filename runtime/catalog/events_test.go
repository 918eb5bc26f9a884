package catalog

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/runtime/expr"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/trigger"
)

func describeEvents(b *strings.Builder, c *Catalog) {
	source := func(p *expr.Program) string {
		if p == nil {
			return "-"
		}
		return p.Source()
	}
	for _, e := range c.Events {
		fmt.Fprintf(b, "event %s %v about %s %s, late %v, valid %v, for %s\n", e.Name, e.Types, e.SubjectType, source(e.Subject), e.Lateness, e.Validity, e.Purpose.Name)
		for _, a := range e.Set {
			fmt.Fprintf(b, "  sets %s: %s\n", a.Name, a.Value.Source())
		}
	}
	for _, s := range c.EventStrategies {
		fmt.Fprintf(b, "event strategy %s (%s) for %s on %v where %s: %s %+v\n", s.Name, s.Label, s.Purpose.Name, s.begins.types, source(s.begins.filter), source(s.value), s.Spec)
		if len(s.ends.types) > 0 {
			fmt.Fprintf(b, "  until %v where %s\n", s.ends.types, source(s.ends.filter))
		}
		if e := s.Emit; e != nil {
			var channels, actions []string
			for _, channel := range e.Channels {
				channels = append(channels, channel.Name)
			}
			for _, a := range c.Actions {
				if e.Takes(a) {
					actions = append(actions, a.Name)
				}
			}
			fmt.Fprintf(b, "  emits on %v: %v when %s within %v\n", channels, actions, source(e.When), e.Within)
			for _, context := range e.Contexts {
				fmt.Fprintf(b, "    %s: %s\n", context.Key, context.Value.Source())
			}
			if found, ok := c.Emit(Origin(OriginStrategy, s.Name)); !ok || found != e {
				b.WriteString("  NOT FOUND BY ITS ORIGIN\n")
			}
		}
	}
}

// asked is a subject for tests that has no attributes but tenure.
type asked struct{ nba.Subject }

func (asked) Attribute(id nba.AttributeID) (nba.Value, bool) { return nba.Int(12), id == 2 }

func eventCatalog(t testing.TB) *Catalog {
	t.Helper()
	document, err := os.ReadFile("testdata/events.good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c, err := Compile(document, "events", testCatalogEnv(t))
	if err != nil {
		t.Fatal(renderProblems(err))
	}
	return c
}

func reactionVars(event *nba.Event) *expr.Vars {
	vars := &expr.Vars{Subject: asked{}, Mask: ^nba.PurposeSet(0), Now: event.Received, Event: new(expr.Event)}
	vars.Event.Reset(event)
	return vars
}

const roamingType = "org.camaraproject.device-roaming-status-subscriptions.v0.roaming-on"

func TestReactions(t *testing.T) {
	c := eventCatalog(t)
	happened := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	event := &nba.Event{ID: "1", Source: "s", Type: roamingType, Time: happened, Received: happened.Add(time.Hour),
		Data: json.RawMessage(`{"device":{"phoneNumber":"+15550100"},"countryCode":1,"countryName":"US","price":"x"}`)}
	vars := reactionVars(event)
	ref, ok, err := c.EventSubject(event.Type, vars)
	if err != nil || !ok || ref.ID != "+15550100" || ref.Type != nba.Subscriber {
		t.Errorf("got %+v %v %v", ref, ok, err)
	}
	if _, ok, _ := c.EventSubject("com.example.usage", vars); ok {
		t.Error("the catalog does not say whom usage is about")
	}
	var into Reaction
	c.React(event, vars, &into)
	if want := []AttributeSet{{ID: 2, Value: nba.Int(12)}, {ID: 4, Value: nba.String("US")}}; !slices.Equal(into.Attributes, want) {
		t.Errorf("sets %+v", into.Attributes)
	}
	var u trigger.Update
	rest, ok, err := u.Next(into.Strategies)
	if err != nil || !ok || len(rest) > 0 || u.Name != "landed" || u.Spec.Raise != trigger.Each || u.Spec.ValidMS != (5*time.Hour).Milliseconds() {
		t.Fatalf("got %+v %v %v", u, ok, err)
	}
	kind, contexts, err := trigger.ParseTemplate(u.Template)
	if want := `[{"type":"event","key":"at","value":"2026-11-22T12:00:00Z"},{"type":"event","key":"country","value":"US"}]`; err != nil || kind != roamingType || string(contexts) != want {
		t.Errorf("got %s %s %v", kind, contexts, err)
	}
	event.Received = happened.Add(7 * time.Hour)
	if c.React(event, reactionVars(event), &into); len(into.Strategies) > 0 {
		t.Error("it happened too long ago to say anything")
	}
}

// TestReactionToUsage: values are millionths, and what is no number changes nothing.
func TestReactionToUsage(t *testing.T) {
	c := eventCatalog(t)
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	names := func(data string) (found []string) {
		event := &nba.Event{Type: "com.example.usage", Time: at, Received: at, Data: json.RawMessage(data)}
		var into Reaction
		c.React(event, reactionVars(event), &into)
		for rest := into.Strategies; len(rest) > 0; {
			var u trigger.Update
			next, _, err := u.Next(rest)
			if err != nil {
				t.Fatal(err)
			}
			rest = next
			found = append(found, fmt.Sprintf("%s=%d", u.Name, u.Value))
		}
		return found
	}
	if got := names(`{"percent": 91.5, "mb": 0.000001}`); !slices.Equal(got, []string{"usage=91500000", "volume=1"}) {
		t.Errorf("got %v", got)
	}
	if got := names(`{"percent": "much"}`); len(got) != 0 {
		t.Errorf("got %v", got)
	}
	a, b := names(`{"cell": "A"}`), names(`{"cell": "B"}`)
	if len(a) != 1 || len(b) != 1 || a[0] == b[0] {
		t.Errorf("got %v %v", a, b)
	}
}

// BenchmarkReact is an event for which five strategies are looked at and one matches.
func BenchmarkReact(b *testing.B) {
	var document strings.Builder
	document.WriteString(`apiVersion: arbiter/v1
kind: Catalog
name: bench
channels: [{name: sms, direction: outbound, placements: [m]}]
issues: [{name: Grow, groups: [{name: Data}]}]
actions: [{name: extra, issue: Grow, group: Data, value: 3, purpose: service, treatments: [{name: t, channel: sms}]}]
fallback: {action: extra}
eventStrategies:
`)
	for i, filter := range []string{`event.data.country == "DE"`, `event.data.percent < 10 && subject.tenure > 3`, `event.data.device.phoneNumber.startsWith("+49")`,
		`has(event.data.offer)`, `event.data.percent >= 50`} {
		fmt.Fprintf(&document, "  - {name: s%d, on: [com.example.usage], filter: '%s', window: {tumbling: 1h}, aggregate: {sum: event.data.mb}, threshold: {atLeast: 100}, emit: {channels: [sms], contexts: {percent: event.data.percent}}}\n", i, filter)
	}
	c, err := Compile([]byte(document.String()), "bench", testCatalogEnv(b))
	if err != nil {
		b.Fatal(renderProblems(err))
	}
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	event := &nba.Event{Type: "com.example.usage", Time: at, Received: at,
		Data: json.RawMessage(`{"device":{"phoneNumber":"+15550100","imsi":"310150123456789"},"country":"US","percent":91.5,"mb":12.25,"cell":"310-150-1-7","session":"6f1d2b0a-7c1e-4a53","list":[1,2,3]}`)}
	vars := reactionVars(event)
	var into Reaction
	b.ReportAllocs()
	for b.Loop() {
		vars.Event.Reset(event)
		c.React(event, vars, &into)
	}
	if len(into.Strategies) == 0 {
		b.Fatal("nothing matches")
	}
}

// TestDocumentedStrategiesCompile keeps docs/event-strategies.md true.
func TestDocumentedStrategiesCompile(t *testing.T) {
	page, err := os.ReadFile("../../docs/event-strategies.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```yaml\n")
	example, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("no example")
	}
	d, _, err := nba.NewDictionary().Declare([]nba.AttributeDeclaration{
		{Name: "tenure", Type: nba.KindInt}, {Name: "roaming_country", Type: nba.KindString}, {Name: "roaming_since", Type: nba.KindTime}})
	if err != nil {
		t.Fatal(err)
	}
	const around = `apiVersion: arbiter/v1
kind: Catalog
name: documented
channels: [{name: push, direction: outbound, placements: [m]}, {name: sms, direction: outbound, placements: [m]}]
issues: [{name: Grow, groups: [{name: Roaming}, {name: Data}]}]
actions:
  - {name: pass, issue: Grow, group: Roaming, value: 5, treatments: [{name: t, channel: sms}]}
  - {name: extra-data, issue: Grow, group: Data, value: 5, treatments: [{name: t, channel: sms}]}
  - {name: cart-reminder, issue: Grow, group: Data, value: 5, purpose: service, treatments: [{name: t, channel: push}]}
fallback: {action: cart-reminder}
`
	c, err := Compile([]byte(around+example), "docs/event-strategies.md", Env{Dictionary: d})
	if err != nil {
		t.Fatal(renderProblems(err))
	}
	if len(c.EventStrategies) != 4 || len(c.Events) != 3 {
		t.Errorf("%d strategies and %d events", len(c.EventStrategies), len(c.Events))
	}
}
