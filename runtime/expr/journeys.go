package expr

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/arbiterhq/arbiter/runtime/journey"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// What is asked of journeys: journey("cart").stage, or journeys.cart.stage, which is the same.
const (
	varJourneys = "journeys"
	callJourney = "journey"

	journeyType  = "arbiter.Journey"
	journeyStage = "stage"
	journeyOpen  = "open"
	journeySince = "since"
	journeyBegun = "begun"
	journeyLast  = "last"
	journeyCount = "count"
	journeyData  = "data"
)

// Journeys tells where the subject stands in its journeys. It is asked once for each thing an expression
// reads; ok is false when that cannot be read. The state must not be changed.
type Journeys interface {
	JourneyState() (state *journey.State, ok bool)
}

// JourneyAsk is what an expression reads of a journey: a field that it carries along, or Data is empty.
type JourneyAsk struct{ Journey, Data string }

// journeyState is where the subject stands, if that may be used for the purpose.
func (v *Vars) journeyState(name string) (*journey.State, bool) {
	withheld := !v.Mask.Has(v.Purpose)
	if !withheld && v.Journeys != nil {
		if state, ok := v.Journeys.JourneyState(); ok {
			return state, true
		}
	}
	if !v.gap.Known {
		v.gap = Gap{Journey: name, Known: true, Withheld: withheld}
	}
	return nil, false
}

// journeyAbsent notes that a journey has nothing of what was asked for.
func (v *Vars) journeyAbsent(name string) {
	if !v.gap.Known {
		v.gap = Gap{Journey: name, Known: true}
	}
}

func journeyFieldNames() []string {
	return []string{journeyStage, journeyOpen, journeyCount, journeySince, journeyBegun, journeyLast, journeyData}
}

func journeyFieldType(field string) *types.Type {
	switch field {
	case journeyStage, journeyLast:
		return types.StringType
	case journeyOpen:
		return types.BoolType
	case journeyCount:
		return types.IntType
	case journeySince, journeyBegun:
		return types.TimestampType
	case journeyData:
		return types.NewMapType(types.StringType, types.DynType)
	default:
		return nil
	}
}

// journeyField is a field of a journey. Of a subject that is not in it there is a stage, which is empty, and
// no time.
func (v *Vars) journeyField(name, field string) (value nba.Value, ok bool) {
	state, ok := v.journeyState(name)
	if !ok {
		return nba.Value{}, false
	}
	in, open := state.Of(name)
	switch {
	case field == journeyOpen:
		return nba.Bool(open > 0), true
	case field == journeyCount:
		return nba.Int(int64(open)), true
	case field == journeyLast:
		if last := state.LastEnd(name); last != nil {
			return nba.String(last.Stage), true
		}
		return nba.String(""), true
	case in == nil && field == journeyStage:
		return nba.String(""), true
	case in == nil:
		v.journeyAbsent(name)
		return nba.Value{}, false
	case field == journeyStage:
		return nba.String(in.Stage), true
	case field == journeySince:
		return nba.TimeMillis(in.SinceMS), true
	default:
		return nba.TimeMillis(in.BegunMS), true
	}
}

// journeyCarried is a field that the newest open instance carries along.
func (v *Vars) journeyCarried(name, field string) (nba.Value, bool) {
	state, ok := v.journeyState(name)
	if !ok {
		return nba.Value{}, false
	}
	if in, _ := state.Of(name); in != nil {
		if value, ok := in.Field(field); ok {
			return valueOfJourney(value), true
		}
	}
	v.journeyAbsent(name)
	return nba.Value{}, false
}

func valueOfJourney(value journey.Value) nba.Value {
	switch value.Kind {
	case journey.Number:
		return nba.Float(value.Float())
	case journey.Flag:
		return nba.Bool(value.Int != 0)
	case journey.Moment:
		return nba.TimeMillis(value.Int)
	default:
		return nba.String(value.Text)
	}
}

// journeyMacro makes journeys["cart"] of journey("cart").
func journeyMacro() cel.Macro {
	return cel.GlobalMacro(callJourney, 1, func(factory cel.MacroExprFactory, _ ast.Expr, args []ast.Expr) (ast.Expr, *cel.Error) {
		if _, ok := literalText(args[0]); !ok {
			return nil, factory.NewError(args[0].ID(), `the name of a journey must be a literal text, as in journey("cart").stage`)
		}
		return factory.NewCall(operators.Index, factory.NewIdent(varJourneys), args[0]), nil
	})
}

