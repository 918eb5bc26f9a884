// Package xgboost reads model files of XGBoost 1.0 to 3.4, JSON and UBJSON: what booster.save_model
// writes. Trees (gbtree), dropped trees (dart) and linear models (gblinear), one or several outputs,
// categorical splits, vector leaves.
//
// Every score is exact: rows and thresholds in 32 bits, sums in 32 bits in the order of the trees. What
// cannot be exact (dumps, whose numbers are rounded) or is read by the library itself only with a
// warning (the old binary format) is refused with the way to save it again.
//
// The format is described in docs/format/model-files.md; doc/model.schema and the sources of XGBoost
// are where it comes from.
package xgboost

import (
	"bytes"
	"math"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// MaxFileBytes bounds a model file.
const MaxFileBytes = 64 << 20

// remedy is the way to export a model rightly.
const remedy = "save the booster with booster.save_model(\"model.json\") or \"model.ubj\""

// Read makes a model of a file. Errors are *nba.Error with CodeModelInvalid or CodeTooLarge; they name
// the reason and the way to export the model rightly, and never quote the file.
func Read(file []byte) (*ir.Model, error) {
	if err := recognise(file); err != nil {
		return nil, err
	}
	f := &modelFile{format: "xgboost-json", d: &jsonDecoder{position{file: file}}}
	if isUBJSON(file) {
		f.format, f.d = "xgboost-ubjson", &ubjsonDecoder{position: position{file: file}}
	}
	f.read()
	if err := f.d.mistake(); err != nil {
		return nil, err
	}
	m, err := f.model()
	if err != nil {
		return nil, err
	}
	if err := m.Validate(); err != nil {
		return nil, err
	}
	return m, nil
}

// Detect tells whether a file looks like one that this package reads or refuses with a reason: JSON,
// UBJSON, or XGBoost's old binary format.
func Detect(file []byte) bool {
	text := bytes.TrimLeft(file, " \t\r\n")
	return isUBJSON(file) || isBinary(file) || len(text) > 0 && text[0] == '{' && bytes.Contains(text, []byte(`"learner"`))
}

// isUBJSON tells whether a file starts as an object in UBJSON whose first key has a length, rather
// than as one in JSON.
func isUBJSON(file []byte) bool {
	return len(file) > 1 && file[0] == '{' && bytes.IndexByte([]byte("iUIlL$#N"), file[1]) >= 0
}

// isBinary tells whether a file is of the binary format before 1.0: it may start with "binf", else it
// starts with the parameters of the learner, a base score in 32 bits and the number of features, and has
// the name of the objective, as a length of 64 bits and text, after their 136 bytes.
func isBinary(file []byte) bool {
	if bytes.HasPrefix(file, []byte("binf")) || bytes.HasPrefix(file, []byte("bs64")) {
		return true
	}
	const parameters = 136
	if len(file) < parameters+12 {
		return false
	}
	for _, family := range [...]string{"binary:", "reg:", "multi:", "rank:", "count:", "survival:"} {
		if bytes.HasPrefix(file[parameters+8:], []byte(family)) {
			return true
		}
	}
	return false
}

// recognise refuses files that are not XGBoost models, naming what they look like and what to do.
func recognise(file []byte) error {
	text := bytes.TrimLeft(file, " \t\r\n")
	switch {
	case len(file) > MaxFileBytes:
		return nba.Errorf(nba.CodeTooLarge, "the model file has more than %d bytes; train fewer or shallower trees", MaxFileBytes)
	case len(text) == 0:
		return ir.Invalid("the model file is empty; %s", remedy)
	case isUBJSON(file):
		return nil
	case isBinary(file):
		return ir.Invalid("this is XGBoost's old binary format, which differs from version to version; load it with the version of XGBoost that wrote it and %s", remedy)
	case text[0] == '[' || bytes.HasPrefix(text, []byte("booster[")):
		return ir.Invalid("this is a dump of a model, whose numbers are rounded and whose base score is left out; %s instead of dump_model", remedy)
	case text[0] != '{':
		return ir.Invalid("this is no XGBoost model in JSON or UBJSON; %s", remedy)
	default:
		return nil
	}
}

// log32 is logf: the logarithm rounded to 32 bits.
func log32(x float32) float32 { return float32(ir.LogOf(float64(x))) }

// finite tells whether x is a number and not infinite.
func finite(x float32) bool { return !math.IsNaN(float64(x)) && !math.IsInf(float64(x), 0) }
