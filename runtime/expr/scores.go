package expr

import (
	"slices"

	"cel.dev/cel-go/common/ast"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// varScores is what models say of the subject: scores.churn or scores["churn"].
const varScores = "scores"

// Scores answers what a model of the catalog says of the subject, each once for a decision. ok is false when
// there is no answer: the model failed or abstained.
type Scores interface {
	SubjectScore(model string) (score float64, ok bool)
}

// scores are asked for by the name of their model.
func scores() *named { return &named{variable: varScores, lookUp: (*Vars).score} }

func (v *Vars) score(model string) (float64, bool) {
	if v.Scores == nil {
		return 0, false
	}
	return v.Scores.SubjectScore(model)
}

func (w *walker) scored(e ast.Expr) {
	name, _, ok := nameAsked(e)
	if !ok {
		w.report(e, nba.CodeInvalid, `the name of a model must be a literal text, as in scores["churn"]`)
		return
	}
	if !slices.Contains(w.models, name) {
		w.models = append(w.models, name)
		slices.Sort(w.models)
	}
}