// isJourney tells whether e is journeys, or a selection of it.
func isJourney(e ast.Expr) bool {
	for {
		switch {
		case e.Kind() == ast.SelectKind:
			e = e.AsSelect().Operand()
		case e.Kind() == ast.CallKind && e.AsCall().FunctionName() == operators.Index && len(e.AsCall().Args()) == 2:
			e = e.AsCall().Args()[0]
		default:
			return e.Kind() == ast.IdentKind && e.AsIdent() == varJourneys
		}
	}
}

// journeyPath are the names in a selection of journeys: the journey, its field, and what is carried along. ok
// is false where one is computed.
func journeyPath(e ast.Expr) (path []string, testOnly, ok bool) {
	for first := true; e.Kind() != ast.IdentKind; first = false {
		if e.Kind() == ast.SelectKind {
			s := e.AsSelect()
			if s.IsTestOnly() && !first {
				return nil, false, false
			}
			testOnly = testOnly || s.IsTestOnly()
			path, e = append(path, s.FieldName()), s.Operand()
			continue
		}
		name, literal := literalText(e.AsCall().Args()[1])
		if !literal {
			return nil, false, false
		}
		path, e = append(path, name), e.AsCall().Args()[0]
	}
	slices.Reverse(path)
	return path, testOnly, true
}

// journey checks a selection of journeys and notes what is read.
func (w *walker) journey(e ast.Expr) {
	path, _, ok := journeyPath(e)
	switch {
	case !ok:
		w.report(e, nba.CodeInvalid, `the names of a journey and of what it carries along must be literal, as in journey("cart").data.value`)
	case len(path) < 2 || len(path) == 2 && path[1] == journeyData:
		w.report(e, nba.CodeInvalid, `a journey stands alone: ask for its stage, as in journey("cart").stage, or for something it carries along, as in journey("cart").data.value`)
	case journeyFieldType(path[1]) == nil:
		detail := fmt.Sprintf("a journey has no %s: it has %s", quoteName(path[1]), strings.Join(journeyFieldNames(), ", "))
		if near := nba.Nearest(path[1], journeyFieldNames()); near != "" {
			detail = fmt.Sprintf("a journey has no %s: did you mean %s?", quoteName(path[1]), near)
		}
		w.report(e, nba.CodeInvalid, detail)
	default:
		ask := JourneyAsk{Journey: path[0]}
		if path[1] == journeyData {
			ask.Data = path[2]
		}
		if !slices.Contains(w.journeys, ask) {
			w.journeys = append(w.journeys, ask)
		}
	}
}

// journeyNode is the native form of a selection.
func journeyNode(e ast.Expr) (node, bool) {
	path, testOnly, ok := journeyPath(e)
	switch {
	case !ok || len(path) < 2:
		return node{}, false
	case len(path) == 3 && path[1] == journeyData:
		return carriedNode(path[0], path[2], testOnly)
	case len(path) != 2 || path[1] == journeyData:
		return node{}, false
	}
	name, field := path[0], path[1]
	read := func(v *Vars) (nba.Value, bool) { return v.journeyField(name, field) }
	switch {
	case testOnly:
		return boolNode(func(v *Vars) (bool, bool) { return v.hasJourney(name, field), true })
	case field == journeyOpen:
		return boolNode(func(v *Vars) (bool, bool) { value, ok := read(v); return value.Bool(), ok })
	case field == journeyCount:
		return intNode(func(v *Vars) (int64, bool) { value, ok := read(v); return value.Int(), ok })
	case field == journeyStage || field == journeyLast:
		return textNode(func(v *Vars) (string, bool) { value, ok := read(v); return value.Str(), ok })
	default:
		return timeNode(func(v *Vars) (time.Time, bool) { value, ok := read(v); return value.Time(), ok })
	}
}

// hasJourney is the CEL has(): it is never an error and leaves no gap. A stage is there while one is open.
func (v *Vars) hasJourney(name, field string) bool {
	before := v.gap
	value, ok := v.journeyField(name, field)
	v.gap = before
	return ok && (value.Kind() != nba.KindString || value.Str() != "")
}

func carriedNode(name, field string, testOnly bool) (node, bool) {
	if testOnly {
		return boolNode(func(v *Vars) (bool, bool) {
			before := v.gap
			_, ok := v.journeyCarried(name, field)
			v.gap = before
			return ok, true
		})
	}
	return dynNode(func(v *Vars) (nba.Value, bool) { return v.journeyCarried(name, field) })
}

// journeyOf is one journey in cel-go.
type journeyOf struct {
	vars *Vars
	name string
}

