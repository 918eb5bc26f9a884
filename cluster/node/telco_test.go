package node

import (
	"context"
	"encoding/csv"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/arbiterhq/arbiter/cluster/importer"
	"github.com/arbiterhq/arbiter/plugins/compiler"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/sdk/realdata"
)

const retentionCatalog = `
apiVersion: arbiter/v1
kind: Catalog
name: telco-retention
channels: [{name: web, direction: inbound, placements: [hero]}]
models: {churn: {plugin: churn}}
issues: [{name: Retain, groups: [{name: Loyalty}]}]
actions:
  - name: loyalty-discount
    label: Loyalty discount
    issue: Retain
    group: Loyalty
    value: 100
    propensity: {model: churn, starting: 0.1}
    treatments: [{name: loyalty-web, channel: web, placements: [hero]}]
`

// TestRealCustomersGetTheReferencePropensity takes the real customers from the raw file to a
// decision, and compares the propensity with what the library that trained the model said of the
// same customer: attributes, one-hot recipes, sandbox and engine together.
func TestRealCustomersGetTheReferencePropensity(t *testing.T) {
	customers := readCSV(t, realdata.Path(t, "telco-ibm/Telco-Customer-Churn.csv"))
	rows := readCSV(t, realdata.Path(t, "xgboost-telco-churn/test_features.csv"))
	expected := readCSV(t, realdata.Path(t, "xgboost-telco-churn/test_expected.csv"))
	n := openNode(t, t.TempDir())
	loadTelco(t, n)

	// A customer is found in the test rows by its features; equal customers have equal features.
	probability := map[string]float64{}
	for i, row := range rows.records {
		p, err := strconv.ParseFloat(expected.records[i][slices.Index(expected.header, "prob")], 64)
		if err != nil {
			t.Fatal(err)
		}
		probability[key(row)] = p
	}
	matched := 0
	for _, customer := range customers.records {
		want, ok := probability[key(oneHot(rows.header, customers.header, customer))]
		if !ok {
			continue
		}
		matched++
		var d nba.Decision
		if err := n.Decide(t.Context(), request(customer[0], "web"), &d); err != nil {
			t.Fatal(err)
		}
		got := d.Propositions[0].Items[0].Propensity
		if d.Degraded || math.Abs(got-want) > 2*ulp32(want) {
			t.Fatalf("customer on line %d: propensity %v, the library says %v (degraded: %v)", matched, got, want, d.Degraded)
		}
	}
	if matched < len(rows.records)*9/10 {
		t.Errorf("only %d of %d test rows were found among the customers", matched, len(rows.records))
	}
	t.Logf("%d customers got the propensity of the library", matched)
}

// ulp32 is the distance between p and the next float32.
func ulp32(p float64) float64 {
	return float64(math.Nextafter32(float32(p), 2)) - float64(float32(p))
}

func loadTelco(t *testing.T, n *Node) {
	t.Helper()
	folder := filepath.Join("..", "..", "examples", "telco-ibm")
	mapping, err := importer.ParseMapping(readFile(t, filepath.Join(folder, "mapping.yaml")), "mapping.yaml")
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(realdata.Path(t, "telco-ibm/Telco-Customer-Churn.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	summary, err := n.ImportSubjects(context.Background(), file, importer.Spec{Mapping: mapping}, func(importer.Result) error { return nil })
	if err != nil || summary.Accepted != 7043 || summary.Rejected != 0 || summary.Blank != 11 {
		t.Fatalf("import: %+v, %v", summary, err)
	}
	features, err := compiler.LoadFeatures(readFile(t, filepath.Join(folder, "features.yaml")), "features.yaml")
	if err != nil {
		t.Fatal(err)
	}
	out, err := compiler.Compile(readFile(t, realdata.Path(t, "xgboost-telco-churn/model.xgb.json")), compiler.Options{Name: "churn", Features: features})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.PushPlugin(t.Context(), out.Module, true); err != nil {
		t.Fatal(err)
	}
	stored, err := n.PutCatalog(t.Context(), []byte(retentionCatalog), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.ActivateCatalog(t.Context(), stored.Version, ""); err != nil {
		t.Fatal(err)
	}
}

// oneHot computes the features of a customer as the training script did, independently of recipes.
func oneHot(features, columns, customer []string) []string {
	out := make([]string, len(features))
	for i, feature := range features {
		if c := slices.Index(columns, feature); c >= 0 {
			out[i] = customer[c]
			continue
		}
		column, level, _ := strings.Cut(feature, "_")
		out[i] = "0"
		if customer[slices.Index(columns, column)] == level {
			out[i] = "1"
		}
	}
	return out
}

// key makes rows comparable whatever their number format; a blank is missing.
func key(row []string) string {
	var b strings.Builder
	for _, cell := range row {
		f, err := strconv.ParseFloat(strings.TrimSpace(cell), 64)
		if err != nil {
			f = math.NaN()
		}
		b.WriteString(strconv.FormatFloat(f, 'g', -1, 64) + " ")
	}
	return b.String()
}

type table struct {
	header  []string
	records [][]string
}

func readCSV(t *testing.T, path string) table {
	t.Helper()
	rows, err := csv.NewReader(strings.NewReader(string(readFile(t, path)))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return table{rows[0], rows[1:]}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
