package expr

import (
	"time"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// The compiled form of a node, one closure type for each CEL type. The second result is false for
// the CEL error value.
type (
	boolFunc     func(*Vars) (bool, bool)
	intFunc      func(*Vars) (int64, bool)
	floatFunc    func(*Vars) (float64, bool)
	textFunc     func(*Vars) (string, bool)
	timeFunc     func(*Vars) (time.Time, bool)
	durationFunc func(*Vars) (time.Duration, bool)
)

// node is one compiled expression: the closure of its kind is set, the others are nil.
type node struct {
	kind     types.Kind
	bool     boolFunc
	int      intFunc
	float    floatFunc
	text     textFunc
	time     timeFunc
	duration durationFunc
	dyn      dynFunc
	// constant is the value of a literal, nil for everything else.
	constant any
}

func boolNode(f boolFunc) (node, bool)   { return node{kind: types.BoolKind, bool: f}, f != nil }
func intNode(f intFunc) (node, bool)     { return node{kind: types.IntKind, int: f}, f != nil }
func floatNode(f floatFunc) (node, bool) { return node{kind: types.DoubleKind, float: f}, f != nil }
func textNode(f textFunc) (node, bool)   { return node{kind: types.StringKind, text: f}, f != nil }
func timeNode(f timeFunc) (node, bool)   { return node{kind: types.TimestampKind, time: f}, f != nil }
func durationNode(f durationFunc) (node, bool) {
	return node{kind: types.DurationKind, duration: f}, f != nil
}

func always[T any](value T) func(*Vars) (T, bool) {
	return func(*Vars) (T, bool) { return value, true }
}

// builder turns a checked AST into closures. Every method returns false for what is outside the
// subset; the caller then runs the whole expression in cel-go.
type builder struct {
	dictionary *nba.Dictionary
	ast        *ast.AST
	places     *places
}

func (b *builder) build(e ast.Expr) (node, bool) {
	switch e.Kind() {
	case ast.LiteralKind:
		return literal(e.AsLiteral())
	case ast.IdentKind:
		return ident(e.AsIdent())
	case ast.SelectKind:
		switch {
		case isEvent(e):
			return b.event(e)
		case aggregates().asked(e):
			return aggregates().node(e)
		case scores().asked(e):
			return scores().node(e)
		case isJourney(e):
			return journeyNode(e)
		}
		return b.selection(e.AsSelect())
	case ast.CallKind:
		return b.call(e)
	default:
		return node{}, false
	}
}

func literal(value any) (node, bool) {
	n := node{}
	switch v := value.(type) {
	case types.Bool:
		n, _ = boolNode(always(bool(v)))
		n.constant = bool(v)
	case types.Int:
		n, _ = intNode(always(int64(v)))
		n.constant = int64(v)
	case types.Double:
		n, _ = floatNode(always(float64(v)))
		n.constant = float64(v)
	case types.String:
		n, _ = textNode(always(string(v)))
		n.constant = string(v)
	default:
		return node{}, false
	}
	return n, true
}

func ident(name string) (node, bool) {
	switch name {
	case varNow:
		return timeNode(func(v *Vars) (time.Time, bool) { return v.Now, true })
	case varChannel:
		return textNode(func(v *Vars) (string, bool) { return v.Channel, true })
	case varDirection:
		return textNode(func(v *Vars) (string, bool) { return v.Direction, true })
	default:
		return node{}, false
	}
}

func (b *builder) selection(s ast.SelectExpr) (node, bool) {
	if s.Operand().Kind() != ast.IdentKind {
		return node{}, false
	}
	switch name := s.FieldName(); s.Operand().AsIdent() {
	case varContexts:
		if s.IsTestOnly() {
			return boolNode(func(v *Vars) (bool, bool) { _, ok := v.context(name); return ok, true })
		}
		return textNode(func(v *Vars) (string, bool) { return v.context(name) })
	case varSubject:
		declared, ok := b.dictionary.Attribute(name)
		if !ok {
			return node{}, false
		}
		a := attributeOf(declared)
		if s.IsTestOnly() {
			return boolNode(func(v *Vars) (bool, bool) { return a.has(v), true })
		}
		return attributeNode(a)
	default:
		return node{}, false
	}
}

func attributeNode(a attribute) (node, bool) {
	switch a.kind {
	case nba.KindBool:
		return boolNode(func(v *Vars) (bool, bool) { value, ok := a.read(v); return value.Bool(), ok })
	case nba.KindInt:
		return intNode(func(v *Vars) (int64, bool) { value, ok := a.read(v); return value.Int(), ok })
	case nba.KindFloat:
		return floatNode(func(v *Vars) (float64, bool) { value, ok := a.read(v); return value.Float(), ok })
	case nba.KindString:
		return textNode(func(v *Vars) (string, bool) { value, ok := a.read(v); return value.Str(), ok })
	case nba.KindTime:
		return timeNode(func(v *Vars) (time.Time, bool) { value, ok := a.read(v); return value.Time(), ok })
	default:
		return node{}, false
	}
}

func (b *builder) call(e ast.Expr) (node, bool) {
	c := e.AsCall()
	args := c.Args()
	switch {
	case asksHistory(e):
		return historyNode(e)
	case aggregates().asked(e):
		return aggregates().node(e)
	case scores().asked(e):
		return scores().node(e)
	case isEvent(e):
		return b.event(e)
	case isJourney(e):
		return journeyNode(e)
	}
	if c.IsMemberFunction() {
		return b.method(c)
	}
	switch c.FunctionName() {
	case operators.Conditional:
		return b.conditional(args)
	case operators.In, operators.OldIn:
		return b.membership(args[0], args[1])
	case operators.Index:
		return b.index(args[0], args[1])
	}
	var operands [2]node
	if len(args) > len(operands) {
		return node{}, false
	}
	for i, arg := range args {
		operand, ok := b.build(arg)
		if !ok {
			return node{}, false
		}
		operands[i] = operand
	}
	if len(args) == 1 && operands[0].dyn != nil {
		return dynUnary(c.FunctionName(), operands[0])
	}
	if len(args) == 1 {
		return unary(c.FunctionName(), operands[0])
	}
	return binary(c.FunctionName(), operands[0], operands[1])
}

func binary(function string, left, right node) (node, bool) {
	if left.dyn != nil || right.dyn != nil {
		return dynBinary(function, left, right)
	}
	switch function {
	case operators.LogicalAnd, operators.LogicalOr:
		if left.bool == nil || right.bool == nil {
			return node{}, false
		}
		if function == operators.LogicalAnd {
			return boolNode(and(left.bool, right.bool))
		}
		return boolNode(or(left.bool, right.bool))
	case operators.Equals:
		return boolNode(equality(left, right, true))
	case operators.NotEquals:
		return boolNode(equality(left, right, false))
	case operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals:
		return boolNode(comparison(orderings(function), left, right))
	case operators.Add, operators.Subtract, operators.Multiply, operators.Divide, operators.Modulo:
		return arithmetic(function, left, right)
	case overloads.Matches:
		return matches(left.text, right)
	default:
		return node{}, false
	}
}

// index is contexts["key"], where the key may be computed.
func (b *builder) index(operand, key ast.Expr) (node, bool) {
	if operand.Kind() != ast.IdentKind || operand.AsIdent() != varContexts {
		return node{}, false
	}
	k, ok := b.build(key)
	if !ok || k.text == nil {
		return node{}, false
	}
	return textNode(func(v *Vars) (string, bool) {
		key, ok := k.text(v)
		if !ok {
			return "", false
		}
		return v.context(key)
	})
}

// membership is x in contexts and x in [constants].
func (b *builder) membership(element, container ast.Expr) (node, bool) {
	x, ok := b.build(element)
	if !ok {
		return node{}, false
	}
	if container.Kind() == ast.IdentKind && container.AsIdent() == varContexts && x.text != nil {
		return boolNode(func(v *Vars) (bool, bool) {
			key, ok := x.text(v)
			if !ok {
				return false, false
			}
			_, found := v.context(key)
			return found, true
		})
	}
	if container.Kind() != ast.ListKind || len(container.AsList().OptionalIndices()) > 0 {
		return node{}, false
	}
	var constants []any
	for _, element := range container.AsList().Elements() {
		c, ok := b.build(element)
		if !ok || c.constant == nil || c.kind != x.kind && x.dyn == nil {
			return node{}, false
		}
		constants = append(constants, c.constant)
	}
	switch x.kind {
	case types.DynKind:
		return boolNode(dynIn(x.dyn, constants))
	case types.StringKind:
		return boolNode(in(x.text, constants))
	case types.IntKind:
		return boolNode(in(x.int, constants))
	case types.DoubleKind:
		return boolNode(in(x.float, constants))
	case types.BoolKind:
		return boolNode(in(x.bool, constants))
	default:
		return node{}, false
	}
}

// maxScan is the longest list that is scanned rather than looked up in a set.
const maxScan = 8

func in[T comparable](x func(*Vars) (T, bool), constants []any) boolFunc {
	values := make([]T, len(constants))
	for i := range constants {
		value, ok := constants[i].(T)
		if !ok {
			return nil
		}
		values[i] = value
	}
	if len(values) <= maxScan {
		return func(v *Vars) (bool, bool) {
			got, ok := x(v)
			if !ok {
				return false, false
			}
			for i := range values {
				if values[i] == got {
					return true, true
				}
			}
			return false, true
		}
	}
	set := make(map[T]struct{}, len(values))
	for _, value := range values {
		set[value] = struct{}{}
	}
	return func(v *Vars) (bool, bool) {
		got, ok := x(v)
		if !ok {
			return false, false
		}
		_, found := set[got]
		return found, true
	}
}

func (b *builder) conditional(args []ast.Expr) (node, bool) {
	condition, ok1 := b.build(args[0])
	yes, ok2 := b.build(args[1])
	no, ok3 := b.build(args[2])
	if !ok1 || !ok2 || !ok3 || condition.bool == nil || yes.kind != no.kind {
		return node{}, false
	}
	switch yes.kind {
	case types.BoolKind:
		return boolNode(choose(condition.bool, yes.bool, no.bool))
	case types.IntKind:
		return intNode(choose(condition.bool, yes.int, no.int))
	case types.DoubleKind:
		return floatNode(choose(condition.bool, yes.float, no.float))
	case types.StringKind:
		return textNode(choose(condition.bool, yes.text, no.text))
	case types.TimestampKind:
		return timeNode(choose(condition.bool, yes.time, no.time))
	case types.DurationKind:
		return durationNode(choose(condition.bool, yes.duration, no.duration))
	default:
		return node{}, false
	}
}

func choose[T any](condition boolFunc, yes, no func(*Vars) (T, bool)) func(*Vars) (T, bool) {
	return func(v *Vars) (T, bool) {
		value, ok := condition(v)
		switch {
		case !ok:
			var zero T
			return zero, false
		case value:
			return yes(v)
		default:
			return no(v)
		}
	}
}
