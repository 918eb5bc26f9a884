package expr

import (
	"fmt"
	"reflect"
	"slices"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// varAggregates is what event strategies counted: aggregates.name or aggregates["name"].
const varAggregates = "aggregates"

// Aggregates answers what event strategies counted, as of the moment of the decision. ok is false when there
// is no answer: there was no event yet, or the data may not be used for the purpose under the mask.
type Aggregates interface {
	StrategyAggregate(name string, purpose nba.PurposeID, mask nba.PurposeSet) (value float64, withheld, ok bool)
}

func (v *Vars) counted(name string) (value float64, ok bool) {
	var withheld bool
	if v.Aggregates != nil {
		if value, withheld, ok = v.Aggregates.StrategyAggregate(name, v.Purpose, v.Mask); ok {
			return value, true
		}
	}
	if !v.gap.Known {
		v.gap = Gap{Strategy: name, Known: true, Withheld: withheld}
	}
	return 0, false
}

// asksAggregate tells whether an expression asks for an aggregate.
func asksAggregate(e ast.Expr) bool {
	switch e.Kind() {
	case ast.SelectKind:
		operand := e.AsSelect().Operand()
		return operand.Kind() == ast.IdentKind && operand.AsIdent() == varAggregates
	case ast.CallKind:
		call, args := e.AsCall(), e.AsCall().Args()
		return call.FunctionName() == operators.Index && len(args) == 2 && args[0].Kind() == ast.IdentKind && args[0].AsIdent() == varAggregates
	default:
		return false
	}
}

// strategyOf is the name in a question that asksAggregate found.
func strategyOf(e ast.Expr) (name string, testOnly, ok bool) {
	if e.Kind() == ast.SelectKind {
		return e.AsSelect().FieldName(), e.AsSelect().IsTestOnly(), true
	}
	name, ok = literalText(e.AsCall().Args()[1])
	return name, false, ok && name != ""
}

func (w *walker) aggregate(e ast.Expr) {
	name, _, ok := strategyOf(e)
	if !ok {
		w.report(e, nba.CodeInvalid, `the name of an event strategy must be a literal text, as in aggregates["data-usage"]`)
		return
	}
	if !slices.Contains(w.strategies, name) {
		w.strategies = append(w.strategies, name)
		slices.Sort(w.strategies)
	}
}

// aggregateNode is the native form of a question.
func aggregateNode(e ast.Expr) (node, bool) {
	name, testOnly, ok := strategyOf(e)
	switch {
	case !ok:
		return node{}, false
	case testOnly:
		return boolNode(func(v *Vars) (bool, bool) {
			before := v.gap
			_, ok := v.counted(name)
			v.gap = before
			return ok, true
		})
	}
	return floatNode(func(v *Vars) (float64, bool) { return v.counted(name) })
}

// aggregatesValue is the aggregates in cel-go: a map that can be asked and not walked.
type aggregatesValue struct{ vars *Vars }

var _ traits.Mapper = (*aggregatesValue)(nil)

// Find implements traits.Mapper.
func (a *aggregatesValue) Find(key ref.Val) (ref.Val, bool) {
	name, ok := key.(types.String)
	if !ok {
		return nil, false
	}
	value, ok := a.vars.counted(string(name))
	return types.Double(value), ok
}

// Get implements traits.Mapper.
func (a *aggregatesValue) Get(key ref.Val) ref.Val {
	if value, ok := a.Find(key); ok {
		return value
	}
	return types.WrapErr(errAbsent)
}

// Contains implements traits.Mapper.
func (a *aggregatesValue) Contains(key ref.Val) ref.Val {
	_, ok := a.Find(key)
	return types.Bool(ok)
}

// Size implements traits.Mapper.
func (a *aggregatesValue) Size() ref.Val { return types.WrapErr(errAbsent) }

// Iterator implements traits.Mapper: there is nothing to walk.
func (a *aggregatesValue) Iterator() traits.Iterator {
	return types.DefaultTypeAdapter.NativeToValue(map[string]float64{}).(traits.Mapper).Iterator()
}

// ConvertToNative implements ref.Val.
func (a *aggregatesValue) ConvertToNative(reflect.Type) (any, error) {
	return nil, fmt.Errorf("the aggregates are no value")
}

// ConvertToType implements ref.Val.
func (a *aggregatesValue) ConvertToType(t ref.Type) ref.Val {
	return types.NewErr("the aggregates are no %s", t.TypeName())
}

// Equal implements ref.Val.
func (a *aggregatesValue) Equal(other ref.Val) ref.Val { return types.Bool(other == ref.Val(a)) }

// Type implements ref.Val.
func (a *aggregatesValue) Type() ref.Type { return types.MapType }

// Value implements ref.Val.
func (a *aggregatesValue) Value() any { return nil }
