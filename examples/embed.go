package examples

import _ "embed"

var (
	//go:embed catalog.yaml
	catalog []byte
	//go:embed model/churn.xgb.json
	churnModel []byte
	//go:embed model/features.yaml
	churnFeatures []byte
	//go:embed model/churn.rows.csv
	churnRows []byte
	//go:embed model/churn.expected.csv
	churnExpected []byte
	//go:embed subscribers.mapping.yaml
	subscriberMapping []byte
)

// Catalog is the catalog of the demo operator, YAML. The caller must not change it.
func Catalog() []byte { return catalog }

// ChurnModel is the churn model of the demo operator as XGBoost saved it, JSON. Its catalog calls
// the plugin ChurnPlugin. The caller must not change it.
func ChurnModel() []byte { return churnModel }

// ChurnFeatures holds the recipes of the churn model's features, YAML. The caller must not change it.
func ChurnFeatures() []byte { return churnFeatures }

// ChurnGolden are rows of the churn model's features and what XGBoost made of them, two CSV files line
// by line: whoever compiles the model can check the result. The caller must not change them.
func ChurnGolden() (rows, expected []byte) { return churnRows, churnExpected }

// SubscriberMapping maps the columns that WriteSubscribers writes to attributes, YAML. The caller
// must not change it.
func SubscriberMapping() []byte { return subscriberMapping }

// The plugin that the demo catalog names, and the version as which the demo pushes it.
const (
	ChurnPlugin  = "churn"
	ChurnVersion = "1.0.0"
)
