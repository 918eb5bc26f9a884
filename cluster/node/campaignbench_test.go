package node

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/cluster/importer"
	"github.com/arbiterhq/arbiter/plugins/compiler"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// The shape of the model of the benchmark: 50 features, the last 5 of them properties of the actions.
const (
	benchModel      = "lightgbm-100x31-f50.lgb.txt"
	benchAttributes = 45
	benchProperties = 5
	benchActions    = 20
)

// campaignBenchCatalog has 20 actions that one model scores, and contact limits.
func campaignBenchCatalog() string {
	var b strings.Builder
	b.WriteString("apiVersion: arbiter/v1\nkind: Catalog\nname: bench\nchannels: [{name: sms, direction: outbound, placements: [message]}, {name: web, placements: [hero]}]\n" +
		"models: {uptake: {plugin: uptake}}\nissues: [{name: Grow, groups: [{name: Plans}]}]\nactions:\n")
	random := rand.New(rand.NewPCG(1, 2))
	for i := range benchActions {
		fmt.Fprintf(&b, "  - {name: a%02d, issue: Grow, group: Plans, purpose: service, value: %d, propensity: {model: uptake}, properties: {", i, 10+i)
		for j := range benchProperties {
			fmt.Fprintf(&b, "p%d: %d, ", j, random.IntN(6))
		}
		fmt.Fprintf(&b, "p9: 0}, eligibility: [{when: '!has(subject.f4) || subject.f4 >= 0.0'}], treatments: [{name: t, channel: sms}, {name: w, channel: web}]}\n")
	}
	b.WriteString("contactPolicies:\n  - {name: weekly, limit: 2, per: 7d, direction: outbound, counting: decisions}\n  - {name: same, coolOff: 30d, same: [action]}\n" +
		"campaigns: [{name: bench, purpose: service, channels: [sms], holdout: 5}]\n")
	return b.String()
}

// benchModule compiles the model of the benchmark; the folder is that of make bench-models.
func benchModule(t *testing.T, folder string) []byte {
	t.Helper()
	model, err := os.ReadFile(filepath.Join(folder, benchModel))
	if err != nil {
		t.Skipf("SKIPPED: no model: run make bench-models once (%v)", err)
	}
	var text strings.Builder
	text.WriteString("purpose: service\nfeatures:\n")
	for i := range benchAttributes {
		fmt.Fprintf(&text, "  - {name: f%d, attribute: f%d}\n", i, i)
	}
	for i := range benchProperties {
		fmt.Fprintf(&text, "  - {name: f%d, actionProperty: p%d}\n", benchAttributes+i, i)
	}
	features, err := compiler.LoadFeatures([]byte(text.String()), "features.yaml")
	if err != nil {
		t.Fatalf("%+v", err)
	}
	out, err := compiler.Compile(model, compiler.Options{Name: "uptake", Version: "1.0.0", Features: features})
	if err != nil {
		t.Fatal(err)
	}
	return out.Module
}

// benchCustomer has columns as those the model was trained on.
func benchCustomer(random *rand.Rand) (row [benchAttributes + benchProperties]float64) {
	for i := range row {
		switch i % 7 {
		case 0:
			row[i] = math.Exp(3 + 0.8*random.NormFloat64())
		case 1:
			if random.Float64() > 0.4 {
				row[i] = 600 * random.ExpFloat64()
			}
		case 5:
			if row[i] = random.Float64(); random.Float64() < 0.15 {
				row[i] = math.NaN()
			}
		default:
			row[i] = float64(random.IntN([]int{1, 1, 6, 2, 73, 1, 6}[i%7]))
		}
	}
	return row
}

// loadBench brings subjects in, by way of n.
func loadBench(t *testing.T, n *Node, module []byte, subjects int) {
	t.Helper()
	ctx := t.Context()
	var declared []nba.AttributeDeclaration
	for i := range benchAttributes {
		declared = append(declared, nba.AttributeDeclaration{Name: "f" + strconv.Itoa(i), Type: nba.KindFloat, Purposes: []string{nba.PurposeService}})
	}
	if _, err := n.DeclareAttributes(ctx, declared); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(3, 4))
	for at := 0; at < subjects; {
		var lines bytes.Buffer
		for chunk := min(subjects-at, 5000); chunk > 0; chunk, at = chunk-1, at+1 {
			fmt.Fprintf(&lines, `{"id":"S-%07d","attributes":{`, at)
			row := benchCustomer(random)
			comma := ""
			for i, x := range row[:benchAttributes] {
				if x == x {
					fmt.Fprintf(&lines, `%s"f%d":%.4g`, comma, i, x)
					comma = ","
				}
			}
			lines.WriteString("}}\n")
		}
		if _, err := n.ImportSubjects(ctx, &lines, importer.Spec{Format: importer.FormatNDJSON}, func(r importer.Result) error { return fmt.Errorf("%+v", r) }); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := n.PushPlugin(ctx, module, true); err != nil {
		t.Fatal(err)
	}
	version, err := n.PutCatalog(ctx, []byte(campaignBenchCatalog()), "*")
	if err == nil {
		_, err = n.ActivateCatalog(ctx, version.Version, "")
	}
	if err != nil {
		t.Fatalf("%+v", err)
	}
}

