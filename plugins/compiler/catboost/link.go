package catboost

import (
	"strconv"
	"strings"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
)

// link adds what CatBoost's predict does with the raw score for the model's loss function.
func (r *reader) link() error {
	var p params
	r.file.info("params", &p)
	loss := p.Loss.Type
	m := r.model
	m.Source.Objective = shorten(loss)
	m.Raw, m.Output = r.sum, r.sum
	apply := func(f ir.Function) { m.Output = m.Append(&ir.Activation{In: m.Raw, Func: f}) }
	switch loss {
	case "Logloss", "CrossEntropy", "Focal":
		if r.width != 1 {
			return r.wrongWidth(1)
		}
		apply(ir.Sigmoid)
		m.Classes, m.Probability = r.file.labels(2), true
	case "MultiClass":
		apply(ir.Softmax)
		m.Classes, m.Probability = r.file.labels(r.width), true
	case "MultiClassOneVsAll", "MultiLogloss", "MultiCrossEntropy":
		apply(ir.Sigmoid)
		m.Classes, m.Probability = r.file.labels(r.width), true
	case "Poisson", "Tweedie":
		apply(ir.Exp)
	case "RMSEWithUncertainty":
		if r.width != 2 {
			return r.wrongWidth(2)
		}
		m.Raw = m.Append(&ir.Gather{In: r.sum, Columns: []int{0}})
		m.Output = m.Raw
		m.Warnings = append(m.Warnings, "the model also estimates an uncertainty, which is left out: the score is the mean")
	case "Cox", "SurvivalAft":
		m.Warnings = append(m.Warnings, "the score is the raw value of a survival model, as predict gives it")
	default:
		return r.plain(loss)
	}
	return r.checkWidth()
}

// plain are the losses whose prediction is the raw value, and those that are not known.
func (r *reader) plain(loss string) error {
	m := r.model
	if !knownLoss(loss) {
		if r.width > 1 {
			return invalid("the model has %d outputs and a loss function that is not known, so it is not clear what they are; train with MultiClass or a regression loss", r.width)
		}
		if labels := r.file.labels(2); loss == "" && r.file.hasClasses() {
			// Files without params: two classes and one output is what Logloss leaves.
			m.Output = m.Append(&ir.Activation{In: m.Raw, Func: ir.Sigmoid})
			m.Classes, m.Probability = labels, true
			m.Warnings = append(m.Warnings, "the file does not name its loss function; it has two classes, so the score is taken as the logarithm of odds")
			return nil
		}
		m.Warnings = append(m.Warnings, "the loss function is not known; the score is the raw value, as predict gives it")
	}
	if r.width > 1 {
		if !strings.HasPrefix(loss, "Multi") {
			return r.wrongWidth(1)
		}
		for i := range r.width {
			m.Classes = append(m.Classes, strconv.Itoa(i))
		}
	}
	return nil
}

// knownLoss tells whether predict gives the raw value for a loss function, as far as is known.
func knownLoss(loss string) bool {
	switch loss {
	case "RMSE", "MAE", "Quantile", "GroupQuantile", "LogLinQuantile", "MAPE", "Huber", "Lq", "Expectile", "LogCosh",
		"MultiRMSE", "MultiRMSEWithMissingValues", "MultiQuantile",
		"PairLogit", "PairLogitPairwise", "YetiRank", "YetiRankPairwise", "QueryRMSE", "QuerySoftMax",
		"QueryCrossEntropy", "StochasticFilter", "StochasticRank", "LambdaMart":
		return true
	}
	return false
}

func (f *modelFile) hasClasses() bool {
	var c classParams
	return (f.info("class_params", &c) || f.info("multiclass_params", &c)) && len(c.Names)+len(c.ToLabel) > 0
}

// checkWidth refuses several outputs for losses of one.
func (r *reader) checkWidth() error {
	if len(r.model.Classes) == 0 && r.width != 1 && r.model.Raw == r.sum {
		return r.wrongWidth(1)
	}
	return nil
}

func (r *reader) wrongWidth(want int) error {
	return invalid("the trees have %d values a leaf where the loss function has %d; %s", r.width, want, remedy)
}
