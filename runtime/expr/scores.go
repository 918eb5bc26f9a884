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

// varScores is what models say of the subject: scores.churn or scores["churn"].
const varScores = "scores"

// Scores answers what a model of the catalog says of the subject, each once for a decision. ok is false when
// there is no answer: the model failed or abstained.
type Scores interface {
	SubjectScore(model string) (score float64, ok bool)
}

func (v *Vars) score(model string) (float64, bool) {
	if v.Scores == nil {
		return 0, false
	}
	return v.Scores.SubjectScore(model)
}

// asksScore tells whether an expression asks for a score.
func asksScore(e ast.Expr) bool {
	switch e.Kind() {
	case ast.SelectKind:
		operand := e.AsSelect().Operand()
		return operand.Kind() == ast.IdentKind && operand.AsIdent() == varScores
	case ast.CallKind:
		call, args := e.AsCall(), e.AsCall().Args()
		return call.FunctionName() == operators.Index && len(args) == 2 && args[0].Kind() == ast.IdentKind && args[0].AsIdent() == varScores
	default:
		return false
	}
}

func (w *walker) scored(e ast.Expr) {
	name, _, ok := strategyOf(e)
	if !ok {
		w.report(e, nba.CodeInvalid, `the name of a model must be a literal text, as in scores["churn"]`)
		return
	}
	if !slices.Contains(w.models, name) {
		w.models = append(w.models, name)
		slices.Sort(w.models)
	}
}

// scoreNode is the native form of a question.
func scoreNode(e ast.Expr) (node, bool) {
	name, testOnly, ok := strategyOf(e)
	switch {
	case !ok:
		return node{}, false
	case testOnly:
		return boolNode(func(v *Vars) (bool, bool) {
			_, ok := v.score(name)
			return ok, true
		})
	}
	return floatNode(func(v *Vars) (float64, bool) { return v.score(name) })
}

// scoresValue is the scores in cel-go: a map that can be asked and not walked.
type scoresValue struct{ vars *Vars }

var _ traits.Mapper = (*scoresValue)(nil)

// Find implements traits.Mapper.
func (s *scoresValue) Find(key ref.Val) (ref.Val, bool) {
	name, ok := key.(types.String)
	if !ok {
		return nil, false
	}
	value, ok := s.vars.score(string(name))
	return types.Double(value), ok
}

// Get implements traits.Mapper.
func (s *scoresValue) Get(key ref.Val) ref.Val {
	if value, ok := s.Find(key); ok {
		return value
	}
	return types.WrapErr(errAbsent)
}

// Contains implements traits.Mapper.
func (s *scoresValue) Contains(key ref.Val) ref.Val {
	_, ok := s.Find(key)
	return types.Bool(ok)
}

// Size implements traits.Mapper.
func (s *scoresValue) Size() ref.Val { return types.WrapErr(errAbsent) }

// Iterator implements traits.Mapper: there is nothing to walk.
func (s *scoresValue) Iterator() traits.Iterator {
	return types.DefaultTypeAdapter.NativeToValue(map[string]float64{}).(traits.Mapper).Iterator()
}

// ConvertToNative implements ref.Val.
func (s *scoresValue) ConvertToNative(reflect.Type) (any, error) {
	return nil, fmt.Errorf("the scores are no value")
}

// ConvertToType implements ref.Val.
func (s *scoresValue) ConvertToType(t ref.Type) ref.Val {
	return types.NewErr("the scores are no %s", t.TypeName())
}

// Equal implements ref.Val.
func (s *scoresValue) Equal(other ref.Val) ref.Val { return types.Bool(other == ref.Val(s)) }

// Type implements ref.Val.
func (s *scoresValue) Type() ref.Type { return types.MapType }

// Value implements ref.Val.
func (s *scoresValue) Value() any { return nil }
