package serving_test

import (
	"context"
	"encoding/csv"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/tetratelabs/wazero"

	"github.com/arbiterhq/arbiter/plugins/admission"
	"github.com/arbiterhq/arbiter/plugins/compiler"
	"github.com/arbiterhq/arbiter/plugins/serving"
	"github.com/arbiterhq/arbiter/runtime/consent"
	"github.com/arbiterhq/arbiter/runtime/engine"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/wasm"
	"github.com/arbiterhq/arbiter/sdk/realdata"
)

// telco is the real 200-tree churn model with the customers of its test file, turned back from one-hot
// columns into the attributes they were made of.
type telco struct {
	dictionary *nba.Dictionary
	module     []byte
	digest     string
	customers  []*row
	features   [][]float64
	want       []float64
}

// row is an nba.Subject whose attributes stand in the order of their ids, as fast as a record can be.
type row struct{ values []nba.Value }

func (*row) Ref() nba.SubjectRef { return nba.SubjectRef{ID: "S-1", Type: nba.Subscriber} }
func (*row) Version() uint64     { return 1 }
func (r *row) Attribute(id nba.AttributeID) (nba.Value, bool) {
	v := r.values[id]
	return v, v.Kind() != nba.KindInvalid
}
func (*row) Granted() nba.PurposeSet { return ^nba.PurposeSet(0) }

func readCSV(tb testing.TB, name string) [][]string {
	tb.Helper()
	f, err := os.Open(realdata.Path(tb, name))
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	records, err := csv.NewReader(f).ReadAll()
	if err != nil {
		tb.Fatal(err)
	}
	return records
}

func loadTelco(tb testing.TB) *telco {
	tb.Helper()
	model, err := os.ReadFile(realdata.Path(tb, "xgboost-telco-churn/model.xgb.json"))
	if err != nil {
		tb.Fatal(err)
	}
	rows := readCSV(tb, "xgboost-telco-churn/test_features.csv")
	expected := readCSV(tb, "xgboost-telco-churn/test_expected.csv")
	header := rows[0]

	// tenure is an attribute, Contract_One year a level of the attribute Contract. Those with the
	// levels Yes and No alone become bools, as an import types them.
	levels := map[string][]string{}
	yaml := &strings.Builder{}
	yaml.WriteString("features:\n")
	for _, column := range header[:4] {
		yaml.WriteString("  - {name: " + column + ", attribute: " + column + "}\n")
	}
	yaml.WriteString("oneHotPrefixes:\n")
	for _, column := range header[4:] {
		attribute, level, _ := strings.Cut(column, "_")
		if levels[attribute] == nil {
			yaml.WriteString("  " + attribute + "_: " + attribute + "\n")
		}
		levels[attribute] = append(levels[attribute], level)
	}
	features, err := compiler.LoadFeatures([]byte(yaml.String()), "features.yaml")
	if err != nil {
		tb.Fatal(err)
	}
	out, err := compiler.Compile(model, compiler.Options{Name: "churn", Features: features})
	if err != nil {
		tb.Fatal(err)
	}
	t := &telco{module: out.Module, digest: out.Digest}
	declarations := []nba.AttributeDeclaration{{Name: header[0], Type: nba.KindBool}, {Name: header[1], Type: nba.KindInt},
		{Name: header[2], Type: nba.KindFloat}, {Name: header[3], Type: nba.KindFloat}}
	for _, column := range header[4:] {
		attribute, _, _ := strings.Cut(column, "_")
		kind := nba.KindString
		if slices.Equal(levels[attribute], []string{"No", "Yes"}) {
			kind = nba.KindBool
		}
		declarations = append(declarations, nba.AttributeDeclaration{Name: attribute, Type: kind})
	}
	if t.dictionary, _, err = nba.NewDictionary().Declare(declarations); err != nil {
		tb.Fatal(err)
	}
	for n, record := range rows[1:] {
		t.addCustomer(tb, header, record, out.Manifest.SubjectFeatures())
		p, err := strconv.ParseFloat(expected[n+1][2], 64)
		if err != nil {
			tb.Fatal(err)
		}
		t.want = append(t.want, p)
	}
	return t
}

