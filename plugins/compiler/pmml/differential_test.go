package pmml

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/arbiterhq/arbiter/plugins/compiler/internal/modeltest"
	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
	"github.com/arbiterhq/arbiter/sdk/realdata"
)

// values are what a field is tried with: the numbers of the document that it is compared with, their
// neighbours, missing, or all texts and one that is not listed.
func (o *oracle) values(m *ir.Model, column int) (cells []cell, codes []float64) {
	v := &m.Inputs[column]
	cells, codes = append(cells, cell{missing: true}), append(codes, math.NaN())
	if len(v.Categories) > 0 {
		for i, text := range v.Categories {
			cells, codes = append(cells, cell{text: true, word: text}), append(codes, float64(i))
		}
		return append(cells, cell{text: true, word: "unheard of"}), append(codes, float64(len(v.Categories)))
	}
	numbers := []float64{0, 1, -1, 0.5, 3, 40, 1e6}
	o.root.walk(func(e *element) {
		if e.attr("field") == v.Name {
			if x, ok := parseNumber(e.attr("value")); ok && len(numbers) < 200 {
				numbers = append(numbers, x, math.Nextafter(x, math.Inf(1)), math.Nextafter(x, math.Inf(-1)))
			}
		}
	})
	for _, x := range numbers {
		cells, codes = append(cells, cell{number: x}), append(codes, x)
	}
	return cells, codes
}

// near tells whether the compiled form and the oracle agree: sums of trees exactly, what passed through
// an exponential or was added in another order nearly.
func near(got, want float64) bool {
	if math.IsNaN(got) || math.IsNaN(want) {
		return math.IsNaN(got) && math.IsNaN(want)
	}
	return got == want || math.Abs(got-want) <= 1e-12*max(1, math.Abs(want))
}

// differ compiles a document and compares it with the oracle on random rows.
func differ(t *testing.T, file []byte, rows int, rng *rand.Rand) *ir.Model {
	t.Helper()
	m, err := Read(file)
	if err != nil {
		t.Fatal(err)
	}
	in, err := ir.NewInterpreter(m)
	if err != nil {
		t.Fatal(err)
	}
	root, err := parse(file)
	if err != nil {
		t.Fatal(err)
	}
	o := &oracle{t: t, root: root, labels: m.Classes}
	model := root
	for _, k := range root.kids {
		if isModel(k.name) {
			model = k
		}
	}
	cells, codes := make([][]cell, len(m.Inputs)), make([][]float64, len(m.Inputs))
	for i := range m.Inputs {
		cells[i], codes[i] = o.values(m, i)
	}
	numbers := 0
	var inputs [][]float64
	for range rows {
		r, input := row{}, make([]float64, len(m.Inputs))
		for i := range m.Inputs {
			at := rng.IntN(len(codes[i]))
			if at == 0 && rng.IntN(3) > 0 {
				at = rng.IntN(len(codes[i]))
			}
			r[m.Inputs[i].Name], input[i] = cells[i][at], codes[i][at]
		}
		inputs = append(inputs, input)
		want := o.predict(model, r.with(), false)
		_, got := in.Run(input)
		if len(got) == 1 && len(want) == 2 {
			got = []float64{1 - got[0], got[0]}
		}
		if len(got) != len(want) {
			t.Fatalf("%d results, want %d", len(got), len(want))
		}
		for i := range want {
			if !near(got[i], want[i]) {
				t.Fatalf("row %v: result %d is %v, want %v\n%s", r, i, got[i], want[i], excerpt(file))
			}
		}
		if !math.IsNaN(want[0]) {
			numbers++
		}
	}
	if numbers == 0 {
		t.Log("no row had a prediction")
	}
	modeltest.CheckModules(t, m, modeltest.Odd(m, inputs, 2*len(inputs)))
	return m
}

func excerpt(file []byte) string {
	if len(file) > 4000 {
		return ""
	}
	return string(file)
}

func TestReferenceModels(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(realdata.Path(t, "pmml"), "*ml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no documents: %v", err)
	}
	for _, file := range files {
		name := filepath.Base(file)
		if name == "neural_network.pmml" {
			continue // TestNetwork
		}
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			differ(t, text, 3000, rand.New(rand.NewPCG(1, 2)))
		})
	}
}

func TestDocuments(t *testing.T) {
	files, err := filepath.Glob("testdata/*.pmml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no documents: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			differ(t, text, 2000, rand.New(rand.NewPCG(3, 4)))
		})
	}
}

// forest writes random documents of trees with all kinds of predicates and strategies.
type forest struct {
	rng *rand.Rand
	ids int
}

