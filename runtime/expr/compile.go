package expr

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"

	"github.com/arbiterhq/arbiter/runtime/history"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Problem is one mistake in an expression.
type Problem struct {
	// Line and Column count from 1 within the expression; columns are in characters.
	Line, Column int
	Code         nba.Code
	// Detail says what is wrong and how to mend it.
	Detail string
}

// maxProblems bounds what is reported of one expression.
const maxProblems = 10

// Compile parses and checks source and makes a program that gives want. Every mistake that can be
// told apart is in problems; the program is nil if there is any.
func (e *Env) Compile(source string, want Result) (*Program, []Problem) {
	switch {
	case len(source) > MaxSourceBytes:
		return nil, []Problem{{Line: 1, Column: 1, Code: nba.CodeTooLarge,
			Detail: fmt.Sprintf("the expression is longer than %d bytes: split it into several policies", MaxSourceBytes)}}
	case strings.TrimSpace(source) == "":
		return nil, []Problem{{Line: 1, Column: 1, Code: nba.CodeInvalid, Detail: "the expression is empty"}}
	case !utf8.ValidString(source):
		return nil, []Problem{{Line: 1, Column: 1, Code: nba.CodeInvalid, Detail: "the expression is not UTF-8"}}
	}
	parsed, issues := e.cel.Parse(source)
	if issues.Err() != nil {
		return nil, e.problems(issues)
	}
	walk := walker{env: e, info: parsed.NativeRep().SourceInfo()}
	walk.visit(parsed.NativeRep().Expr())
	checked, issues := e.cel.Check(parsed)
	problems := walk.problems
	if issues.Err() != nil {
		problems = append(problems, e.problems(issues)...)
		if len(problems) == 0 {
			problems = []Problem{{Line: 1, Column: 1, Code: nba.CodeInvalid, Detail: shorten(issues.Err().Error())}}
		}
	}
	if len(problems) > 0 {
		return nil, ordered(problems)
	}
	if problem, ok := wrongResult(checked, want); ok {
		return nil, []Problem{problem}
	}
	p := &Program{source: source, result: want}
	p.kind, _ = kindOf(checked.OutputType().Kind())
	for id := range walk.reads {
		p.reads = append(p.reads, id)
	}
	slices.Sort(p.reads)
	p.asks, p.counts, p.journeys, p.models = walk.queries, walk.strategies, walk.journeys, walk.models
	return e.finish(p, checked)
}

// wrongResult tells when the type of an expression is not what is wanted of it.
func wrongResult(checked *cel.Ast, want Result) (Problem, bool) {
	kind := checked.OutputType().Kind()
	var detail string
	switch want {
	case BoolResult:
		if kind == types.BoolKind || kind == types.DynKind {
			return Problem{}, false
		}
		detail = "the expression must be true or false; this one is " + typeWord(checked.OutputType())
	case AnyResult:
		if _, ok := kindOf(kind); ok {
			return Problem{}, false
		}
		detail = "the expression must be true or false, a number or text; this one is " + typeWord(checked.OutputType())
	case ValueResult:
		if _, ok := kindOf(kind); ok || kind == types.DynKind || kind == types.TimestampKind {
			return Problem{}, false
		}
		detail = "the expression must be true or false, a number, text or a time; this one is " + typeWord(checked.OutputType())
	case TextResult:
		if kind == types.StringKind || kind == types.DynKind {
			return Problem{}, false
		}
		detail = "the expression must be text; this one is " + typeWord(checked.OutputType())
	default:
		if kind == types.IntKind || kind == types.DoubleKind || kind == types.UintKind || kind == types.DynKind {
			return Problem{}, false
		}
		detail = "the expression must be a number; this one is " + typeWord(checked.OutputType())
	}
	return Problem{Line: 1, Column: 1, Code: nba.CodeInvalid, Detail: detail}, true
}

func kindOf(kind types.Kind) (Kind, bool) {
	switch kind {
	case types.BoolKind:
		return BoolKind, true
	case types.IntKind, types.UintKind, types.DoubleKind:
		return NumberKind, true
	case types.StringKind:
		return TextKind, true
	default:
		return 0, false
	}
}

func typeWord(t *cel.Type) string {
	switch t.Kind() {
	case types.StringKind:
		return "text"
	case types.BoolKind:
		return "true or false"
	case types.IntKind, types.DoubleKind, types.UintKind:
		return "a number"
	case types.TimestampKind:
		return "a time"
	default:
		return "a " + t.String()
	}
}

