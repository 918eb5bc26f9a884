package pmml

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/arbiterhq/arbiter/plugins/compiler/internal/modeltest"
	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
)

// derivedDocument is a regression that hands one derived field through.
func derivedDocument(declared, derived string) []byte {
	return fmt.Appendf(nil, `<PMML version="4.4"><DataDictionary>
<DataField name="x" optype="continuous" dataType="double"/><DataField name="y" optype="continuous" dataType="double"/>
<DataField name="c" optype="categorical" dataType="string"><Value value="a"/><Value value="b"/><Value value="z"/></DataField></DataDictionary>
<TransformationDictionary>%s</TransformationDictionary>
<RegressionModel functionName="regression"><MiningSchema><MiningField name="x"/><MiningField name="y"/><MiningField name="c"/></MiningSchema>
<LocalTransformations>%s</LocalTransformations>
<RegressionTable intercept="0"><NumericPredictor name="d" coefficient="1"/></RegressionTable></RegressionModel></PMML>`, declared, derived)
}

func TestExpressions(t *testing.T) {
	nan := math.NaN()
	const x, y, c = `<FieldRef field="x"/>`, `<FieldRef field="y"/>`, `<FieldRef field="c"/>`
	apply := func(function, args string) string {
		return fmt.Sprintf(`<Apply function="%s">%s</Apply>`, function, args)
	}
	constant := func(text string) string { return "<Constant>" + text + "</Constant>" }
	points := `<LinearNorm orig="0" norm="0"/><LinearNorm orig="2" norm="1"/><LinearNorm orig="4" norm="5"/>`
	// Each row is x, y, code of c, and what is expected.
	tests := []struct {
		name string
		expr string
		rows [][4]float64
	}{
		{name: "constant", expr: constant("2.5"), rows: [][4]float64{{0, 0, 0, 2.5}}},
		{name: "reference", expr: x, rows: [][4]float64{{3, 0, 0, 3}, {nan, 0, 0, nan}}},
		{name: "reference, replaced", expr: `<FieldRef field="x" mapMissingTo="-1"/>`, rows: [][4]float64{{3, 0, 0, 3}, {nan, 0, 0, -1}}},
		{name: "line", expr: `<NormContinuous field="x">` + points + `</NormContinuous>`,
			rows: [][4]float64{{1, 0, 0, 0.5}, {2, 0, 0, 1}, {3, 0, 0, 3}, {-2, 0, 0, -1}, {5, 0, 0, 7}, {nan, 0, 0, nan}}},
		{name: "line, cut", expr: `<NormContinuous field="x" outliers="asExtremeValues" mapMissingTo="0.25">` + points + `</NormContinuous>`,
			rows: [][4]float64{{-2, 0, 0, 0}, {5, 0, 0, 5}, {1, 0, 0, 0.5}, {nan, 0, 0, 0.25}}},
		{name: "line, missing beyond", expr: `<NormContinuous field="x" outliers="asMissingValues">` + points + `</NormContinuous>`,
			rows: [][4]float64{{-2, 0, 0, nan}, {5, 0, 0, nan}, {0, 0, 0, 0}, {4, 0, 0, 5}}},
		{name: "indicator of a text", expr: `<NormDiscrete field="c" value="b"/>`, rows: [][4]float64{{0, 0, 1, 1}, {0, 0, 0, 0}, {0, 0, nan, nan}}},
		{name: "indicator of a number, replaced", expr: `<NormDiscrete field="x" value="2" mapMissingTo="0"/>`, rows: [][4]float64{{2, 0, 0, 1}, {2.5, 0, 0, 0}, {nan, 0, 0, 0}}},
		{name: "bins", expr: `<Discretize field="x" defaultValue="9" mapMissingTo="8">
<DiscretizeBin binValue="1"><Interval closure="openClosed" rightMargin="0"/></DiscretizeBin>
<DiscretizeBin binValue="2"><Interval closure="openOpen" leftMargin="0" rightMargin="1"/></DiscretizeBin>
<DiscretizeBin binValue="3"><Interval closure="closedOpen" leftMargin="2"/></DiscretizeBin></Discretize>`,
			rows: [][4]float64{{-5, 0, 0, 1}, {0, 0, 0, 1}, {0.5, 0, 0, 2}, {1, 0, 0, 9}, {2, 0, 0, 3}, {nan, 0, 0, 8}}},
		{name: "table", expr: `<MapValues outputColumn="out" defaultValue="-1" mapMissingTo="-2"><FieldColumnPair field="c" column="data:in"/><InlineTable>
<row xmlns:data="t"><data:in>b</data:in><out>20</out></row><row><in>a</in><out>10</out></row></InlineTable></MapValues>`,
			rows: [][4]float64{{0, 0, 0, 10}, {0, 0, 1, 20}, {0, 0, 2, -1}, {0, 0, nan, -2}}},
		{name: "table of two", expr: `<MapValues outputColumn="out" defaultValue="-1"><FieldColumnPair field="c" column="in"/><FieldColumnPair field="x" column="k"/><InlineTable>
<row><in>b</in><k>1</k><out>20</out></row><row><in>a</in><k>2</k><out>10</out></row></InlineTable></MapValues>`,
			rows: [][4]float64{{2, 0, 0, 10}, {1, 0, 1, 20}, {1, 0, 0, -1}, {1, 0, nan, nan}}},
		{name: "arithmetic", expr: apply("+", apply("*", x+constant("3"))+apply("/", apply("-", y+x)+constant("2"))),
			rows: [][4]float64{{2, 6, 0, 8}, {nan, 6, 0, nan}}},
		{name: "functions", expr: apply("+", apply("ln", apply("exp", x))+apply("sqrt", apply("pow", x+constant("2")))), rows: [][4]float64{{2, 0, 0, 4}}},
		{name: "rounding", expr: apply("+", apply("floor", x)+apply("*", constant("100")+apply("ceil", x))), rows: [][4]float64{{1.5, 0, 0, 201}, {-1.5, 0, 0, -102}}},
		{name: "if", expr: apply("if", apply("greaterThan", x+y)+x+y), rows: [][4]float64{{2, 1, 0, 2}, {1, 2, 0, 2}, {nan, 1, 0, nan}}},
		{name: "if without else", expr: apply("if", apply("isMissing", x)+constant("7")), rows: [][4]float64{{nan, 0, 0, 7}, {1, 0, 0, nan}}},
		{name: "if missing", expr: apply("if", apply("isNotMissing", x)+x+constant("-3")), rows: [][4]float64{{4, 0, 0, 4}, {nan, 0, 0, -3}}},
		{name: "logic", expr: apply("if", apply("and", apply("not", apply("equal", c+constant("a")))+apply("or", apply("lessThan", x+constant("1"))+apply("isIn", c+constant("z")+constant("b"))))+constant("1")+constant("0")),
			rows: [][4]float64{{0, 0, 0, 0}, {0, 0, 1, 1}, {5, 0, 2, 1}, {5, 0, nan, nan}, {nan, 0, 0, 0}, {nan, 0, 1, 1}}},
		{name: "condition as a number", expr: apply("+", apply("threshold", x+y)+constant("1")), rows: [][4]float64{{2, 1, 0, 2}, {1, 1, 0, 1}, {nan, 1, 0, nan}}},
		{name: "greatest", expr: apply("max", `<FieldRef field="x" mapMissingTo="0"/>`+`<FieldRef field="y" mapMissingTo="5"/>`), rows: [][4]float64{{2, 1, 0, 2}, {2, nan, 0, 5}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			file := derivedDocument("", `<DerivedField name="d" optype="continuous" dataType="double">`+test.expr+`</DerivedField>`)
			evaluateRows(t, file, test.rows)
		})
	}
}