// lightgbmRow is what LightGBM's own C API takes to score 20 rows in one call, in processor time; 0 where it is
// not at hand.
func lightgbmRow(t *testing.T, folder string) time.Duration {
	t.Helper()
	const rows = 2000
	library := os.Getenv("ARBITER_LIGHTGBM")
	data := filepath.Join(t.TempDir(), "rows")
	var b []byte
	random := rand.New(rand.NewPCG(5, 6))
	for range rows {
		for _, x := range benchCustomer(random) {
			b = binary.LittleEndian.AppendUint64(b, math.Float64bits(x))
		}
	}
	if err := os.WriteFile(data, b, 0o600); err != nil {
		t.Fatal(err)
	}
	harness := exec.CommandContext(t.Context(), filepath.Join(folder, "libraries"), strconv.Itoa(rows), strconv.Itoa(benchAttributes+benchProperties),
		strconv.Itoa(benchActions), "1000", data, "lightgbm", library, filepath.Join(folder, benchModel))
	harness.Stdin = strings.NewReader("go\n")
	out, err := harness.CombinedOutput()
	fields := strings.Fields(string(out))
	if library == "" || err != nil || len(fields) < 2 {
		t.Logf("SKIPPED LightGBM's C API: %v %.200s", err, out)
		return 0
	}
	nanos, err := strconv.ParseFloat(fields[len(fields)-1], 64)
	if err != nil {
		t.Fatalf("%s", out)
	}
	return time.Duration(nanos * benchActions)
}

// TestCampaignFigures measures a whole campaign on three nodes in this process: subjects of the number in
// ARBITER_BENCH_SUBJECTS and a tenth of them, 20 actions, one model of 100 trees, contact limits. ARBITER_BENCH_MODELS
// is the folder of make bench-models, ARBITER_LIGHTGBM the library.
func TestCampaignFigures(t *testing.T) {
	folder := os.Getenv("ARBITER_BENCH_MODELS")
	if folder == "" {
		t.Skip("a benchmark: make bench-campaign")
	}
	most, err := strconv.Atoi(os.Getenv("ARBITER_BENCH_SUBJECTS"))
	if err != nil {
		t.Fatal(err)
	}
	module := benchModule(t, folder)
	native := lightgbmRow(t, folder)
	var each []float64
	for _, subjects := range []int{most / 10, most} {
		t.Run(strconv.Itoa(subjects), func(t *testing.T) {
			cluster := openCluster(t, 3, 4)
			loadBench(t, cluster[0], module, subjects)
			runtime.GC()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			cpu, began := cpuTime(t), time.Now()
			run := startCampaign(t, cluster[0], "bench")
			peak := uint64(0)
			for run.State == "running" {
				time.Sleep(20 * time.Millisecond)
				runtime.ReadMemStats(&after)
				peak = max(peak, after.HeapInuse)
				if run, err = cluster[0].CampaignRun(t.Context(), "bench", run.ID); err != nil {
					t.Fatal(err)
				}
			}
			took, used := time.Since(began), cpuTime(t)-cpu
			per := used / time.Duration(subjects)
			each = append(each, float64(per))
			if run.Contacted+run.HeldOut != uint64(subjects) {
				t.Errorf("%+v", run)
			}
			t.Logf("FIGURES subjects %d: %.0f decisions/s, %v processor time a subject (three nodes), heap at most %d MiB (before %d MiB), LightGBM's 20 rows %v, ratio %.2f",
				subjects, float64(run.Contacted)/took.Seconds(), per, peak>>20, before.HeapInuse>>20, native, float64(per)/max(1, float64(native)))
		})
	}
	t.Run("live", func(t *testing.T) { liveFigures(t, module, most) })
	if len(each) == 2 {
		t.Logf("FIGURES growth from %d to %d subjects: %.2f", most/10, most, each[1]/each[0])
	}
}

// liveFigures compares the latency of decisions of a channel while a campaign runs with that before.
func liveFigures(t *testing.T, module []byte, subjects int) {
	cluster := openCluster(t, 3, 4)
	loadBench(t, cluster[0], module, subjects)
	liveCalls(t, cluster, subjects, 500) // until everything is warm
	alone := liveCalls(t, cluster, subjects, 2000)
	run := startCampaign(t, cluster[0], "bench")
	beside := liveCalls(t, cluster, subjects, 2000)
	run, err := cluster[0].CampaignRun(t.Context(), "bench", run.ID)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("FIGURES live decisions at %d a second: p50 %v p99 %v alone, p50 %v p99 %v beside a campaign (%s, %d of %d looked at), p99 ratio %.2f", liveRate,
		alone[len(alone)/2], alone[len(alone)*99/100], beside[len(beside)/2], beside[len(beside)*99/100], run.State, run.Examined, subjects,
		float64(beside[len(beside)*99/100])/float64(alone[len(alone)*99/100]))
}

// liveRate is how many decisions of a channel are asked for in a second.
const liveRate = 300

// liveCalls makes decisions at a steady rate, whether or not earlier ones were answered, and gives how long each
// took from when it should have begun, sorted.
func liveCalls(t *testing.T, cluster []*Node, subjects, count int) []time.Duration {
	took := make([]time.Duration, count)
	var work sync.WaitGroup
	random := rand.New(rand.NewPCG(7, 8))
	for i := range count {
		at := time.Now()
		id := fmt.Sprintf("S-%07d", random.IntN(subjects))
		work.Go(func() {
			var d nba.Decision
			if err := cluster[i%len(cluster)].Decide(t.Context(), request(id, "web"), &d); err != nil {
				t.Error(err)
			}
			took[i] = time.Since(at)
		})
		time.Sleep(time.Until(at.Add(time.Second / liveRate)))
	}
	work.Wait()
	slices.Sort(took)
	return took
}