// finish makes the closures, or falls back to cel-go for what they cannot do.
func (e *Env) finish(p *Program, checked *cel.Ast) (*Program, []Problem) {
	b := builder{dictionary: e.dictionary, ast: checked.NativeRep(), places: e.places}
	if root, ok := b.build(b.ast.Expr()); ok {
		if root.dyn != nil {
			p.as(root)
			return p, nil
		}
		switch root.kind {
		case types.BoolKind:
			p.bool = root.bool
			return p, nil
		case types.IntKind:
			p.int = root.int
			return p, nil
		case types.DoubleKind:
			p.float = root.float
			return p, nil
		case types.StringKind:
			p.text = root.text
			return p, nil
		case types.TimestampKind:
			p.time = root.time
			return p, nil
		}
	}
	// Without cel-go's optimizer: it folds "x in []" to false even where x is an error.
	fallback, err := e.cel.Program(checked, cel.CostLimit(MaxCost))
	if err != nil {
		return nil, []Problem{{Line: 1, Column: 1, Code: nba.CodeInvalid, Detail: shorten(err.Error())}}
	}
	p.fallback = fallback
	return p, nil
}

// walker finds what an expression reads, and the mistakes we can describe better than the checker.
type walker struct {
	env     *Env
	info    *ast.SourceInfo
	reads   map[nba.AttributeID]bool
	queries []history.Query
	models  []string // whose scores are asked for
	// strategies are those whose aggregates are asked for.
	strategies []string
	journeys   []JourneyAsk
	problems   []Problem
}

func (w *walker) visit(e ast.Expr) {
	switch e.Kind() {
	case ast.SelectKind:
		if !w.asked(e) {
			w.visit(e.AsSelect().Operand())
		}
	case ast.IdentKind:
		w.alone(e)
	case ast.CallKind:
		if w.asked(e) {
			return
		}
		call := e.AsCall()
		if call.IsMemberFunction() {
			w.visit(call.Target())
		}
		for _, arg := range call.Args() {
			w.visit(arg)
		}
		w.zone(call)
		w.pattern(call)
	case ast.ListKind:
		for _, element := range e.AsList().Elements() {
			w.visit(element)
		}
	case ast.MapKind:
		for _, entry := range e.AsMap().Entries() {
			w.visit(entry.AsMapEntry().Key())
			w.visit(entry.AsMapEntry().Value())
		}
	case ast.StructKind:
		w.report(e, nba.CodeInvalid, "an expression makes no messages: write plain values")
	case ast.ComprehensionKind:
		c := e.AsComprehension()
		for _, part := range []ast.Expr{c.IterRange(), c.AccuInit(), c.LoopCondition(), c.LoopStep(), c.Result()} {
			w.visit(part)
		}
	}
}

// asked notes what a selection or a call asks for as a whole, and tells whether it does.
func (w *walker) asked(e ast.Expr) bool {
	if e.Kind() == ast.SelectKind {
		if operand := e.AsSelect().Operand(); operand.Kind() == ast.IdentKind {
			switch name := operand.AsIdent(); {
			case name == varSubject:
				w.attribute(e)
				return true
			case name == varEvent && w.env.places != nil:
				w.eventField(e)
				return true
			}
		}
	}
	switch {
	case asksHistory(e):
		w.history(e)
	case aggregates().asked(e):
		w.aggregate(e)
	case scores().asked(e):
		w.scored(e)
	case isJourney(e):
		w.journey(e)
	default:
		return false
	}
	return true
}

// alone reports names that mean nothing by themselves.
func (w *walker) alone(e ast.Expr) {
	switch name := e.AsIdent(); {
	case name == varSubject:
		w.report(e, nba.CodeInvalid, "subject stands alone: name one of its attributes, as in subject.tenure")
	case name == varHistory:
		w.report(e, nba.CodeInvalid, `history stands alone: ask for history.count() or history.daysSince(), as in history.outcome("Accepted").count()`)
	case name == varAggregates:
		w.report(e, nba.CodeInvalid, `aggregates stands alone: name an event strategy, as in aggregates.usage or aggregates["data-usage"]`)
	case name == varScores:
		w.report(e, nba.CodeInvalid, `scores stands alone: name a model, as in scores.churn or scores["next-best"]`)
	case name == varJourneys:
		w.report(e, nba.CodeInvalid, `journeys stands alone: name one, as in journey("cart").stage`)
	case name == varEvent && w.env.places != nil:
		w.report(e, nba.CodeInvalid, "event stands alone: name what of it is meant, as in event.type or event.data.amount")
	case strings.HasPrefix(name, "."):
		w.report(e, nba.CodeInvalid, "a name does not begin with a dot")
	}
}

func (w *walker) attribute(e ast.Expr) {
	name := e.AsSelect().FieldName()
	if a, ok := w.env.dictionary.Attribute(name); ok {
		if w.reads == nil {
			w.reads = map[nba.AttributeID]bool{}
		}
		w.reads[a.ID] = true
		return
	}
	detail := fmt.Sprintf("no attribute %s in the dictionary", quoteName(name))
	if near := w.env.dictionary.Nearest(name); near != "" {
		detail += fmt.Sprintf(": did you mean subject.%s?", near)
	} else {
		detail += ": declare it or correct the name"
	}
	w.report(e, nba.CodeAttributeUnknown, detail)
}