func evaluateRows(t *testing.T, file []byte, rows [][4]float64) {
	t.Helper()
	m, err := Read(file)
	if err != nil {
		t.Fatal(err)
	}
	in, err := ir.NewInterpreter(m)
	if err != nil {
		t.Fatal(err)
	}
	var inputs [][]float64
	for _, row := range rows {
		inputs = append(inputs, row[:3])
		_, out := in.Run(row[:3])
		if !near(out[0], row[3]) {
			t.Errorf("row %v: %v, want %v", row[:3], out[0], row[3])
		}
	}
	modeltest.CheckModules(t, m, modeltest.Odd(m, inputs, 2*len(inputs)))
}

// TestDerivedTexts derives a text from texts and numbers and asks for it in a later field.
func TestDerivedTexts(t *testing.T) {
	file := derivedDocument(
		`<DerivedField name="band" optype="categorical" dataType="string"><Discretize field="x" defaultValue="high">
<DiscretizeBin binValue="low"><Interval closure="openOpen" rightMargin="10"/></DiscretizeBin></Discretize></DerivedField>
<DerivedField name="size" optype="categorical" dataType="string"><Apply function="if"><Apply function="equal"><FieldRef field="c"/><Constant>a</Constant></Apply><Constant>small</Constant><Constant>large</Constant></Apply></DerivedField>`,
		`<DerivedField name="d" optype="continuous" dataType="float"><MapValues outputColumn="out"><FieldColumnPair field="band" column="band"/><FieldColumnPair field="size" column="size"/><InlineTable>
<row><band>low</band><size>small</size><out>1</out></row><row><band>low</band><size>large</size><out>2</out></row><row><band>high</band><size>small</size><out>3.1</out></row></InlineTable></MapValues></DerivedField>`)
	evaluateRows(t, file, [][4]float64{{1, 0, 0, 1}, {1, 0, 1, 2}, {10, 0, 0, float64(float32(3.1))}, {10, 0, 1, math.NaN()}, {math.NaN(), 0, 0, math.NaN()}})
}

