package pmml

import (
	"bytes"
	"encoding/xml"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/sdk/realdata"
)

func xmlAttr(name, value string) xml.Attr { return xml.Attr{Name: xml.Name{Local: name}, Value: value} }

// head begins a document whose model starts on line 2.
const head = `<PMML><DataDictionary><DataField name="x" dataType="double"/><DataField name="c" dataType="string"/></DataDictionary>` + "\n"

// in is a MiningSchema of both fields.
const in = `<MiningSchema><MiningField name="x"/><MiningField name="c"/></MiningSchema>`

func TestRefusals(t *testing.T) {
	tests := []struct {
		name, body, want string
	}{
		{name: "empty", body: "", want: "empty"},
		{name: "no XML", body: "{}", want: "empty"},
		{name: "cut off", body: "<PMML>\n<Header>", want: "line 2"},
		{name: "document type", body: `<!DOCTYPE a [<!ENTITY b "c">]><PMML/>`, want: "document type"},
		{name: "something else", body: "<html/>", want: "no PMML"},
		{name: "encoding", body: `<?xml version="1.0" encoding="utf-16"?><PMML/>`, want: "well-formed"},
		{name: "no model", body: head + `</PMML>`, want: "no model"},
		{name: "no dictionary", body: `<PMML><TreeModel/></PMML>`, want: "no DataDictionary"},
		{name: "unknown model", body: head + `<SupportVectorMachineModel/></PMML>`, want: "line 2: SupportVectorMachineModel: this element is not supported"},
		{name: "two models", body: head + `<TreeModel/><TreeModel/></PMML>`, want: "several models"},
		{name: "date", body: `<PMML><DataDictionary><DataField name="d" dataType="dateTime"/></DataDictionary><TreeModel><MiningSchema><MiningField name="d"/></MiningSchema></TreeModel></PMML>`, want: `"dateTime"`},
		{name: "clustering function", body: head + `<TreeModel functionName="clustering">` + in + `<Node><True/></Node></TreeModel></PMML>`, want: "functionName"},
		{name: "unknown field", body: head + `<TreeModel functionName="regression">` + in + `<Node><True/><Node score="1">` + "\n" + `<SimplePredicate field="nope" operator="isMissing"/></Node></Node></TreeModel></PMML>`, want: `line 3: SimplePredicate: the field "nope"`},
		{name: "order of texts", body: head + `<TreeModel functionName="regression">` + in + `<Node><True/><Node score="1"><SimplePredicate field="c" operator="lessThan" value="b"/></Node></Node></TreeModel></PMML>`, want: "order"},
		{name: "strategy", body: head + `<TreeModel functionName="regression" missingValueStrategy="weightedConfidence">` + in + `<Node><True/><Node score="1"><SimplePredicate field="x" operator="lessThan" value="2"/></Node></Node></TreeModel></PMML>`, want: "weightedConfidence"},
		{name: "embedded model", body: head + `<TreeModel functionName="regression">` + in + `<Node><True/><Regression/></Node></TreeModel></PMML>`, want: "Regression"},
		{name: "default child", body: head + `<TreeModel functionName="regression" missingValueStrategy="defaultChild">` + in + `<Node><True/><Node score="1"><SimplePredicate field="x" operator="lessThan" value="2"/></Node></Node></TreeModel></PMML>`, want: "defaultChild"},
		{name: "score", body: head + `<TreeModel functionName="regression">` + in + `<Node score="0x10"><True/></Node></TreeModel></PMML>`, want: "not a number"},
		{name: "normalisation", body: head + `<RegressionModel functionName="regression" normalizationMethod="probit">` + in + `<RegressionTable intercept="0"/></RegressionModel></PMML>`, want: "probit"},
		{name: "text in a regression", body: head + `<RegressionModel functionName="regression">` + in + `<RegressionTable intercept="0"><NumericPredictor name="c" coefficient="1"/></RegressionTable></RegressionModel></PMML>`, want: "is a text"},
		{name: "exponent", body: head + `<RegressionModel functionName="regression">` + in + `<RegressionTable intercept="0"><NumericPredictor name="x" exponent="1.5" coefficient="1"/></RegressionTable></RegressionModel></PMML>`, want: "exponent"},
		{name: "median", body: head + `<MiningModel functionName="regression">` + in + `<Segmentation multipleModelMethod="median"><Segment><True/><TreeModel/></Segment></Segmentation></MiningModel></PMML>`, want: `"median"`},
		{name: "function", body: head + `<RegressionModel functionName="regression">` + in + `<LocalTransformations><DerivedField name="d" dataType="double"><Apply function="erf"><FieldRef field="x"/></Apply></DerivedField></LocalTransformations><RegressionTable intercept="0"/></RegressionModel></PMML>`, want: `"erf"`},
		{name: "aggregate", body: head + `<RegressionModel functionName="regression">` + in + `<LocalTransformations><DerivedField name="d" dataType="double"><TextIndex/></DerivedField></LocalTransformations><RegressionTable intercept="0"/></RegressionModel></PMML>`, want: "TextIndex"},
		{name: "scorecard", body: head + `<Scorecard>` + in + `<Characteristics><Characteristic><Attribute><True/><ComplexPartialScore/></Attribute></Characteristic></Characteristics></Scorecard></PMML>`, want: "ComplexPartialScore"},
		{name: "explosion", body: explosion(24), want: "nodes"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := Read([]byte(test.body))
			e, ok := errors.AsType[*nba.Error](err)
			if !ok || e.Code != nba.CodeModelInvalid && e.Code != nba.CodeTooLarge {
				t.Fatalf("error %v, want a refusal", err)
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %q does not tell %q", err, test.want)
			}
		})
	}
}

