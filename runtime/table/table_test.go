package table

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/arbiterhq/arbiter/runtime/expr"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

type testSubject map[nba.AttributeID]nba.Value

func (s testSubject) Ref() nba.SubjectRef     { return nba.SubjectRef{ID: "S-1", Type: nba.Subscriber} }
func (s testSubject) Version() uint64         { return 1 }
func (s testSubject) Granted() nba.PurposeSet { return math.MaxUint32 }
func (s testSubject) Attribute(id nba.AttributeID) (nba.Value, bool) {
	v, ok := s[id]
	return v, ok
}

func inputs(t testing.TB, sources ...string) []*expr.Program {
	t.Helper()
	d, _, err := nba.NewDictionary().Declare([]nba.AttributeDeclaration{
		{Name: "n", Type: nba.KindFloat}, {Name: "m", Type: nba.KindInt}, {Name: "s", Type: nba.KindString}, {Name: "b", Type: nba.KindBool},
	})
	if err != nil {
		t.Fatal(err)
	}
	env, err := expr.NewEnv(d)
	if err != nil {
		t.Fatal(err)
	}
	var programs []*expr.Program
	for _, source := range sources {
		p, problems := env.Compile(source, expr.AnyResult)
		if p == nil {
			t.Fatal(problems)
		}
		programs = append(programs, p)
	}
	return programs
}

func vars(s testSubject) *expr.Vars { return &expr.Vars{Subject: s, Mask: math.MaxUint32} }

func TestCells(t *testing.T) {
	for _, c := range []struct {
		cell string
		kind expr.Kind
		yes  []any
		no   []any
	}{
		{"-", expr.NumberKind, []any{0.0, nil}, nil},
		{"", expr.TextKind, []any{"x", nil}, nil},
		{"missing", expr.NumberKind, []any{nil}, []any{0.0}},
		{"5", expr.NumberKind, []any{5.0}, []any{4.9, nil}},
		{"= -5", expr.NumberKind, []any{-5.0}, []any{5.0}},
		{">= 24", expr.NumberKind, []any{24.0, 1e9}, []any{23.9, nil}},
		{"< 24", expr.NumberKind, []any{-1e9, 23.9}, []any{24.0}},
		{"[12..24)", expr.NumberKind, []any{12.0, 23.9}, []any{24.0, 11.9}},
		{"(12..24]", expr.NumberKind, []any{24.0, 12.1}, []any{12.0, 24.1}},
		{"1, 3, [5..7]", expr.NumberKind, []any{1.0, 3.0, 6.0}, []any{2.0, 4.0}},
		{"not(1, > 5)", expr.NumberKind, []any{0.0, 5.0}, []any{1.0, 6.0, nil}},
		{"Two year", expr.TextKind, []any{"Two year"}, []any{"two year", "", nil}},
		{`"a, b", c`, expr.TextKind, []any{"a, b", "c"}, []any{"a"}},
		{`not("-")`, expr.TextKind, []any{"x"}, []any{"-", nil}},
		{"true", expr.BoolKind, []any{true}, []any{false, nil}},
		{"not(true)", expr.BoolKind, []any{false}, []any{true}},
	} {
		test, problem := parseTest(c.cell, c.kind)
		if problem != "" {
			t.Errorf("%q: %s", c.cell, problem)
			continue
		}
		pass := func(v any) bool {
			switch v := v.(type) {
			case float64:
				return test.number(v)
			case string:
				return test.text(v)
			case bool:
				return test.bool(v)
			default:
				return test.undefined()
			}
		}
		for _, v := range c.yes {
			if !pass(v) {
				t.Errorf("%q does not let %v pass", c.cell, v)
			}
		}
		for _, v := range c.no {
			if pass(v) {
				t.Errorf("%q lets %v pass", c.cell, v)
			}
		}
	}
	for cell, kind := range map[string]expr.Kind{"x": expr.NumberKind, "[5..1]": expr.NumberKind, "(1..1)": expr.NumberKind, "yes": expr.BoolKind, `"open`: expr.TextKind, ">= NaN": expr.NumberKind, `"\q"`: expr.TextKind} {
		if _, problem := parseTest(cell, kind); problem == "" {
			t.Errorf("%q is accepted", cell)
		}
	}
}