// TestFunctions applies functions of the document's own.
func TestFunctions(t *testing.T) {
	file := derivedDocument(
		`<DefineFunction name="half" dataType="double"><ParameterField name="v"/><Apply function="/"><FieldRef field="v"/><Constant>2</Constant></Apply></DefineFunction>
<DefineFunction name="mean" dataType="double"><ParameterField name="v"/><ParameterField name="w"/><Apply function="half"><Apply function="+"><FieldRef field="v"/><FieldRef field="w"/></Apply></Apply></DefineFunction>`,
		`<DerivedField name="d" dataType="double"><Apply function="mean"><FieldRef field="x"/><FieldRef field="y"/></Apply></DerivedField>`)
	evaluateRows(t, file, [][4]float64{{1, 4, 0, 2.5}, {math.NaN(), 4, 0, math.NaN()}})
	endless := derivedDocument(`<DefineFunction name="f"><ParameterField name="v"/><Apply function="f"><FieldRef field="v"/></Apply></DefineFunction>`,
		`<DerivedField name="d" dataType="double"><Apply function="f"><FieldRef field="x"/></Apply></DerivedField>`)
	if _, err := Read(endless); err == nil {
		t.Error("a function that applies itself was read")
	}
	explosive := derivedDocument(`<DefineFunction name="f"><ParameterField name="v"/><Apply function="+"><Apply function="f"><FieldRef field="v"/></Apply><Apply function="f"><FieldRef field="v"/></Apply></Apply></DefineFunction>`,
		`<DerivedField name="d" dataType="double"><Apply function="f"><FieldRef field="x"/></Apply></DerivedField>`)
	if _, err := Read(explosive); err == nil {
		t.Error("a function that applies itself twice was read")
	}
}

