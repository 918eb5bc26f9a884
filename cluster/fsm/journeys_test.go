package fsm

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/runtime/journey"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// cartJourney: open, then abandoned after a minute, which raises; bought and lapsed end it.
func cartJourney() *journey.Definition {
	return &journey.Definition{Name: "cart", Instances: 2, Replace: true, Stages: []journey.Stage{
		{Name: "open", TimeoutMS: 60_000, To: 1}, {Name: "abandoned", Emits: true, WithinMS: 3_600_000, TimeoutMS: 600_000, To: 3},
		{Name: "bought", Final: true}, {Name: "lapsed", Final: true},
	}}
}

func effectOf(def *journey.Definition, cause journey.Cause, rules ...journey.Rule) journey.Effect {
	e := journey.Effect{Definition: def.Append(nil), Cause: cause, Detail: "test", Rules: rules}
	sum := sha256.Sum256(e.Definition)
	copy(e.Digest[:], sum[:])
	return e
}

var (
	enterCart = journey.Rule{Kind: journey.Enter, From: journey.None}
	buyCart   = journey.Rule{Kind: journey.Exit, From: journey.AnyStage, To: 2}
)

// shop is an event with an effect on the cart of a subject.
func shop(n int, subject string, ms int64, e journey.Effect) *command.ApplyEvents {
	ev := command.AppliedEvent{Hash: [16]byte{byte(n), byte(n >> 8)}, Key: key(subject), TimeMS: ms, ReceivedMS: ms, Record: []byte("{}")}
	ev.Effects = command.Sections(nil).Put(command.EffectJourneys, journey.AppendEffects(nil, []journey.Effect{e}))
	return &command.ApplyEvents{Events: []command.AppliedEvent{ev}}
}

func journeysOf(t testing.TB, d *Data, subject string) *journey.State {
	t.Helper()
	r, err := d.Store().Acquire()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	state := new(journey.State)
	if err := state.Decode(r.Get(store.Journeys, key(subject))); err != nil {
		t.Fatal(err)
	}
	return state
}

// countOf is how many keys a bucket has whose first byte is kind, or any for -1.
func countOf(t testing.TB, d *Data, bucket store.Bucket, kind int) (n int) {
	t.Helper()
	r, err := d.Store().Acquire()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	r.Scan(bucket, nil, func(key, _ []byte) bool {
		if kind < 0 || int(key[0]) == kind {
			n++
		}
		return true
	})
	return n
}

// checkDigest demands that the digest is that of what is stored.
func checkDigest(t testing.TB, d *Data) {
	t.Helper()
	r, err := d.Store().Acquire()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	if got, want := d.Digest().Digest, digestOf(r); got != want {
		t.Errorf("the digest is %v, that of the state %v", got, want)
	}
}

// TestAbandonedCart: the timeout raises a trigger, and buying takes it back; nothing is left of the definition
// and of timers then.
func TestAbandonedCart(t *testing.T) {
	d := newData(t)
	do(t, d, &command.Put{Key: key("a"), Record: rec(t, 0, 0)})
	e := effectOf(cartJourney(), journey.CauseEvent, enterCart)
	e.Data = []journey.Field{{Name: "note", Value: journey.Value{Kind: journey.Text, Text: `a "b"` + "\n"}}, {Name: "value", Value: journey.Value{Kind: journey.Number, Int: 49_500_000}}}
	doAt(t, d, testMS, shop(1, "a", testMS, e))
	if s := journeysOf(t, d, "a"); len(s.Open) != 1 || s.Open[0].Stage != "open" || s.Open[0].DueMS != testMS+60_000 {
		t.Fatalf("got %+v", s)
	}
	if got := doAt(t, d, testMS+60_000, &command.FireTimers{UntilMS: testMS + 59_999, Limit: 10}); got.Version != 0 {
		t.Fatal("a timer fired before its time")
	}
	if got := doAt(t, d, testMS+70_000, &command.FireTimers{UntilMS: testMS + 70_000, Limit: 10}); got.Version != 1 {
		t.Fatalf("%d timers fired", got.Version)
	}
	pending, _ := pendingOf(t, d, testMS+70_000)
	if len(pending) != 1 || pending[0].Origin != "journey:cart/abandoned#1" || pending[0].RaisedMS != testMS+60_000 || pending[0].ExpiresMS != testMS+3_660_000 {
		t.Fatalf("got %+v", pending)
	}
	want := `[{"type":"journey","key":"journey","value":"cart"},{"type":"journey","key":"stage","value":"abandoned"},` +
		`{"type":"journey","key":"note","value":"a \"b\"\u000a"},{"type":"journey","key":"value","value":"49.5"}]`
	if string(pending[0].Contexts) != want {
		t.Errorf("the contexts are %s", pending[0].Contexts)
	}
	buy := effectOf(cartJourney(), journey.CauseEvent, buyCart)
	buy.Every = true
	doAt(t, d, testMS+80_000, shop(2, "a", testMS+80_000, buy))
	if pending, _ := pendingOf(t, d, testMS+1e9); len(pending) != 0 {
		t.Errorf("the reminder is still due: %+v", pending)
	}
	s := journeysOf(t, d, "a")
	if len(s.Open) != 0 || len(s.Moves) != 3 || s.Ended[0].Stage != "bought" {
		t.Errorf("got %+v", s)
	}
	if n := countOf(t, d, store.Journeys, journeyDefinition) + countOf(t, d, store.Journeys, journeyUses) + countOf(t, d, store.Due, dueTimer); n != 0 {
		t.Errorf("%d definitions and timers are left", n)
	}
	checkDigest(t, d)
}

