package catboost

import (
	"encoding/json"
	"strconv"
	"strings"
)

// modelFile is what is read of a file.
type modelFile struct {
	Oblivious    []obliviousTree            `json:"oblivious_trees"`
	Trees        []*treeNode                `json:"trees"`
	Features     featuresInfo               `json:"features_info"`
	Info         map[string]json.RawMessage `json:"model_info"`
	ScaleAndBias []json.RawMessage          `json:"scale_and_bias"`
	CTRData      json.RawMessage            `json:"ctr_data"`
	Learner      json.RawMessage            `json:"learner"` // XGBoost's, to tell that it is one
}

type featuresInfo struct {
	Floats     []floatFeature  `json:"float_features"`
	Categories []catFeature    `json:"categorical_features"`
	Texts      json.RawMessage `json:"text_features"`
	Embeddings json.RawMessage `json:"embedding_features"`
	Estimated  json.RawMessage `json:"estimated_features"`
	CTRs       json.RawMessage `json:"ctrs"`
	Hashes     []hashedText    `json:"cat_features_hash"`
}

// names are what a feature is called by: feature_name is there when the model was saved with a pool.
type names struct {
	Index int    `json:"feature_index"`
	Flat  int    `json:"flat_feature_index"`
	Name  string `json:"feature_name"`
	ID    string `json:"feature_id"`
}

func (n *names) name() string {
	switch {
	case n.Name != "":
		return n.Name
	case n.ID != "":
		return n.ID
	}
	return strconv.Itoa(n.Flat)
}

type floatFeature struct {
	names
	HasNaNs   bool   `json:"has_nans"`
	Treatment string `json:"nan_value_treatment"`
}

type catFeature struct {
	names
	Values []int32  `json:"values"`
	Texts  []string `json:"string_values"`
}

type hashedText struct {
	Hash uint32 `json:"hash"`
	Text string `json:"value"`
}

type obliviousTree struct {
	Leaves []float64   `json:"leaf_values"`
	Splits []treeSplit `json:"splits"`
}

// treeNode is a leaf with a value or a split with a left (false) and a right (true) side.
type treeNode struct {
	Split *treeSplit      `json:"split"`
	Left  *treeNode       `json:"left"`
	Right *treeNode       `json:"right"`
	Value json.RawMessage `json:"value"`
}

type treeSplit struct {
	Type     string   `json:"split_type"`
	Float    *int     `json:"float_feature_index"`
	Border   *float64 `json:"border"`
	Category *int     `json:"cat_feature_index"`
	Value    *int32   `json:"value"`
}

// refuse names what is in the file and cannot be compiled.
func (f *modelFile) refuse() error {
	const drop = "leave such features out (ignored_features), or encode them as numbers before training"
	switch i := &f.Features; {
	case len(f.Learner) > 0:
		return invalid("this is no CatBoost model: it has a learner, as XGBoost models do")
	case f.usesCTR():
		return invalid("the model turns categorical features into target statistics (CTRs), whose tables are not supported; train with one_hot_max_size of at least the number of categories, or encode the categories before training")
	case filled(i.Texts):
		return invalid("the model has text features, which are not supported; %s", drop)
	case filled(i.Embeddings):
		return invalid("the model has embedding features, which are not supported; %s", drop)
	case filled(i.Estimated):
		return invalid("the model has estimated features, which are not supported; %s", drop)
	case len(f.Oblivious) > 0 && len(f.Trees) > 0:
		return invalid("the file has both symmetric and other trees; %s", remedy)
	case len(f.Oblivious)+len(f.Trees) == 0:
		return invalid("the file has no trees (neither oblivious_trees nor trees); %s", remedy)
	case len(f.Oblivious)+len(f.Trees) > maxTrees:
		return invalid("the model has more than %d trees; train with fewer iterations and a higher learning rate", maxTrees)
	case len(i.Floats)+len(i.Categories) > maxFeatures:
		return invalid("the model has more than %d features; select features before training", maxFeatures)
	}
	return nil
}

func (f *modelFile) usesCTR() bool { return filled(f.Features.CTRs) || filled(f.CTRData) }

// filled tells whether a list or object is there and has something in it.
func filled(raw json.RawMessage) bool {
	if len(raw) > 64 {
		return true
	}
	switch strings.Join(strings.Fields(string(raw)), "") {
	case "", "null", "[]", "{}":
		return false
	}
	return true
}

// library finds the version in model_info's catboost_version_info, a text of several lines.
func (f *modelFile) library() string {
	var info string
	if json.Unmarshal(f.Info["catboost_version_info"], &info) != nil {
		return "catboost"
	}
	for _, mark := range []string{"CatBoost release ", "Branch: tags/v"} {
		if _, rest, ok := strings.Cut(info, mark); ok {
			if version := versionOf(rest); version != "" {
				return "catboost " + version
			}
		}
	}
	return "catboost"
}

// versionOf is the run of digits and dots that s begins with, without a dot at the end.
func versionOf(s string) string {
	n := 0
	for n < len(s) && n < 20 && (s[n] == '.' || s[n] >= '0' && s[n] <= '9') {
		n++
	}
	return strings.Trim(s[:n], ".")
}

// params is what is read of model_info.params.
type params struct {
	Loss struct {
		Type   string          `json:"type"`
		Params json.RawMessage `json:"params"`
	} `json:"loss_function"`
}

// classParams is model_info.class_params, before CatBoost 0.24.2 multiclass_params.
type classParams struct {
	Names   []json.RawMessage `json:"class_names"`
	ToLabel []json.RawMessage `json:"class_to_label"`
}

// info decodes one entry of model_info, which some versions write as a text that holds JSON.
func (f *modelFile) info(key string, into any) bool {
	raw := f.Info[key]
	if len(raw) == 0 || len(raw) > maxInfoBytes {
		return false
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		raw = []byte(text)
	}
	return json.Unmarshal(raw, into) == nil
}

// labels are the classes in the order of the outputs.
func (f *modelFile) labels(n int) []string {
	var c classParams
	if !f.info("class_params", &c) {
		f.info("multiclass_params", &c)
	}
	for _, list := range [][]json.RawMessage{c.Names, c.ToLabel} {
		if len(list) == n {
			return texts(list)
		}
	}
	numbers := make([]string, n)
	for i := range numbers {
		numbers[i] = strconv.Itoa(i)
	}
	return numbers
}

// texts are labels as people write them: strings as they are, whole numbers without a point.
func texts(labels []json.RawMessage) []string {
	out := make([]string, len(labels))
	for i, raw := range labels {
		var s string
		var v float64
		switch {
		case json.Unmarshal(raw, &s) == nil:
			out[i] = s
		case json.Unmarshal(raw, &v) == nil:
			out[i] = strconv.FormatFloat(v, 'f', -1, 64)
		default:
			out[i] = shorten(string(raw))
		}
	}
	return out
}
