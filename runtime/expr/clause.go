package expr

import (
	"strconv"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"

	"github.com/arbiterhq/arbiter/runtime/consent"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Clause is a part of a condition with how it came out for one subject. A clause that is put together of
// others has Parts.
type Clause struct {
	// Text is the part, as CEL.
	Text    string
	Verdict Verdict
	// Op is "and", "or" or "not" for a clause with Parts.
	Op    string
	Parts []*Clause
	// Wanted is what the clause has to be for the whole to be true: False under a "not".
	Wanted Verdict

	// Of a comparison: what is compared, what that is, and what it would have to be, for people.
	Subject, Actual, Required string
}

// maxParts bounds what a condition is taken apart to.
const maxParts = 200

// Explain takes a condition apart and evaluates its parts. It is for explanations: it compiles each part.
// A condition that cannot be taken apart is one clause.
func (e *Env) Explain(source string, v *Vars) *Clause {
	parsed, issues := e.cel.Parse(source)
	if issues.Err() != nil {
		return &Clause{Text: source, Wanted: True}
	}
	x := explainer{env: e, vars: v, info: parsed.NativeRep().SourceInfo()}
	return x.clause(parsed.NativeRep().Expr(), True)
}

// Failing appends the clauses at the bottom that keep c from being what it has to be: of an "or" those of
// the part with the fewest.
func (c *Clause) Failing() []*Clause {
	if c.Verdict == c.Wanted {
		return nil
	}
	if len(c.Parts) == 0 {
		return []*Clause{c}
	}
	var all, fewest []*Clause
	for i, part := range c.Parts {
		failing := part.Failing()
		all = append(all, failing...)
		if len(failing) > 0 && (i == 0 || fewest == nil || len(failing) < len(fewest)) {
			fewest = failing
		}
	}
	if (c.Op == "or") == (c.Wanted == True) && c.Op != "not" {
		return fewest
	}
	return all
}

type explainer struct {
	env   *Env
	vars  *Vars
	info  *ast.SourceInfo
	count int
}

func (x *explainer) text(e ast.Expr) string {
	text, err := cel.ExprToString(e, x.info)
	if err != nil {
		return ""
	}
	return asJourneyCalls(text)
}

func negated(v Verdict) Verdict {
	if v == True {
		return False
	}
	return True
}

func (x *explainer) clause(e ast.Expr, wanted Verdict) *Clause {
	c := &Clause{Text: x.text(e), Wanted: wanted}
	x.count++
	if program, problems := x.env.Compile(c.Text, BoolResult); len(problems) == 0 {
		c.Verdict = program.Bool(x.vars)
	}
	if e.Kind() == ast.SelectKind && e.AsSelect().IsTestOnly() {
		x.presence(c, e)
		return c
	}
	if e.Kind() != ast.CallKind || x.count > maxParts {
		x.plain(c, e)
		return c
	}
	call := e.AsCall()
	switch call.FunctionName() {
	case operators.LogicalAnd, operators.LogicalOr:
		c.Op = "and"
		if call.FunctionName() == operators.LogicalOr {
			c.Op = "or"
		}
		for _, arg := range flatten(e, call.FunctionName(), nil) {
			c.Parts = append(c.Parts, x.clause(arg, wanted))
		}
	case operators.LogicalNot:
		c.Op = "not"
		c.Parts = []*Clause{x.clause(call.Args()[0], negated(wanted))}
	case operators.Equals, operators.NotEquals, operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals, operators.In:
		x.comparison(c, call)
	default:
		x.plain(c, e)
	}
	return c
}

// flatten gives the operands of a chain of one operator.
func flatten(e ast.Expr, operator string, into []ast.Expr) []ast.Expr {
	if e.Kind() == ast.CallKind && e.AsCall().FunctionName() == operator {
		for _, arg := range e.AsCall().Args() {
			into = flatten(arg, operator, into)
		}
		return into
	}
	return append(into, e)
}

// presence fills in has(subject.x).
func (x *explainer) presence(c *Clause, e ast.Expr) {
	c.Subject = strings.TrimSuffix(strings.TrimPrefix(c.Text, "has("), ")")
	c.Actual, c.Required = "known", "known"
	if c.Verdict != True {
		c.Actual = x.absence(e.AsSelect().FieldName())
	}
	if c.Wanted == False {
		c.Required = "absent"
	}
}

// plain fills in a clause that is no comparison: something that is true or false.
func (x *explainer) plain(c *Clause, e ast.Expr) {
	c.Subject, c.Actual, c.Required = c.Text, c.Verdict.String(), c.Wanted.String()
	if c.Verdict == Undefined {
		c.Actual = x.value(e, c.Text)
	}
}

var words = map[string][2]string{ // what is required, and where the comparison has to be false
	operators.Equals: {"", "not "}, operators.NotEquals: {"not ", ""},
	operators.Less: {"less than ", "at least "}, operators.LessEquals: {"at most ", "more than "},
	operators.Greater: {"more than ", "at most "}, operators.GreaterEquals: {"at least ", "less than "},
	operators.In: {"one of ", "none of "},
}

var mirrored = map[string]string{
	operators.Less: operators.Greater, operators.LessEquals: operators.GreaterEquals,
	operators.Greater: operators.Less, operators.GreaterEquals: operators.LessEquals,
}

// comparison fills in what is compared. A constant on the left changes sides.
func (x *explainer) comparison(c *Clause, call ast.CallExpr) {
	operator, left, right := call.FunctionName(), call.Args()[0], call.Args()[1]
	if other, ok := mirrored[operator]; ok && left.Kind() == ast.LiteralKind {
		operator, left, right = other, right, left
	} else if left.Kind() == ast.LiteralKind && (operator == operators.Equals || operator == operators.NotEquals) {
		left, right = right, left
	}
	c.Subject = x.text(left)
	c.Actual = x.value(left, c.Subject)
	required := x.text(right)
	if operator == operators.In && right.Kind() == ast.IdentKind && right.AsIdent() == varContexts {
		x.given(c, left)
		return
	}
	if right.Kind() != ast.LiteralKind && operator != operators.In {
		if value := x.value(right, required); value != "" && value != required {
			required += " (" + value + ")"
		}
	}
	sign := words[operator][0]
	if c.Wanted == False {
		sign = words[operator][1]
	}
	c.Required = sign + required
}

// given fills in whether the request has a context.
func (x *explainer) given(c *Clause, key ast.Expr) {
	c.Subject = "context " + x.text(key)
	words := map[bool]string{true: "given", false: "not given"}
	c.Actual, c.Required = words[c.Verdict == True], words[c.Wanted == True]
}

// value is what an expression gives, for people; empty if it is not known how to tell.
func (x *explainer) value(e ast.Expr, text string) string {
	if e.Kind() == ast.SelectKind && e.AsSelect().Operand().Kind() == ast.IdentKind && e.AsSelect().Operand().AsIdent() == varSubject {
		return x.attribute(e.AsSelect().FieldName())
	}
	if e.Kind() == ast.CallKind && e.AsCall().FunctionName() == operators.Index && strings.HasPrefix(text, varContexts+"[") && e.AsCall().Args()[1].Kind() == ast.LiteralKind {
		key, _ := e.AsCall().Args()[1].AsLiteral().Value().(string)
		if value, ok := x.vars.context(key); ok {
			return strconv.Quote(value)
		}
		return "not given"
	}
	if e.Kind() == ast.IdentKind && e.AsIdent() == varNow {
		return x.vars.Now.UTC().Format(time.RFC3339)
	}
	program, problems := x.env.Compile(text, AnyResult)
	if len(problems) > 0 {
		return ""
	}
	return x.result(program)
}

// Show is what a program gives, for people: a text in quotes, a number, true or false, or why there is
// nothing.
func (e *Env) Show(p *Program, v *Vars) string {
	x := explainer{env: e, vars: v}
	return x.result(p)
}

func (x *explainer) result(p *Program) string {
	switch p.Kind() {
	case TextKind:
		if text, ok := p.Text(x.vars); ok {
			return strconv.Quote(text)
		}
	case NumberKind:
		if number, ok := p.Number(x.vars); ok {
			return strconv.FormatFloat(number, 'g', -1, 64)
		}
	default:
		if verdict := p.Bool(x.vars); verdict != Undefined {
			return verdict.String()
		}
	}
	if gap := x.vars.Gap(); gap.Known && !gap.History && gap.Strategy == "" && gap.Journey == "" {
		if a, ok := x.env.dictionary.AttributeByID(gap.Attribute); ok {
			return a.Name + " " + x.absence(a.Name)
		}
	}
	return "undefined"
}

// attribute is the value of an attribute as the expression sees it.
func (x *explainer) attribute(name string) string {
	a, ok := x.env.dictionary.Attribute(name)
	if !ok {
		return ""
	}
	if !consent.Visible(a.PurposeSet, x.vars.Purpose, x.vars.Mask) {
		return x.absence(name)
	}
	value, ok := x.vars.Subject.Attribute(a.ID)
	switch {
	case !ok:
		return x.absence(name)
	case value.Kind() == nba.KindString:
		return strconv.Quote(value.Str())
	case value.Kind() == nba.KindFloat:
		return strconv.FormatFloat(value.Float(), 'g', -1, 64)
	case value.Kind() == nba.KindTime:
		return value.Time().Format(time.RFC3339)
	case value.Kind() == nba.KindInt:
		return strconv.FormatInt(value.Int(), 10)
	default:
		return strconv.FormatBool(value.Bool())
	}
}

// absence tells why an attribute is not there.
func (x *explainer) absence(name string) string {
	if a, ok := x.env.dictionary.Attribute(name); ok && !consent.Visible(a.PurposeSet, x.vars.Purpose, x.vars.Mask) {
		return "may not be used"
	}
	return "not known"
}
