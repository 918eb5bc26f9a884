package engine

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
	"golang.org/x/tools/txtar"

	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

var update = flag.Bool("update", false, "rewrite the expected parts of testdata")

// render shows a decision as the text files have it.
func render(d *nba.Decision, err error) string {
	var b strings.Builder
	if err != nil {
		fmt.Fprintf(&b, "error %s %v\n", nba.CodeOf(err), err)
		if e, ok := errors.AsType[*nba.Error](err); ok {
			for _, detail := range e.Details {
				fmt.Fprintf(&b, "  %s %s %s\n", detail.Pointer, detail.Code, detail.Detail)
			}
		}
		return b.String()
	}
	if d.Degraded {
		fmt.Fprintf(&b, "degraded %s\n", d.DegradedReason)
	}
	if d.Explanation != nil {
		for _, s := range d.Explanation.Stages {
			fmt.Fprintf(&b, "%s %d -> %d\n", s.Stage, s.In, s.Out)
			for _, r := range s.Removed {
				fmt.Fprintf(&b, "  - %s %s: %s\n", r.Action, r.Code, r.Label)
			}
		}
		for _, c := range d.Explanation.Candidates {
			fmt.Fprintf(&b, "candidate %s %v x %v x %v x %v = %.6g features %v withheld %v\n", c.Action, c.Propensity, c.ContextWeight,
				c.Value, c.Lever, c.Priority, c.Features, c.WithheldAttributes)
		}
	}
	b.WriteString(renderPropositions(d))
	return b.String()
}

func renderPropositions(d *nba.Decision) string {
	var b strings.Builder
	for _, p := range d.Propositions {
		fmt.Fprintf(&b, "%s:", p.Placement)
		if p.Strategy != nil {
			fmt.Fprintf(&b, " arranged by %s", p.Strategy.Name)
		}
		b.WriteByte('\n')
		for _, i := range p.Items {
			fmt.Fprintf(&b, "  %d %s [%s/%s] %s  P %.6g x C %.6g x V %.6g x L %.6g = %.6g  %s: %s", i.Rank, i.Action, i.Issue, i.Group, i.Treatment,
				i.Propensity, i.ContextWeight, i.Value, i.Lever, i.Priority, i.Reason.Code, i.Reason.Label)
			if i.StrategyWeight != 0 {
				fmt.Fprintf(&b, "; weighted %v", i.StrategyWeight)
			}
			for _, name := range slices.Sorted(maps.Keys(i.Content)) {
				fmt.Fprintf(&b, "; %s %q", name, i.Content[name])
			}
			if i.Model != nil {
				fmt.Fprintf(&b, "; scored by %s", i.Model.Name)
			}
			if i.ExpiresAt != nil {
				fmt.Fprintf(&b, "; expires %s", i.ExpiresAt.Format(time.RFC3339))
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// reverseActions is the same document with its actions in the opposite order.
func reverseActions(t testing.TB, document []byte) []byte {
	t.Helper()
	var root yaml.Node
	if err := yaml.Unmarshal(document, &root); err != nil {
		t.Fatal(err)
	}
	fields := root.Content[0].Content
	for i := 0; i < len(fields); i += 2 {
		if fields[i].Value == "actions" {
			slices.Reverse(fields[i+1].Content)
		}
	}
	reversed, err := yaml.Marshal(&root)
	if err != nil {
		t.Fatal(err)
	}
	return reversed
}

func mustCompile(t testing.TB, document []byte, d *nba.Dictionary) *catalog.Catalog {
	t.Helper()
	c, err := catalog.Compile(document, "catalog.yaml", catalog.Env{Dictionary: d})
	if err != nil {
		if e, ok := errors.AsType[*nba.Error](err); ok {
			for _, detail := range e.Details {
				t.Logf("%s:%d:%d %s", detail.File, detail.Line, detail.Column, detail.Detail)
			}
		}
		t.Fatal(err)
	}
	return c
}

// TestText runs the cases of testdata. Each file says why it exists, then has the parts attributes
// (name, type, purposes), catalog.yaml, and for each question a part "case NAME" and what is
// expected of it, "want NAME". Every case is also decided with the actions of the catalog in the
// opposite order and with every level of explanation: neither may change it.
func TestText(t *testing.T) {
	files, err := filepath.Glob("testdata/*/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(strings.TrimPrefix(file, "testdata/"), ".txt"), func(t *testing.T) { runTextFile(t, file) })
	}
}

func runTextFile(t *testing.T, file string) {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(bytes.TrimSpace(archive.Comment)) == 0 {
		t.Error("the file does not say why it exists")
	}
	f := &fixture{}
	wants := map[string]string{}
	var parts []txtar.File
	for _, part := range archive.Files {
		if name, ok := strings.CutPrefix(part.Name, "want "); ok {
			wants[name] = string(part.Data)
		}
	}
	for _, part := range archive.Files {
		name, isCase := strings.CutPrefix(part.Name, "case ")
		switch {
		case part.Name == "attributes":
			f.dictionary = parseDictionary(t, part.Data)
		case part.Name == "catalog.yaml":
			f.document = part.Data
			f.catalog = mustCompile(t, part.Data, f.dictionary)
		case isCase:
			got := f.run(t, name, part.Data)
			if diff := cmp.Diff(wants[name], got); diff != "" && !*update {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
			parts = append(parts, part, txtar.File{Name: "want " + name, Data: []byte(got)})
			continue
		case strings.HasPrefix(part.Name, "want "):
			continue
		default:
			t.Fatalf("unknown part %s", part.Name)
		}
		parts = append(parts, part)
	}
	if *update {
		archive.Files = parts
		if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func (f *fixture) run(t *testing.T, name string, source []byte) string {
	t.Helper()
	c := &textCase{Explain: nba.ExplainReasons}
	decoder := yaml.NewDecoder(bytes.NewReader(source))
	decoder.KnownFields(true)
	if err := decoder.Decode(c); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	decision, err := f.decide(t, c, f.catalog, c.Explain)
	if err != nil {
		return render(nil, err)
	}
	reversed := mustCompile(t, reverseActions(t, f.document), f.dictionary)
	for _, explain := range []nba.Explain{nba.ExplainNone, nba.ExplainReasons, nba.ExplainFull} {
		for _, other := range []*catalog.Catalog{f.catalog, reversed} {
			again, err := f.decide(t, c, other, explain)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(decision.Propositions, again.Propositions); diff != "" {
				t.Errorf("%s: the order of actions or the explanation changed the decision:\n%s", name, diff)
			}
		}
	}
	return render(decision, nil)
}
