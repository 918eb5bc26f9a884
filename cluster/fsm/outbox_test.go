package fsm

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/oklog/ulid/v2"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/store"
)

// raising are the rules of a data group with an operation of its own for what other operations do as a part:
// an operation of kind StreamsNoted raises the trigger that is its body, or cancels if there is none.
type raising struct{ *Data }

func (r raising) applyOp(u *update, at At, op command.Op) (Result, error) {
	if op.Kind != command.StreamsNoted {
		return r.Data.applyOp(u, at, op)
	}
	var t command.Trigger
	if err := t.Decode(op.Body[1:]); err != nil {
		return Result{}, err
	}
	if op.Body[0] == 1 {
		return Result{}, r.cancel(u, at, t.Key, t.Origin)
	}
	err := r.raise(u, at, &t)
	return Result{Decision: t.ID}, err
}

// raiseOp raises a trigger, or takes it back.
type raiseOp struct {
	command.Trigger
	cancel bool
}

func (o *raiseOp) Append(dst []byte) ([]byte, error) {
	what := byte(0)
	if o.cancel {
		what = 1
	}
	body := o.Trigger.Append([]byte{what})
	dst = append(dst, byte(command.StreamsNoted), 1, byte(len(body)), byte(len(body)>>8), 0, 0)
	return append(dst, body...), nil
}

func raisingData(t testing.TB) *Data {
	d := newData(t)
	d.rules = raising{d}
	return d
}

func raiseOf(id, origin string) *raiseOp {
	return &raiseOp{Trigger: command.Trigger{Key: key(id), Origin: origin, EventType: "e", Contexts: []byte("[]")}}
}

func none(ulid.ULID) bool { return false }

func pendingOf(t testing.TB, d *Data, untilMS int64) (triggers []command.Trigger, next int64) {
	t.Helper()
	triggers, next, err := d.Triggers(untilMS, 100, none)
	if err != nil {
		t.Fatal(err)
	}
	return triggers, next
}

func answering(n byte, trigger ulid.ULID, sinks ...string) *command.Decision {
	made := decision(n, "s", "x")
	if trigger != (ulid.ULID{}) {
		made.Effects = made.Effects.Put(command.EffectTrigger, trigger[:])
	}
	var out []command.Delivery
	for i, sink := range sinks {
		out = append(out, command.Delivery{ID: ulid.ULID{9, n, byte(i)}, Key: key("s"), Origin: "strategy:a", Channel: "sms", Sink: sink, CreatedMS: testMS, DueMS: testMS, Payload: []byte("{}")})
	}
	made.Effects = made.Effects.Put(command.EffectOutbox, command.AppendOutbox(nil, out))
	return made
}

func dueOf(t testing.TB, d *Data, sink string, untilMS int64) (due []command.Delivery, next int64) {
	t.Helper()
	due, next, err := d.DueOf(sink, untilMS, 100, none)
	if err != nil {
		t.Fatal(err)
	}
	return due, next
}

// TestTriggerIsAnsweredOnce: a decision takes the trigger and puts its deliveries into the outbox in one
// operation; a second decision of the same trigger is refused and leaves nothing.
func TestTriggerIsAnsweredOnce(t *testing.T) {
	d, rung := raisingData(t), 0
	d.Ring(func(queue Queue) {
		if queue == QueueTriggers {
			rung++
		}
	})
	do(t, d, &command.Put{Key: key("s"), Record: rec(t, 0, 0)})
	id := do(t, d, raiseOf("s", "strategy:a")).Decision
	if got, _ := pendingOf(t, d, testMS); len(got) != 1 || got[0].ID != id || got[0].RaisedMS != testMS {
		t.Fatalf("pending: %+v", got)
	}
	if rung == 0 {
		t.Error("nobody is woken")
	}
	if r := do(t, d, answering(1, id, "gateway", "mail")); r.Err != nil {
		t.Fatal(r.Err)
	}
	if r := do(t, d, answering(2, id, "gateway")); r.Err == nil {
		t.Error("the trigger was answered twice")
	}
	if r := do(t, d, answering(1, id, "gateway")); r.Err != nil || !r.Duplicate {
		t.Errorf("the same decision again: %+v", r)
	}
	if got, _ := pendingOf(t, d, testMS); len(got) != 0 {
		t.Errorf("still pending: %+v", got)
	}
	sinks, err := d.Sinks()
	if err != nil || fmt.Sprint(sinks) != "[mail gateway]" && fmt.Sprint(sinks) != "[gateway mail]" {
		t.Errorf("sinks %v, %v", sinks, err)
	}
	if got, _ := dueOf(t, d, "gateway", testMS); len(got) != 1 || got[0].Decision != ulid.MustParseStrict(decisionID(1)) {
		t.Errorf("due: %+v", got)
	}
	if tally := d.Tally(); tally.Triggers != 0 || tally.Pending != 2 {
		t.Errorf("%+v", tally)
	}
}

