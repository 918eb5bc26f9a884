package fsm

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/runtime/journey"
)

// BenchmarkJourneyEvents applies batches of 128 events that each enter a journey of another subject, or begin
// the time of its stage anew, with a timer, beside events that move nothing; and reports the bytes of a subject
// that stands in one.
func BenchmarkJourneyEvents(b *testing.B) {
	for _, moves := range []bool{false, true} {
		b.Run(fmt.Sprintf("moves=%v", moves), func(b *testing.B) { benchJourneyEvents(b, moves) })
	}
}

func benchJourneyEvents(b *testing.B, moves bool) {
	d := newData(b)
	const subjects = 20_000
	for from := 0; from < subjects; from += 1000 {
		var ops []operation
		for i := range 1000 {
			ops = append(ops, &command.Put{Key: key(fmt.Sprintf("S-%06d", from+i)), Record: rec(b, 0, 0, attr(1, 5))})
		}
		d.Apply(entry(b, d.Position().Index+1, ops...))
	}
	e := effectOf(cartJourney(), journey.CauseEvent, enterCart)
	e.Data = []journey.Field{{Name: "product", Value: journey.Value{Kind: journey.Text, Text: "phone"}}, {Name: "value", Value: journey.Value{Kind: journey.Number, Int: 249_000_000}}}
	section := command.Sections(nil).Put(command.EffectJourneys, journey.AppendEffects(nil, []journey.Effect{e}))
	if !moves {
		section = nil
	}
	const batch = 128
	n := 0
	b.ResetTimer()
	for b.Loop() {
		op := &command.ApplyEvents{}
		for range batch {
			ev := command.AppliedEvent{Key: key(fmt.Sprintf("S-%06d", n%subjects)), TimeMS: testMS + int64(n), ReceivedMS: testMS + int64(n), Record: make([]byte, 300), Effects: section}
			binary.LittleEndian.PutUint64(ev.Hash[:], uint64(n))
			op.Events = append(op.Events, ev)
			n++
		}
		d.Apply(entryAt(b, d.Position().Index+1, testMS+int64(n), op))
	}
	b.StopTimer()
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/event")
	r, err := d.Store().Acquire()
	if err != nil {
		b.Fatal(err)
	}
	defer r.Release()
	b.ReportMetric(float64(len(r.Get(store.Journeys, key("S-000001")))), "B/state")
}