func (t *telco) addCustomer(tb testing.TB, header, record []string, features int) {
	tb.Helper()
	if features != len(header) {
		tb.Fatalf("the model has %d subject features, the file %d columns", features, len(header))
	}
	customer := &row{values: make([]nba.Value, len(t.dictionary.Attributes()))}
	var numbers []float64
	for i, column := range header {
		f := math.NaN()
		if record[i] != "" {
			var err error
			if f, err = strconv.ParseFloat(record[i], 64); err != nil {
				tb.Fatal(err)
			}
		}
		numbers = append(numbers, f)
		name, level, oneHot := strings.Cut(column, "_")
		a, ok := t.dictionary.Attribute(name)
		switch {
		case !ok:
			tb.Fatalf("no attribute %s", name)
		case math.IsNaN(f) || oneHot && f == 0:
			continue
		case !oneHot:
			level = strconv.FormatFloat(f, 'g', -1, 64)
		}
		v, err := nba.ParseValue(a.Type, level)
		if err != nil {
			tb.Fatal(err)
		}
		customer.values[a.ID] = v
	}
	t.customers = append(t.customers, customer)
	t.features = append(t.features, numbers)
}

func (t *telco) set(tb testing.TB, config wasm.Config) *serving.Set {
	tb.Helper()
	h := newHost(tb, serving.Options{Sandbox: config})
	if err := h.Prepare(context.Background(), t.digest, t.module); err != nil {
		tb.Fatal(err)
	}
	s, err := h.NewSet(map[string]string{"churn": t.digest}, t.dictionary)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Release)
	return s
}

// call is a decision of 12 actions about a customer.
func (t *telco) call(customer int) *engine.ScoreCall {
	c := &engine.ScoreCall{Model: "churn", Subject: t.customers[customer], Out: make([]float64, 12),
		Mask: consent.Mask(t.dictionary, t.customers[customer].Granted())}
	for range c.Out {
		c.Candidates = append(c.Candidates, action{})
	}
	return c
}

// Every customer's attributes, through recipes, consent mask, guest memory and metered guest, give the
// probability that the library gave for the one-hot columns.
func TestTelcoProbabilities(t *testing.T) {
	model := loadTelco(t)
	s := model.set(t, wasm.Config{Instances: 1})
	c := model.call(0)
	for n, customer := range model.customers {
		c.Subject = customer
		if _, err := s.Score(context.Background(), c); err != nil {
			t.Fatal(err)
		}
		if got := c.Out[11]; math.Abs(got-model.want[n]) > 2e-7*model.want[n]+5e-9 { // the file has 7 digits
			t.Errorf("customer %d: %v, want %v", n, got, model.want[n])
		}
	}
}

func TestScoreAllocatesNothing(t *testing.T) {
	model := loadTelco(t)
	s := model.set(t, wasm.Config{Instances: 1})
	ctx := context.Background()
	calls := []*engine.ScoreCall{model.call(0), model.call(1), model.call(2)}
	n := 0
	allocs := testing.AllocsPerRun(200, func() {
		if _, err := s.Score(ctx, calls[n%len(calls)]); err != nil {
			t.Fatal(err)
		}
		n++
	})
	if allocs != 0 {
		t.Errorf("%v allocations a Score, want 0", allocs)
	}
}

// rawGuest is the module as pushed, not metered, called without any of this package.
type rawGuest struct {
	call  func(args []uint64) error
	write func(features []byte)
	args  [6]uint64
}

func newRawGuest(tb testing.TB, module []byte, features int) *rawGuest {
	tb.Helper()
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler())
	tb.Cleanup(func() { _ = r.Close(ctx) })
	m, err := r.Instantiate(ctx, module)
	if err != nil {
		tb.Fatal(err)
	}
	at, err := m.ExportedFunction("arbiter_reserve").Call(ctx, uint64(features), 1, 0)
	if err != nil {
		tb.Fatal(err)
	}
	in, out := at[0]>>32, at[0]&math.MaxUint32
	score := m.ExportedFunction("arbiter_score")
	return &rawGuest{
		call:  func(stack []uint64) error { return score.CallWithStack(ctx, stack) },
		write: func(b []byte) { m.Memory().Write(uint32(in), b) },
		args:  [6]uint64{in, uint64(features), wasm.AlignUp(in + 8*uint64(features)), 1, 0, out},
	}
}