// TestEqualsNaive holds the sets of rows against asking every cell, for random tables and values.
func TestEqualsNaive(t *testing.T) {
	random := rand.New(rand.NewPCG(20261122, 3))
	programs := inputs(t, "subject.n", "subject.s", "subject.b", "subject.m * 2")
	numberCell := func() string {
		n := func() int { return random.IntN(12) }
		low := n()
		return []string{"-", "missing", fmt.Sprint(n()), fmt.Sprintf("< %d", n()), fmt.Sprintf(">= %d", n()), fmt.Sprintf("[%d..%d)", low, low+1+n()),
			fmt.Sprintf("%d, (%d..%d]", n(), low, low+1+n()), fmt.Sprintf("not(%d, > %d)", n(), n())}[random.IntN(8)]
	}
	textCell := func() string {
		return []string{"-", "missing", "a", "a, b", "not(b)", `"c"`}[random.IntN(6)]
	}
	for range 300 {
		spec := Spec{Hit: First, Inputs: programs, Outputs: []string{"out"}}
		for i := range 1 + random.IntN(150) {
			spec.Rows = append(spec.Rows, []string{numberCell(), textCell(), []string{"-", "true", "not(true)"}[random.IntN(3)], numberCell(), fmt.Sprint(i)})
		}
		table, problems := Compile(spec)
		if table == nil {
			t.Fatal(problems)
		}
		var scratch Scratch
		for range 30 {
			subject := testSubject{}
			if random.IntN(6) > 0 {
				subject[0] = nba.Float([]float64{-1, 0, 1, 2.5, 3, 5, 5.5, 8, 12, 30}[random.IntN(10)])
			}
			if random.IntN(6) > 0 {
				subject[1] = nba.Int(random.Int64N(8))
			}
			if random.IntN(6) > 0 {
				subject[2] = nba.String([]string{"a", "b", "c", "d"}[random.IntN(4)])
			}
			if random.IntN(6) > 0 {
				subject[3] = nba.Bool(random.IntN(2) == 0)
			}
			v := vars(subject)
			want := naive(&spec, v)
			hits, _ := table.match(v, &scratch)
			for row := range spec.Rows {
				if got := hits[row/64]>>(row%64)&1 != 0; got != slices.Contains(want, row) {
					t.Fatalf("row %v for %v: hits %v", spec.Rows[row], subject, got)
				}
			}
			row, ok := table.Row(v, &scratch)
			if ok != (len(want) > 0) || ok && row != want[0] {
				t.Fatalf("row %d %v, want %v", row, ok, want)
			}
		}
	}
}

func naive(s *Spec, v *expr.Vars) (hits []int) {
	for i, row := range s.Rows {
		hit := true
		for at, input := range s.Inputs {
			test, _ := parseTest(row[at], input.Kind())
			passes := test.undefined()
			switch input.Kind() {
			case expr.BoolKind:
				if b := input.Bool(v); b != expr.Undefined {
					passes = test.bool(b == expr.True)
				}
			case expr.NumberKind:
				if f, ok := input.Number(v); ok {
					passes = test.number(f)
				}
			default:
				if text, ok := input.Text(v); ok {
					passes = test.text(text)
				}
			}
			hit = hit && passes
		}
		if hit {
			hits = append(hits, i)
		}
	}
	return hits
}

