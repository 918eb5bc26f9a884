package node

import (
	"bytes"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/examples"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// withoutContacts is the demo's catalog without its contact policies.
func withoutContacts(document []byte) []byte {
	from, to := bytes.Index(document, []byte("timeZone:")), bytes.Index(document, []byte("fallback:"))
	if from < 0 || to < from {
		return document
	}
	return append(append([]byte(nil), document[:from]...), document[to:]...)
}

// BenchmarkDecideUnderLimits measures what contact limits and volumes cost a decision that is recorded, in
// process on one node: CPU of the whole process a decision, the log and the store in it. Compare "none" with
// the others of the same run.
func BenchmarkDecideUnderLimits(b *testing.B) {
	policies := append(withoutContacts(examples.Catalog()), []byte("contactPolicies:\n  - {name: weekly, limit: 400, per: 7d}\n")...)
	volume := bytes.Replace(withoutContacts(examples.Catalog()), []byte("  - name: price-lock\n"), []byte("  - name: price-lock\n    volume: {max: 1000000000, per: month}\n"), 1)
	for _, variant := range []struct {
		name     string
		document []byte
	}{{"none", withoutContacts(examples.Catalog())}, {"demo", examples.Catalog()}, {"counted", policies}, {"volume", volume}} {
		b.Run(variant.name, func(b *testing.B) {
			n := openNode(b, b.TempDir())
			loadDemo(b, n, benchSubscribers)
			stored, err := n.PutCatalog(b.Context(), variant.document, "*")
			if err != nil {
				b.Fatal(err)
			}
			if _, err := n.ActivateCatalog(b.Context(), stored.Version, ""); err != nil {
				b.Fatal(err)
			}
			ids := subjectIDs()
			b.SetParallelism(64)
			b.ReportAllocs()
			b.ResetTimer()
			began := cpuTime(b)
			var next atomic.Int64 // so that callers come for other subjects, as customers do
			b.RunParallel(func(pb *testing.PB) {
				req, out := request("", "web"), new(nba.Decision)
				for pb.Next() {
					req.Subject.ID = ids[int(next.Add(1))%len(ids)]
					if err := n.Decide(b.Context(), req, out); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64((cpuTime(b)-began).Nanoseconds())/float64(b.N), "cpu-ns/op")
		})
	}
}

// cpuTime is what the process used so far.
func cpuTime(tb testing.TB) time.Duration {
	tb.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
