package expr

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/arbiterhq/arbiter/runtime/history"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// What is asked of the history: history, then any of the selections, then count or daysSince.
const (
	varHistory = "history"

	selectOutcome = "outcome"
	selectChannel = "channel"
	selectAction  = "action"
	selectIssue   = "issue"
	selectGroup   = "group"
	selectWithin  = "within"
	askCount      = "count"
	askDaysSince  = "daysSince"
)

// MaxHistoryQueries bounds the different aggregates of the expressions of an Env: each is computed at most
// once in a decision.
const MaxHistoryQueries = 256

// History answers aggregates of the subject's history, each query once for a decision. ok is false when
// there is no answer.
type History interface {
	Aggregate(q history.Query) (value float64, ok bool)
}

// aggregate asks the history, if it may be used for the purpose.
func (v *Vars) aggregate(q history.Query) (value float64, ok bool) {
	withheld := !v.Mask.Has(v.Purpose)
	if !withheld && v.History != nil {
		if value, ok = v.History.Aggregate(q); ok {
			return value, true
		}
	}
	if !v.gap.Known {
		v.gap = Gap{History: true, Known: true, Withheld: withheld}
	}
	return 0, false
}

// asksHistory tells whether an expression is a complete question to the history, as in
// history.outcome("Accepted").within(duration("720h")).count().
func asksHistory(e ast.Expr) bool {
	if e.Kind() != ast.CallKind || !e.AsCall().IsMemberFunction() {
		return false
	}
	if f := e.AsCall().FunctionName(); f != askCount && f != askDaysSince {
		return false
	}
	for e.Kind() == ast.CallKind && e.AsCall().IsMemberFunction() {
		e = e.AsCall().Target()
	}
	return e.Kind() == ast.IdentKind && e.AsIdent() == varHistory
}

// queryOf reads a question. at and problem tell what is wrong with it.
func queryOf(e ast.Expr) (q history.Query, at ast.Expr, problem string) {
	q.DaysSince = e.AsCall().FunctionName() == askDaysSince
	seen := map[string]bool{}
	for e = e.AsCall().Target(); e.Kind() == ast.CallKind; e = e.AsCall().Target() {
		call := e.AsCall()
		name := call.FunctionName()
		if len(call.Args()) != 1 {
			return q, e, fmt.Sprintf("%s of the history needs one argument", quoteName(name))
		}
		if seen[name] {
			return q, e, fmt.Sprintf("%s is given twice: a touch has one", name)
		}
		seen[name] = true
		if problem := selection(&q, name, call.Args()[0]); problem != "" {
			return q, call.Args()[0], problem
		}
	}
	return q, nil, ""
}

// selection enters one selection into a query.
func selection(q *history.Query, name string, arg ast.Expr) (problem string) {
	if name == selectWithin {
		d, ok := literalDuration(arg)
		if !ok || d <= 0 {
			return `the period must be a literal longer than 0, as in within(duration("720h"))`
		}
		q.Within = d
		return ""
	}
	text, ok := literalText(arg)
	if !ok || text == "" {
		return "this must be a literal text"
	}
	return selectText(q, name, text)
}

func selectText(q *history.Query, name, text string) (problem string) {
	switch name {
	case selectOutcome:
		if q.Outcome = nba.Outcome(text); q.Outcome.Index() < 0 {
			return unknownOutcome(text)
		}
	case selectChannel:
		q.Channel = text
	case selectAction:
		q.Action = text
	case selectIssue:
		q.Issue = text
	case selectGroup:
		q.Group = text
	default:
		return fmt.Sprintf("the history has no %s: it has outcome, channel, action, issue, group and within", quoteName(name))
	}
	return ""
}

func unknownOutcome(text string) string {
	var known []string
	for _, o := range nba.Outcomes {
		known = append(known, string(o))
	}
	if near := nba.Nearest(text, known); near != "" {
		return fmt.Sprintf("unknown outcome %s: did you mean %s?", quoteName(text), near)
	}
	return fmt.Sprintf("unknown outcome %s: there are %s", quoteName(text), strings.Join(known, ", "))
}

func literalText(e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		return "", false
	}
	text, ok := e.AsLiteral().Value().(string)
	return text, ok
}