// TestBoughtWhileSending: a reminder that is in the outbox and not sent is withdrawn.
func TestBoughtWhileSending(t *testing.T) {
	d := newData(t)
	do(t, d, &command.Put{Key: key("a"), Record: rec(t, 0, 0)})
	doAt(t, d, testMS, shop(1, "a", testMS, effectOf(cartJourney(), journey.CauseEvent, enterCart)))
	doAt(t, d, testMS+60_000, &command.FireTimers{UntilMS: testMS + 60_000, Limit: 10})
	pending, _ := pendingOf(t, d, testMS+60_000)
	if len(pending) != 1 {
		t.Fatalf("got %+v", pending)
	}
	answer := answering(7, pending[0].ID, "phone")
	answer.Subject.ID = "a"
	deliveries := []command.Delivery{{ID: pending[0].ID, Decision: pending[0].ID, Key: key("a"), Origin: pending[0].Origin, Channel: "sms", Sink: "phone",
		CreatedMS: testMS + 60_001, DueMS: testMS + 60_001}}
	answer.Effects = answer.Effects.Put(command.EffectOutbox, command.AppendOutbox(nil, deliveries))
	if got := doAt(t, d, testMS+60_001, answer); got.Err != nil {
		t.Fatal(got.Err)
	}
	if due, _ := dueOf(t, d, "phone", testMS+60_001); len(due) != 1 {
		t.Fatalf("got %+v", due)
	}
	buy := effectOf(cartJourney(), journey.CauseResponse, buyCart)
	buy.Every = true
	doAt(t, d, testMS+60_002, shop(2, "a", testMS+60_002, buy))
	if due, _ := dueOf(t, d, "phone", testMS+1e9); len(due) != 0 {
		t.Errorf("the reminder is still sent: %+v", due)
	}
	checkDigest(t, d)
}

// TestJourneysByResponse: a response that is new moves, the same again does not.
func TestJourneysByResponse(t *testing.T) {
	d := newData(t)
	do(t, d, &command.Put{Key: key("a"), Record: rec(t, 0, 0)})
	do(t, d, decision(1, "a", "phone"))
	do(t, d, shop(1, "a", testMS, effectOf(cartJourney(), journey.CauseEvent, enterCart)))
	buy := effectOf(cartJourney(), journey.CauseResponse, buyCart)
	buy.Every = true
	response := &command.Response{DecisionID: decisionID(1), Action: "phone", Outcome: nba.Converted}
	response.Effects = response.Effects.Put(command.EffectJourneys, journey.AppendEffects(nil, []journey.Effect{buy}))
	if response.Version() != 2 {
		t.Fatal("a response with effects is of version 2")
	}
	if got := do(t, d, response); got.Err != nil || got.Duplicate {
		t.Fatalf("got %+v", got)
	}
	if s := journeysOf(t, d, "a"); len(s.Open) != 0 {
		t.Errorf("got %+v", s)
	}
	doAt(t, d, testMS+9, shop(2, "a", testMS+9, effectOf(cartJourney(), journey.CauseEvent, enterCart)))
	if got := do(t, d, response); !got.Duplicate {
		t.Fatalf("got %+v", got)
	}
	if s := journeysOf(t, d, "a"); len(s.Open) != 1 {
		t.Error("a response that was known moved a journey")
	}
	checkDigest(t, d)
}

