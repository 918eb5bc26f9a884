package expr

import (
	"fmt"
	"reflect"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// named are numbers that conditions ask for by name, as in scores.churn or scores["churn"]. They are looked
// up one by one, when they are asked for, so cel-go sees a map that cannot be walked.
type named struct {
	variable string
	lookUp   func(v *Vars, name string) (value float64, ok bool)
}

// asked tells whether an expression asks for one of them.
func (n *named) asked(e ast.Expr) bool {
	operand := e
	switch e.Kind() {
	case ast.SelectKind:
		operand = e.AsSelect().Operand()
	case ast.CallKind:
		call := e.AsCall()
		if call.FunctionName() != operators.Index || len(call.Args()) != 2 {
			return false
		}
		operand = call.Args()[0]
	default:
		return false
	}
	return operand.Kind() == ast.IdentKind && operand.AsIdent() == n.variable
}

// nameAsked is the name in an expression that asks; ok is false unless it is a literal text.
func nameAsked(e ast.Expr) (name string, testOnly, ok bool) {
	if e.Kind() == ast.SelectKind {
		return e.AsSelect().FieldName(), e.AsSelect().IsTestOnly(), true
	}
	name, ok = literalText(e.AsCall().Args()[1])
	return name, false, ok && name != ""
}

// node is the native form of an expression that asks.
func (n *named) node(e ast.Expr) (node, bool) {
	name, testOnly, ok := nameAsked(e)
	switch {
	case !ok:
		return node{}, false
	case testOnly:
		return boolNode(func(v *Vars) (bool, bool) {
			before := v.gap // to ask whether there is one leaves no gap
			_, ok := n.lookUp(v, name)
			v.gap = before
			return ok, true
		})
	}
	return floatNode(func(v *Vars) (float64, bool) { return n.lookUp(v, name) })
}

// namedValue is what cel-go is given.
type namedValue struct {
	*named
	vars *Vars
}

var _ traits.Mapper = (*namedValue)(nil)

// Find implements traits.Mapper.
func (n *namedValue) Find(key ref.Val) (ref.Val, bool) {
	name, ok := key.(types.String)
	if !ok {
		return nil, false
	}
	value, ok := n.lookUp(n.vars, string(name))
	return types.Double(value), ok
}

// Get implements traits.Mapper.
func (n *namedValue) Get(key ref.Val) ref.Val {
	if value, ok := n.Find(key); ok {
		return value
	}
	return types.WrapErr(errAbsent)
}

// Contains implements traits.Mapper.
func (n *namedValue) Contains(key ref.Val) ref.Val {
	_, ok := n.Find(key)
	return types.Bool(ok)
}

// Size implements traits.Mapper.
func (n *namedValue) Size() ref.Val { return types.WrapErr(errAbsent) }

// Iterator implements traits.Mapper: there is nothing to walk.
func (n *namedValue) Iterator() traits.Iterator {
	return types.DefaultTypeAdapter.NativeToValue(map[string]float64{}).(traits.Mapper).Iterator()
}

// ConvertToNative implements ref.Val.
func (n *namedValue) ConvertToNative(reflect.Type) (any, error) {
	return nil, fmt.Errorf("the %s are no value", n.variable)
}

// ConvertToType implements ref.Val.
func (n *namedValue) ConvertToType(t ref.Type) ref.Val {
	return types.NewErr("the %s are no %s", n.variable, t.TypeName())
}

// Equal implements ref.Val.
func (n *namedValue) Equal(other ref.Val) ref.Val { return types.Bool(other == ref.Val(n)) }

// Type implements ref.Val.
func (n *namedValue) Type() ref.Type { return types.MapType }

// Value implements ref.Val.
func (n *namedValue) Value() any { return nil }
