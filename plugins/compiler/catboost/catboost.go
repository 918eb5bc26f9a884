// Package catboost reads CatBoost models in JSON (model.save_model("model.json", format="json")) into
// the compiler's intermediate form.
//
// It reads symmetric and non-symmetric trees over numbers and over categories that CatBoost compares
// one by one (one-hot). CatBoost rounds numbers to 32 bits, compares them with value > border, adds the
// leaves in 64 bits in the order of the trees and ends with scale × sum + bias; so does the result,
// bit for bit.
//
// Categories are kept in the file as 32-bit hashes of their texts. Where the file lists the texts
// (saved with pool=) they become the categories of the input; else the input carries the hashes, and
// Name finds the texts among those that the data scientist lists. Numbers made of target statistics
// (CTRs), text and embedding features are refused.
//
// The source of the format is catboost/libs/model/model_export/json_model_helpers.cpp of the CatBoost
// repository, checked with files of CatBoost 1.2.10.
package catboost

import (
	"bytes"
	"encoding/json"
	"strconv"

	"github.com/arbiterhq/arbiter/plugins/compiler/inflate"
	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// The limits of a model file. They bound memory: a file within them needs a few hundred MB while it is
// read, and as a rule four times its size.
const (
	maxFileBytes  = 64 << 20
	maxTrees      = 20_000
	maxNodes      = 2_000_000
	maxTreeDepth  = 256 // of non-symmetric trees; symmetric ones end at 16, as in CatBoost
	maxLevels     = 16
	maxOutputs    = 1024
	maxLeafValues = 4_000_000
	maxFeatures   = 65_536
	maxObjects    = 4_500_000 // of JSON: a node and its split are two
	maxInfoBytes  = 1 << 20   // of an entry of model_info
)

const remedy = "save the model with model.save_model(\"model.json\", format=\"json\")"

// Format is the name of the format in ir.Source.
const Format = "catboost-json"

func invalid(format string, args ...any) error {
	return nba.Errorf(nba.CodeModelInvalid, format, args...)
}

// Read reads a model file, plain or gzipped. Errors are *nba.Error with CodeModelInvalid or
// CodeTooLarge; they say what to do and quote no values of the file.
func Read(file []byte) (*ir.Model, error) {
	file, err := inflate.Bytes(file, maxFileBytes)
	if err != nil {
		return nil, err
	}
	if bytes.HasPrefix(file, []byte("CBM1")) {
		return nil, invalid("this is CatBoost's binary format; load it with CatBoost and %s", remedy)
	}
	if bytes.Count(file, []byte("{")) > maxObjects {
		return nil, nba.Errorf(nba.CodeTooLarge, "the model file has more than %d objects; train fewer or shallower trees", maxObjects)
	}
	var f modelFile
	if err := json.Unmarshal(file, &f); err != nil {
		return nil, malformed(err)
	}
	if err := f.refuse(); err != nil {
		return nil, err
	}
	r := reader{file: &f, model: &ir.Model{Source: ir.Source{Format: Format, Library: f.library()}}}
	for _, stage := range []func() error{r.features, r.outputs, r.trees, r.scaleAndBias, r.link} {
		if err := stage(); err != nil {
			return nil, err
		}
	}
	if err := r.model.Validate(); err != nil {
		return nil, err
	}
	return r.model, nil
}

func malformed(err error) error {
	place := ""
	switch e := err.(type) {
	case *json.SyntaxError:
		place = " at byte " + strconv.FormatInt(e.Offset, 10)
	case *json.UnmarshalTypeError:
		place = " at byte " + strconv.FormatInt(e.Offset, 10)
		if e.Field != "" {
			place += " (" + shorten(e.Field) + ")"
		}
	}
	return invalid("the CatBoost model file is malformed%s; %s", place, remedy)
}

func shorten(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}

// reader carries what the stages of Read hand to each other.
type reader struct {
	file  *modelFile
	model *ir.Model
	// numbers and categories tell for CatBoost's own index of a feature where it stands.
	numbers    map[int]number
	categories map[int]category
	width      int // outputs
	splits     int // how many splits and nodes were read
	leaves     int // how many leaf values were read
	sum        ir.Ref
}

// number is a numeric feature.
type number struct {
	column int32
	// missingGreater tells that NaN counts as greater than every finite border.
	missingGreater bool
}

// category is a categorical feature.
type category struct {
	column int32
	codes  map[int32]int // by hash
}