func TestHitPolicies(t *testing.T) {
	programs := inputs(t, "subject.m")
	rows := [][]string{{"< 5", "10", "1"}, {"< 3", "20", "9"}, {">= 3", "5", "3"}, {"> 100", "x", "0"}}
	v := func(m int64) *expr.Vars { return vars(testSubject{1: nba.Int(m)}) }
	for _, c := range []struct {
		hit       Hit
		aggregate Aggregate
		m         int64
		want      string
	}{
		{First, "", 2, "10"}, {First, "", 4, "10"}, {First, "", 7, "5"},
		{Unique, "", 2, "none"}, {Unique, "", 7, "5"}, {Unique, "", 101, "none"},
		{Priority, "", 2, "20"}, {Priority, "", 4, "5"},
		{Collect, Sum, 2, "30"}, {Collect, Sum, 7, "5"}, {Collect, Min, 4, "5"}, {Collect, Max, 4, "10"}, {Collect, Count, 2, "2"},
		{Collect, Sum, 101, "none"}, {Collect, Count, 101, "2"},
	} {
		table, problems := Compile(Spec{Hit: c.hit, Aggregate: c.aggregate, Inputs: programs, Outputs: []string{"value", "priority"}, Rows: rows})
		if table == nil {
			t.Fatal(problems)
		}
		got := "none"
		if f, ok := table.Number(v(c.m), &Scratch{}, table.OutputIndex("value")); ok {
			got = fmt.Sprint(f)
		}
		if got != c.want {
			t.Errorf("%s %s of %d: %s, want %s", c.hit, c.aggregate, c.m, got, c.want)
		}
	}
}

func TestProblems(t *testing.T) {
	programs := inputs(t, "subject.m", "subject.s")
	for want, spec := range map[string]Spec{
		"the row has 1 cells and the table 2 columns": {Inputs: programs, Rows: [][]string{{"1"}}},
		"the input is a number":                       {Inputs: programs, Rows: [][]string{{"x", "-"}}},
		"needs an output named priority":              {Hit: Priority, Inputs: programs, Rows: [][]string{{"1", "-"}}},
		"a priority is a number":                      {Hit: Priority, Inputs: programs, Outputs: []string{"priority"}, Rows: [][]string{{"1", "-", "high"}}},
		"longer than":                                 {Inputs: programs, Rows: [][]string{{"1", strings.Repeat("x", MaxCell+1)}}},
		"at most 10000 rows":                          {Inputs: programs, Rows: make([][]string, MaxRows+1)},
	} {
		table, problems := Compile(spec)
		if table != nil || len(problems) == 0 || !strings.Contains(problems[0].Detail, want) {
			t.Errorf("got %v, want %q", problems, want)
		}
	}
}

func FuzzCell(f *testing.F) {
	for _, cell := range []string{"not(1, [2..3))", `"a\n", b`, "missing", ">= 1e308"} {
		f.Add(cell)
	}
	f.Fuzz(func(t *testing.T, cell string) {
		for _, kind := range []expr.Kind{expr.NumberKind, expr.TextKind, expr.BoolKind} {
			parsed, problem := parseTest(cell, kind)
			if problem != "" {
				continue
			}
			c := newColumn(inputs(t, []string{"subject.b", "subject.n", "subject.s"}[kind])[0], []test{parsed})
			_ = c.size()
		}
	})
}

// BenchmarkFirst is a table of 3,700 rows over five inputs.
func BenchmarkFirst(b *testing.B) {
	spec := Spec{Hit: First, Inputs: inputs(b, "subject.n", "subject.m", "subject.s", "subject.b", "subject.n + 1.0"), Outputs: []string{"out"}}
	for i := range 3700 {
		spec.Rows = append(spec.Rows, []string{fmt.Sprintf("[%d..%d)", i%200, i%200+3), fmt.Sprintf(">= %d", i%37), fmt.Sprintf("k%d", i%11),
			[]string{"-", "true"}[i%2], fmt.Sprintf("< %d", 100+i%500), fmt.Sprint(i)})
	}
	table, problems := Compile(spec)
	if table == nil {
		b.Fatal(problems)
	}
	v := vars(testSubject{0: nba.Float(150.5), 1: nba.Int(40), 2: nba.String("k7"), 3: nba.Bool(true)})
	var scratch Scratch
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := table.Row(v, &scratch); !ok {
			b.Fatal("no row hits")
		}
	}
}
