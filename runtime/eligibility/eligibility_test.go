package eligibility

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"cel.dev/cel-go/cel"

	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/consent"
	"github.com/arbiterhq/arbiter/runtime/expr"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

type testSubject struct {
	values  map[nba.AttributeID]nba.Value
	granted nba.PurposeSet
}

func (s *testSubject) Ref() nba.SubjectRef     { return nba.SubjectRef{ID: "S-1", Type: nba.Subscriber} }
func (s *testSubject) Version() uint64         { return 1 }
func (s *testSubject) Granted() nba.PurposeSet { return s.granted }
func (s *testSubject) Attribute(id nba.AttributeID) (nba.Value, bool) {
	v, ok := s.values[id]
	return v, ok
}

func testDictionary(t testing.TB) *nba.Dictionary {
	t.Helper()
	d, _, err := nba.NewDictionary().Declare([]nba.AttributeDeclaration{
		{Name: "a", Type: nba.KindInt}, {Name: "b", Type: nba.KindInt}, {Name: "c", Type: nba.KindInt},
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

const head = `apiVersion: arbiter/v1
kind: Catalog
name: x
channels: [{name: web, placements: [hero]}]
issues:
  - {name: G, groups: [{name: P}], eligibility: [{when: 'subject.a < 8', code: ISSUE}]}
actions:
`

func compile(t testing.TB, document string, d *nba.Dictionary) *catalog.Catalog {
	t.Helper()
	c, err := catalog.Compile([]byte(document), "f", catalog.Env{Dictionary: d})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestSharedEvaluationEqualsNaive compares the memo with evaluating every policy on its own, for
// random catalogs, subjects and consents, reusing one Evaluator throughout.
func TestSharedEvaluationEqualsNaive(t *testing.T) {
	d := testDictionary(t)
	random := rand.New(rand.NewPCG(20261122, 2))
	var evaluator Evaluator
	for range 60 {
		var document strings.Builder
		document.WriteString(head)
		for i := range 1 + random.IntN(12) {
			fmt.Fprintf(&document, "  - {name: n%d, issue: G, group: P, value: 1, purpose: %s, treatments: [{name: t, channel: web}]", i,
				[]string{"service", "marketing", "profiling"}[random.IntN(3)])
			for k := range catalog.PolicyKind(catalog.PolicyKinds) {
				fmt.Fprintf(&document, ", %s: [{when: 'subject.%c > %d'}, {when: '!(subject.%c == %d)'}]", k,
					'a'+rune(random.IntN(3)), random.IntN(4), 'a'+rune(random.IntN(3)), random.IntN(4))
			}
			document.WriteString("}\n")
		}
		c := compile(t, document.String(), d)
		for range 10 {
			subject := &testSubject{granted: nba.PurposeSet(random.IntN(8)), values: map[nba.AttributeID]nba.Value{}}
			for id := range nba.AttributeID(3) {
				if random.IntN(4) > 0 {
					subject.values[id] = nba.Int(random.Int64N(10))
				}
			}
			vars := expr.Vars{Subject: subject, Mask: consent.Mask(d, subject.granted), Now: time.Unix(0, 0)}
			evaluator.Reset(vars, c.Predicates)
			compareWithNaive(t, c, &evaluator, vars)
		}
	}
}

func compareWithNaive(t *testing.T, c *catalog.Catalog, evaluator *Evaluator, vars expr.Vars) {
	t.Helper()
	live := Live(nil).Reset(len(c.Actions))
	for i := range c.Actions {
		if i%3 != 0 {
			live.Add(i)
		}
	}
	if !evaluator.Pass(c.Gates, live, func() bool { return true }) {
		t.Fatal("stopped")
	}
	for i, a := range c.Actions {
		want := i%3 != 0
		for k := range catalog.PolicyKind(catalog.PolicyKinds) {
			for j := range a.Policies[k] {
				vars.Purpose = a.Purpose.ID
				want = want && a.Policies[k][j].When.Program.Bool(&vars) == expr.True
			}
		}
		if live.Has(i) != want {
			t.Fatalf("%s: passes %v, want %v", a.Name, live.Has(i), want)
		}
	}
	for _, a := range c.Actions {
		for k := range catalog.PolicyKind(catalog.PolicyKinds) {
			var want *catalog.Policy
			for i := range a.Policies[k] {
				vars.Purpose = a.Purpose.ID
				if a.Policies[k][i].When.Program.Bool(&vars) != expr.True {
					want = &a.Policies[k][i]
					break
				}
			}
			if got := evaluator.Failing(a, k); got != want {
				t.Fatalf("%s %s: got %v, want %v", a.Name, k, got, want)
			}
		}
	}
}

// TestOneConditionTwoPurposes has the same text pass for one purpose and be undefined for another.
func TestOneConditionTwoPurposes(t *testing.T) {
	d := testDictionary(t)
	c := compile(t, head+`
  - {name: care, issue: G, group: P, value: 1, purpose: service, treatments: [{name: t, channel: web}]}
  - {name: sale, issue: G, group: P, value: 1, treatments: [{name: t, channel: web}]}
`, d)
	subject := &testSubject{values: map[nba.AttributeID]nba.Value{0: nba.Int(1)}}
	var evaluator Evaluator
	evaluator.Reset(expr.Vars{Subject: subject, Mask: consent.Mask(d, 0)}, c.Predicates)
	care, sale := c.Actions[0], c.Actions[1]
	if failing := evaluator.Failing(care, catalog.Eligibility); failing != nil {
		t.Errorf("service: got %v", failing)
	}
	failing := evaluator.Failing(sale, catalog.Eligibility)
	if failing == nil || failing.Code != "ISSUE" {
		t.Fatalf("marketing: got %v", failing)
	}
	if got, want := evaluator.Why(failing.When.Program, d, sale.Purpose), "a may not be used for marketing"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := evaluator.Why(failing.When.Program, d, care.Purpose); got != "" {
		t.Errorf("a condition with a result needs no cause: got %q", got)
	}
	subject.values = nil
	if got, want := evaluator.Why(failing.When.Program, d, care.Purpose), "a is not known"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestNumber(t *testing.T) {
	d := testDictionary(t)
	c := compile(t, head+`  - {name: n, issue: G, group: P, value: subject.a * 2, treatments: [{name: t, channel: web}]}`, d)
	subject := &testSubject{granted: 2, values: map[nba.AttributeID]nba.Value{0: nba.Int(21)}}
	var evaluator Evaluator
	evaluator.Reset(expr.Vars{Subject: subject, Mask: consent.Mask(d, 2)}, c.Predicates)
	a := c.Actions[0]
	if value, ok := evaluator.Number(a.Value.Program, a.Purpose.ID); value != 42 || !ok {
		t.Errorf("got %v %v", value, ok)
	}
	if why := evaluator.Why(a.Value.Program, d, a.Purpose); why != "" {
		t.Errorf("got %q", why)
	}
	subject.values = nil
	if value, ok := evaluator.Number(a.Value.Program, a.Purpose.ID); ok {
		t.Errorf("got %v", value)
	}
	if why := evaluator.Why(a.Value.Program, d, a.Purpose); why != "a is not known" {
		t.Errorf("got %q", why)
	}
}

// BenchmarkThousandActions is 1,000 actions with 3,000 clauses of 300 texts.
func BenchmarkThousandActions(b *testing.B) {
	d := testDictionary(b)
	var document strings.Builder
	document.WriteString(head)
	for i := range 1000 {
		fmt.Fprintf(&document, "  - {name: n%d, issue: G, group: P, value: 1, treatments: [{name: t, channel: web}], eligibility: [{when: 'subject.a >= -%d'}, {when: 'subject.b != %d'}, {when: 'subject.c < %d'}]}\n",
			i, i%100, 100+i%100, 100+i%100)
	}
	c := compile(b, document.String(), d)
	subject := &testSubject{granted: 7, values: map[nba.AttributeID]nba.Value{0: nba.Int(1), 1: nba.Int(2), 2: nba.Int(3)}}
	vars := expr.Vars{Subject: subject, Mask: consent.Mask(d, 7)}
	var evaluator Evaluator
	b.Run("gates", func(b *testing.B) {
		var live Live
		goOn := func() bool { return true }
		b.ReportAllocs()
		for b.Loop() {
			evaluator.Reset(vars, c.Predicates)
			live = live.Reset(len(c.Actions))
			for i := range c.Actions {
				live.Add(i)
			}
			evaluator.Pass(c.Gates, live, goOn)
		}
		if !live.Has(0) {
			b.Fatal("left")
		}
	})
	b.Run("explained", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			evaluator.Reset(vars, c.Predicates)
			for _, a := range c.Actions {
				if evaluator.Failing(a, catalog.Eligibility) != nil {
					b.Fatal("left")
				}
			}
		}
	})
	b.Run("cel-go", func(b *testing.B) { benchmarkCEL(b, c) })
}

// benchmarkCEL evaluates the same clauses with cel-go, one by one.
func benchmarkCEL(b *testing.B, c *catalog.Catalog) {
	env, err := cel.NewEnv(cel.Variable("subject", cel.MapType(cel.StringType, cel.IntType)))
	if err != nil {
		b.Fatal(err)
	}
	var programs []cel.Program
	known := map[string]cel.Program{}
	for _, a := range c.Actions {
		for _, p := range a.Policies[catalog.Eligibility] {
			source := p.When.Program.Source()
			if known[source] == nil {
				ast, issues := env.Compile(source)
				if issues.Err() != nil {
					b.Fatal(issues.Err())
				}
				if known[source], err = env.Program(ast); err != nil {
					b.Fatal(err)
				}
			}
			programs = append(programs, known[source])
		}
	}
	vars := map[string]any{"subject": map[string]int64{"a": 1, "b": 2, "c": 3}}
	b.ReportMetric(float64(len(programs)), "clauses")
	for b.Loop() {
		for _, p := range programs {
			if result, _, err := p.Eval(vars); err != nil || result.Value() != true {
				b.Fatal(result, err)
			}
		}
	}
}
