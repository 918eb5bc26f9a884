package node

import (
	"fmt"
	"testing"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

const benchSubscribers = 20000

// BenchmarkDecide measures one decision in process, without HTTP: record from bbolt, consent mask,
// policies, the 200-tree churn model in its sandbox, arbitration. "read" is the read path alone;
// "recorded" also waits for the log, with as many callers as -cpu says times 64.
func BenchmarkDecide(b *testing.B) {
	n := openNode(b, b.TempDir())
	loadDemo(b, n, benchSubscribers)
	for _, channel := range []string{"web", "callcentre"} {
		b.Run("read/"+channel, func(b *testing.B) {
			req, out := request("", channel), new(nba.Decision)
			req.Options.Simulate = true
			ids := subjectIDs()
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				req.Subject.ID = ids[i%len(ids)]
				if err := n.Decide(b.Context(), req, out); err != nil {
					b.Fatal(err)
				}
				if out.Degraded {
					b.Fatal(out.DegradedReason)
				}
			}
		})
	}
	b.Run("recorded", func(b *testing.B) {
		ids := subjectIDs()
		b.SetParallelism(64)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			req, out := request("", "web"), new(nba.Decision)
			for i := 0; pb.Next(); i++ {
				req.Subject.ID = ids[i*7919%len(ids)]
				if err := n.Decide(b.Context(), req, out); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
}

func subjectIDs() []string {
	ids := make([]string, benchSubscribers)
	for i := range ids {
		ids[i] = fmt.Sprintf("S-%06d", 1+i*7919%benchSubscribers)
	}
	return ids
}
