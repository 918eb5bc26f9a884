package expr

import (
	"math"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"

	"github.com/arbiterhq/arbiter/runtime/history"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Verdict is the result of a policy.
type Verdict uint8

// The verdicts. Undefined is the error value of CEL: something needed was absent, or arithmetic
// failed. It is not false: !undefined is undefined too.
const (
	Undefined Verdict = iota
	False
	True
)

// String is the word for v in explanations.
func (v Verdict) String() string {
	switch v {
	case True:
		return "true"
	case False:
		return "false"
	default:
		return "undefined"
	}
}

// Result is what an expression is expected to give.
type Result uint8

// The results an expression can be compiled for.
const (
	BoolResult Result = iota
	NumberResult
	// AnyResult is true or false, a number or text; Program.Kind tells which.
	AnyResult
	// ValueResult is what Program.Value gives: one of these or a time, which may be known only when it is
	// evaluated.
	ValueResult
	// TextResult is text.
	TextResult
)

// Kind is the kind of value that a program gives.
type Kind uint8

// The kinds.
const (
	BoolKind Kind = iota
	NumberKind
	TextKind
)

// Program is one compiled expression. It is immutable and safe for concurrent use, each goroutine
// with its own Vars.
type Program struct {
	source string
	result Result
	kind   Kind
	reads  []nba.AttributeID
	asks   []history.Query
	counts []string
	models []string

	journeys []JourneyAsk

	// Exactly one of these is set: bool, int, float and text are our own evaluator, fallback is cel-go.
	bool     boolFunc
	int      intFunc
	float    floatFunc
	text     textFunc
	time     timeFunc
	dyn      dynFunc // of ValueResult
	fallback cel.Program
}

// Source is the text the program was compiled from.
func (p *Program) Source() string { return p.source }

// Reads are the attributes the program may read, in the order of their ids. The caller must not
// change them.
func (p *Program) Reads() []nba.AttributeID { return p.reads }

// Asks are the aggregates of the history that the program may ask for. The caller must not change them.
func (p *Program) Asks() []history.Query { return p.asks }

// Counts are the event strategies whose aggregates the program may ask for, sorted. The caller must not
// change them.
func (p *Program) Counts() []string { return p.counts }

// Scores are the models whose scores the program may ask for, sorted. The caller must not change them.
func (p *Program) Scores() []string { return p.models }

// Journeys are what the program may read of journeys. The caller must not change them.
func (p *Program) Journeys() []JourneyAsk { return p.journeys }

// Native tells whether the program runs in our own evaluator, without allocation.
func (p *Program) Native() bool { return p.fallback == nil }

// Kind is what the program gives: Bool, Number or Text evaluates it.
func (p *Program) Kind() Kind { return p.kind }

// Defined tells whether the program has a result, whatever it was compiled for.
func (p *Program) Defined(v *Vars) (ok bool) {
	switch p.kind {
	case BoolKind:
		return p.Bool(v) != Undefined
	case TextKind:
		_, ok = p.Text(v)
	default:
		_, ok = p.Number(v)
	}
	return ok
}

// Text evaluates a program of TextKind. ok is false when the result is undefined. The text may share
// the memory of the subject.
func (p *Program) Text(v *Vars) (text string, ok bool) {
	v.gap = Gap{}
	if p.text != nil {
		return p.text(v)
	}
	if p.fallback == nil {
		return "", false
	}
	result, _, err := p.fallback.Eval(newActivation(v))
	if err != nil {
		return "", false
	}
	s, ok := result.(types.String)
	return string(s), ok
}

// Bool evaluates a program of BoolKind.
func (p *Program) Bool(v *Vars) Verdict {
	v.gap = Gap{}
	if p.fallback != nil {
		return p.fallbackBool(v)
	}
	value, ok := p.bool(v)
	switch {
	case !ok:
		return Undefined
	case value:
		return True
	default:
		return False
	}
}

// Number evaluates a program of NumberKind. ok is false when the result is undefined or not finite.
func (p *Program) Number(v *Vars) (number float64, ok bool) {
	v.gap = Gap{}
	switch {
	case p.int != nil:
		var i int64
		i, ok = p.int(v)
		number = float64(i)
	case p.float != nil:
		number, ok = p.float(v)
	default:
		number, ok = p.fallbackNumber(v)
	}
	if !ok || math.IsNaN(number) || math.IsInf(number, 0) {
		return 0, false
	}
	return number, true
}

func (p *Program) fallbackBool(v *Vars) Verdict {
	result, _, err := p.fallback.Eval(newActivation(v))
	if err != nil {
		return Undefined
	}
	switch result {
	case types.True:
		return True
	case types.False:
		return False
	default:
		return Undefined
	}
}

func (p *Program) fallbackNumber(v *Vars) (float64, bool) {
	result, _, err := p.fallback.Eval(newActivation(v))
	if err != nil {
		return 0, false
	}
	switch n := result.(type) {
	case types.Int:
		return float64(n), true
	case types.Uint:
		return float64(n), true
	case types.Double:
		return float64(n), true
	default:
		return 0, false
	}
}

// activation hands Vars to cel-go.
type activation struct {
	vars     *Vars
	contexts map[string]string
	now      time.Time
}

func newActivation(v *Vars) *activation {
	contexts := make(map[string]string, len(v.Contexts))
	for _, c := range v.Contexts {
		if _, ok := contexts[c.Key]; !ok {
			contexts[c.Key] = c.Value
		}
	}
	return &activation{vars: v, contexts: contexts, now: v.Now}
}

// ResolveName implements cel.Activation.
func (a *activation) ResolveName(name string) (any, bool) {
	switch name {
	case varSubject:
		return a.vars, true
	case varContexts:
		return a.contexts, true
	case varNow:
		return a.now, true
	case varChannel:
		return a.vars.Channel, true
	case varDirection:
		return a.vars.Direction, true
	case varHistory:
		return &historyValue{vars: a.vars}, true
	case varEvent:
		return a.vars, true
	case varScores:
		return &namedValue{scores(), a.vars}, true
	case varAggregates:
		return &namedValue{aggregates(), a.vars}, true
	case varJourneys:
		return &journeysValue{vars: a.vars}, true
	default:
		return nil, false
	}
}

// Parent implements cel.Activation.
func (a *activation) Parent() cel.Activation { return nil }

// BoolProgram is a program that asks f, for conditions that are no expressions, such as decision tables.
// source describes it; reads are the attributes f may read, in the order of their ids. f must be a
// function of the Vars and safe for concurrent use; ok false is Undefined.
func BoolProgram(source string, reads []nba.AttributeID, f func(*Vars) (value, ok bool)) *Program {
	return &Program{source: source, result: BoolResult, kind: BoolKind, reads: reads, bool: f}
}

// NumberProgram is the same for numbers.
func NumberProgram(source string, reads []nba.AttributeID, f func(*Vars) (value float64, ok bool)) *Program {
	return &Program{source: source, result: NumberResult, kind: NumberKind, reads: reads, float: f}
}
