package expr

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"cel.dev/cel-go/cel"
	"github.com/google/go-cmp/cmp"

	"github.com/arbiterhq/arbiter/runtime/consent"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// mapSubject is a subject for tests.
type mapSubject struct {
	values  map[nba.AttributeID]nba.Value
	granted nba.PurposeSet
}

func (s *mapSubject) Ref() nba.SubjectRef     { return nba.SubjectRef{ID: "S-1", Type: nba.Subscriber} }
func (s *mapSubject) Version() uint64         { return 1 }
func (s *mapSubject) Granted() nba.PurposeSet { return s.granted }
func (s *mapSubject) Attribute(id nba.AttributeID) (nba.Value, bool) {
	v, ok := s.values[id]
	return v, ok
}

func testDictionary(t testing.TB) *nba.Dictionary {
	t.Helper()
	d, _, err := nba.NewDictionary().Declare([]nba.AttributeDeclaration{
		{Name: "partner", Type: nba.KindBool},
		{Name: "tenure", Type: nba.KindInt},
		{Name: "charges", Type: nba.KindFloat},
		{Name: "contract", Type: nba.KindString},
		{Name: "since", Type: nba.KindTime},
		{Name: "segment", Type: nba.KindString, Purposes: []string{nba.PurposeService}},
		{Name: "income", Type: nba.KindFloat, Purposes: []string{nba.PurposeProfiling}},
		{Name: "usage", Type: nba.KindInt},
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func testEnv(t testing.TB) *Env {
	t.Helper()
	env, err := NewEnv(testDictionary(t))
	if err != nil {
		t.Fatal(err)
	}
	return env
}

var testNow = time.Date(2026, 11, 22, 23, 30, 15, 250e6, time.UTC)

// testVars has everything but usage; income is withheld.
func testVars(d *nba.Dictionary) *Vars {
	marketing, _ := d.Purpose(nba.PurposeMarketing)
	var granted nba.PurposeSet
	granted = granted.With(marketing.ID)
	return &Vars{
		Subject: &mapSubject{granted: granted, values: map[nba.AttributeID]nba.Value{
			0: nba.Bool(true), 1: nba.Int(18), 2: nba.Float(79.5), 3: nba.String("Month-to-month"),
			4: nba.Time(testNow.Add(-400 * 24 * time.Hour)), 5: nba.String("gold"), 6: nba.Float(1000),
		}},
		Mask: consent.Mask(d, granted), Purpose: marketing.ID,
		Contexts: []nba.ContextValue{{Key: "page", Value: "plans"}, {Key: "reason", Value: "complaint"}},
		Now:      testNow, Channel: "web", Direction: "inbound",
	}
}

func mustCompile(t testing.TB, env *Env, source string, want Result) *Program {
	t.Helper()
	p, problems := env.Compile(source, want)
	if len(problems) > 0 {
		t.Fatalf("%s: %+v", source, problems)
	}
	return p
}

func TestBool(t *testing.T) {
	env := testEnv(t)
	vars := testVars(env.dictionary)
	for _, test := range []struct {
		source string
		want   Verdict
		cel    bool // runs in cel-go
	}{
		{source: `subject.partner`, want: True},
		{source: `!subject.partner`, want: False},
		{source: `subject.tenure > 12 && subject.charges < 100.0`, want: True},
		{source: `subject.charges > 79`, want: True},
		{source: `subject.tenure < 18.5`, want: True},
		{source: `subject.contract in ["Month-to-month", "One year"]`, want: True},
		{source: `subject.contract in ["a","b","c","d","e","f","g","h","i","j"]`, want: False},
		{source: `subject.tenure in [1, 18]`, want: True},
		{source: `subject.usage > 5`, want: Undefined},
		{source: `subject.usage > 5 || subject.partner`, want: True},
		{source: `subject.partner || subject.usage > 5`, want: True},
		{source: `subject.usage > 5 && !subject.partner`, want: False},
		{source: `subject.usage > 5 && subject.partner`, want: Undefined},
		{source: `!(subject.usage > 5)`, want: Undefined},
		{source: `has(subject.usage)`, want: False},
		{source: `has(subject.tenure)`, want: True},
		{source: `has(subject.usage) && subject.usage > 5`, want: False},
		{source: `subject.income > 5.0`, want: Undefined},
		{source: `has(subject.income)`, want: False},
		{source: `subject.segment == "gold"`, want: Undefined},
		{source: `contexts["page"] == "plans"`, want: True},
		{source: `contexts.page == "plans"`, want: True},
		{source: `contexts.nothing == "plans"`, want: Undefined},
		{source: `"page" in contexts`, want: True},
		{source: `has(contexts.nothing)`, want: False},
		{source: `channel == "web" && direction == "inbound"`, want: True},
		{source: `now - subject.since > duration("8760h")`, want: True},
		{source: `subject.since + duration("9600h") == now`, want: True},
		{source: `now > timestamp("2026-01-01T00:00:00Z")`, want: True},
		{source: `now.getHours() == 23 && now.getHours("Europe/Paris") == 0`, want: True},
		{source: `now.getDayOfWeek() == 0 && now.getMonth() == 10 && now.getDate() == 22`, want: True},
		{source: `subject.contract.startsWith("Month") && subject.contract.endsWith("month") && subject.contract.contains("to")`, want: True},
		{source: `size(subject.contract) == 14 && subject.contract.size() == 14`, want: True},
		{source: `(subject.partner ? subject.tenure : subject.usage) == 18`, want: True},
		{source: `subject.tenure / 0 == 1`, want: Undefined},
		{source: `subject.tenure + 9223372036854775807 > 0`, want: Undefined},
		{source: `double(subject.tenure) * 1.5 == 27.0 && int(subject.charges) == 79`, want: True},
		{source: `subject.contract.matches("^Month") && !matches(subject.contract, "^month")`, want: True},
		{source: `subject.segment.matches("gold")`, want: Undefined},
		{source: `(subject.tenure / 0) in []`, want: Undefined},
		{source: `(now.getSeconds("+05:30") / 0) in []`, want: Undefined, cel: true},
		{source: `contexts.exists(k, contexts[k] == "complaint")`, want: True, cel: true},
		{source: `subject.contract + "!" == "Month-to-month!"`, want: True, cel: true},
		{source: `subject.usage > 5 || contexts.all(k, k != "")`, want: True, cel: true},
	} {
		t.Run(test.source, func(t *testing.T) {
			p := mustCompile(t, env, test.source, BoolResult)
			if got := p.Bool(vars); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
			if p.Native() == test.cel {
				t.Errorf("native is %v", p.Native())
			}
		})
	}
}

func TestNumber(t *testing.T) {
	env := testEnv(t)
	vars := testVars(env.dictionary)
	for _, test := range []struct {
		source string
		want   float64
		ok     bool
	}{
		{source: `120`, want: 120, ok: true},
		{source: `subject.charges * 12.0`, want: 954, ok: true},
		{source: `subject.tenure * 2 - 1`, want: 35, ok: true},
		{source: `subject.tenure % 5`, want: 3, ok: true},
		{source: `subject.partner ? 10.0 : 5.0`, want: 10, ok: true},
		{source: `-subject.charges`, want: -79.5, ok: true},
		{source: `subject.usage`},
		{source: `subject.charges / 0.0`},
		{source: `0.0 / 0.0`},
		{source: `double(size(subject.contract + "!"))`, want: 15, ok: true},
	} {
		t.Run(test.source, func(t *testing.T) {
			got, ok := mustCompile(t, env, test.source, NumberResult).Number(vars)
			if got != test.want || ok != test.ok {
				t.Errorf("got %v %v, want %v %v", got, ok, test.want, test.ok)
			}
		})
	}
}

func TestGapNamesTheFirstAbsentAttribute(t *testing.T) {
	env := testEnv(t)
	vars := testVars(env.dictionary)
	for source, want := range map[string]Gap{
		`subject.usage > 5`:                         {Attribute: 7, Known: true},
		`subject.income > 5.0 && subject.usage > 1`: {Attribute: 6, Known: true, Withheld: true},
		`subject.partner`:                           {},
		`has(subject.usage)`:                        {},
		`subject.contract == string(subject.usage)`: {Attribute: 7, Known: true},
	} {
		mustCompile(t, env, source, BoolResult).Bool(vars)
		if got := vars.Gap(); got != want {
			t.Errorf("%s: got %+v, want %+v", source, got, want)
		}
	}
}

func TestReads(t *testing.T) {
	env := testEnv(t)
	p := mustCompile(t, env, `has(subject.usage) && (subject.tenure > 3 || contexts.exists(k, k == subject.contract))`, BoolResult)
	if diff := cmp.Diff([]nba.AttributeID{1, 3, 7}, p.Reads()); diff != "" {
		t.Error(diff)
	}
}

func TestProblems(t *testing.T) {
	env := testEnv(t)
	for _, test := range []struct {
		source string
		number bool
		want   []string
	}{
		{source: `subject.tenur > 3`, want: []string{`1:8 no attribute "tenur" in the dictionary: did you mean subject.tenure?`}},
		{source: `subject.colour == "red"`, want: []string{`1:8 no attribute "colour" in the dictionary: declare it or correct the name`}},
		{source: `tenure > 3`, want: []string{`1:1 unknown name "tenure": attributes are written subject.tenure`}},
		{source: `chanel == "web"`, want: []string{`1:1 unknown name "chanel": did you mean channel?`}},
		{source: "subject.tenur > 3 &&\n  subject.charge > 3.0", want: []string{
			`1:8 no attribute "tenur" in the dictionary: did you mean subject.tenure?`,
			`2:10 no attribute "charge" in the dictionary: did you mean subject.charges?`}},
		{source: `subject.tenur > 3 && nothing`, want: []string{
			`1:8 no attribute "tenur" in the dictionary: did you mean subject.tenure?`,
			`1:22 unknown name "nothing": an expression reads subject, contexts, history, aggregates, scores, journeys, now, channel, direction; text stands in quotes`}},
		{source: `subject.charges == 70`, want: []string{`1:17 == does not go with (double, int): give whole numbers a decimal point, as in 12.0, or convert with double(...)`}},
		{source: `subject.tenure`, want: []string{`1:1 the expression must be true or false; this one is a number`}},
		{source: `subject.contract`, number: true, want: []string{`1:1 the expression must be a number; this one is text`}},
		{source: `subject == subject`, want: []string{`1:1 subject stands alone: name one of its attributes, as in subject.tenure`,
			`1:12 subject stands alone: name one of its attributes, as in subject.tenure`}},
		{source: ` `, want: []string{`1:1 the expression is empty`}},
		{source: strings.Repeat("x", MaxSourceBytes+1), want: []string{`1:1 the expression is longer than 4096 bytes: split it into several policies`}},
		{source: `now > timestamp("yesterday")`, want: []string{`1:17 invalid timestamp argument`}},
		{source: `arbiter.Subject{tenure: 3} == 3`, want: []string{`1:16 an expression makes no messages: write plain values`,
			`1:28 == does not go with (arbiter.Subject, int)`}},
		{source: `subject.contract.matches(contexts.page)`, want: []string{`1:34 the pattern of matches must be a literal text`}},
		{source: `subject.contract.matches("(")`, want: []string{`1:26 invalid matches argument`}},
		{source: `now.getHours("Europe/Pariss") > 3`, want: []string{`1:14 unknown time zone: write a name such as "Europe/Paris" or an offset such as "+01:00"`}},
	} {
		t.Run(truncate(test.source, 40), func(t *testing.T) {
			want := BoolResult
			if test.number {
				want = NumberResult
			}
			p, problems := env.Compile(test.source, want)
			if p != nil {
				t.Error("got a program")
			}
			var got []string
			for _, problem := range problems {
				got = append(got, fmt.Sprintf("%d:%d %s", problem.Line, problem.Column, problem.Detail))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSyntaxErrorsHaveAPlace(t *testing.T) {
	env := testEnv(t)
	for _, source := range []string{`subject.tenure >`, `(subject.partner`, `"open`, strings.Repeat("(", 500) + "true" + strings.Repeat(")", 500)} {
		p, problems := env.Compile(source, BoolResult)
		if p != nil || len(problems) == 0 || problems[0].Line < 1 || problems[0].Column < 1 || problems[0].Detail == "" {
			t.Errorf("%s: got %v %+v", truncate(source, 20), p, problems)
		}
	}
}

// TestLongExpressionsCompile has conditions as long as analysts write them, and longer.
func TestLongExpressionsCompile(t *testing.T) {
	env := testEnv(t)
	vars := testVars(env.dictionary)
	ternary := "false"
	for i := range 30 {
		ternary = fmt.Sprintf("subject.tenure == %d ? true : %s", i, ternary)
	}
	for _, source := range []string{
		strings.Repeat("subject.tenure == 1 || ", 150) + "subject.partner",
		strings.Repeat("subject.tenure > 1 && ", 150) + "subject.partner",
		strings.Repeat("1 + ", 200) + "1 == 201",
		strings.Repeat("(", 15) + "subject.partner" + strings.Repeat(")", 15),
		ternary,
	} {
		if p := mustCompile(t, env, source, BoolResult); p.Bool(vars) != True || !p.Native() {
			t.Errorf("%s: got %v, native %v", truncate(source, 60), p.Bool(vars), p.Native())
		}
	}
}

// TestCostLimit has a macro over many contexts stop, which leaves it undefined.
func TestCostLimit(t *testing.T) {
	env := testEnv(t)
	vars := testVars(env.dictionary)
	vars.Contexts = nil
	for i := range nba.MaxContexts {
		vars.Contexts = append(vars.Contexts, nba.ContextValue{Key: fmt.Sprint(i), Value: strings.Repeat("x", nba.MaxTextBytes)})
	}
	once := `contexts.all(k, contexts[k] != "")`
	if got := mustCompile(t, env, once, BoolResult).Bool(vars); got != True {
		t.Errorf("one pass: got %v", got)
	}
	squared := `contexts.all(k, contexts.all(l, (contexts[k] + contexts[l]).contains("x")))`
	if got := mustCompile(t, env, squared, BoolResult).Bool(vars); got != Undefined {
		t.Errorf("every pair: got %v", got)
	}
	if _, problems := env.Compile(`contexts.all(k, contexts.all(l, contexts.all(m, m != k)))`, BoolResult); len(problems) == 0 {
		t.Error("three nested macros compiled")
	}
}

func TestNativeEvaluationDoesNotAllocate(t *testing.T) {
	env := testEnv(t)
	vars := testVars(env.dictionary)
	p := mustCompile(t, env, benchSource, BoolResult)
	if !p.Native() {
		t.Fatal("not native")
	}
	if allocs := testing.AllocsPerRun(100, func() { p.Bool(vars) }); allocs != 0 {
		t.Errorf("got %v allocations", allocs)
	}
}

// benchSource is the eight-clause rule of an ordinary offer.
const benchSource = `subject.partner && subject.tenure >= 12 && subject.charges > 50.0 && subject.contract in ["Month-to-month", "One year"] &&
	now - subject.since > duration("720h") && channel == "web" && (contexts["page"] == "plans" || contexts["page"] == "offers") && !has(subject.usage)`

// arraySubject costs as little as a subject can, so that the evaluator is what is measured.
type arraySubject struct {
	mapSubject
	array []nba.Value
}

func (s *arraySubject) Attribute(id nba.AttributeID) (nba.Value, bool) {
	v := s.array[id]
	return v, v.Kind() != nba.KindInvalid
}

func benchVars(d *nba.Dictionary) *Vars {
	v := testVars(d)
	values := v.Subject.(*mapSubject).values
	subject := &arraySubject{array: make([]nba.Value, len(d.Attributes()))}
	for id, value := range values {
		subject.array[id] = value
	}
	v.Subject = subject
	return v
}

func BenchmarkNative(b *testing.B) {
	env := testEnv(b)
	vars := benchVars(env.dictionary)
	p := mustCompile(b, env, benchSource, BoolResult)
	b.ReportAllocs()
	for b.Loop() {
		if p.Bool(vars) != True {
			b.Fatal("not true")
		}
	}
}

func BenchmarkCELGo(b *testing.B) {
	env := testEnv(b)
	vars := benchVars(env.dictionary)
	checked, issues := env.cel.Compile(benchSource)
	if issues.Err() != nil {
		b.Fatal(issues.Err())
	}
	program, err := env.cel.Program(checked, cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		b.Fatal(err)
	}
	p := &Program{fallback: program}
	b.ReportAllocs()
	for b.Loop() {
		if p.Bool(vars) != True {
			b.Fatal("not true")
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	env := testEnv(b)
	b.ReportAllocs()
	for b.Loop() {
		mustCompile(b, env, benchSource, BoolResult)
	}
}
