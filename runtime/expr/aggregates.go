package expr

import (
	"slices"

	"cel.dev/cel-go/common/ast"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// varAggregates is what event strategies counted: aggregates.name or aggregates["name"].
const varAggregates = "aggregates"

// Aggregates answers what event strategies counted, as of the moment of the decision. ok is false when there
// is no answer: there was no event yet, or the data may not be used for the purpose under the mask.
type Aggregates interface {
	StrategyAggregate(name string, purpose nba.PurposeID, mask nba.PurposeSet) (value float64, withheld, ok bool)
}

// aggregates are asked for by the name of their event strategy.
func aggregates() *named { return &named{variable: varAggregates, lookUp: (*Vars).counted} }

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

func (w *walker) aggregate(e ast.Expr) {
	name, _, ok := nameAsked(e)
	if !ok {
		w.report(e, nba.CodeInvalid, `the name of an event strategy must be a literal text, as in aggregates["data-usage"]`)
		return
	}
	if !slices.Contains(w.strategies, name) {
		w.strategies = append(w.strategies, name)
		slices.Sort(w.strategies)
	}
}