// TestSchema treats missing, invalid and outlying values of inputs.
func TestSchema(t *testing.T) {
	nan := math.NaN()
	tests := []struct {
		name, dataType, data, attrs string
		rows                        [][2]float64
	}{
		{name: "nothing", dataType: "double", rows: [][2]float64{{1, 1}, {nan, nan}}},
		{name: "replacement", dataType: "double", attrs: `missingValueReplacement="4"`, rows: [][2]float64{{1, 1}, {nan, 4}}},
		{name: "missing is invalid", dataType: "double", attrs: `missingValueTreatment="returnInvalid"`, rows: [][2]float64{{1, 1}, {nan, nan}}},
		{name: "32 bits", dataType: "float", rows: [][2]float64{{0.1, float64(float32(0.1))}}},
		{name: "32 bits, replacement", dataType: "float", attrs: `missingValueReplacement="0.1"`, rows: [][2]float64{{nan, float64(float32(0.1))}}},
		{name: "cut", dataType: "double", attrs: `outliers="asExtremeValues" lowValue="-1" highValue="1"`, rows: [][2]float64{{-9, -1}, {0.5, 0.5}, {9, 1}, {nan, nan}}},
		{name: "outliers are missing", dataType: "double", attrs: `outliers="asMissingValues" lowValue="-1" highValue="1" missingValueReplacement="0"`, rows: [][2]float64{{-9, 0}, {1, 1}, {9, 0}, {nan, 0}}},
		{name: "mark of missing", dataType: "double", data: `<Value value="-999" property="missing"/>`, attrs: `missingValueReplacement="3"`, rows: [][2]float64{{-999, 3}, {2, 2}}},
		{name: "interval", dataType: "double", data: `<Interval closure="closedClosed" leftMargin="0" rightMargin="10"/>`, rows: [][2]float64{{0, 0}, {10, 10}, {11, nan}, {-1, nan}, {nan, nan}}},
		{name: "interval, missing", dataType: "double", data: `<Interval closure="closedOpen" leftMargin="0" rightMargin="10"/>`, attrs: `invalidValueTreatment="asMissing" missingValueReplacement="5"`, rows: [][2]float64{{0, 0}, {10, 5}}},
		{name: "interval, as is", dataType: "double", data: `<Interval closure="closedOpen" leftMargin="0" rightMargin="10"/>`, attrs: `invalidValueTreatment="asIs"`, rows: [][2]float64{{11, 11}}},
		{name: "boolean", dataType: "boolean", attrs: `missingValueReplacement="true"`, rows: [][2]float64{{0, 0}, {nan, 1}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			file := fmt.Appendf(nil, `<PMML><DataDictionary><DataField name="x" dataType="%s">%s</DataField></DataDictionary>
<RegressionModel functionName="regression"><MiningSchema><MiningField name="x" %s/></MiningSchema>
<RegressionTable intercept="0"><NumericPredictor name="x" coefficient="1"/></RegressionTable></RegressionModel></PMML>`, test.dataType, test.data, test.attrs)
			m, err := Read(file)
			if err != nil {
				t.Fatal(err)
			}
			in, err := ir.NewInterpreter(m)
			if err != nil {
				t.Fatal(err)
			}
			var inputs [][]float64
			for _, row := range test.rows {
				inputs = append(inputs, row[:1])
				raw, out := in.Run(row[:1])
				if !near(out[0], row[1]) || !near(raw[0], row[1]) {
					t.Errorf("%v: %v, want %v", row[0], out[0], row[1])
				}
			}
			modeltest.CheckModules(t, m, modeltest.Odd(m, inputs, 2*len(inputs)))
		})
	}
}

// TestArray reads the items of arrays.
func TestArray(t *testing.T) {
	tests := []struct {
		text, n string
		want    []string
		bad     bool
	}{
		{text: "a b  c", n: "3", want: []string{"a", "b", "c"}},
		{text: ` "a b" "say \"no\"" c `, want: []string{"a b", `say "no"`, "c"}},
		{text: "", n: "0"},
		{text: "a b", n: "3", bad: true},
		{text: `"a`, bad: true},
	}
	for _, test := range tests {
		e := &element{name: "Array", text: test.text}
		if test.n != "" {
			e.attrs = append(e.attrs, xmlAttr("n", test.n))
		}
		got, err := e.array()
		if (err != nil) != test.bad || !slices.Equal(got, test.want) {
			t.Errorf("%q: %q, %v, want %q", test.text, got, err, test.want)
		}
	}
}
