package serving_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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

// TestPoolSizeChangesNothing makes the same decisions with one instance of the model and with several, one
// after another and all at once.
func TestPoolSizeChangesNothing(t *testing.T) {
	model := loadTelco(t)
	in, out := manyInput(t, model, 20)
	want := make([]nba.Decision, 40)
	for _, instances := range []int{1, 4} {
		in.Scorer = setOf(t, model, out, instances)
		got := make([]nba.Decision, len(want))
		e := engine.New(engine.Options{})
		var wg sync.WaitGroup
		for n := range got {
			own := in
			own.Subject = model.customers[n]
			wg.Go(func() {
				if err := e.Decide(context.Background(), own, &got[n]); err != nil || got[n].Degraded {
					t.Errorf("%v %s", err, got[n].DegradedReason)
				}
			})
			if instances == 1 {
				wg.Wait()
			}
		}
		wg.Wait()
		if instances == 1 {
			want = got
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
}

// BenchmarkDecision500 is a decision over 500 actions, of which 100 reach a model of 500 trees that scores
// each of them with features of its own, in process. cpu-µs/op is the processor time of the process.
func BenchmarkDecision500(b *testing.B) {
	model := loadTelco(b)
	in, out := manyInput(b, model, 500)
	in.Scorer = setOf(b, model, out, 1)
	e, decision, ctx := engine.New(engine.Options{}), &nba.Decision{}, context.Background()
	in.Request.Options.Explain = nba.ExplainFull
	if err := e.Decide(ctx, in, decision); err != nil || decision.Degraded || len(decision.Explanation.Candidates) != 100 {
		b.Fatalf("%v: %+v", err, decision)
	}
	in.Request.Options.Explain = nba.ExplainNone
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

// manyInput is a decision over many actions, and the model of so many trees that scores them.
func manyInput(tb testing.TB, model *telco, trees int) (engine.Input, *compiler.Output) {
	tb.Helper()
	features, err := compiler.LoadFeatures([]byte(byAction(readCSV(tb, "xgboost-telco-churn/test_features.csv")[0])), "features.yaml")
	if err != nil {
		tb.Fatal(err)
	}
	out, err := compiler.Compile(biggerModel(tb, trees), compiler.Options{Name: "churn", Features: features})
	if err != nil {
		tb.Fatal(err)
	}
	policies, err := catalog.Compile([]byte(manyActions()), "many.yaml", catalog.Env{Dictionary: model.dictionary})
	if err != nil {
		tb.Fatal(err)
	}
	req := &nba.DecisionRequest{Subject: nba.SubjectRef{ID: "S-1"}, Channel: "web"}
	if err := engine.ValidateRequest(req, policies); err != nil {
		tb.Fatal(err)
	}
	return engine.Input{Subject: model.customers[0], Dictionary: model.dictionary, Catalog: policies, Request: req, DecisionID: "D",
		Now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}, out
}

// setOf serves the model with so many instances.
func setOf(tb testing.TB, model *telco, out *compiler.Output, instances int) *serving.Set {
	tb.Helper()
	host := newHost(tb, serving.Options{Sandbox: wasm.Config{Instances: instances}})
	if err := host.Prepare(context.Background(), out.Digest, out.Module); err != nil {
		tb.Fatal(err)
	}
	set, err := host.NewSet(map[string]string{"churn": out.Digest}, model.dictionary)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(set.Release)
	return set
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
