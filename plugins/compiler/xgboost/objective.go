package xgboost

import (
	"strconv"
	"strings"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
)

// objective is what the objective of a model means for its scores.
type objective struct {
	inverse inverse
	output  ir.Function // with several outputs applied to each, but for SoftmaxXG
	// classes tells that the outputs are classes rather than targets.
	classes bool
	// probability tells that outputs lie between 0 and 1.
	probability bool
}

// inverse is how base_score becomes a margin (ProbToMargin in the library).
type inverse uint8

const (
	asIs inverse = iota
	logit
	logarithm
)

// objectiveOf knows the objectives of XGBoost 1.0 to 3.4 (src/objective).
func objectiveOf(name string) (objective, bool) {
	switch name {
	case "binary:logistic":
		return objective{inverse: logit, output: ir.SigmoidXG, classes: true, probability: true}, true
	case "reg:logistic":
		return objective{inverse: logit, output: ir.SigmoidXG, probability: true}, true
	case "binary:logitraw":
		return objective{classes: true}, true
	case "binary:hinge": // its output is in link
		return objective{classes: true, probability: true}, true
	case "multi:softprob", "multi:softmax":
		return objective{output: ir.SoftmaxXG, classes: true, probability: true}, true
	case "reg:squarederror", "reg:linear", "reg:squaredlogerror", "reg:pseudohubererror", "reg:absoluteerror",
		"reg:quantileerror", "reg:expectileerror", "rank:pairwise", "rank:ndcg", "rank:map":
		return objective{}, true
	case "count:poisson", "reg:gamma", "reg:tweedie", "survival:cox", "survival:aft":
		return objective{inverse: logarithm, output: ir.Exp}, true
	default:
		return objective{}, false
	}
}

// nearCertain is how near to 0 or 1 a base score may come: the library moves it there since 3.1
// (kRtEps).
const nearCertain = float32(1e-6)

// margin is what a base score adds to the sum.
func (o *objective) margin(base float32, clipped bool) (float32, error) {
	switch o.inverse {
	case logit:
		if clipped && base >= 0 && base <= 1 {
			base = min(max(base, nearCertain), 1-nearCertain)
		}
		if !(base > 0 && base < 1) {
			return 0, ir.Invalid("base_score of a logistic model must lie between 0 and 1; train with such a base_score")
		}
		odds := 1 / base
		return -log32(odds - 1), nil
	case logarithm:
		if !(base > 0) {
			return 0, ir.Invalid("base_score of a model with a logarithmic link must be positive; train with such a base_score")
		}
		return log32(base), nil
	default:
		return base, nil
	}
}

// link adds what turns raw scores into outputs, and names the outputs.
func (f *modelFile) link(m *ir.Model, o objective, outputs int) error {
	m.Output, m.Probability = m.Raw, o.probability
	switch {
	case f.objective == "binary:hinge":
		m.Output = m.Append(&ir.Arith{Op: ir.Less, A: m.Append(&ir.Const{Values: []float64{0}}), B: m.Raw})
	case outputs > 1 && f.objective == "reg:expectileerror":
		return ir.Invalid("the model predicts several expectiles, which XGBoost makes of one another; train one model per expectile")
	case outputs > 1 && f.objective == "reg:quantileerror" && f.since(3, 4):
		if outputs > maxSorted {
			return ir.Invalid("the model predicts more than %d quantiles; train several models", maxSorted)
		}
		m.Output = sorted(m, outputs)
	case o.output == ir.SoftmaxXG && outputs == 1:
		return ir.Invalid("the model has one class; train with num_class of at least 2")
	case o.output != ir.Identity:
		m.Output = m.Append(&ir.Activation{In: m.Raw, Func: o.output, Width: ir.F32})
	}
	if f.objective == "multi:softmax" {
		m.Warnings = append(m.Warnings, "multi:softmax predicts the number of a class; the module gives the probability of each, as multi:softprob does")
	}
	switch {
	case outputs > 1:
		for i := range outputs {
			m.Classes = append(m.Classes, strconv.Itoa(i))
		}
		if names := strings.Split(strings.Trim(f.alphas, "[] "), ","); !o.classes && f.alphas != "" && len(names) == outputs {
			for i, name := range names {
				m.Classes[i] = strings.TrimSpace(name)
			}
		}
	case o.classes:
		m.Classes = []string{"0", "1"}
	}
	return nil
}

// maxSorted bounds the outputs that sorted puts in order.
const maxSorted = 16

// sorted adds steps that put the raw scores into ascending order, as quantiles must be.
func sorted(m *ir.Model, outputs int) ir.Ref {
	values := make([]ir.Ref, outputs)
	for i := range values {
		values[i] = m.Append(&ir.Gather{In: m.Raw, Columns: []int{i}})
	}
	for i := 1; i < outputs; i++ {
		for j := i; j > 0; j-- {
			a, b := values[j-1], values[j]
			values[j-1] = m.Append(&ir.Arith{Op: ir.Min, A: a, B: b, Width: ir.F32})
			values[j] = m.Append(&ir.Arith{Op: ir.Max, A: a, B: b, Width: ir.F32})
		}
	}
	return m.Append(&ir.Concat{Parts: values})
}