// explosion is a model whose predicate doubles the ways with every field.
func explosion(n int) string {
	var data, schema, parts strings.Builder
	for i := range n {
		name := "f" + strings.Repeat("x", i)
		data.WriteString(`<DataField name="` + name + `" dataType="double"/>`)
		schema.WriteString(`<MiningField name="` + name + `"/>`)
		parts.WriteString(`<SimplePredicate field="` + name + `" operator="lessThan" value="0"/>`)
	}
	return `<PMML><DataDictionary>` + data.String() + `</DataDictionary><TreeModel functionName="regression"><MiningSchema>` + schema.String() +
		`</MiningSchema><Node score="1"><CompoundPredicate booleanOperator="xor">` + parts.String() + `</CompoundPredicate></Node></TreeModel></PMML>`
}

func TestNesting(t *testing.T) {
	deep := strings.Repeat("<a>", maxNesting+1)
	if _, err := Read([]byte(deep)); err == nil || !strings.Contains(err.Error(), "inside each other") {
		t.Errorf("deep elements: %v", err)
	}
	chain := head + `<TreeModel functionName="regression">` + in + `<Node><True/>` + strings.Repeat("<Node><False/></Node>", 200_000) + `</Node></TreeModel></PMML>`
	if _, err := Read([]byte(chain)); err == nil || !strings.Contains(err.Error(), "follow each other") {
		t.Errorf("many children: %v", err)
	}
	long := "<PMML>" + strings.Repeat("x", maxTextBytes+1)
	if _, err := Read([]byte(long)); err == nil || !strings.Contains(err.Error(), "bytes of text") {
		t.Errorf("long text: %v", err)
	}
}

// FuzzRead looks for documents that make the reader panic, loop or write a model that does not run.
func FuzzRead(f *testing.F) {
	files, err := filepath.Glob("testdata/*.pmml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	forest := &forest{rng: rand.New(rand.NewPCG(1, 1))}
	for range 5 {
		f.Add([]byte("<PMML>" + fields + forest.tree() + "</PMML>"))
	}
	f.Add(derivedDocument("", `<DerivedField name="d" dataType="double"><NormContinuous field="x"><LinearNorm orig="0" norm="0"/><LinearNorm orig="2" norm="1"/></NormContinuous></DerivedField>`))
	f.Add([]byte{0x1f, 0x8b})
	f.Fuzz(func(t *testing.T, file []byte) {
		m, err := Read(file)
		if err != nil {
			if _, ok := errors.AsType[*nba.Error](err); !ok {
				t.Fatalf("error %v is no *nba.Error", err)
			}
			return
		}
		in, err := ir.NewInterpreter(m)
		if err != nil {
			t.Fatal(err)
		}
		in.Run(make([]float64, len(m.Inputs)))
		missing := make([]float64, len(m.Inputs))
		for i := range missing {
			missing[i] = math.NaN()
		}
		in.Run(missing)
	})
}

func BenchmarkRead(b *testing.B) {
	file, err := os.ReadFile(realdata.Path(b, "pmml/random_forest.pmml"))
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(file)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Read(bytes.Clone(file)); err != nil {
			b.Fatal(err)
		}
	}
}
