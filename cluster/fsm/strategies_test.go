package fsm

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/oklog/ulid/v2"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/runtime/trigger"
)

const hourMS = 3600 * 1000

// strategiesForTests are one of each kind.
func strategiesForTests() []trigger.Update {
	template := trigger.AppendTemplate(nil, "com.example", []byte(`[{"type":"event","key":"country","value":"US"}]`))
	return []trigger.Update{
		{Name: "landed", Spec: trigger.Spec{Raise: trigger.Each, ValidMS: hourMS}, Template: template},
		{Name: "usage", Spec: trigger.Spec{Aggregate: trigger.Last, Raise: trigger.Crossing, HasThreshold: true, Threshold: 5 * trigger.Unit, ValidMS: hourMS}, Template: template},
		{Name: "visits", Spec: trigger.Spec{Window: trigger.Session, SizeMS: 60_000, Aggregate: trigger.Count, Raise: trigger.End, ValidMS: hourMS}, Template: template},
		{Name: "cart", Spec: trigger.Spec{Raise: trigger.Absent, WithinMS: 120_000, ValidMS: hourMS}, Template: template},
		{Name: "hour", Spec: trigger.Spec{Window: trigger.Sliding, SizeMS: hourMS, SliceMS: 60_000, Aggregate: trigger.Sum}},
	}
}

// happened is an event for the strategies with these updates.
func happened(n int, id string, ms int64, updates ...trigger.Update) command.AppliedEvent {
	var body []byte
	for i := range updates {
		body = updates[i].Append(body)
	}
	return command.AppliedEvent{Hash: command.EventHash("s", fmt.Sprint(n)), Key: key(id), TimeMS: ms, ReceivedMS: ms, Record: []byte{1},
		Effects: command.Sections(nil).Put(command.EffectStrategies, body)}
}

func applied(events ...command.AppliedEvent) *command.ApplyEvents {
	return &command.ApplyEvents{Events: events}
}

