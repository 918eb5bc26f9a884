package serving_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/plugins/compiler"
	"github.com/arbiterhq/arbiter/plugins/serving"
	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/engine"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/wasm"
	"github.com/arbiterhq/arbiter/sdk/realdata"
)

// biggerModel is the real churn model with so many trees: its 200, over and over.
func biggerModel(tb testing.TB, trees int) []byte {
	tb.Helper()
	source, err := os.ReadFile(realdata.Path(tb, "xgboost-telco-churn/model.xgb.json"))
	if err != nil {
		tb.Fatal(err)
	}
	var model map[string]any
	if err := json.Unmarshal(source, &model); err != nil {
		tb.Fatal(err)
	}
	inner := model["learner"].(map[string]any)["gradient_booster"].(map[string]any)["model"].(map[string]any)
	real := inner["trees"].([]any)
	var all, info []any
	for i := range trees {
		tree := maps.Clone(real[i%len(real)].(map[string]any))
		tree["id"] = i
		all, info = append(all, tree), append(info, 0)
	}
	inner["trees"], inner["tree_info"] = all, info
	inner["gbtree_model_param"].(map[string]any)["num_trees"] = fmt.Sprint(trees)
	grown, err := json.Marshal(model)
	if err != nil {
		tb.Fatal(err)
	}
	return grown
}

// byAction is a features file in which the price and the contract are those that an action would bring, so
// that the model tells for each action how likely the customer is to leave with it.
func byAction(header []string) string {
	var named, prefixes strings.Builder
	seen := map[string]bool{}
	for _, column := range header {
		attribute, level, oneHot := strings.Cut(column, "_")
		switch {
		case column == "MonthlyCharges":
			named.WriteString("  - {name: MonthlyCharges, actionProperty: monthlyCharges}\n")
		case attribute == "Contract":
			fmt.Fprintf(&named, "  - {name: %q, actionProperty: %q}\n", column, strings.ReplaceAll(level, " ", ""))
		case !oneHot:
			fmt.Fprintf(&named, "  - {name: %s, attribute: %s}\n", column, column)
		case !seen[attribute]:
			seen[attribute] = true
			fmt.Fprintf(&prefixes, "  %s_: %s\n", attribute, attribute)
		}
	}
	return "features:\n" + named.String() + "oneHotPrefixes:\n" + prefixes.String()
}

// manyActions is a catalog of 500 actions, of which the policies leave 100 for a customer who pays: each has
// three conditions, its own or of its group.
func manyActions() string {
	var b strings.Builder
	b.WriteString(`apiVersion: arbiter/v1
kind: Catalog
name: many
channels: [{name: web, placements: [hero, banner]}]
models: {churn: {plugin: churn}}
issues: [{name: Grow, groups: [{name: Plans, eligibility: [{when: 'subject.MonthlyCharges > 0.0'}]}]}]
actions:
`)
	for i := range 500 {
		fmt.Fprintf(&b, `  - {name: plan-%03d, issue: Grow, group: Plans, value: %d, propensity: {model: churn, invert: true},
     properties: {monthlyCharges: %d, Month-to-month: %d, Oneyear: %d, Twoyear: %d},
     eligibility: [{when: 'subject.tenure >= -%d'}], suitability: [{when: '%d < 100 || subject.tenure < -1'}],
     treatments: [{name: t, channel: web}]}
`, i, 20+i%40, 20+i%100, b2i(i%3 == 0), b2i(i%3 == 1), b2i(i%3 == 2), i%60, i)
	}
	return b.String()
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// BenchmarkDecision500 is a decision over 500 actions, of which 100 reach a model of 500 trees that scores
// each of them with features of its own, in process. cpu-µs/op is the processor time of the process.
func BenchmarkDecision500(b *testing.B) {
	model := loadTelco(b)
	features, err := compiler.LoadFeatures([]byte(byAction(readCSV(b, "xgboost-telco-churn/test_features.csv")[0])), "features.yaml")
	if err != nil {
		b.Fatal(err)
	}
	out, err := compiler.Compile(biggerModel(b, 500), compiler.Options{Name: "churn", Features: features})
	if err != nil {
		b.Fatal(err)
	}
	host := newHost(b, serving.Options{Sandbox: wasm.Config{Instances: 1}})
	if err := host.Prepare(b.Context(), out.Digest, out.Module); err != nil {
		b.Fatal(err)
	}
	set, err := host.NewSet(map[string]string{"churn": out.Digest}, model.dictionary)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(set.Release)
	policies, err := catalog.Compile([]byte(manyActions()), "many.yaml", catalog.Env{Dictionary: model.dictionary})
	if err != nil {
		b.Fatal(err)
	}
	req := &nba.DecisionRequest{Subject: nba.SubjectRef{ID: "S-1"}, Channel: "web", Options: nba.DecisionOptions{Explain: nba.ExplainFull}}
	if err := engine.ValidateRequest(req, policies); err != nil {
		b.Fatal(err)
	}
	in := engine.Input{Subject: model.customers[0], Dictionary: model.dictionary, Catalog: policies, Scorer: set, Request: req,
		DecisionID: "D", Now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
	e, decision, ctx := engine.New(engine.Options{}), &nba.Decision{}, context.Background()
	if err := e.Decide(ctx, in, decision); err != nil || decision.Degraded || len(decision.Explanation.Candidates) != 100 {
		b.Fatalf("%v: %+v", err, decision)
	}
	req.Options.Explain = nba.ExplainNone
	b.ReportAllocs()
	before := processorTime(b)
	for n := 0; b.Loop(); n++ {
		in.Subject = model.customers[n%len(model.customers)]
		if err := e.Decide(ctx, in, decision); err != nil || decision.Degraded {
			b.Fatal(err, decision.DegradedReason)
		}
	}
	b.ReportMetric(float64((processorTime(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
}

// processorTime is what the process has used so far.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
