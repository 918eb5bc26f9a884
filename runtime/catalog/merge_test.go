package catalog

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// TestMerge merges the files of each testdata/merge/*.txtar, compiles the document and compares all
// mistakes, in the places of the files, or what was compiled, with the file want.
func TestMerge(t *testing.T) {
	files, _ := filepath.Glob("testdata/merge/*.txtar")
	if len(files) == 0 {
		t.Fatal("no cases")
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var sources []Source
			want, at := "", -1
			for i, f := range archive.Files {
				if f.Name == "want" {
					want, at = string(f.Data), i
					continue
				}
				sources = append(sources, Source{File: f.Name, Text: f.Data})
			}
			got := mergeAndCompile(t, sources)
			if *update {
				if at < 0 {
					archive.Files = append(archive.Files, txtar.File{Name: "want"})
					at = len(archive.Files) - 1
				}
				archive.Files[at].Data = []byte(got)
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func mergeAndCompile(t *testing.T, sources []Source) string {
	t.Helper()
	merged, details := Merge(sources)
	var compiled *Catalog
	if merged != nil {
		var err error
		if compiled, err = Compile(merged.Document, "catalog", testCatalogEnv(t)); err != nil {
			details = append(details, merged.InFiles(err.(*nba.Error).Details)...)
		}
	}
	var b strings.Builder
	for _, d := range details {
		fmt.Fprintf(&b, "%s:%d:%d %s %s\n", d.File, d.Line, d.Column, d.Code, d.Detail)
	}
	if len(details) == 0 {
		b.WriteString(describe(compiled))
	}
	return b.String()
}

// TestMergeOfOneFile: a document in one file is stored as it is written.
func TestMergeOfOneFile(t *testing.T) {
	document, err := os.ReadFile("testdata/everything.good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	merged, problems := Merge([]Source{{File: "catalog.yaml", Text: document}})
	if len(problems) > 0 || string(merged.Document) != string(document) {
		t.Errorf("one file became another, or has problems: %v", problems)
	}
	if file, line, column := merged.Place(7, 3); file != "catalog.yaml" || line != 7 || column != 3 {
		t.Errorf("7:3 is at %s:%d:%d", file, line, column)
	}
}

// TestMergedPlaces: every mistake that a document has in one file it has, at the same text, in two.
func TestMergedPlaces(t *testing.T) {
	for _, name := range []string{"fields", "references", "expressions", "table", "contact"} {
		document, err := os.ReadFile("testdata/" + name + ".bad.yaml")
		if err != nil {
			t.Fatal(err)
		}
		_, err = Compile(document, "b.yaml", testCatalogEnv(t))
		want := err.(*nba.Error).Details
		merged, problems := Merge([]Source{{File: "a.yaml", Text: []byte("# nothing but a comment\n{}\n")}, {File: "b.yaml", Text: document}})
		if merged == nil {
			t.Logf("%s: %v", name, problems)
			continue
		}
		_, err = Compile(merged.Document, "catalog", testCatalogEnv(t))
		found := map[string]bool{}
		for _, d := range append(problems, merged.InFiles(err.(*nba.Error).Details)...) {
			found[fmt.Sprintf("%s:%d:%d", d.File, d.Line, d.Column)] = true
		}
		missed := 0
		for _, d := range want {
			if !found[fmt.Sprintf("%s:%d:%d", d.File, d.Line, d.Column)] {
				t.Logf("%s.bad.yaml:%d:%d %s: not at this place", name, d.Line, d.Column, d.Detail)
				missed++
			}
		}
		if missed > 0 {
			t.Errorf("%s: %d of %d mistakes are elsewhere", name, missed, len(want))
		}
	}
}

// FuzzMerge merges two files of anything. What is merged is a document, every place is in a file, and a
// document that is compared with itself does not differ.
func FuzzMerge(f *testing.F) {
	for _, name := range []string{"everything.good", "fields.bad", "references.bad", "table.good"} {
		document, err := os.ReadFile("testdata/" + name + ".yaml")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(document), "actions: []\n", "a,b\n")
	}
	f.Add("tables: [{name: t}]\nmodels: {a: {plugin: a}}", "models: {a: 1}\nactions:\n- |\n    x\n", `">= 1",2`)
	f.Add("a: !!null\n", "? [1]\n: 2\n", "")
	f.Fuzz(func(t *testing.T, a, b, rows string) {
		merged, problems := Merge([]Source{{File: "a.yaml", Text: []byte(a)}, {File: "b.yaml", Text: []byte(b)}, {File: "t.csv", Text: []byte(rows)}})
		for _, p := range problems {
			if p.File != "a.yaml" && p.File != "b.yaml" && p.File != "t.csv" {
				t.Fatalf("a mistake in %q: %s", p.File, p.Detail)
			}
		}
		if merged == nil {
			if len(problems) == 0 {
				t.Fatal("nothing was merged, and nothing is wrong")
			}
			return
		}
		for line := range 5 {
			merged.Place(line, line)
		}
		if changes, err := Diff(merged.Document, merged.Document); err == nil && len(changes) > 0 {
			t.Fatalf("a document differs from itself: %v\n%s", changes, merged.Document)
		}
	})
}
