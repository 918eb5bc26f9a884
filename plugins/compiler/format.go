package compiler

import (
	"bytes"

	"github.com/arbiterhq/arbiter/plugins/compiler/catboost"
	"github.com/arbiterhq/arbiter/plugins/compiler/inflate"
	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
	"github.com/arbiterhq/arbiter/plugins/compiler/lightgbm"
	"github.com/arbiterhq/arbiter/plugins/compiler/onnx"
	"github.com/arbiterhq/arbiter/plugins/compiler/pmml"
	"github.com/arbiterhq/arbiter/plugins/compiler/xgboost"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// maxModelBytes bounds a model file, packed and unpacked.
const maxModelBytes = 64 << 20

func invalidModel(format string, args ...any) error {
	return nba.Errorf(nba.CodeModelInvalid, format, args...)
}

// read finds out by its content what a model file is, and reads it.
func read(file []byte) (*ir.Model, error) {
	file, err := inflate.Bytes(file, maxModelBytes)
	if err != nil {
		return nil, err
	}
	text := bytes.TrimPrefix(bytes.TrimLeft(file, " \t\r\n"), []byte("\xef\xbb\xbf"))
	switch {
	case len(text) == 0:
		return nil, invalidModel("the model file is empty; save the model again")
	case lightgbm.Detect(file):
		return lightgbm.Read(file)
	case text[0] == '<':
		return pmml.Read(file)
	case bytes.HasPrefix(file, []byte("CBM1")), text[0] == '{' && isCatBoost(text):
		return catboost.Read(file)
	case xgboost.Detect(file), text[0] == '{', text[0] == '[':
		return xgboost.Read(file)
	case onnx.Detect(file):
		return onnx.Read(file)
	case bytes.HasPrefix(file, []byte("\x80")) && len(file) > 1 && file[1] <= 5, bytes.HasPrefix(file, []byte("ccopy_reg\n")):
		return nil, invalidModel("this is a Python pickle, which holds code and not only a model; export it with arbiter's Python client, or as the library's own model file")
	case bytes.HasPrefix(file, []byte("PK\x03\x04")):
		return nil, invalidModel("this is a ZIP archive; unpack it, or save the model in its library's own format")
	default:
		return nil, invalidModel("this is no model file that is known: save it as LightGBM text, XGBoost JSON or UBJSON, CatBoost JSON, ONNX or PMML")
	}
}

// isCatBoost tells whether JSON has the keys that CatBoost writes at its top.
func isCatBoost(text []byte) bool {
	for _, key := range [...]string{`"oblivious_trees"`, `"features_info"`, `"model_info"`} {
		if bytes.Contains(text, []byte(key)) && !bytes.Contains(text, []byte(`"learner"`)) {
			return true
		}
	}
	return false
}