// BenchmarkGuestCall compares with the same module, not metered, called raw through wazero's
// CallWithStack with its features written in one copy:
//   - pool: an instance taken from the pool, the same copy, fuel granted, the metered module called;
//   - score: Set.Score for 12 actions, with attributes made into features and metrics counted.
//
// Rounds alternate, so that the medians of the ratios, x-pool and x-score, are worth more than times.
func BenchmarkGuestCall(b *testing.B) {
	model := loadTelco(b)
	s, pool := model.set(b, wasm.Config{Instances: 1}), model.pool(b)
	raw := newRawGuest(b, model.module, len(model.features[0]))
	ctx := context.Background()
	rows := make([][]byte, len(model.features))
	for n, features := range model.features {
		rows[n] = make([]byte, 8*len(features))
		for i, f := range features {
			wasm.PutFloat(rows[n], i, f)
		}
	}
	c := model.call(0)
	var stack [6]uint64
	legs := [3]func(n int) error{
		func(n int) error {
			raw.write(rows[n])
			stack = raw.args
			return raw.call(stack[:])
		},
		func(n int) error {
			instance, err := pool.Acquire(ctx)
			if err != nil {
				return err
			}
			copy(instance.Subject(), rows[n])
			_, err = instance.Score(ctx, 1)
			pool.Put(instance)
			return err
		},
		func(n int) error {
			c.Subject = model.customers[n]
			_, err := s.Score(ctx, c)
			return err
		},
	}
	const round = 500
	var times, ratios [3][]float64
	at := 0
	b.ReportAllocs()
	for b.Loop() {
		var took [3]float64
		for leg, call := range legs {
			began := time.Now()
			for n := range round {
				if err := call((at + n) % len(rows)); err != nil {
					b.Fatal(err)
				}
			}
			took[leg] = float64(time.Since(began)) / round
		}
		for leg := range legs {
			times[leg], ratios[leg] = append(times[leg], took[leg]), append(ratios[leg], took[leg]/took[0])
		}
		at += round
	}
	for leg, name := range [...]string{"raw", "pool", "score"} {
		b.ReportMetric(median(times[leg]), name+"-ns")
		if leg > 0 {
			b.ReportMetric(median(ratios[leg]), "x-"+name)
		}
	}
}

// pool is the metered module without a Set.
func (t *telco) pool(tb testing.TB) *wasm.Pool {
	tb.Helper()
	sandbox, err := wasm.New(wasm.Config{Instances: 1})
	if err != nil {
		tb.Fatal(err)
	}
	admitted, err := admission.Admit(context.Background(), sandbox, t.module, admission.Policy{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		admitted.Pool.Release()
		if err := sandbox.Close(context.Background()); err != nil {
			tb.Error(err)
		}
	})
	return admitted.Pool
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

// BenchmarkPrepare is what a push or a restart costs: admission, compilation, instances. With a cache
// the machine code is read from disk, but the artifact is admitted all the same.
func BenchmarkPrepare(b *testing.B) {
	model := loadTelco(b)
	for _, cached := range []bool{false, true} {
		b.Run(fmt.Sprintf("cached=%v", cached), func(b *testing.B) {
			var config wasm.Config
			if cached {
				config.CacheDir = b.TempDir()
			}
			for b.Loop() {
				h, err := serving.NewHost(serving.Options{Sandbox: config})
				if err != nil {
					b.Fatal(err)
				}
				if err := h.Prepare(context.Background(), model.digest, model.module); err != nil {
					b.Fatal(err)
				}
				if err := h.Close(context.Background()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkScoreParallel shows what sharing a Set and its pool costs, with one goroutine and with 50 for
// each processor; waits/op is the part of the calls that waited for an instance.
func BenchmarkScoreParallel(b *testing.B) {
	model := loadTelco(b)
	for _, goroutines := range []int{1, 50} {
		b.Run(fmt.Sprintf("goroutines=%d", goroutines), func(b *testing.B) {
			registry := prometheus.NewRegistry()
			s := model.set(b, wasm.Config{Registerer: registry})
			b.SetParallelism(goroutines)
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				c := model.call(0)
				for pb.Next() {
					if !s.Acquire() {
						b.Error("the set is closed")
						return
					}
					if _, err := s.Score(context.Background(), c); err != nil {
						b.Error(err)
					}
					s.Release()
				}
			})
			b.ReportMetric(counter(b, registry, "arbiter_wasm_pool_waits_total")/float64(b.N), "waits/op")
		})
	}
}

func counter(tb testing.TB, metrics *prometheus.Registry, name string) float64 {
	tb.Helper()
	families, err := metrics.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			return family.GetMetric()[0].GetCounter().GetValue()
		}
	}
	tb.Fatalf("no metric %s", name)
	return 0
}
