package xgboost

import (
	"strconv"
	"strings"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
)

// modelFile is what the reader keeps of a model file. Keys may come in any order, as they do: the
// library sorts them.
type modelFile struct {
	d      decoder
	format string

	learner      bool
	dump         bool // a key that only LightGBM's JSON dumps have
	booster      string
	objective    string
	alphas       string // of quantile and expectile regression
	parameters   map[string]string
	gbtree       map[string]string
	attributes   map[string]string
	names, types []string
	version      []int32

	trees   []tree
	nodes   int
	outputs []int32   // the output of each tree
	weights []float32 // of dropped trees
	linear  []float32 // of gblinear
	columns []column
	raw     rawTree // reused from tree to tree
}

// column is what a file says of the categories of a column: texts or whole numbers, in the order of
// their codes.
type column struct {
	texts   []string
	numbers []float64
}

func (f *modelFile) read() {
	d := f.d
	d.object(func(key string) {
		switch key {
		case "learner":
			f.learner = true
			d.object(f.learnerField)
		case "version":
			f.version = integers(d, f.version)
		case "tree_info", "tree_structure":
			f.dump = true
			d.skip()
		default:
			d.skip()
		}
	})
	d.end()
}

func (f *modelFile) learnerField(key string) {
	d := f.d
	switch key {
	case "learner_model_param":
		f.parameters = texts(d)
	case "attributes":
		f.attributes = texts(d)
	case "feature_names":
		f.names = names(d)
	case "feature_types":
		f.types = names(d)
	case "objective":
		d.object(f.objectiveField)
	case "gradient_booster":
		d.object(f.boosterField)
	default:
		d.skip()
	}
}

func (f *modelFile) objectiveField(key string) {
	switch key {
	case "name":
		f.objective = f.d.str()
	case "quantile_loss_param", "expectile_loss_param":
		p := texts(f.d)
		f.alphas = p["quantile_alpha"] + p["expectile_alpha"]
	default:
		f.d.skip()
	}
}

func (f *modelFile) boosterField(key string) {
	d := f.d
	switch key {
	case "name":
		f.booster = d.str()
	case "weight_drop":
		f.weights = floats(d, nil)
	case "model":
		d.object(f.modelField)
	case "gbtree": // dart up to 3.2 wraps it
		d.object(func(key string) {
			if key == "model" {
				d.object(f.modelField)
				return
			}
			d.skip()
		})
	default:
		d.skip()
	}
}

func (f *modelFile) modelField(key string) {
	d := f.d
	switch key {
	case "gbtree_model_param":
		f.gbtree = texts(d)
	case "tree_info":
		f.outputs = integers(d, nil)
	case "trees":
		d.array(f.tree)
	case "weight_drop": // since 3.4
		f.weights = floats(d, nil)
	case "weights": // gblinear
		f.linear = floats(d, nil)
	case "cats": // since 3.1
		d.object(func(key string) {
			if key == "enc" {
				d.array(f.column)
				return
			}
			d.skip()
		})
	default:
		d.skip()
	}
}

// column reads the categories of a column: whole numbers, or bytes of texts with where each starts.
func (f *modelFile) column() {
	d := f.d
	var offsets []int32
	var values []int64
	text := false
	d.object(func(key string) {
		switch key {
		case "offsets":
			text = true
			offsets = integers(d, nil)
		case "values":
			d.array(func() {
				if v := d.integer(); grown(d, len(values)) {
					values = append(values, v)
				}
			})
		default:
			d.skip()
		}
	})
	if len(f.columns) >= maxTexts {
		d.stop(ir.Invalid("the model has more than %d columns; select features before training", maxTexts))
		return
	}
	var c column
	for _, v := range values {
		if !text {
			c.numbers = append(c.numbers, float64(v))
		}
	}
	for i := 1; i < len(offsets); i++ {
		from, to := offsets[i-1], offsets[i]
		if from < 0 || to < from || int(to) > len(values) {
			d.stop(ir.Invalid("the categories of column %d are malformed; %s", len(f.columns), remedy))
			return
		}
		b := make([]byte, 0, to-from)
		for _, v := range values[from:to] {
			b = append(b, byte(v))
		}
		c.texts = append(c.texts, strings.ToValidUTF8(string(b), "\uFFFD"))
	}
	f.columns = append(f.columns, c)
}

// parameter is a whole number among the learner's parameters, absent when it is missing.
func (f *modelFile) parameter(name string, absent int) (int, error) {
	text, ok := f.parameters[name]
	if !ok {
		return absent, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, ir.Invalid("%s is no whole number; %s", name, remedy)
	}
	return n, nil
}

// since tells whether the file was written by a version from major.minor on. Files of 1.0 and later
// tell their version.
func (f *modelFile) since(major, minor int32) bool {
	return len(f.version) >= 2 && (f.version[0] > major || f.version[0] == major && f.version[1] >= minor)
}

func (f *modelFile) library() string {
	parts := make([]string, 0, 3)
	for _, v := range f.version[:min(len(f.version), 3)] {
		parts = append(parts, strconv.Itoa(int(v)))
	}
	return strings.TrimSpace("xgboost " + strings.Join(parts, "."))
}