// TestDeliveryStates walks a delivery through what may become of it.
func TestDeliveryStates(t *testing.T) {
	d := raisingData(t)
	do(t, d, &command.Put{Key: key("s"), Record: rec(t, 0, 0)})
	do(t, d, answering(1, ulid.ULID{}, "gateway"))
	id := ulid.ULID{9, 1, 0}
	change := func(c command.DeliveryChange) Result {
		t.Helper()
		c.ID = id
		return do(t, d, &command.ChangeDeliveries{Changes: []command.DeliveryChange{c}})
	}
	state := func(want command.DeliveryState, attempts uint32) {
		t.Helper()
		got, err := d.Delivery(id)
		if err != nil || got == nil || got.State != want || got.Attempts != attempts {
			t.Fatalf("got %+v, %v; want %v after %d", got, err, want, attempts)
		}
	}
	change(command.DeliveryChange{State: command.DeliveryPending, AtMS: testMS, DueMS: testMS + 50, Tried: true, Problem: "status 500"})
	state(command.DeliveryPending, 1)
	if due, next := dueOf(t, d, "gateway", testMS); len(due) != 0 || next != testMS+50 {
		t.Errorf("%d due, the next at %d", len(due), next)
	}
	change(command.DeliveryChange{State: command.DeliveryDead, AtMS: testMS + 60, Tried: true})
	state(command.DeliveryDead, 2)
	if r := change(command.DeliveryChange{State: command.DeliveryCancelled, AtMS: testMS + 61}); r.Err == nil {
		t.Error("a dead delivery was cancelled")
	}
	if r := change(command.DeliveryChange{Replay: true, AtMS: testMS + 70, DueMS: testMS + 70}); r.Err != nil {
		t.Fatal(r.Err)
	}
	state(command.DeliveryPending, 0)
	if r := change(command.DeliveryChange{State: command.DeliveryCancelled, AtMS: testMS + 80}); r.Err != nil {
		t.Fatal(r.Err)
	}
	state(command.DeliveryCancelled, 0)
	// It was under way when it was cancelled: what was sent is sent.
	change(command.DeliveryChange{State: command.DeliverySent, AtMS: testMS + 81, Tried: true})
	state(command.DeliverySent, 1)
	if tally := d.Tally(); tally != (Tally{Sent: 1}) {
		t.Errorf("%+v", tally)
	}
	do(t, d, &command.ChangeDeliveries{ForgetMS: testMS + 1000, Limit: 5})
	if got, err := d.Delivery(id); got != nil || err != nil || keys(t, d, store.Outbox) != 0 {
		t.Errorf("%+v, %v, %d keys", got, err, keys(t, d, store.Outbox))
	}
}

// TestCancelByOrigin: what an origin raised and what was not sent of it is taken back, and nothing else.
func TestCancelByOrigin(t *testing.T) {
	d := raisingData(t)
	do(t, d, &command.Put{Key: key("s"), Record: rec(t, 0, 0)})
	first := do(t, d, raiseOf("s", "strategy:a")).Decision
	do(t, d, answering(1, first, "gateway"))
	do(t, d, raiseOf("s", "strategy:a"))
	do(t, d, raiseOf("s", "strategy:b"))
	do(t, d, raiseOf("other", "strategy:a"))
	back := raiseOf("s", "strategy:a")
	back.cancel = true
	do(t, d, back)
	got, _ := pendingOf(t, d, testMS)
	if len(got) != 2 || got[0].Origin+got[1].Origin != "strategy:bstrategy:a" {
		t.Errorf("pending: %+v", got)
	}
	if e, err := d.Delivery(ulid.ULID{9, 1, 0}); err != nil || e.State != command.DeliveryCancelled || len(e.Payload) > 0 {
		t.Errorf("%+v, %v", e, err)
	}
	shut, err := d.ShutTriggers(key("s"), 10)
	if err != nil || len(shut) != 1 || shut[0].Reason != command.CloseCancelled {
		t.Errorf("%+v, %v", shut, err)
	}
	do(t, d, &command.Delete{Key: key("s")})
	if tally := d.Tally(); tally != (Tally{Triggers: 1}) {
		t.Errorf("after its subject was deleted: %+v", tally)
	}
}

