package catalog

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

var update = flag.Bool("update", false, "rewrite the expected output in testdata")

func testDictionary(t testing.TB) *nba.Dictionary {
	t.Helper()
	d, _, err := nba.NewDictionary().Declare([]nba.AttributeDeclaration{
		{Name: "partner", Type: nba.KindBool}, {Name: "dependents", Type: nba.KindBool},
		{Name: "tenure", Type: nba.KindInt}, {Name: "charges", Type: nba.KindFloat},
		{Name: "contract", Type: nba.KindString},
		{Name: "income", Type: nba.KindFloat, Purposes: []string{nba.PurposeProfiling}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func testCatalogEnv(t testing.TB) Env {
	return Env{Dictionary: testDictionary(t), Models: []string{"churn", "uptake"}}
}

// golden compares got with the file beside input.
func golden(t *testing.T, input, extension, got string) {
	t.Helper()
	file := strings.TrimSuffix(input, ".yaml") + extension
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func renderProblems(err error) string {
	var b strings.Builder
	e, ok := errors.AsType[*nba.Error](err)
	if !ok {
		return fmt.Sprintln("not an nba.Error:", err)
	}
	fmt.Fprintf(&b, "%s %s\n", e.Code, e.Message)
	for _, d := range e.Details {
		fmt.Fprintf(&b, "%s:%d:%d %s %s\n", d.File, d.Line, d.Column, d.Code, d.Detail)
	}
	return b.String()
}

// TestBad compiles each testdata/*.bad.yaml and compares all its mistakes with the .txt beside it.
func TestBad(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.bad.yaml")
	if len(files) == 0 {
		t.Fatal("no cases")
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			document, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			c, err := Compile(document, filepath.Base(file), testCatalogEnv(t))
			if err == nil || c != nil {
				t.Fatal("compiled")
			}
			golden(t, file, ".txt", renderProblems(err))
		})
	}
}

// TestGood compiles each testdata/*.good.yaml and compares a description with the .txt beside it.
func TestGood(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.good.yaml")
	if len(files) == 0 {
		t.Fatal("no cases")
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			document, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			c, err := Compile(document, filepath.Base(file), testCatalogEnv(t))
			if err != nil {
				t.Fatal(renderProblems(err))
			}
			if c.Digest != Digest(document) {
				t.Error("another digest")
			}
			golden(t, file, ".txt", describe(c))
		})
	}
}

// describe is everything a compiled catalog holds, as text.
func describe(c *Catalog) string {
	var b strings.Builder
	fmt.Fprintf(&b, "catalog %s: %d predicates\n", c.Name, c.Predicates)
	names := func(actions []*Action) (names []string) {
		for _, a := range actions {
			names = append(names, a.Name)
		}
		return names
	}
	for _, m := range c.Models {
		fmt.Fprintf(&b, "model %s scores %v\n", m.Plugin, names(m.Actions))
	}
	if c.Consent.AllowPurposes {
		b.WriteString("purposes without an answer are allowed\n")
	}
	for _, channel := range c.Channels {
		if !channel.AllowUnanswered {
			fmt.Fprintf(&b, "needs consent: ")
		}
		fmt.Fprintf(&b, "channel %d %s %s %v asks %v\n", channel.ID, channel.Name, channel.Direction, names(channel.Actions), channel.Requests)
		for _, p := range channel.Placements {
			fmt.Fprintf(&b, "  placement %d %s %v", p.ID, p.Name, names(p.Actions))
			if p.Strategy >= 0 {
				fmt.Fprintf(&b, " by %s", c.Strategies[p.Strategy])
			}
			b.WriteByte('\n')
		}
	}
	for _, a := range c.Actions {
		describeAction(&b, c, a)
	}
	for _, p := range c.Contacts.Policies {
		fmt.Fprintf(&b, "contact policy %s %s %q: for %+v same %05b max %d window %+v outcomes %06b pending %v", p.Name, p.Code, p.Label, p.For, p.Same, p.Max, p.Window, p.Outcomes, p.Pending)
		if p.Quiet != nil {
			fmt.Fprintf(&b, " quiet %+v", *p.Quiet)
		}
		fmt.Fprintln(&b)
	}
	if c.Contacts.Policies != nil {
		fmt.Fprintf(&b, "contacts are kept %v; zone %v or attribute %d\n", c.Contacts.Keep, c.Contacts.Zone, c.Contacts.ZoneAttribute)
	}
	for _, a := range c.Fallbacks {
		fmt.Fprintf(&b, "fallback %s\n", a.Name)
	}
	describeCampaigns(&b, c)
	describeEvents(&b, c)
	describeJourneys(&b, c)
	return b.String()
}

func describeAction(b *strings.Builder, c *Catalog, a *Action) {
	fmt.Fprintf(b, "action %d %s (%s) %s/%s for %s\n", a.Index, a.Name, a.Label, a.Issue, a.Group, a.Purpose.Name)
	if a.Offering != nil {
		fmt.Fprintf(b, "  offering %s %s\n", a.Offering.ID, a.Offering.Href)
	}
	if a.Value.Program != nil {
		fmt.Fprintf(b, "  value %s\n", a.Value.Program.Source())
	} else {
		fmt.Fprintf(b, "  value %v\n", a.Value.Constant)
	}
	fmt.Fprintf(b, "  lever %v%%, propensity %+v\n", a.LeverPercent, a.Propensity)
	for _, lever := range a.Levers {
		fmt.Fprintf(b, "  lever %s\n", lever.Source())
	}
	for _, seasons := range a.Seasons {
		fmt.Fprintf(b, "  seasons %v\n", seasons)
	}
	if a.Bundle != nil || a.OneOf != 0 {
		fmt.Fprintf(b, "  bundle %+v, one of %b\n", a.Bundle, a.OneOf)
	}
	for k := range PolicyKind(PolicyKinds) {
		for _, p := range a.Policies[k] {
			fmt.Fprintf(b, "  %s %s %q (predicate %d: %q)\n", k, p.Code, p.Label, p.When.ID, p.When.Program.Source())
		}
	}
	for _, w := range a.Weights {
		fmt.Fprintf(b, "  weight %v when %s\n", w.Weight, w.When.Program.Source())
	}
	for _, name := range []string{"value", "term"} {
		if v, ok := a.Property(name); ok {
			fmt.Fprintf(b, "  property %s %v\n", name, v)
		}
	}
	if a.From != nil || a.To != nil {
		fmt.Fprintf(b, "  valid %v to %v\n", a.From, a.To)
	}
	for _, channel := range c.Channels {
		for _, p := range channel.Placements {
			if t := a.Treatment(p.ID); t != nil {
				fmt.Fprintf(b, "  %s/%s: %s %v\n", channel.Name, p.Name, t.Name, t.Content)
			}
		}
	}
}

func TestModelsAreNotCheckedWithoutAList(t *testing.T) {
	document, err := os.ReadFile("testdata/everything.good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Compile(document, "f", Env{Dictionary: testDictionary(t)}); err != nil {
		t.Error("nil list:", err)
	}
	if _, err := Compile(document, "f", Env{Dictionary: testDictionary(t), Models: []string{}}); nba.CodeOf(err) != nba.CodeCatalogInvalid {
		t.Error("empty list: got", err)
	}
}

func TestLimits(t *testing.T) {
	head := "apiVersion: arbiter/v1\nkind: Catalog\nname: x\nchannels: [{name: web, placements: [hero]}]\nissues: [{name: G, groups: [{name: P}]}]\nactions:\n"
	action := func(name string) string {
		return fmt.Sprintf("  - {name: %s, issue: G, group: P, value: 1, treatments: [{name: t, channel: web}]}\n", name)
	}
	var many strings.Builder
	many.WriteString(head)
	for i := range MaxActions + 1 {
		many.WriteString(action(fmt.Sprintf("a%d", i)))
	}
	placements := make([]string, MaxPlacements+1)
	for i := range placements {
		placements[i] = fmt.Sprintf("p%d", i)
	}
	half := strings.Join(placements[:200], ", ")
	for _, test := range []struct {
		name, document, want string
	}{
		{name: "actions", document: many.String(), want: "f:5007:5 TOO_LARGE at most 5000 actions"},
		{name: "bytes", document: head + action("a") + "#" + strings.Repeat("x", MaxDocumentBytes), want: "f:1:1 TOO_LARGE the document is larger than 4194304 bytes"},
		{name: "depth", document: "a: " + strings.Repeat("[", 40) + strings.Repeat("]", 40), want: "TOO_LARGE nested deeper than 16 levels"},
		{name: "placements", document: strings.Replace(head, "[hero]}", "["+half+"]}, {name: app, placements: ["+half+"]}", 1) + action("a"),
			want: "TOO_LARGE at most 256 placements over all channels"},
		{name: "expression", document: head + strings.Replace(action("a"), "value: 1", "value: '"+strings.Repeat("1+", 2100)+"1'", 1), want: "TOO_LARGE the expression is longer than 4096 bytes"},
		{name: "label", document: head + strings.Replace(action("a"), "value: 1", "value: 1, label: "+strings.Repeat("x", 300), 1), want: "this must be text of 1 to 256 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Compile([]byte(test.document), "f", testCatalogEnv(t))
			if got := renderProblems(err); !strings.Contains(got, test.want) {
				t.Errorf("got %.300s, want %s", got, test.want)
			}
		})
	}
}

