package importer_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/arbiterhq/arbiter/cluster/importer"
	"github.com/arbiterhq/arbiter/cluster/store/record"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "rewrite the want sections of testdata/cases")

// TestCases runs testdata/cases/*.txt. A case is a txtar file: a comment that says why it exists; a
// mapping, or the attributes to declare; a body, or a body in Go quotes where its bytes are strange;
// what is wanted. Each case also runs with a reader that gives one byte at a time.
func TestCases(t *testing.T) {
	files, err := filepath.Glob("testdata/cases/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			c := parseCase(t, archive)
			got := c.run(t, false)
			if slow := c.run(t, true); slow != got {
				t.Errorf("byte by byte the outcome differs:\n%s", slow)
			}
			i := slices.IndexFunc(archive.Files, func(f txtar.File) bool { return f.Name == "want" })
			if *update {
				archive.Files[i].Data = []byte(got)
				if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if want := string(archive.Files[i].Data); got != want {
				t.Errorf("got:\n%swant:\n%s", got, want)
			}
		})
	}
}

type importCase struct {
	mapping []byte
	dict    *nba.Dictionary
	spec    importer.Spec
	body    []byte
}

func parseCase(t *testing.T, archive *txtar.Archive) *importCase {
	t.Helper()
	c := &importCase{dict: nba.NewDictionary()}
	for _, f := range archive.Files {
		switch f.Name {
		case "mapping.yaml":
			c.mapping = f.Data
		case "attributes":
			for name := range strings.FieldsSeq(string(f.Data)) {
				name, kindName, _ := strings.Cut(name, ":")
				kind, ok := nba.ParseKind(kindName)
				if !ok {
					t.Fatalf("attribute %s has no type", name)
				}
				var err error
				if c.dict, _, err = c.dict.Declare([]nba.AttributeDeclaration{{Name: name, Type: kind}}); err != nil {
					t.Fatal(err)
				}
			}
		case "firstLine":
			n, err := strconv.Atoi(strings.TrimSpace(string(f.Data)))
			if err != nil {
				t.Fatal(err)
			}
			c.spec.FirstLine = n
		case "body.csv", "body.ndjson":
			c.body, c.spec.Format = f.Data, strings.TrimPrefix(f.Name, "body.")
		case "quoted.csv", "quoted.ndjson":
			c.spec.Format = strings.TrimPrefix(f.Name, "quoted.")
			for line := range strings.Lines(string(f.Data)) {
				text, err := strconv.Unquote(strings.TrimSpace(line))
				if err != nil {
					t.Fatalf("line %s: %v", line, err)
				}
				c.body = append(c.body, text...)
			}
		case "want":
		default:
			t.Fatalf("unknown section %s", f.Name)
		}
	}
	return c
}

// run imports the body and tells the outcome as text.
func (c *importCase) run(t *testing.T, slow bool) string {
	t.Helper()
	var out strings.Builder
	fail := func(err error) string {
		e, ok := errors.AsType[*nba.Error](err)
		if !ok {
			t.Fatalf("not an *nba.Error: %v", err)
		}
		fmt.Fprintf(&out, "error %s: %s\n", e.Code, e.Message)
		for _, d := range e.Details {
			place := ""
			if d.Line > 0 {
				place = fmt.Sprintf("%s:%d: ", d.File, d.Line)
			}
			fmt.Fprintf(&out, "  %s%s: %s\n", place, d.Code, d.Detail)
		}
		return out.String()
	}
	dict, spec := c.dict, c.spec
	if c.mapping != nil {
		m, err := importer.ParseMapping(c.mapping, "mapping.yaml")
		if err != nil {
			return fail(err)
		}
		if dict, _, err = dict.Declare(m.Declarations()); err != nil {
			return fail(err)
		}
		spec.Mapping = m
	}
	body := iotest.DataErrReader(bytes.NewReader(c.body))
	if slow {
		body = iotest.OneByteReader(bytes.NewReader(c.body))
	}
	sink := newMemorySink(t)
	sum, err := importer.Run(t.Context(), body, spec, dict, sink, func(r importer.Result) error {
		fmt.Fprintf(&out, "line %d %s %s: %s\n", r.Line, strconv.Quote(r.Column), r.Code, r.Reason)
		return nil
	})
	if err != nil {
		return fail(err)
	}
	if sum.Read != sum.Accepted+sum.Rejected || sum.Bytes != int64(len(c.body)) {
		t.Errorf("the summary does not add up: %+v for %d bytes", sum, len(c.body))
	}
	fmt.Fprintf(&out, "read %d accepted %d rejected %d blank %d duplicates %d\n", sum.Read, sum.Accepted, sum.Rejected, sum.Blank, sum.Duplicates)
	var subjects []string
	for ref, r := range sink.subjects {
		subjects = append(subjects, describe(dict, ref, r))
	}
	slices.Sort(subjects)
	for _, s := range subjects {
		out.WriteString(s + "\n")
	}
	return out.String()
}

func describe(dict *nba.Dictionary, ref nba.SubjectRef, r *record.Record) string {
	text := fmt.Sprintf("%s %s", ref.Type, ref.ID)
	for i := range r.Len() {
		at := r.At(i)
		attribute, _ := dict.AttributeByID(at.ID)
		text += fmt.Sprintf(" %s=%#v", attribute.Name, at.Value.Any())
	}
	for _, p := range dict.Purposes() {
		switch {
		case r.Granted().Has(p.ID):
			text += " +" + p.Name
		case r.Refused().Has(p.ID):
			text += " -" + p.Name
		}
	}
	for _, a := range r.Answers(nil) {
		if a.Channel != "" {
			text += " channel:" + a.Channel + "=" + a.State.String()
		}
	}
	return text
}