func TestTriggersArePutOffAndClosed(t *testing.T) {
	d := raisingData(t)
	id := do(t, d, raiseOf("s", "strategy:a")).Decision
	do(t, d, &command.CloseTriggers{Closed: []command.ClosedTrigger{{Key: key("s"), ID: id, UntilMS: testMS + 100}}})
	if got, next := pendingOf(t, d, testMS); len(got) != 0 || next != testMS+100 {
		t.Errorf("%d pending, the next at %d", len(got), next)
	}
	do(t, d, &command.CloseTriggers{Closed: []command.ClosedTrigger{{Key: key("s"), ID: id, Reason: command.CloseNothing, Detail: "CONTACT_LIMIT"}}})
	shut, err := d.ShutTriggers(nil, 10)
	if err != nil || len(shut) != 1 || shut[0].Reason != command.CloseNothing || shut[0].Detail != "CONTACT_LIMIT" {
		t.Errorf("%+v, %v", shut, err)
	}
	for range command.MaxPendingTriggers + 1 {
		do(t, d, raiseOf("s", "strategy:a"))
	}
	if tally := d.Tally(); tally.Triggers != command.MaxPendingTriggers || tally.Shut != 2 {
		t.Errorf("%+v", tally)
	}
	do(t, d, &command.CloseTriggers{ForgetMS: testMS + 1, Limit: 100})
	if tally := d.Tally(); tally.Shut != 0 {
		t.Errorf("%+v", tally)
	}
}

// TestOutboxReplicasAgree: replicas that took the same entries in other batches, and one that was restarted,
// have the same state and the same counts.
func TestOutboxReplicasAgree(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	one, two := raisingData(t), raisingData(t)
	var known []ulid.ULID
	for i := range 400 {
		var op operation
		switch random.IntN(5) {
		case 0, 1:
			op = raiseOf("s", []string{"strategy:a", "journey:b"}[random.IntN(2)])
		case 2:
			op = &command.CloseTriggers{ForgetMS: testMS + random.Int64N(100), Limit: 1, Closed: []command.ClosedTrigger{
				{Key: key("s"), ID: pick(random, known), Reason: command.CloseReason(random.IntN(3)), UntilMS: testMS + random.Int64N(50)},
			}}
		case 3:
			op = answering(byte(random.IntN(100)), pick(random, known), "a", "b")
		default:
			op = &command.ChangeDeliveries{ForgetMS: testMS + random.Int64N(100), Limit: 1, Changes: []command.DeliveryChange{{
				ID: ulid.ULID{9, byte(random.IntN(100)), byte(random.IntN(2))}, State: command.DeliveryState(random.IntN(5)),
				Replay: random.IntN(4) == 0, AtMS: testMS + random.Int64N(100), DueMS: testMS + random.Int64N(100),
			}}}
		}
		if i == 0 {
			op = &command.Put{Key: key("s"), Record: rec(t, 0, 0)}
		}
		ms := testMS + random.Int64N(80)
		log := entryAt(t, uint64(i+1), ms, op)
		if results := one.Apply(log).(Results); results[0].Decision != (ulid.ULID{}) {
			known = append(known, results[0].Decision)
		}
		two.Apply(log)
		if i%50 == 49 { // a restart
			again, err := NewData(two.Store())
			if err != nil {
				t.Fatal(err)
			}
			again.rules = raising{again}
			two = again
		}
		if one.Position().Digest != two.Position().Digest || one.Tally() != two.Tally() {
			t.Fatalf("after %d entries: %+v and %+v", i+1, one.Tally(), two.Tally())
		}
	}
}

func pick(random *rand.Rand, ids []ulid.ULID) ulid.ULID {
	if len(ids) == 0 {
		return ulid.ULID{1}
	}
	return ids[random.IntN(len(ids))]
}

// TestQueueForgetsNothing: whatever is put in, taken out and put off in whatever order, a look at the front gives
// all that is due, although it does not begin at the beginning.
func TestQueueForgetsNothing(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 9))
	d, due := raisingData(t), map[ulid.ULID]int64{}
	for i := range 600 {
		subject := fmt.Sprint("s", random.IntN(20))
		var some ulid.ULID
		for id := range due {
			some = id
			break
		}
		switch random.IntN(4) {
		case 0, 1:
			op := raiseOf(subject, "strategy:a")
			op.NotBeforeMS = testMS - 2000 + random.Int64N(4000)
			if len(due) < 200 {
				due[do(t, d, op).Decision] = op.NotBeforeMS
			}
		default:
			closed := command.ClosedTrigger{ID: some, Reason: command.CloseNothing}
			pending, _, err := d.Triggers(testMS+1<<30, 1000, none)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range pending {
				if p.ID == some {
					closed.Key = p.Key
				}
			}
			if closed.Key == nil {
				continue
			}
			if delete(due, some); random.IntN(3) == 0 {
				closed.Reason, closed.UntilMS = command.CloseDeferred, testMS-2000+random.Int64N(4000)
				due[some] = closed.UntilMS
			}
			do(t, d, &command.CloseTriggers{Closed: []command.ClosedTrigger{closed}})
		}
		now, want := testMS-2000+random.Int64N(4000), 0
		for _, ms := range due {
			if ms <= now {
				want++
			}
		}
		if got, _, err := d.Triggers(now, 1000, none); err != nil || len(got) != want {
			t.Fatalf("step %d: %d are due, want %d, %v", i, len(got), want, err)
		}
	}
}