// journeyFieldOf is a field of a journey for cel-go.
func journeyFieldOf(field string) (*types.FieldType, bool) {
	t := journeyFieldType(field)
	if t == nil {
		return nil, false
	}
	return &types.FieldType{
		Type: t,
		IsSet: func(target any) bool {
			j, ok := target.(*journeyOf)
			return ok && (field == journeyData || j.vars.hasJourney(j.name, field))
		},
		GetFrom: func(target any) (any, error) {
			j, ok := target.(*journeyOf)
			if !ok {
				return nil, errAbsent
			}
			if field == journeyData {
				return j.carried()
			}
			value, ok := j.vars.journeyField(j.name, field)
			if !ok {
				return nil, errAbsent
			}
			return celOf(value), nil
		},
	}, true
}

// carried is everything that the newest open instance carries along.
func (j *journeyOf) carried() (any, error) {
	state, ok := j.vars.journeyState(j.name)
	if !ok {
		return nil, errAbsent
	}
	all := map[string]ref.Val{}
	if in, _ := state.Of(j.name); in != nil {
		for i := range in.Data {
			all[in.Data[i].Name] = celOf(valueOfJourney(in.Data[i].Value))
		}
	}
	return types.NewDynamicMap(types.DefaultTypeAdapter, all), nil
}

func celOf(value nba.Value) ref.Val {
	switch value.Kind() {
	case nba.KindBool:
		return types.Bool(value.Bool())
	case nba.KindInt:
		return types.Int(value.Int())
	case nba.KindFloat:
		return types.Double(value.Float())
	case nba.KindTime:
		return types.Timestamp{Time: value.Time()}
	default:
		return types.String(value.Str())
	}
}

// ConvertToNative implements ref.Val.
func (j *journeyOf) ConvertToNative(reflect.Type) (any, error) {
	return nil, fmt.Errorf("a journey is no value")
}

// ConvertToType implements ref.Val.
func (j *journeyOf) ConvertToType(t ref.Type) ref.Val {
	return types.NewErr("a journey is no %s", t.TypeName())
}

// Equal implements ref.Val.
func (j *journeyOf) Equal(other ref.Val) ref.Val { return types.Bool(other == ref.Val(j)) }

// Type implements ref.Val.
func (j *journeyOf) Type() ref.Type { return types.NewObjectType(journeyType) }

// Value implements ref.Val.
func (j *journeyOf) Value() any { return j }

// journeysValue is the journeys in cel-go: a map that can be asked and not walked.
type journeysValue struct{ vars *Vars }

var _ traits.Mapper = (*journeysValue)(nil)

// Find implements traits.Mapper.
func (j *journeysValue) Find(key ref.Val) (ref.Val, bool) {
	name, ok := key.(types.String)
	return &journeyOf{vars: j.vars, name: string(name)}, ok
}

// Get implements traits.Mapper.
func (j *journeysValue) Get(key ref.Val) ref.Val {
	if value, ok := j.Find(key); ok {
		return value
	}
	return types.WrapErr(errAbsent)
}

// Contains implements traits.Mapper.
func (j *journeysValue) Contains(key ref.Val) ref.Val {
	_, ok := key.(types.String)
	return types.Bool(ok)
}

// Size implements traits.Mapper.
func (j *journeysValue) Size() ref.Val { return types.WrapErr(errAbsent) }

// Iterator implements traits.Mapper: there is nothing to walk.
func (j *journeysValue) Iterator() traits.Iterator {
	return types.DefaultTypeAdapter.NativeToValue(map[string]string{}).(traits.Mapper).Iterator()
}

// ConvertToNative implements ref.Val.
func (j *journeysValue) ConvertToNative(reflect.Type) (any, error) {
	return nil, fmt.Errorf("the journeys are no value")
}

// ConvertToType implements ref.Val.
func (j *journeysValue) ConvertToType(t ref.Type) ref.Val {
	return types.NewErr("the journeys are no %s", t.TypeName())
}

// Equal implements ref.Val.
func (j *journeysValue) Equal(other ref.Val) ref.Val { return types.Bool(other == ref.Val(j)) }

// Type implements ref.Val.
func (j *journeysValue) Type() ref.Type { return types.MapType }

// Value implements ref.Val.
func (j *journeysValue) Value() any { return nil }

// asJourneyCalls writes journey("cart") where an expression has journeys["cart"], which is what that is made of.
func asJourneyCalls(text string) string {
	const open, end = varJourneys + "[\"", "\"]"
	for {
		before, rest, ok := strings.Cut(text, open)
		if !ok {
			return text
		}
		name, after, ok := strings.Cut(rest, end)
		if !ok {
			return text
		}
		text = before + callJourney + "(\"" + name + "\")" + after
	}
}
