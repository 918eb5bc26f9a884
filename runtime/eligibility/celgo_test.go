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

// naive evaluates conditions one by one with cel-go, which knows nothing of gates, memos and our closures.
type naive struct {
	env      *cel.Env
	programs map[string]cel.Program
}

func newNaive(t testing.TB) *naive {
	t.Helper()
	env, err := cel.NewEnv(cel.CrossTypeNumericComparisons(true), cel.Variable("subject", cel.MapType(cel.StringType, cel.DynType)),
		cel.Variable("contexts", cel.MapType(cel.StringType, cel.StringType)), cel.Variable("now", cel.TimestampType), cel.Variable("channel", cel.StringType))
	if err != nil {
		t.Fatal(err)
	}
	return &naive{env: env, programs: map[string]cel.Program{}}
}

func (n *naive) true(t testing.TB, source string, vars map[string]any) bool {
	t.Helper()
	program, ok := n.programs[source]
	if !ok {
		ast, issues := n.env.Compile(source)
		if issues.Err() != nil {
			t.Fatalf("%s: %v", source, issues.Err())
		}
		var err error
		if program, err = n.env.Program(ast); err != nil {
			t.Fatal(err)
		}
		n.programs[source] = program
	}
	result, _, err := program.Eval(vars)
	return err == nil && result.Value() == true
}