// zone checks the time zone of calls such as now.getHours("Europe/Paris").
func (w *walker) zone(call ast.CallExpr) {
	if !call.IsMemberFunction() || len(call.Args()) != 1 || calendarPart(call.FunctionName()) == nil {
		return
	}
	arg := call.Args()[0]
	if arg.Kind() != ast.LiteralKind {
		return
	}
	name, ok := arg.AsLiteral().Value().(string)
	if !ok || strings.Contains(name, ":") {
		return
	}
	if _, err := time.LoadLocation(name); err != nil {
		w.report(arg, nba.CodeInvalid, `unknown time zone: write a name such as "Europe/Paris" or an offset such as "+01:00"`)
	}
}

// pattern refuses regular expressions that are not literals: whoever sends a request would otherwise
// choose what is compiled.
func (w *walker) pattern(call ast.CallExpr) {
	args := call.Args()
	if call.FunctionName() != overloads.Matches || len(args) == 0 {
		return
	}
	if pattern := args[len(args)-1]; pattern.Kind() != ast.LiteralKind {
		w.report(pattern, nba.CodeInvalid, "the pattern of matches must be a literal text")
	}
}

func (w *walker) report(e ast.Expr, code nba.Code, detail string) {
	at := w.info.GetStartLocation(e.ID())
	w.problems = append(w.problems, Problem{Line: at.Line(), Column: at.Column() + 1, Code: code, Detail: detail})
}

// problems puts the messages of cel-go into our words where ours are clearer. Undefined fields are
// left out: the walker has reported them with a suggestion.
func (e *Env) problems(issues *cel.Issues) []Problem {
	var problems []Problem
	for _, issue := range issues.Errors() {
		if strings.HasPrefix(issue.Message, "undefined field") {
			continue
		}
		problems = append(problems, Problem{
			Line: max(issue.Location.Line(), 1), Column: max(issue.Location.Column()+1, 1),
			Code: nba.CodeInvalid, Detail: e.explain(issue.Message),
		})
	}
	return ordered(problems)
}

func (e *Env) explain(message string) string {
	if rest, ok := strings.CutPrefix(message, "undeclared reference to '"); ok {
		name, _, _ := strings.Cut(rest, "'")
		return e.explainName(name)
	}
	if rest, ok := strings.CutPrefix(message, "found no matching overload for '"); ok {
		return explainOverload(rest)
	}
	if rest, ok := strings.CutPrefix(message, "Syntax error: "); ok {
		return explainSyntax(rest)
	}
	if strings.Contains(message, "recursion depth") {
		return fmt.Sprintf("the expression is nested deeper than %d levels, or is a longer sum: split it", maxNesting)
	}
	return shorten(message)
}

// explainSyntax leaves out the list of tokens the parser would have taken.
func explainSyntax(message string) string {
	message, _, _ = strings.Cut(message, " expecting ")
	if strings.HasSuffix(message, "'<EOF>'") {
		return "syntax error: the expression ends too early"
	}
	return shorten("syntax error: " + message)
}

func (e *Env) explainName(name string) string {
	known := []string{varSubject, varContexts, varHistory, varAggregates, varScores, varJourneys, varNow, varChannel, varDirection}
	if e.places != nil {
		known = []string{varEvent, varSubject, varNow}
	}
	detail := fmt.Sprintf("unknown name %s", quoteName(name))
	if _, ok := e.dictionary.Attribute(name); ok {
		return detail + fmt.Sprintf(": attributes are written subject.%s", name)
	}
	if near := nba.Nearest(name, known); near != "" {
		return detail + fmt.Sprintf(": did you mean %s?", near)
	}
	return detail + ": an expression reads " + strings.Join(known, ", ") + "; text stands in quotes"
}

// explainOverload words a type error. rest reads: _==_' applied to '(double, int)'.
func explainOverload(rest string) string {
	function, operands, _ := strings.Cut(rest, "' applied to '")
	operands = strings.TrimSuffix(operands, "'")
	operator := strings.Trim(strings.TrimPrefix(function, "@"), "_")
	detail := fmt.Sprintf("%s does not go with %s", operator, operands)
	if strings.Contains(operands, "double") && strings.Contains(operands, "int") {
		detail += ": give whole numbers a decimal point, as in 12.0, or convert with double(...)"
	}
	return shorten(detail)
}

// ordered sorts problems by place, drops repetitions and keeps the first few.
func ordered(problems []Problem) []Problem {
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Detail, b.Detail))
	})
	problems = slices.Compact(problems)
	return problems[:min(len(problems), maxProblems)]
}

// quoteName shows a name an author wrote, shortened.
func quoteName(name string) string {
	return fmt.Sprintf("%q", truncate(name, nba.MaxAttributeNameSize))
}

func shorten(message string) string {
	message, _, _ = strings.Cut(message, "\n")
	return truncate(message, 300)
}

func truncate(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit] + "…"
}