func pick[T any](f *forest, list ...T) T { return list[f.rng.IntN(len(list))] }

func (f *forest) predicate(depth int) string {
	switch n := f.rng.IntN(10); {
	case n < 4 || depth > 2 && n < 7:
		op := pick(f, "equal", "notEqual", "lessThan", "lessOrEqual", "greaterThan", "greaterOrEqual", "isMissing", "isNotMissing")
		return fmt.Sprintf(`<SimplePredicate field="%s" operator="%s" value="%d"/>`, pick(f, "x", "y"), op, f.rng.IntN(4))
	case n < 7:
		return fmt.Sprintf(`<SimpleSetPredicate field="c" booleanOperator="%s"><Array n="2" type="string">%s "d d"</Array></SimpleSetPredicate>`, pick(f, "isIn", "isNotIn"), pick(f, "a", "b"))
	case n < 8:
		return fmt.Sprintf(`<SimplePredicate field="c" operator="%s" value="%s"/>`, pick(f, "equal", "notEqual", "isMissing"), pick(f, "a", "b", "d d"))
	case depth > 2:
		return pick(f, "<True/>", "<False/>")
	}
	parts := ""
	for range 1 + f.rng.IntN(3) {
		parts += f.predicate(depth + 1)
	}
	return fmt.Sprintf(`<CompoundPredicate booleanOperator="%s">%s</CompoundPredicate>`, pick(f, "and", "or", "xor", "surrogate"), parts)
}

func (f *forest) node(depth int, when string) string {
	f.ids++
	id := f.ids
	score := ""
	if depth == 0 || f.rng.IntN(4) > 0 {
		score = fmt.Sprintf(` score="%d"`, f.rng.IntN(1000))
	}
	children, first := "", 0
	if depth < 4 && f.rng.IntN(4) > 0 {
		for i := range 1 + f.rng.IntN(3) {
			if i == 0 {
				first = f.ids + 1
			}
			children += f.node(depth+1, f.predicate(0))
		}
		score += fmt.Sprintf(` defaultChild="%d"`, first)
	}
	return fmt.Sprintf(`<Node id="%d"%s>%s%s</Node>`, id, score, when, children)
}

const fields = `<DataDictionary><DataField name="x" dataType="double" optype="continuous"/><DataField name="y" dataType="integer" optype="continuous"/><DataField name="c" dataType="string" optype="categorical"/><DataField name="t" dataType="double" optype="continuous"/></DataDictionary>`

const schema = `<MiningSchema><MiningField name="t" usageType="target"/><MiningField name="x"/><MiningField name="y"/><MiningField name="c"/></MiningSchema>`

func (f *forest) tree() string {
	return fmt.Sprintf(`<TreeModel functionName="regression" missingValueStrategy="%s" noTrueChildStrategy="%s">%s%s</TreeModel>`,
		pick(f, "none", "lastPrediction", "nullPrediction", "defaultChild"), pick(f, "returnNullPrediction", "returnLastPrediction"), schema, f.node(0, pick(f, "<True/>", f.predicate(1))))
}

func TestRandomTrees(t *testing.T) {
	for seed := range uint64(400) {
		f := &forest{rng: rand.New(rand.NewPCG(seed, 5))}
		body := f.tree()
		if seed%2 == 1 {
			var segments string
			for range 3 {
				segments += fmt.Sprintf(`<Segment weight="%d">%s%s</Segment>`, 1+f.rng.IntN(3), "<True/>", f.tree())
			}
			body = fmt.Sprintf(`<MiningModel functionName="regression">%s<Segmentation multipleModelMethod="%s">%s</Segmentation></MiningModel>`, schema, pick(f, "average", "weightedAverage", "selectFirst"), segments)
		}
		differ(t, []byte("<PMML>"+fields+body+"</PMML>"), 200, f.rng)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func TestConditionalSegments(t *testing.T) {
	for seed := range uint64(100) {
		f := &forest{rng: rand.New(rand.NewPCG(seed, 6))}
		var segments string
		for i := range 3 {
			when := f.predicate(1)
			if i == 2 {
				when = "<True/>"
			}
			segments += fmt.Sprintf(`<Segment>%s%s</Segment>`, when, f.tree())
		}
		body := fmt.Sprintf(`<MiningModel functionName="regression">%s<Segmentation multipleModelMethod="%s">%s</Segmentation></MiningModel>`, schema, pick(f, "sum", "selectFirst"), segments)
		differ(t, []byte("<PMML>"+fields+body+"</PMML>"), 200, f.rng)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}