// TestAskedJourneys: what a person asks for is done once, and refused where it does not lead on.
func TestAskedJourneys(t *testing.T) {
	d := newData(t)
	ask := func(from, to int) Result {
		e := effectOf(cartJourney(), journey.CausePerson, journey.Rule{Kind: journey.Jump, From: from, To: to})
		return do(t, d, &command.MoveJourney{Subject: nba.SubjectRef{ID: "a", Type: nba.Subscriber}, Effect: e})
	}
	if got := ask(journey.AnyStage, 0); nba.CodeOf(got.Err) != nba.CodeSubjectUnknown {
		t.Errorf("nobody moves: got %+v", got)
	}
	do(t, d, &command.Put{Key: key("a"), Record: rec(t, 0, 0)})
	for i, step := range []struct {
		from, to int
		want     string
	}{
		{journey.AnyStage, 2, "CONFLICT"},
		{journey.AnyStage, 0, "began"},
		{journey.AnyStage, 0, "same"},
		{1, 2, "CONFLICT"},
		{0, 1, "moved"},
		{journey.AnyStage, 2, "ended"},
		{journey.AnyStage, 2, "over"},
		{journey.AnyStage, 3, "CONFLICT"},
	} {
		result := ask(step.from, step.to)
		got := string(nba.CodeOf(result.Err))
		if got == "" {
			got = map[[3]bool]string{{true, false, false}: "began", {false, true, false}: "same", {false, false, false}: "moved", {false, false, true}: "ended", {false, true, true}: "over"}[[3]bool{result.Created, result.Duplicate, result.Version == JourneyEnded}]
		}
		if got != step.want {
			t.Errorf("step %d: got %s (%+v), want %s", i, got, result, step.want)
		}
	}
	checkDigest(t, d)
}

// TestJourneysOfTheErased: with a subject go its state, its timers and what it raised.
func TestJourneysOfTheErased(t *testing.T) {
	d := newData(t)
	for i, subject := range []string{"a", "b"} {
		do(t, d, &command.Put{Key: key(subject), Record: rec(t, 0, 0)})
		do(t, d, shop(i, subject, testMS, effectOf(cartJourney(), journey.CauseEvent, enterCart)))
	}
	if n := countOf(t, d, store.Journeys, journeyDefinition); n != 1 {
		t.Errorf("%d definitions, want one that both share", n)
	}
	do(t, d, &command.Delete{Key: key("a")})
	if n := countOf(t, d, store.Due, dueTimer); n != 1 || len(journeysOf(t, d, "a").Moves) != 0 {
		t.Errorf("%d timers are left, want that of the other", n)
	}
	do(t, d, &command.Delete{Key: key("b")})
	if n := countOf(t, d, store.Journeys, -1) + countOf(t, d, store.Due, dueTimer); n != 0 {
		t.Errorf("%d keys are left", n)
	}
	checkDigest(t, d)
}

// TestJourneysByChance: whatever happens, no more instances are open than declared, each timer belongs to an
// open instance, the definitions are counted, and the digest is that of the state.
func TestJourneysByChance(t *testing.T) {
	for seed := range uint64(8) {
		random, d := rand.New(rand.NewPCG(seed, 7)), newData(t)
		subjects := []string{"a", "b", "c"}
		now := int64(testMS)
		for n := range 400 {
			now += random.Int64N(30_000)
			subject := subjects[random.IntN(len(subjects))]
			def := cartJourney()
			if random.IntN(3) == 0 { // another catalog
				def.Stages[0].TimeoutMS = 90_000
				def.Stages[2].Name = "sold"
			}
			e := effectOf(def, journey.CauseEvent, []journey.Rule{enterCart, buyCart, {Kind: journey.Move, From: 1, To: 0}, {Kind: journey.Move, From: 0, To: 1}}[random.IntN(4)])
			e.Key, e.Every = fmt.Sprint(random.IntN(4)), random.IntN(5) == 0
			switch random.IntN(8) {
			case 0:
				doAt(t, d, now, &command.Delete{Key: key(subject)})
			case 1, 2:
				doAt(t, d, now, &command.FireTimers{UntilMS: now, Limit: 100})
			default:
				doAt(t, d, now, &command.Put{Key: key(subject), Record: rec(t, 0, 0)})
				doAt(t, d, now, shop(n, subject, now-random.Int64N(40_000), e))
			}
			checkJourneys(t, d, subjects)
		}
		checkDigest(t, d)
	}
}

func checkJourneys(t *testing.T, d *Data, subjects []string) {
	t.Helper()
	timers, digests := 0, map[[journey.DigestBytes]byte]bool{}
	for _, subject := range subjects {
		state := journeysOf(t, d, subject)
		if _, open := state.Of("cart"); open > 2 {
			t.Fatalf("%d instances are open", open)
		}
		for i := range state.Open {
			digests[state.Open[i].Digest] = true
			if state.Open[i].DueMS != 0 {
				timers++
			}
		}
	}
	if n := countOf(t, d, store.Due, dueTimer); n != timers {
		t.Fatalf("%d timers for %d instances that wait", n, timers)
	}
	if n := countOf(t, d, store.Journeys, journeyDefinition); n != len(digests) {
		t.Fatalf("%d definitions, %d are in use", n, len(digests))
	}
	for _, origin := range originsOf(t, d) {
		if !strings.HasPrefix(origin, "journey:cart/abandoned#") {
			t.Fatalf("%s was raised", origin)
		}
	}
}

func originsOf(t *testing.T, d *Data) (origins []string) {
	t.Helper()
	pending, _ := pendingOf(t, d, 1<<50)
	for i := range pending {
		origins = append(origins, pending[i].Origin)
	}
	return origins
}
