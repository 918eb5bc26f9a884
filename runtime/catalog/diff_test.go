package catalog

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

// TestDiff compares the documents old and new of each testdata/diff/*.txtar with what is expected of them.
func TestDiff(t *testing.T) {
	files, _ := filepath.Glob("testdata/diff/*.txtar")
	if len(files) == 0 {
		t.Fatal("no cases")
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			parts := map[string]int{}
			for i, f := range archive.Files {
				parts[f.Name] = i
			}
			changes, err := Diff(archive.Files[parts["old"]].Data, archive.Files[parts["new"]].Data)
			if err != nil {
				t.Fatal(err)
			}
			var lines []string
			for _, c := range changes {
				lines = append(lines, c.String()+"\n")
			}
			got := strings.Join(lines, "")
			if *update {
				archive.Files[parts["want"]].Data = []byte(got)
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if want := string(archive.Files[parts["want"]].Data); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			back, err := Diff(archive.Files[parts["new"]].Data, archive.Files[parts["old"]].Data)
			if err != nil || len(back) != len(changes) {
				t.Errorf("%d changes back, %d there, %v", len(back), len(changes), err)
			}
		})
	}
}

// TestDiffOfTheSame: a document does not differ from itself, however it is written.
func TestDiffOfTheSame(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.good.yaml")
	for _, file := range files {
		document, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		merged, problems := Merge([]Source{{File: "a.yaml", Text: []byte("{}\n")}, {File: "b.yaml", Text: document}})
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		if changes, err := Diff(document, merged.Document); err != nil || len(changes) > 0 {
			t.Errorf("%s differs from itself: %v, %v", file, changes, err)
		}
	}
}
