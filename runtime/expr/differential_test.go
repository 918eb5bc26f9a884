package expr

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"cel.dev/cel-go/cel"

	"github.com/arbiterhq/arbiter/runtime/history"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// celOnly compiles source for cel-go alone.
func celOnly(t testing.TB, env *Env, source string) *Program {
	t.Helper()
	checked, issues := env.cel.Compile(source)
	if issues.Err() != nil {
		t.Fatalf("%s: %v", source, issues.Err())
	}
	program, err := env.cel.Program(checked, cel.CostLimit(MaxCost))
	if err != nil {
		t.Fatal(err)
	}
	return &Program{source: source, fallback: program}
}

// generator writes random well-typed expressions from a stream of choices.
type generator struct{ choose func(n int) int }

func (g generator) pick(options ...string) string { return options[g.choose(len(options))] }

func (g generator) bool(depth int) string {
	if depth <= 0 {
		return g.pick("true", "false", "subject.partner", "has(subject.usage)", "has(subject.income)", "has(contexts.page)", `"page" in contexts`)
	}
	d := depth - 1
	switch g.choose(14) {
	case 0, 1:
		return fmt.Sprintf("(%s && %s)", g.bool(d), g.bool(d))
	case 2, 3:
		return fmt.Sprintf("(%s || %s)", g.bool(d), g.bool(d))
	case 4:
		return fmt.Sprintf("!(%s)", g.bool(d))
	case 5:
		return fmt.Sprintf("(%s %s %s)", g.int(d), g.comparison(), g.int(d))
	case 6:
		return fmt.Sprintf("(%s %s %s)", g.float(d), g.pick("<", "<=", ">", ">="), g.pick(g.int(d), g.float(d)))
	case 7:
		return fmt.Sprintf("(%s %s %s)", g.text(d), g.comparison(), g.text(d))
	case 8:
		return fmt.Sprintf("(%s %s %s)", g.time(d), g.comparison(), g.time(d))
	case 9:
		return fmt.Sprintf("(%s %s %s)", g.duration(d), g.comparison(), g.duration(d))
	case 10:
		return fmt.Sprintf("%s in [%s]", g.text(d), strings.Repeat(`"x", `, g.choose(10))+`"Month-to-month", "plans"`)
	case 11:
		return fmt.Sprintf("%s in %s", g.int(d), g.pick("[]", "[1, 2, 18]", "[1,2,3,4,5,6,7,8,9,10,18]"))
	case 12:
		if g.choose(4) == 0 {
			return fmt.Sprintf("%s.matches(%s)", g.text(d), g.pick(`"^Month"`, `""`, `"(?i)PLANS|^$"`, `"[^a-z]{2}"`))
		}
		return fmt.Sprintf("%s.%s(%s)", g.text(d), g.pick("startsWith", "endsWith", "contains"), g.text(d))
	default:
		return fmt.Sprintf("(%s ? %s : %s)", g.bool(d), g.bool(d), g.bool(d))
	}
}

func (g generator) comparison() string { return g.pick("==", "!=", "<", "<=", ">", ">=") }

func (g generator) int(depth int) string {
	if depth <= 0 {
		return g.pick("0", "1", "-1", "18", "9223372036854775807", "-9223372036854775808", "3", "subject.tenure", "subject.usage",
			`history.count()`, `history.outcome("Accepted").group("Plans").within(duration("24h")).count()`)
	}
	d := depth - 1
	switch g.choose(8) {
	case 0, 1, 2:
		return fmt.Sprintf("(%s %s %s)", g.int(d), g.pick("+", "-", "*", "/", "%"), g.int(d))
	case 3:
		return fmt.Sprintf("(-(%s))", g.int(d))
	case 4:
		return fmt.Sprintf("int(%s)", g.float(d))
	case 5:
		return fmt.Sprintf("size(%s)", g.text(d))
	case 6:
		part := g.pick("getFullYear", "getMonth", "getDayOfYear", "getDayOfMonth", "getDate", "getDayOfWeek", "getHours", "getMinutes", "getSeconds", "getMilliseconds")
		return fmt.Sprintf("%s.%s(%s)", g.time(d), part, g.pick("", `"America/New_York"`, `"Asia/Kolkata"`, `"+05:30"`))
	default:
		return fmt.Sprintf("%s.%s()", g.duration(d), g.pick("getHours", "getMinutes", "getSeconds", "getMilliseconds"))
	}
}