func pending(t testing.TB, d *Data, ms int64) (found []command.Trigger) {
	t.Helper()
	found, _, err := d.Triggers(ms, 100, func(ulid.ULID) bool { return false })
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestStrategiesRaise: what is raised has its origin, its contexts with the value, and its end.
func TestStrategiesRaise(t *testing.T) {
	d := newData(t)
	do(t, d, &command.Put{Key: key("a"), Record: rec(t, 0, 0)})
	all := strategiesForTests()
	usage := all[1]
	usage.Value = 91_250_000
	do(t, d, applied(happened(1, "a", testMS, all[0], usage)))
	found := pending(t, d, testMS)
	if len(found) != 2 {
		t.Fatalf("raised %+v", found)
	}
	for i, want := range []string{`strategy:landed com.example [{"type":"event","key":"country","value":"US"}]`,
		`strategy:usage com.example [{"type":"event","key":"country","value":"US"},{"type":"strategy","key":"aggregate","value":"91.25"}]`} {
		got := &found[i]
		if text := fmt.Sprintf("%s %s %s", got.Origin, got.EventType, got.Contexts); text != want || got.ExpiresMS != testMS+hourMS || !bytes.Equal(got.Key, key("a")) {
			t.Errorf("got %s until %d, want %s", text, got.ExpiresMS, want)
		}
	}
	// The same event again is a duplicate: nothing is counted twice.
	before := d.Digest().Digest
	do(t, d, applied(happened(1, "a", testMS, all[0], usage)))
	if len(pending(t, d, testMS)) != 2 || before == (Digest{}) {
		t.Error("an event acted twice")
	}
}

// TestAbsenceFiresOnceInTime: the timer is in the state; it fires once, in its order, and not before.
func TestAbsenceFiresOnceInTime(t *testing.T) {
	d := newData(t)
	cart := strategiesForTests()[3]
	for i, id := range []string{"a", "b", "c"} {
		do(t, d, &command.Put{Key: key(id), Record: rec(t, 0, 0)})
		do(t, d, applied(happened(i, id, testMS-int64(i)*1000, cart)))
	}
	bought := cart
	bought.Ends, bought.Template = true, nil
	do(t, d, applied(happened(9, "b", testMS, bought)))
	next, ok, err := d.NextTimer(math.MaxInt64)
	if err != nil || !ok || next != testMS-2000+120_000 {
		t.Fatalf("the next timer is %d %v %v", next, ok, err)
	}
	if r := do(t, d, &command.FireTimers{UntilMS: next - 1, Limit: 10}); r.Version != 0 {
		t.Error("a timer fired before its time")
	}
	if r := do(t, d, &command.FireTimers{UntilMS: testMS + 120_000, Limit: 1}); r.Version != 1 {
		t.Errorf("fired %d", r.Version)
	}
	if found := pending(t, d, testMS+hourMS); len(found) != 1 || !bytes.Equal(found[0].Key, key("c")) {
		t.Fatalf("raised %+v: the first that was due is that of c", found)
	}
	for range 3 {
		do(t, d, &command.FireTimers{UntilMS: testMS + 120_000, Limit: 10})
	}
	if found := pending(t, d, testMS+hourMS); len(found) != 2 {
		t.Fatalf("raised %+v: b bought", found)
	}
	// Buying afterwards takes back what was raised.
	do(t, d, applied(happened(10, "c", testMS+130_000, bought)))
	if found := pending(t, d, testMS+hourMS); len(found) != 1 || !bytes.Equal(found[0].Key, key("a")) {
		t.Errorf("raised %+v", found)
	}
}

// TestErasedWithTheirSubject: nothing of it is left, its timers neither.
func TestErasedWithTheirSubject(t *testing.T) {
	d := newData(t)
	do(t, d, &command.Put{Key: key("a"), Record: rec(t, 0, 0)})
	do(t, d, applied(happened(1, "a", testMS, strategiesForTests()...)))
	if keys(t, d, store.Windows) != 1 || keys(t, d, store.Due) != 3 {
		t.Fatalf("%d states and %d timers", keys(t, d, store.Windows), keys(t, d, store.Due))
	}
	do(t, d, &command.Delete{Key: key("a")})
	if keys(t, d, store.Windows) != 0 || keys(t, d, store.Due) != 0 || keys(t, d, store.Triggers) != 0 {
		t.Errorf("%d states, %d timers and %d triggers are left", keys(t, d, store.Windows), keys(t, d, store.Due), keys(t, d, store.Triggers))
	}
	if err := d.Verify(); err != nil {
		t.Error(err)
	}
}

// TestForgottenOverTime: the state of strategies that nobody asks for any more goes by itself.
func TestForgottenOverTime(t *testing.T) {
	d := newData(t)
	do(t, d, &command.Put{Key: key("a"), Record: rec(t, 0, 0)})
	do(t, d, applied(happened(1, "a", testMS, strategiesForTests()[4])))
	for range 3 {
		next, ok, err := d.NextTimer(math.MaxInt64)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		d.Apply(entryAt(t, d.Position().Index+1, next, &command.FireTimers{UntilMS: next, Limit: 10}))
	}
	if keys(t, d, store.Windows) != 0 || keys(t, d, store.Due) != 0 {
		t.Errorf("%d states and %d timers are left", keys(t, d, store.Windows), keys(t, d, store.Due))
	}
}

// eventScript is events and timers at random.
func eventScript(t testing.TB, n int) []*raft.Log {
	random := rand.New(rand.NewPCG(8, 8))
	all := strategiesForTests()
	var logs []*raft.Log
	add := func(ms int64, ops ...operation) { logs = append(logs, entryAt(t, uint64(len(logs)+2), ms, ops...)) }
	for i := range 6 {
		add(testMS, &command.Put{Key: key(fmt.Sprint("s", i)), Record: rec(t, 0, 0)})
	}
	ms := int64(testMS)
	for len(logs) < n {
		ms += random.Int64N(20_000)
		var events []command.AppliedEvent
		for range random.IntN(6) {
			var updates []trigger.Update
			for _, u := range all {
				if u.Value = random.Int64N(9) * trigger.Unit; random.IntN(3) == 0 {
					u.Ends = u.Spec.Raise == trigger.Absent && random.IntN(2) == 0
					updates = append(updates, u)
				}
			}
			events = append(events, happened(random.IntN(400), fmt.Sprint("s", random.IntN(7)), ms-random.Int64N(90_000), updates...))
		}
		ops := []operation{applied(events...)}
		switch random.IntN(12) {
		case 0, 1, 2:
			ops = append(ops, &command.FireTimers{UntilMS: ms, Limit: 1 + random.Uint32N(8)})
		case 3:
			ops = append(ops, &command.Delete{Key: key(fmt.Sprint("s", random.IntN(6)))})
		case 4:
			ops = append(ops, &command.Put{Key: key(fmt.Sprint("s", random.IntN(6))), Record: rec(t, 0, 0)})
		}
		add(ms, ops...)
	}
	return logs
}

// TestStrategiesInAnyBatches: the state depends on the entries alone, not on batches, restarts or snapshots.
func TestStrategiesInAnyBatches(t *testing.T) {
	logs := eventScript(t, 400)
	single := newData(t)
	for _, l := range logs {
		single.Apply(l)
	}
	if err := single.Verify(); err != nil {
		t.Fatal(err)
	}
	for _, b := range []store.Bucket{store.Windows, store.Due, store.Triggers} {
		if keys(t, single, b) == 0 {
			t.Fatalf("the script leaves nothing in bucket %d: it tests nothing", b)
		}
	}
	random := rand.New(rand.NewPCG(9, 9))
	s := openStore(t)
	d, err := NewData(s)
	if err != nil {
		t.Fatal(err)
	}
	for rest := logs; len(rest) > 0; {
		n := min(len(rest), 1+random.IntN(40))
		d.ApplyBatch(rest[:n])
		if rest = rest[n:]; random.IntN(3) == 0 {
			if d, err = NewData(s); err != nil {
				t.Fatal(err)
			}
		}
		if random.IntN(3) == 0 {
			if _, _, err := d.NextTimer(math.MaxInt64); err != nil {
				t.Fatal(err)
			}
		}
	}
	half := newData(t)
	half.ApplyBatch(logs[:200])
	restored := newData(t)
	if err := restored.Restore(io.NopCloser(bytes.NewReader(stateOf(t, half)))); err != nil {
		t.Fatal(err)
	}
	restored.ApplyBatch(logs[200:])
	for name, other := range map[string]*Data{"batched": d, "restored": restored} {
		if other.Digest() != single.Digest() {
			t.Errorf("%s: the digest differs", name)
		}
	}
}

// TestNoScan: firing what is due reads what is due and nothing else, however many timers and subjects there are.
func TestNoScan(t *testing.T) {
	d := newData(t)
	cart := strategiesForTests()[3]
	n := 0
	for range 20 {
		var ops []operation
		var events []command.AppliedEvent
		for range 100 {
			id := fmt.Sprint("s", n)
			ops = append(ops, &command.Put{Key: key(id), Record: rec(t, 0, 0)})
			events = append(events, happened(n, id, testMS+int64(n)*1000, cart))
			n++
		}
		d.Apply(entryAt(t, d.Position().Index+1, testMS, append(ops, applied(events...))...))
	}
	// The first ten are due, of 2000.
	until := int64(testMS + 120_000 + 9_000)
	looked := 0
	if err := d.store.Update(func(tx *store.Tx) error {
		u := &update{Tx: tx, pairs: &d.pairs}
		looked = len(d.dueTimers(u, until, command.MaxFired))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if looked != 10 {
		t.Errorf("looks at %d timers, 10 are due", looked)
	}
	if r := do(t, d, &command.FireTimers{UntilMS: until, Limit: 100}); r.Version != 10 {
		t.Errorf("fired %d", r.Version)
	}
	// Whoever looks for the next one begins behind those that are gone.
	next, ok, err := d.NextTimer(math.MaxInt64)
	if err != nil || !ok || next != until+1000 {
		t.Errorf("the next is %d %v %v", next, ok, err)
	}
	if from, _ := d.timers.from([]byte{dueTimer}); !bytes.Equal(from, timerKey(nil, next, timerStrategy, key("s10"), strategyTimer(trigger.IDOf("cart")))) {
		t.Error("the next look begins at the first timer that ever was")
	}
}

// FuzzTimerKey: a key is read as it was written, and nothing else is one.
func FuzzTimerKey(f *testing.F) {
	f.Add(timerKey(nil, testMS, timerStrategy, key("a"), strategyTimer(7)))
	f.Add(timerKey(nil, -5, timerJourney, key("b"), "journey:cart#1"))
	f.Fuzz(func(t *testing.T, stored []byte) {
		got, ok := parseTimer(stored, nil)
		if !ok {
			return
		}
		if again := timerKey(nil, got.ms, got.what, got.subjectKey, got.origin); !bytes.Equal(again[1:], stored[1:]) {
			t.Fatalf("%x is written as %x", stored, again)
		}
	})
}