func literalDuration(e ast.Expr) (time.Duration, bool) {
	if e.Kind() != ast.CallKind || e.AsCall().FunctionName() != overloads.TypeConvertDuration || len(e.AsCall().Args()) != 1 {
		return 0, false
	}
	text, ok := literalText(e.AsCall().Args()[0])
	if !ok {
		return 0, false
	}
	d, ok := types.String(text).ConvertToType(types.DurationType).(types.Duration)
	return d.Duration, ok
}

// history checks a question to the history and notes its query.
func (w *walker) history(e ast.Expr) {
	q, at, problem := queryOf(e)
	if problem != "" {
		w.report(at, nba.CodeInvalid, problem)
		return
	}
	if !slices.Contains(w.queries, q) {
		w.queries = append(w.queries, q)
	}
}

// historyNode is the native form of a question.
func historyNode(e ast.Expr) (node, bool) {
	q, _, problem := queryOf(e)
	switch {
	case problem != "":
		return node{}, false
	case q.DaysSince:
		return floatNode(func(v *Vars) (float64, bool) { return v.aggregate(q) })
	default:
		return intNode(func(v *Vars) (int64, bool) {
			count, ok := v.aggregate(q)
			return int64(count), ok
		})
	}
}

// historyType is the CEL type of the history and of selections of it.
var historyType = cel.OpaqueType("arbiter.History")

// historyOptions declare the history to cel-go, which also evaluates it in expressions that are not
// native.
func historyOptions() []cel.EnvOption {
	options := []cel.EnvOption{cel.Variable(varHistory, historyType)}
	for _, name := range [...]string{selectOutcome, selectChannel, selectAction, selectIssue, selectGroup} {
		options = append(options, cel.Function(name, cel.MemberOverload("history_"+name, []*cel.Type{historyType, cel.StringType}, historyType,
			cel.BinaryBinding(func(target, arg ref.Val) ref.Val {
				h, ok := target.(*historyValue)
				text, isText := arg.(types.String)
				if !ok || !isText {
					return types.MaybeNoSuchOverloadErr(target)
				}
				next := *h
				if problem := selectText(&next.query, name, string(text)); problem != "" {
					return types.NewErr("%s", problem)
				}
				return &next
			}))))
	}
	options = append(options, cel.Function(selectWithin, cel.MemberOverload("history_within", []*cel.Type{historyType, cel.DurationType}, historyType,
		cel.BinaryBinding(func(target, arg ref.Val) ref.Val {
			h, ok := target.(*historyValue)
			period, isPeriod := arg.(types.Duration)
			if !ok || !isPeriod {
				return types.MaybeNoSuchOverloadErr(target)
			}
			next := *h
			next.query.Within = period.Duration
			return &next
		}))))
	ask := func(name string, result *cel.Type, days bool) cel.EnvOption {
		return cel.Function(name, cel.MemberOverload("history_"+name, []*cel.Type{historyType}, result, cel.UnaryBinding(func(target ref.Val) ref.Val {
			h, ok := target.(*historyValue)
			if !ok {
				return types.MaybeNoSuchOverloadErr(target)
			}
			q := h.query
			q.DaysSince = days
			value, ok := h.vars.aggregate(q)
			switch {
			case !ok:
				return types.WrapErr(errAbsent)
			case days:
				return types.Double(value)
			default:
				return types.Int(int64(value))
			}
		})))
	}
	return append(options, ask(askCount, cel.IntType, false), ask(askDaysSince, cel.DoubleType, true))
}

// historyValue is the history, or a selection of it, in cel-go.
type historyValue struct {
	vars  *Vars
	query history.Query
}

// ConvertToNative implements ref.Val.
func (h *historyValue) ConvertToNative(reflect.Type) (any, error) {
	return nil, fmt.Errorf("the history is no value")
}

// ConvertToType implements ref.Val.
func (h *historyValue) ConvertToType(t ref.Type) ref.Val {
	return types.NewErr("the history is no %s", t.TypeName())
}

// Equal implements ref.Val.
func (h *historyValue) Equal(other ref.Val) ref.Val {
	o, ok := other.(*historyValue)
	return types.Bool(ok && o.query == h.query)
}

// Type implements ref.Val.
func (h *historyValue) Type() ref.Type { return historyType }

// Value implements ref.Val.
func (h *historyValue) Value() any { return h.query }