func (g generator) float(depth int) string {
	if depth <= 0 {
		return g.pick("0.0", "-0.0", "1.5", "79.5", "1e308", "9223372036854775807.0", "-9223372036854775808.0", "subject.charges", "subject.income",
			`history.outcome("Rejected").issue("Grow").action("x").daysSince()`, `history.channel("sms").daysSince()`)
	}
	d := depth - 1
	switch g.choose(5) {
	case 0, 1:
		return fmt.Sprintf("(%s %s %s)", g.float(d), g.pick("+", "-", "*", "/"), g.float(d))
	case 2:
		return fmt.Sprintf("(-(%s))", g.float(d))
	case 3:
		return fmt.Sprintf("double(%s)", g.int(d))
	default:
		return fmt.Sprintf("(%s ? %s : %s)", g.bool(d), g.float(d), g.float(d))
	}
}

func (g generator) text(depth int) string {
	if depth > 0 && g.choose(4) == 0 {
		return g.pick(fmt.Sprintf("(%s ? %s : %s)", g.bool(depth-1), g.text(depth-1), g.text(depth-1)), fmt.Sprintf("contexts[%s]", g.text(depth-1)))
	}
	return g.pick(`""`, `"Month"`, `"page"`, `"reason"`, `"ünï"`, "subject.contract", "subject.segment", "contexts.page", `contexts["reason"]`, "contexts.none", "channel", "direction")
}

func (g generator) time(depth int) string {
	if depth > 0 && g.choose(2) == 0 {
		return fmt.Sprintf("(%s %s %s)", g.time(depth-1), g.pick("+", "-"), g.duration(depth-1))
	}
	return g.pick("now", "subject.since", `timestamp("2026-11-22T23:30:15.25Z")`, `timestamp("9999-12-31T23:59:59Z")`, `timestamp("0001-01-01T00:00:00Z")`, `timestamp("2024-02-29T01:00:00+02:00")`)
}

func (g generator) duration(depth int) string {
	if depth > 0 {
		switch g.choose(3) {
		case 0:
			return fmt.Sprintf("(%s - %s)", g.time(depth-1), g.time(depth-1))
		case 1:
			return fmt.Sprintf("(%s %s %s)", g.duration(depth-1), g.pick("+", "-"), g.duration(depth-1))
		}
	}
	return g.pick(`duration("1h30m")`, `duration("0s")`, `duration("-2562047h")`, `duration("2562047h")`, `duration("1ns")`, `duration("720h")`)
}

// fixedHistory has an answer for each question, but for some.
type fixedHistory struct{ silent bool }

func (h fixedHistory) Aggregate(q history.Query) (float64, bool) {
	if q.DaysSince {
		return float64(len(q.Channel)) / 2, !h.silent
	}
	return float64(len(q.Group) + int(q.Within.Hours())), true
}

// randomVars has each attribute absent one time in four, and now and then an extreme one.
func randomVars(d *nba.Dictionary, choose func(int) int) *Vars {
	v := testVars(d)
	subject := v.Subject.(*mapSubject)
	subject.values = map[nba.AttributeID]nba.Value{}
	if choose(4) > 0 {
		v.History = fixedHistory{silent: choose(3) == 0}
	}
	floats := []float64{0, math.Copysign(0, -1), 1.5, 79.5, 1e300, math.NaN(), math.Inf(1), -9.3e18, math.MaxInt64}
	ints := []int64{0, 1, -1, 18, math.MaxInt64, math.MinInt64, 1 << 53, 1<<53 + 1}
	for _, a := range d.Attributes() {
		if choose(4) == 0 {
			continue
		}
		switch a.Type {
		case nba.KindBool:
			subject.values[a.ID] = nba.Bool(choose(2) == 0)
		case nba.KindInt:
			subject.values[a.ID] = nba.Int(ints[choose(len(ints))])
		case nba.KindFloat:
			subject.values[a.ID] = nba.Float(floats[choose(len(floats))])
		case nba.KindString:
			subject.values[a.ID] = nba.String([]string{"", "Month-to-month", "plans", "page", "ünï"}[choose(5)])
		case nba.KindTime:
			subject.values[a.ID] = nba.TimeMillis([]int64{0, testNow.UnixMilli(), math.MaxInt64, minUnixSeconds * 1000, maxUnixSeconds*1000 + 999, maxUnixSeconds*1000 + 1000}[choose(6)])
		}
	}
	v.Purpose = nba.PurposeID(choose(3))
	v.Mask = nba.PurposeSet(choose(8))
	v.Contexts = v.Contexts[:choose(3)]
	v.Now = testNow.Add(time.Duration(choose(1000)) * 7 * time.Hour)
	return v
}

