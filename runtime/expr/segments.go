package expr

import (
	"fmt"
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// callSegment is how an expression asks whether the subject is in a named segment: segment("young").
const callSegment = "segment"

// maxSegmentNodes bounds a segment with all that it takes from others, in nodes of its syntax tree.
const maxSegmentNodes = 2048

// segments are the conditions that segment("NAME") stands for. Each stands in the place of its name, so that
// what it reads is read, and recorded, like everything else in the expression.
type segments struct {
	known map[string]ast.Expr
	names []string
}

// macro puts the condition of a segment where the segment is named.
func (s *segments) macro() cel.Macro {
	return cel.GlobalMacro(callSegment, 1, func(factory cel.MacroExprFactory, _ ast.Expr, args []ast.Expr) (ast.Expr, *cel.Error) {
		name, ok := literalText(args[0])
		if !ok {
			return nil, factory.NewError(args[0].ID(), `the name of a segment must be a literal text, as in segment("young")`)
		}
		condition, ok := s.known[name]
		if !ok {
			return nil, factory.NewError(args[0].ID(), s.unknown(name))
		}
		return factory.Copy(condition), nil
	})
}

func (s *segments) unknown(name string) string {
	if near := nba.Nearest(name, s.names); near != "" {
		return fmt.Sprintf("unknown segment %s: did you mean %s?", quoteName(name), near)
	}
	return fmt.Sprintf("unknown segment %s: declare it under segments, before the segments that use it", quoteName(name))
}

// AddSegment makes a condition known by a name to the expressions compiled afterwards. Mistakes are those of
// Compile; a segment with mistakes is known nevertheless, and holds for nobody. It must not be called while
// another goroutine uses the Env.
func (e *Env) AddSegment(name, source string) (*Program, []Problem) {
	if e.segments.known == nil {
		e.segments.known = map[string]ast.Expr{}
	}
	program, problems := e.Compile(source, BoolResult)
	condition := ast.NewExprFactory().NewLiteral(1, types.False)
	if program != nil {
		parsed, _ := e.cel.Parse(source) // it was compiled just now
		condition = parsed.NativeRep().Expr()
		if nodes := countNodes(condition); nodes > maxSegmentNodes {
			problems = append(problems, Problem{Line: 1, Column: 1, Code: nba.CodeTooLarge,
				Detail: fmt.Sprintf("with the segments in it the condition has %d parts, at most %d: name fewer segments in it", nodes, maxSegmentNodes)})
			condition, program = ast.NewExprFactory().NewLiteral(1, types.False), nil
		}
	}
	e.segments.known[name] = condition
	if !slices.Contains(e.segments.names, name) {
		e.segments.names = append(e.segments.names, name)
	}
	return program, problems
}

func countNodes(e ast.Expr) int {
	n := 0
	ast.PreOrderVisit(e, ast.NewExprVisitor(func(ast.Expr) { n++ }))
	return n
}