// randomDictionary has attributes of every kind, some for few purposes.
func randomDictionary(t testing.TB) *nba.Dictionary {
	t.Helper()
	d, _, err := nba.NewDictionary().Declare([]nba.AttributeDeclaration{
		{Name: "a", Type: nba.KindInt}, {Name: "b", Type: nba.KindFloat}, {Name: "s", Type: nba.KindString},
		{Name: "p", Type: nba.KindBool}, {Name: "t", Type: nba.KindTime}})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// clause is a random condition. The depth bounds it.
func clause(r *rand.Rand, depth int) string {
	if depth > 0 {
		switch r.IntN(4) {
		case 0:
			return "(" + clause(r, depth-1) + " && " + clause(r, depth-1) + ")"
		case 1:
			return "(" + clause(r, depth-1) + " || " + clause(r, depth-1) + ")"
		case 2:
			return "!" + "(" + clause(r, depth-1) + ")"
		}
	}
	pick := func(options ...string) string { return options[r.IntN(len(options))] }
	compare := pick("<", "<=", ">", ">=", "==", "!=")
	switch r.IntN(9) {
	case 0:
		return fmt.Sprintf("subject.a %s %d", compare, r.IntN(6))
	case 1:
		return fmt.Sprintf("subject.b %s %d.5", compare, r.IntN(6))
	case 2:
		return fmt.Sprintf("subject.s %s \"%s\"", pick("==", "!="), pick("x", "y", "z"))
	case 3:
		return fmt.Sprintf(`subject.s in ["%s", "y"]`, pick("x", "z"))
	case 4:
		return "subject.p"
	case 5:
		return pick("has(subject.a)", "has(subject.s)", "has(subject.t)")
	case 6:
		return fmt.Sprintf("subject.a %% %d == %d", r.IntN(3), r.IntN(3)) // a modulus of 0 is an error
	case 7:
		return fmt.Sprintf(`now - subject.t > duration("%dh")`, r.IntN(100))
	default:
		return pick(`contexts["page"] == "plans"`, `"page" in contexts`, `channel == "web"`, `subject.s.startsWith("x")`, `contexts.exists(k, k == "page")`)
	}
}

// TestGatesEqualCELGo compares gates, and the first failing policies, with evaluating every policy of every
// action with cel-go, over random catalogs, subjects, consents and contexts.
func TestGatesEqualCELGo(t *testing.T) {
	d, reference := randomDictionary(t), newNaive(t)
	random := rand.New(rand.NewPCG(20261122, 8))
	names := map[nba.PurposeID]string{0: "service", 1: "marketing", 2: "profiling"}
	var evaluator Evaluator
	passed, left := 0, 0
	for range 40 {
		shared := make([]string, 12)
		for i := range shared {
			shared[i] = clause(random, 3)
		}
		var document strings.Builder
		document.WriteString(strings.Replace(head, "subject.a < 8", clause(random, 1), 1))
		for i := range 1 + random.IntN(40) {
			fmt.Fprintf(&document, "  - {name: n%d, issue: G, group: P, value: 1, purpose: %s, treatments: [{name: t, channel: web}]", i, names[nba.PurposeID(random.IntN(3))])
			for k := range catalog.PolicyKind(catalog.PolicyKinds) {
				fmt.Fprintf(&document, ", %s: [{when: '%s'}]", k, shared[random.IntN(len(shared))])
			}
			document.WriteString("}\n")
		}
		c := compile(t, document.String(), d)
		for range 12 {
			vars, visible := randomSituation(random, d)
			evaluator.Reset(vars, c.Predicates)
			live := Live(nil).Reset(len(c.Actions))
			for i := range c.Actions {
				live.Add(i)
			}
			if !evaluator.Pass(c.Gates, live, func() bool { return true }) {
				t.Fatal("stopped")
			}
			for i, a := range c.Actions {
				want := true
				for k := range catalog.PolicyKind(catalog.PolicyKinds) {
					var failing *catalog.Policy
					for j := range a.Policies[k] {
						if !reference.true(t, a.Policies[k][j].When.Program.Source(), visible(a.Purpose.ID)) {
							failing, want = &a.Policies[k][j], false
							break
						}
					}
					if got := evaluator.Failing(a, k); got != failing {
						t.Fatalf("%s %s: fails at %v, cel-go says %v", a.Name, k, got, failing)
					}
				}
				if live.Has(i) != want {
					t.Fatalf("%s: passes %v, cel-go says %v", a.Name, live.Has(i), want)
				}
				if passed++; !want {
					left++
				}
			}
		}
	}
	if left == 0 || left == passed {
		t.Errorf("%d of %d left: the cases tell nothing", left, passed)
	}
}

// randomSituation is what our evaluator reads, and the same for cel-go, for each purpose.
func randomSituation(random *rand.Rand, d *nba.Dictionary) (vars expr.Vars, visible func(nba.PurposeID) map[string]any) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	values := []nba.Value{nba.Int(random.Int64N(6)), nba.Float(random.Float64() * 6), nba.String([]string{"x", "y", "xy"}[random.IntN(3)]),
		nba.Bool(random.IntN(2) == 0), nba.Time(now.Add(-time.Duration(random.IntN(100)) * time.Hour))}
	subject := &testSubject{granted: nba.PurposeSet(random.IntN(8)), values: map[nba.AttributeID]nba.Value{}}
	natives := map[string]any{}
	for id, v := range values {
		if random.IntN(4) == 0 {
			continue
		}
		subject.values[nba.AttributeID(id)] = v
		a, _ := d.AttributeByID(nba.AttributeID(id))
		natives[a.Name] = []any{v.Int(), v.Float(), v.Str(), v.Bool(), v.Time()}[id]
	}
	vars = expr.Vars{Subject: subject, Mask: consent.Mask(d, subject.granted), Now: now, Channel: "web"}
	contexts := map[string]string{}
	if random.IntN(2) == 0 {
		contexts["page"] = []string{"plans", "home"}[random.IntN(2)]
		vars.Contexts = []nba.ContextValue{{Key: "page", Value: contexts["page"]}}
	}
	return vars, func(purpose nba.PurposeID) map[string]any {
		seen := map[string]any{}
		for name, v := range natives {
			if a, _ := d.Attribute(name); consent.Visible(a.PurposeSet, purpose, vars.Mask) {
				seen[name] = v
			}
		}
		return map[string]any{"subject": seen, "contexts": contexts, "now": now, "channel": "web"}
	}
}