// compareWithCEL fails when our evaluator and cel-go disagree.
func compareWithCEL(t *testing.T, env *Env, source string, want Result, subjects int, choose func(int) int) (native bool) {
	t.Helper()
	program, problems := env.Compile(source, want)
	if len(problems) > 0 {
		t.Fatalf("%s: %+v", source, problems)
	}
	reference := celOnly(t, env, source)
	for range subjects {
		vars := randomVars(env.dictionary, choose)
		if want == BoolResult {
			if got, want := program.Bool(vars), reference.Bool(vars); got != want {
				t.Fatalf("%s\n%#v\ngot %v, cel-go says %v", source, vars.Subject.(*mapSubject).values, got, want)
			}
			continue
		}
		got, ok := program.Number(vars)
		wanted, wantOK := reference.Number(vars)
		if got != wanted || ok != wantOK {
			t.Fatalf("%s\n%#v\ngot %v %v, cel-go says %v %v", source, vars.Subject.(*mapSubject).values, got, ok, wanted, wantOK)
		}
	}
	return program.Native()
}

// TestAgreesWithCELGo compares both evaluators on random expressions and random subjects.
func TestAgreesWithCELGo(t *testing.T) {
	env := testEnv(t)
	const seed = 20261122
	random := rand.New(rand.NewPCG(seed, 1))
	g := generator{choose: random.IntN}
	native, total := 0, 1500
	if testing.Short() {
		total = 200
	}
	for i := range total {
		var ours bool
		switch depth := 1 + i%4; i % 4 {
		case 0:
			ours = compareWithCEL(t, env, g.int(depth), NumberResult, 12, random.IntN)
		case 1:
			ours = compareWithCEL(t, env, g.float(depth), NumberResult, 12, random.IntN)
		default:
			ours = compareWithCEL(t, env, g.bool(depth), BoolResult, 12, random.IntN)
		}
		if ours {
			native++
		}
	}
	if native < total*8/10 {
		t.Errorf("only %d of %d expressions ran in our own evaluator", native, total)
	}
}

// FuzzAgreesWithCELGo lets the fuzzer make the choices of the generator.
func FuzzAgreesWithCELGo(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9})
	f.Add([]byte{5, 5, 0, 4, 1, 8, 8, 2, 6, 3, 3, 3, 9, 1})
	f.Add([]byte{13, 8, 1, 0, 2, 2, 1, 9, 250, 3})
	env := testEnv(f)
	f.Fuzz(func(t *testing.T, choices []byte) {
		next := func(n int) int {
			if len(choices) == 0 {
				return 0
			}
			c := int(choices[0]) % n
			choices = choices[1:]
			return c
		}
		g := generator{choose: next}
		source := g.bool(3)
		if len(source) < MaxSourceBytes/2 {
			compareWithCEL(t, env, source, BoolResult, 4, next)
		}
	})
}

// FuzzCompile looks for panics of the compiler, and of evaluation of whatever compiles.
func FuzzCompile(f *testing.F) {
	for _, seed := range []string{benchSource, "subject.tenur > 3", "contexts.exists(k, k == 'x')", "{1:2}[1] == 2", "[1,2].map(x, x*2)[0] == 2", "\xff", "((((", "a.b.c", "subject.since.getHours('+1')== 1", "type(subject.tenure) == int"} {
		f.Add(seed)
	}
	env := testEnv(f)
	vars := testVars(env.dictionary)
	f.Fuzz(func(t *testing.T, source string) {
		for _, want := range []Result{BoolResult, NumberResult} {
			program, problems := env.Compile(source, want)
			if (program == nil) == (len(problems) == 0) {
				t.Fatalf("program %v, problems %+v", program, problems)
			}
			if program != nil && want == BoolResult {
				program.Bool(vars)
			} else if program != nil {
				program.Number(vars)
			}
		}
	})
}