func TestAliasBombIsRefusedAtOnce(t *testing.T) {
	var b strings.Builder
	b.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 60; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [*a%d, *a%d, *a%d, *a%d, *a%d, *a%d]\n", i, i, i-1, i-1, i-1, i-1, i-1, i-1)
	}
	_, err := Compile([]byte(b.String()), "f", testCatalogEnv(t))
	if got := renderProblems(err); !strings.Contains(got, "anchors and aliases") {
		t.Errorf("got %.300s", got)
	}
}

// TestManyMistakesAreBounded keeps a hostile document from becoming a larger report.
func TestManyMistakesAreBounded(t *testing.T) {
	document := "apiVersion: arbiter/v1\n" + strings.Repeat("x: 1\n", 50000)
	_, err := Compile([]byte(document), "f", testCatalogEnv(t))
	e, ok := errors.AsType[*nba.Error](err)
	if !ok || len(e.Details) != maxListed || !strings.Contains(e.Message, "has 50005 mistakes, of which 1000") {
		t.Fatalf("got %v", err)
	}
}

// TestOrderOfActionsDoesNotMatter compiles the same actions in two orders.
func TestOrderOfActionsDoesNotMatter(t *testing.T) {
	document, err := os.ReadFile("testdata/everything.good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	head, rest, _ := bytes.Cut(document, []byte("actions:\n"))
	body, tail, _ := bytes.Cut(rest, []byte("contextWeights:\n"))
	var actions []string
	for _, part := range strings.Split("\n"+string(body), "\n  - name: ")[1:] {
		actions = append(actions, "  - name: "+strings.Trim(part, "\n")+"\n")
	}
	slices.Reverse(actions)
	reversed := string(head) + "actions:\n" + strings.Join(actions, "") + "contextWeights:\n" + string(tail)
	first, err := Compile(document, "f", testCatalogEnv(t))
	if err != nil {
		t.Fatal(err)
	}
	second, err := Compile([]byte(reversed), "f", testCatalogEnv(t))
	if err != nil {
		t.Fatal(renderProblems(err))
	}
	plain := func(c *Catalog) string { // predicates are numbered in the order of the document
		lines := strings.Split(describe(c), "\n")
		for i := range lines {
			before, after, _ := strings.Cut(lines[i], "(predicate ")
			_, after, _ = strings.Cut(after, ":")
			lines[i] = before + after
		}
		return strings.Join(lines, "\n")
	}
	if diff := cmp.Diff(plain(first), plain(second)); diff != "" {
		t.Error(diff)
	}
}

// FuzzCompile looks for panics, and for refusals that name no place.
func FuzzCompile(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.yaml")
	for _, file := range files {
		document, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(document)
	}
	f.Add([]byte("? [a]\n: b"))
	f.Add([]byte("a: !!binary aGVsbG8=\n"))
	f.Add([]byte("%YAML 1.2\n---\n"))
	env := testCatalogEnv(f)
	f.Fuzz(func(t *testing.T, document []byte) {
		c, err := Compile(document, "f", env)
		if (c == nil) == (err == nil) {
			t.Fatalf("catalog %v, error %v", c, err)
		}
		if err == nil {
			return
		}
		e, ok := errors.AsType[*nba.Error](err)
		if !ok || e.Code != nba.CodeCatalogInvalid || len(e.Details) == 0 {
			t.Fatalf("got %v", err)
		}
		for _, d := range e.Details {
			if d.Line < 1 || d.Column < 1 || d.Detail == "" || d.File != "f" {
				t.Fatalf("no place: %+v", d)
			}
		}
	})
}

// BenchmarkCompileLarge compiles 5,000 actions with 300 distinct conditions.
func BenchmarkCompileLarge(b *testing.B) {
	var document strings.Builder
	document.WriteString("apiVersion: arbiter/v1\nkind: Catalog\nname: x\nchannels: [{name: web, placements: [hero]}]\nissues: [{name: G, groups: [{name: P}]}]\nactions:\n")
	for i := range MaxActions {
		fmt.Fprintf(&document, "  - {name: a%d, issue: G, group: P, value: 1, eligibility: [{when: subject.tenure > %d}], treatments: [{name: t, channel: web, content: {headline: hello}}]}\n", i, i%300)
	}
	env := testCatalogEnv(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Compile([]byte(document.String()), "f", env); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	document, err := os.ReadFile("testdata/everything.good.yaml")
	if err != nil {
		b.Fatal(err)
	}
	env := testCatalogEnv(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Compile(document, "f", env); err != nil {
			b.Fatal(err)
		}
	}
}

// TestDocumentedExampleCompiles keeps docs/catalog.md true.
func TestDocumentedExampleCompiles(t *testing.T) {
	page, err := os.ReadFile("../../docs/catalog.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```yaml\n")
	example, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("no example")
	}
	d, _, err := nba.NewDictionary().Declare([]nba.AttributeDeclaration{
		{Name: "partner", Type: nba.KindBool}, {Name: "dependents", Type: nba.KindBool},
		{Name: "openTickets", Type: nba.KindInt}, {Name: "monthlyCharges", Type: nba.KindFloat},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Compile([]byte(example), "docs/catalog.md", Env{Dictionary: d, Models: []string{"churn"}}); err != nil {
		t.Error(renderProblems(err))
	}
}

func describeCampaigns(b *strings.Builder, c *Catalog) {
	for _, s := range c.Segments {
		fmt.Fprintf(b, "segment %s (%s): %s\n", s.Name, s.Label, s.When.Source())
	}
	for _, g := range c.Campaigns {
		fmt.Fprintf(b, "campaign %s (%s) for %s: %v", g.Name, g.Label, g.Purpose.Name, g.Actions)
		if g.Audience != nil {
			fmt.Fprintf(b, " to %s, reading %d attributes, asking %d", g.Audience.Source(), len(g.Audience.Reads()), len(g.Audience.Asks()))
		}
		fmt.Fprintf(b, "\n  volume %d, %v a second, holdout %v, sink %q\n", g.Volume, g.PerSecond, g.Holdout(), g.Sink)
		if g.Schedule != nil {
			fmt.Fprintf(b, "  once %v, cron %q in %v\n", g.Schedule.Once, g.Schedule.Expression, g.Schedule.Zone)
		}
		for _, on := range g.Channels {
			fmt.Fprintf(b, "  %s/%s at %v, among %v\n", on.Channel.Name, on.Placement, on.Cost, g.Among)
		}
	}
}
