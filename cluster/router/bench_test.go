package router

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/store/record"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

func testRef(i int) nba.SubjectRef {
	return nba.SubjectRef{ID: fmt.Sprintf("4479%08d", i*7919%100_000_000), Type: nba.Subscriber}
}

// testAttrs are 20 attributes like those of a telco customer.
func testAttrs(i int) []record.Attr {
	r := rand.New(rand.NewPCG(uint64(i), 1))
	attrs := make([]record.Attr, 0, 20)
	for id := range nba.AttributeID(20) {
		var v nba.Value
		switch id % 5 {
		case 0:
			v = nba.Bool(r.IntN(2) == 1)
		case 1:
			v = nba.Int(r.Int64N(100))
		case 2:
			v = nba.Float(float64(r.IntN(10000)) / 100)
		case 3:
			v = nba.String([]string{"Month-to-month", "One year", "Fiber optic", "Electronic check"}[r.IntN(4)])
		case 4:
			v = nba.TimeMillis(int64(r.IntN(20000)) * 86400000)
		}
		attrs = append(attrs, record.Attr{ID: id, Value: v})
	}
	return attrs
}

func testWrites(from, n int) []SubjectWrite {
	writes := make([]SubjectWrite, n)
	for i := range writes {
		encoded, err := record.Append(nil, testAttrs(from+i), 3, 4)
		if err != nil {
			panic(err)
		}
		writes[i] = SubjectWrite{Ref: testRef(from + i), Record: encoded}
	}
	return writes
}

// BenchmarkImport stores 100,000 new subjects of 20 attributes a round, in batches of 5,000.
func BenchmarkImport(b *testing.B) {
	const total, batch = 100_000, 5_000
	for round := 0; b.Loop(); round++ {
		b.StopTimer()
		r := openTest(b, b.TempDir(), nil)
		writes := testWrites(0, total)
		b.StartTimer()
		for at := 0; at < total; at += batch {
			if err := r.Import(context.Background(), writes[at:at+batch]); err != nil {
				b.Fatal(err)
			}
		}
		b.StopTimer()
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(total)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

func testDecision(ref nba.SubjectRef, now time.Time) *command.Decision {
	var entropy [10]byte
	for i := range entropy {
		entropy[i] = byte(rand.Uint32())
	}
	d := &command.Decision{
		ID: NewDecisionID(ref, now, entropy), Subject: ref, Time: now, Channel: "web", Direction: nba.Inbound, CatalogVersion: 12,
	}
	for i, action := range [...]string{"family-plan", "fiber-upgrade", "device-protection"} {
		d.Propositions = append(d.Propositions, command.Proposition{
			Placement: "hero", Rank: i + 1, Action: action, Treatment: action + "-web-hero", Propensity: 0.1234, Priority: 12.34,
			SelectionProbability: 1, ModelDigest: "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
		})
	}
	return d
}

// BenchmarkRecordDecision records decisions of 3 propositions from many callers at once.
func BenchmarkRecordDecision(b *testing.B) {
	for _, callers := range []int{1, 64, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			r := openTest(b, b.TempDir(), nil)
			const subjects = 20_000
			if err := r.Import(context.Background(), testWrites(0, subjects)); err != nil {
				b.Fatal(err)
			}
			var next atomic.Int64
			var mu sync.Mutex
			total := hdrhistogram.New(1, 10_000_000, 3)
			b.ResetTimer()
			var wg sync.WaitGroup
			for range callers {
				wg.Go(func() {
					mine := hdrhistogram.New(1, 10_000_000, 3)
					for next.Add(1) <= int64(b.N) {
						d := testDecision(testRef(rand.IntN(subjects)), time.Now())
						start := time.Now()
						if err := r.RecordDecision(context.Background(), d); err != nil {
							b.Error(err)
							return
						}
						_ = mine.RecordValue(time.Since(start).Microseconds())
					}
					mu.Lock()
					total.Merge(mine)
					mu.Unlock()
				})
			}
			wg.Wait()
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "decisions/s")
			b.ReportMetric(float64(total.ValueAtPercentile(50)), "p50-µs")
			b.ReportMetric(float64(total.ValueAtPercentile(99)), "p99-µs")
		})
	}
}

// BenchmarkAcquire reads a subject and one of its attributes.
func BenchmarkAcquire(b *testing.B) {
	const subjects = 100_000
	r := openTest(b, b.TempDir(), nil)
	if err := r.Import(context.Background(), testWrites(0, subjects)); err != nil {
		b.Fatal(err)
	}
	refs := make([]nba.SubjectRef, 4096)
	for i := range refs {
		refs[i] = testRef(rand.IntN(subjects))
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		s, err := r.Acquire(refs[i%len(refs)])
		if err != nil {
			b.Fatal(err)
		}
		if _, ok := s.Attribute(7); !ok {
			b.Fatal("attribute missing")
		}
		s.Release()
	}
}
