package fsm

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/oklog/ulid/v2"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/store/record"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

const benchDigest = "sha256:6a2da20943931e9834fc12cfe5bb47bbd9ae43489a30726962b576f4e3993e50"

// benchDecision is a decision of three propositions as the demo operator's catalog makes them.
func benchDecision(n uint64, subject string) *command.Decision {
	id := ulid.ULID{}
	_ = id.SetTime(uint64(testMS) + n)
	for i := range 8 {
		id[8+i] = byte(n >> (8 * i))
	}
	d := &command.Decision{
		ID: id.String(), Subject: nba.SubjectRef{ID: subject, Type: nba.Subscriber}, Time: time.UnixMilli(testMS + int64(n)), Channel: "web",
		Direction: nba.Inbound, CatalogVersion: 42, Placements: []string{"hero", "banner"}, Keep: 1000,
	}
	for i, action := range []string{"family-plan", "roaming-pass", "device-renewal"} {
		d.Propositions = append(d.Propositions, command.Proposition{
			Placement: []string{"hero", "hero", "banner"}[i], Rank: i%2 + 1, Action: action, Treatment: action + "-web-hero", Propensity: 0.3104862,
			ContextWeight: 1, Value: 120, Lever: 1.1, Priority: 40.98417, SelectionProbability: 1, ReasonCode: "RANKED",
			ReasonLabel: fmt.Sprintf("rank %d of 9 by priority", i+1), ModelName: "churn", ModelVersion: "1.0.0", ModelDigest: benchDigest,
		})
	}
	return d
}

// benchApply applies entries of 64 operations each, as they come under load; ns/op is that of one operation.
func benchApply(b *testing.B, make func(n uint64, random *rand.Rand) operation) {
	d := newData(b)
	random := rand.New(rand.NewPCG(1, 1))
	const subjects, batch = 20_000, 64
	var attrs []record.Attr
	for i := range nba.AttributeID(20) {
		attrs = append(attrs, record.Attr{ID: i, Value: nba.String(fmt.Sprintf("%040d", i))})
	}
	full := rec(b, 3, 0, attrs...)
	index := uint64(1)
	for s := 0; s < subjects; s += batch {
		var ops []operation
		for i := range batch {
			ops = append(ops, &command.Put{Key: key(fmt.Sprint("s", s+i)), Record: full})
		}
		index++
		d.ApplyBatch([]*raft.Log{entry(b, index, ops...)})
	}
	const ahead = 256
	logs, n := [ahead]*raft.Log{}, uint64(0)
	b.ReportAllocs()
	for done := 0; done < b.N; done += batch * ahead {
		b.StopTimer()
		for i := range logs {
			var ops []operation
			for range batch {
				n++
				ops = append(ops, make(n, random))
			}
			index++
			logs[i] = entry(b, index, ops...)
		}
		b.StartTimer()
		for i, l := range logs {
			if done+i*batch >= b.N {
				break
			}
			d.ApplyBatch([]*raft.Log{l})
		}
	}
	if d.Err() != nil {
		b.Fatal(d.Err())
	}
}

func BenchmarkApplyPut(b *testing.B) {
	var attrs []record.Attr
	for i := range nba.AttributeID(20) {
		attrs = append(attrs, record.Attr{ID: i, Value: nba.String(fmt.Sprintf("%040d", i+1))})
	}
	full := rec(b, 3, 0, attrs...)
	b.ReportMetric(float64(len(full)), "record-bytes")
	benchApply(b, func(_ uint64, random *rand.Rand) operation {
		return &command.Put{Key: key(fmt.Sprint("s", random.IntN(20_000))), Record: full}
	})
}

func BenchmarkApplyDecision(b *testing.B) {
	benchApply(b, func(n uint64, random *rand.Rand) operation {
		return benchDecision(n, fmt.Sprint("s", random.IntN(20_000)))
	})
}

func BenchmarkApplyKeyedDecision(b *testing.B) {
	benchApply(b, func(n uint64, random *rand.Rand) operation {
		subject := fmt.Sprint("s", random.IntN(20_000))
		k := keyed(b, 0, 1, 86_400_000, benchDecision(n, subject))
		k.ID = command.KeyID(command.DecisionRecorded, key(subject), 0, fmt.Sprint("key-", n))
		return k
	})
}

// BenchmarkExpire removes decisions of which each third has a response; ns/op is that of one decision.
func BenchmarkExpire(b *testing.B) {
	d := newData(b)
	index := uint64(1)
	apply := func(ops ...operation) any {
		index++
		return d.ApplyBatch([]*raft.Log{entry(b, index, ops...)})[0]
	}
	const subjects = 2000
	for s := range subjects {
		apply(&command.Put{Key: key(fmt.Sprint("s", s)), Record: rec(b, 0, 0)})
	}
	b.ReportAllocs()
	b.StopTimer()
	left := 0
	for n := uint64(1); ; {
		for left < b.N && left < 20_000 {
			made := benchDecision(n, fmt.Sprint("s", n%subjects))
			apply(made)
			if n%3 == 0 {
				apply(&command.Response{DecisionID: made.ID, Action: "family-plan", Outcome: nba.Clicked, Time: time.UnixMilli(testMS)})
			}
			n, left = n+1, left+1
		}
		b.StartTimer()
		for removed := true; removed; {
			expiry := apply(&command.Expire{BeforeMS: 1 << 46, Limit: 256}).(Results)[0].Value.(Expiry)
			removed = expiry.Decisions > 0
			left -= expiry.Decisions
		}
		b.StopTimer()
		if n > uint64(b.N) {
			return
		}
	}
}

// TestBytesOfADecision tells what a decision takes in the state.
func TestBytesOfADecision(t *testing.T) {
	d := newData(t)
	do(t, d, &command.Put{Key: key("S-000123"), Record: rec(t, 0, 0)})
	before := len(stateOf(t, d))
	made := benchDecision(1, "S-000123")
	encoded, err := made.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	do(t, d, made)
	first := len(stateOf(t, d)) - before
	do(t, d, benchDecision(2, "S-000123"))
	each := len(stateOf(t, d)) - before - first
	t.Logf("3 propositions: %d bytes in the log, %d in the state with keys; %d for the first of a subject", len(encoded), each, first)
	if each > 500 {
		t.Errorf("a decision of 3 propositions takes %d bytes", each)
	}
}
