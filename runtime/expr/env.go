package expr

import (
	"errors"
	"fmt"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Limits of one expression.
const (
	// MaxSourceBytes bounds the text of an expression.
	MaxSourceBytes = 4096
	// MaxCost bounds one evaluation in cel-go, in its cost units; beyond it the result is undefined.
	MaxCost = 10_000
	// maxNesting bounds parentheses and other nesting; maxComprehensions bounds nested macros such
	// as contexts.exists(k, ...).
	maxNesting        = 250
	maxComprehensions = 2
	maxRegexProgram   = 1000
)

// The names an expression reads.
const (
	varSubject   = "subject"
	varContexts  = "contexts"
	varNow       = "now"
	varChannel   = "channel"
	varDirection = "direction"

	subjectType = "arbiter.Subject"
)

// Env compiles expressions against one dictionary. It is immutable and safe for concurrent use.
type Env struct {
	dictionary *nba.Dictionary
	cel        *cel.Env
	segments   *segments
	places     *places // nil where there are no events
}

// NewEnv prepares compilation of what decisions evaluate against d.
func NewEnv(d *nba.Dictionary) (*Env, error) {
	return newEnv(d, nil, append(historyOptions(),
		cel.Variable(varScores, cel.MapType(cel.StringType, cel.DoubleType)),
		cel.Variable(varAggregates, cel.MapType(cel.StringType, cel.DoubleType)),
		cel.Variable(varJourneys, cel.MapType(cel.StringType, cel.ObjectType(journeyType))),
		cel.Macros(journeyMacro()),
		cel.Variable(varContexts, cel.MapType(cel.StringType, cel.StringType)),
		cel.Variable(varChannel, cel.StringType),
		cel.Variable(varDirection, cel.StringType)))
}

// NewEventEnv prepares compilation of what is evaluated when an event arrives: it reads event, subject and
// now.
func NewEventEnv(d *nba.Dictionary) (*Env, error) {
	return newEnv(d, &places{known: map[string]*place{}}, []cel.EnvOption{cel.Variable(varEvent, cel.ObjectType(eventType))})
}

func newEnv(d *nba.Dictionary, places *places, names []cel.EnvOption) (*Env, error) {
	registry, err := types.NewRegistry()
	if err != nil {
		return nil, fmt.Errorf("making the type registry: %w", err)
	}
	named := &segments{}
	env, err := cel.NewEnv(append(names,
		cel.Macros(named.macro()),
		cel.CustomTypeAdapter(registry),
		cel.CustomTypeProvider(&subjectProvider{Registry: registry, dictionary: d}),
		cel.CrossTypeNumericComparisons(true),
		cel.ParserExpressionSizeLimit(MaxSourceBytes),
		cel.ParserRecursionLimit(maxNesting),
		cel.ASTValidators(cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals(), cel.ValidateRegexLiterals(),
			cel.ValidateRegexProgramSizeLimit(maxRegexProgram), cel.ValidateComprehensionNestingLimit(maxComprehensions)),
		cel.Variable(varSubject, cel.ObjectType(subjectType)),
		cel.Variable(varNow, cel.TimestampType))...,
	)
	if err != nil {
		return nil, fmt.Errorf("making the CEL environment: %w", err)
	}
	return &Env{dictionary: d, cel: env, segments: named, places: places}, nil
}

// celType is the CEL type of an attribute of kind k.
func celType(k nba.Kind) *types.Type {
	switch k {
	case nba.KindBool:
		return types.BoolType
	case nba.KindInt:
		return types.IntType
	case nba.KindFloat:
		return types.DoubleType
	case nba.KindString:
		return types.StringType
	case nba.KindTime:
		return types.TimestampType
	default:
		return types.ErrorType
	}
}

// subjectProvider tells cel-go the fields of the subject and, for what runs in cel-go, reads them.
type subjectProvider struct {
	*types.Registry
	dictionary *nba.Dictionary
}

// FindStructType implements types.Provider.
func (p *subjectProvider) FindStructType(name string) (*types.Type, bool) {
	if name == subjectType || name == eventType || name == journeyType {
		return types.NewTypeTypeWithParam(types.NewObjectType(name)), true
	}
	return p.Registry.FindStructType(name)
}

// FindStructFieldNames implements types.Provider.
func (p *subjectProvider) FindStructFieldNames(name string) ([]string, bool) {
	switch name {
	case eventType:
		return eventFieldNames(), true
	case journeyType:
		return journeyFieldNames(), true
	}
	if name != subjectType {
		return p.Registry.FindStructFieldNames(name)
	}
	attributes := p.dictionary.Attributes()
	names := make([]string, len(attributes))
	for i := range attributes {
		names[i] = attributes[i].Name
	}
	return names, true
}

// FindStructFieldType implements types.Provider.
func (p *subjectProvider) FindStructFieldType(typeName, field string) (*types.FieldType, bool) {
	switch typeName {
	case eventType:
		return eventFieldOf(field)
	case journeyType:
		return journeyFieldOf(field)
	}
	if typeName != subjectType {
		return p.Registry.FindStructFieldType(typeName, field)
	}
	attribute, ok := p.dictionary.Attribute(field)
	if !ok {
		return nil, false
	}
	a := attributeOf(attribute)
	return &types.FieldType{
		Type: celType(attribute.Type),
		IsSet: func(target any) bool {
			vars, ok := target.(*Vars)
			return ok && a.has(vars)
		},
		GetFrom: func(target any) (any, error) {
			vars, ok := target.(*Vars)
			if !ok {
				return nil, errAbsent
			}
			return a.celValue(vars)
		},
	}, true
}

// eventFieldOf is a field of an event for cel-go.
func eventFieldOf(field string) (*types.FieldType, bool) {
	t := eventFieldType(field)
	if t == nil {
		return nil, false
	}
	return &types.FieldType{
		Type:    t,
		IsSet:   func(target any) bool { _, err := celEvent(target, field); return err == nil },
		GetFrom: func(target any) (any, error) { return celEvent(target, field) },
	}, true
}

// NewValue implements types.Provider: expressions make no subjects.
func (p *subjectProvider) NewValue(typeName string, fields map[string]ref.Val) ref.Val {
	if typeName == subjectType || typeName == eventType || typeName == journeyType {
		return types.NewErr("a subject cannot be made")
	}
	return p.Registry.NewValue(typeName, fields)
}

// errAbsent is the result of reading an attribute that is not there or may not be used.
var errAbsent = errors.New("attribute is absent")

// celValue is the attribute as cel-go takes it.
func (a attribute) celValue(vars *Vars) (any, error) {
	value, ok := a.read(vars)
	if !ok {
		return nil, errAbsent
	}
	switch a.kind {
	case nba.KindBool:
		return types.Bool(value.Bool()), nil
	case nba.KindInt:
		return types.Int(value.Int()), nil
	case nba.KindFloat:
		return types.Double(value.Float()), nil
	case nba.KindString:
		return types.String(value.Str()), nil
	case nba.KindTime:
		return types.Timestamp{Time: value.Time()}, nil
	default:
		return nil, errAbsent
	}
}
