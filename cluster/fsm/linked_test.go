package fsm

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/runtime/contact"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// contactOperation is one of those on contacts and volumes, at random.
func contactOperation(random *rand.Rand, id string) operation {
	decisionOf := func() ulid.ULID { return ulid.MustParseStrict(decisionID(byte(random.IntN(100)))) }
	volume, start := []string{"x/day", "y/total"}[random.IntN(2)], int64(random.IntN(2))*1000
	switch random.IntN(8) {
	case 0:
		return &command.Reserve{Key: key(id), Decision: decisionOf(), TimeMS: testMS, KeepMS: 1 << 30, HoldMS: testMS + random.Int64N(50), Claim: claimOf(3)}
	case 1:
		return &command.Tell{News: []command.News{{Key: key(id), Decision: decisionOf(), What: byte(random.IntN(4)), Outcome: 1, TimeMS: testMS + random.Int64N(50)}}}
	case 2:
		return &command.Elapse{UntilMS: testMS + random.Int64N(100), ForgetMS: random.Int64N(100), Limit: 1 + random.Uint32N(4)}
	case 3:
		return &command.Resolve{Decisions: []ulid.ULID{decisionOf(), decisionOf()}}
	case 4:
		return &command.GrantLease{Volume: volume, StartMS: start, EndMS: testMS + 200, Granted: random.Uint64N(30)}
	case 5:
		return &command.ReturnLease{Volume: volume, StartMS: start, Amount: random.Uint64N(4)}
	case 6:
		made := linkedDecision(byte(random.IntN(100)), id, "account")
		made.Effects = made.Effects.Put(command.EffectCharges, contact.AppendCharges(nil, []contact.Charge{{Volume: volume, StartMS: start}}))
		return made
	default:
		made := decision(byte(random.IntN(100)), id, "x", "y")
		made.Effects = made.Effects.Put(command.EffectTimeout, command.Timeout{AfterMS: random.Uint64N(60), Shown: random.IntN(2) == 0}.Append(nil))
		return made
	}
}

// claimOf claims one contact under a limit of so many.
func claimOf(most uint16) *contact.Claim {
	claim := new(contact.Claim)
	claim.Add(0, contact.Place{Channel: 1, Issue: 1, Group: 1, Action: 2, Side: contact.InboundSide}, contact.MaxReservedMS,
		[]contact.Limit{{Max: most, Outcomes: contact.Shown(), Pending: true, SinceMS: testMS - 1000}})
	return claim
}

func linkedDecision(n byte, subject, other string) *command.Decision {
	d := decision(n, subject, "x")
	d.Kept = d.Kept.Put(command.KeptLinks, command.AppendLinks(nil, key(other)))
	d.Effects = d.Effects.Put(command.EffectRelease, command.AppendRelease(nil, 40))
	return d
}

func ledgerOf(t testing.TB, d *Data, id string) contact.Ledger {
	t.Helper()
	r, err := d.Store().Acquire()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	return append(contact.Ledger(nil), r.Get(store.Contacts, key(id))...)
}

// TestLinkedContactsInAnyOrder plays the protocol of contacts on the ledger of another subject with messages
// that are lost, late and doubled: there are never more decisions than the limit, and once everything is
// resolved the ledger has exactly the contacts of the decisions that were recorded.
func TestLinkedContactsInAnyOrder(t *testing.T) {
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 11))
		subjects, ledgers := newData(t), newData(t)
		do(t, subjects, &command.Put{Key: key("s"), Record: rec(t, 0, 0)})
		const limit = 3
		var late []operation // reservations that are still on their way
		var lateRecords []operation
		recorded := map[string]bool{}
		record := func(op operation) {
			if r := do(t, subjects, op); r.Err == nil {
				recorded[r.Decision.String()] = true
			}
		}
		for n := byte(1); n < 40; n++ {
			id := ulid.MustParseStrict(decisionID(n))
			reserve := &command.Reserve{Key: key("account"), Decision: id, TimeMS: testMS, KeepMS: 1 << 30, HoldMS: testMS + 10, Claim: claimOf(limit)}
			if random.IntN(4) == 0 {
				late = append(late, reserve)
				if random.IntN(2) == 0 {
					continue
				}
			}
			if do(t, ledgers, reserve).Err == nil {
				switch random.IntN(4) {
				case 0: // the node died
				case 1:
					lateRecords = append(lateRecords, linkedDecision(n, "s", "account"))
				default:
					record(linkedDecision(n, "s", "account"))
				}
			}
			if random.IntN(3) == 0 {
				settle(t, subjects, ledgers, testMS+int64(random.IntN(20)))
			}
			if len(late) > 0 && random.IntN(3) == 0 {
				do(t, ledgers, late[random.IntN(len(late))])
			}
			if len(lateRecords) > 0 && random.IntN(3) == 0 {
				record(lateRecords[random.IntN(len(lateRecords))])
			}
			if len(recorded) > limit {
				t.Fatalf("seed %d: %d decisions, and the limit is %d", seed, len(recorded), limit)
			}
		}
		settle(t, subjects, ledgers, testMS+1000)
		for _, op := range lateRecords {
			record(op)
		}
		if held, err := ledgers.Holds(testMS+1000, 10); err != nil || len(held) > 0 {
			t.Fatalf("seed %d: %d still held, %v", seed, len(held), err)
		}
		ledger := ledgerOf(t, ledgers, "account")
		if len(recorded) > limit || ledger.Len() != len(recorded) {
			t.Fatalf("seed %d: %d decisions and %d contacts, and the limit is %d", seed, len(recorded), ledger.Len(), limit)
		}
		for i := range ledger.Len() {
			if id := ulid.ULID(ledger.At(i).Decision); !recorded[id.String()] {
				t.Fatalf("seed %d: the contact of a decision that was not recorded", seed)
			}
		}
	}
}

// settle does what the leaders of both groups do now and then.
func settle(t testing.TB, subjects, ledgers *Data, nowMS int64) {
	t.Helper()
	held, err := ledgers.Holds(nowMS, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range held {
		answer := do(t, subjects, &command.Resolve{Decisions: []ulid.ULID{h.Decision}})
		news := command.News{Key: h.Key, Decision: h.Decision, What: command.NewsVoid, TimeMS: h.UntilMS}
		if answer.Version == 1 {
			news.What = command.NewsMade
		}
		do(t, ledgers, &command.Tell{News: []command.News{news}})
	}
	outgoing, err := subjects.Outbox(1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range outgoing {
		do(t, ledgers, &command.Tell{News: []command.News{o.News}})
		do(t, subjects, &command.Delivered{Keys: [][]byte{o.Stored}})
	}
}

// TestReleasedUnlessShown: a contact on another ledger counts until it hears that nothing was shown in time.
func TestReleasedUnlessShown(t *testing.T) {
	subjects, ledgers := newData(t), newData(t)
	do(t, subjects, &command.Put{Key: key("s"), Record: rec(t, 0, 0)})
	for n := byte(1); n <= 2; n++ {
		do(t, ledgers, &command.Reserve{Key: key("account"), Decision: ulid.MustParseStrict(decisionID(n)), TimeMS: testMS, KeepMS: 1 << 30, HoldMS: testMS + 10, Claim: claimOf(2)})
		if r := do(t, subjects, linkedDecision(n, "s", "account")); r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	full := &command.Reserve{Key: key("account"), Decision: ulid.ULID{9}, TimeMS: testMS + 100, KeepMS: 1 << 30, HoldMS: testMS + 10, Claim: claimOf(2)}
	if r := do(t, ledgers, full); nba.CodeOf(r.Err) != nba.CodeContactLimit {
		t.Errorf("a third contact: %v", r.Err)
	}
	do(t, subjects, &command.Response{DecisionID: decisionID(1), Action: "x", Outcome: nba.Impression, Time: time.UnixMilli(testMS + 20)})
	do(t, subjects, &command.Elapse{UntilMS: testMS + 100, ForgetMS: 0, Limit: 10})
	settle(t, subjects, ledgers, testMS+1000)
	ledger := ledgerOf(t, ledgers, "account")
	limit := contact.Limit{Max: 2, Outcomes: contact.Shown(), Pending: true, SinceMS: testMS - 1000}
	if used := ledger.Used(&limit, testMS+100); ledger.Len() != 2 || used != 1 {
		t.Errorf("of %d contacts %d count, want the one that was shown", ledger.Len(), used)
	}
	if r := do(t, ledgers, full); r.Err != nil {
		t.Errorf("after one was released: %v", r.Err)
	}
	if r := do(t, ledgers, &command.Delete{Key: key("account")}); r.Err != nil || ledgerOf(t, ledgers, "account").Len() != 0 {
		t.Errorf("the ledger of an account that is not stored cannot be erased: %v", r.Err)
	}
	if r := do(t, ledgers, &command.Delete{Key: key("account")}); nba.CodeOf(r.Err) != nba.CodeSubjectUnknown {
		t.Errorf("erased again: %v", r.Err)
	}
	if outgoing, _ := subjects.Outbox(10); len(outgoing) != 0 {
		t.Errorf("%d left in the outbox", len(outgoing))
	}
}

// TestNoAnswerIsOne: when the response timeout has passed, what nobody answered is recorded as ignored.
func TestNoAnswerIsOne(t *testing.T) {
	for shownOnly, want := range map[bool][]int{true: {1, 0, 0, 0}, false: {1, 1, 0, 0}} {
		d := newData(t)
		do(t, d, &command.Put{Key: key("s"), Record: rec(t, 0, 0)})
		made := decision(1, "s", "shown", "unseen", "clicked", "refused")
		made.Effects = made.Effects.Put(command.EffectTimeout, command.Timeout{AfterMS: 1000, Shown: shownOnly}.Append(nil))
		do(t, d, made)
		for action, outcomes := range map[string][]nba.Outcome{"shown": {nba.Impression}, "clicked": {nba.Impression, nba.Clicked}, "refused": {nba.Rejected}} {
			for _, o := range outcomes {
				do(t, d, &command.Response{DecisionID: decisionID(1), Action: action, Outcome: o, Time: time.UnixMilli(testMS + 5)})
			}
		}
		if r := do(t, d, &command.Elapse{UntilMS: testMS + 1000, Limit: 10}); r.Value != (Elapsed{}) {
			t.Errorf("done before it was due: %+v", r.Value)
		}
		for range 2 {
			do(t, d, &command.Elapse{UntilMS: testMS + 1001, Limit: 10})
		}
		reader, err := d.Store().Acquire()
		if err != nil {
			t.Fatal(err)
		}
		id := ulid.MustParseStrict(decisionID(1))
		entry, err := OpenDecisionEntry(reader.Get(store.Decisions, id[:]))
		reader.Release()
		if err != nil {
			t.Fatal(err)
		}
		for i, n := range want {
			if got := int(entry.Outcomes[i] >> nba.Ignored.Index()); got != n {
				t.Errorf("shown only %v, proposition %d: ignored is %d, want %d", shownOnly, i, got, n)
			}
		}
		late := do(t, d, &command.Response{DecisionID: decisionID(1), Action: "shown", Outcome: nba.Accepted, Time: time.UnixMilli(testMS + 5000)})
		if late.Err != nil || late.Duplicate {
			t.Errorf("a late answer: %+v", late)
		}
	}
}

// TestVolumeIsNeverExceeded parts a budget among groups over messages that are lost, late and doubled: all
// that decisions used is never more than the budget, and with patience exactly that.
func TestVolumeIsNeverExceeded(t *testing.T) {
	for seed := range uint64(10) {
		random := rand.New(rand.NewPCG(seed, 12))
		const most, groups = 97, 3
		control, data := newControl(t, nil), []*Data{newData(t), newData(t), newData(t)}
		for _, d := range data {
			do(t, d, &command.Put{Key: key("s"), Record: rec(t, 0, 0)})
		}
		used, n := 0, byte(0)
		var delayed []func()
		lossy := func(send func()) {
			if random.IntN(4) > 0 {
				send()
			}
			if random.IntN(3) == 0 {
				delayed = append(delayed, send)
			}
		}
		lease := func(g int) contact.Lease {
			held, err := data[g].Leases(10)
			if err != nil || len(held) > 1 {
				t.Fatalf("%d leases, %v", len(held), err)
			}
			if len(held) == 0 {
				return contact.Lease{}
			}
			return held[0].Lease
		}
		for step := 0; used < most && step < 6000; step++ {
			g := random.IntN(groups)
			switch random.IntN(6) {
			case 0:
				ask := &command.LeaseVolume{Volume: "x/total", EndMS: 1 << 60, Group: uint64(g), Groups: groups, Have: lease(g).Granted, Max: most, Version: 1}
				lossy(func() {
					granted := do(t, control, ask).Version
					lossy(func() { do(t, data[g], &command.GrantLease{Volume: "x/total", EndMS: 1 << 60, Granted: granted}) })
				})
			case 1:
				if random.IntN(4) == 0 {
					returned := do(t, data[g], &command.ReturnLease{Volume: "x/total", Amount: uint64(random.IntN(4))}).Version
					lossy(func() {
						do(t, control, &command.GiveBackVolume{Volume: "x/total", Group: uint64(g), Returned: returned})
					})
				}
			case 2:
				if len(delayed) > 0 {
					delayed[random.IntN(len(delayed))]()
				}
			default:
				n++
				made := decision(n, "s", "x")
				made.ID = ulid.ULID{byte(step >> 16), byte(step >> 8), byte(step), byte(g)}.String()
				made.Effects = made.Effects.Put(command.EffectCharges, contact.AppendCharges(nil, []contact.Charge{{Volume: "x/total"}}))
				if r := do(t, data[g], made); r.Err == nil {
					used++
				} else if nba.CodeOf(r.Err) != nba.CodeContactLimit {
					t.Fatal(r.Err)
				}
			}
			if used > most {
				t.Fatalf("seed %d: %d used of a volume of %d", seed, used, most)
			}
		}
		if used != most {
			budget, _, err := control.Budget("x/total", 0)
			t.Errorf("seed %d: %d used of a volume of %d; %+v %v", seed, used, most, budget, err)
		}
	}
}

// TestPeriodsEnd: the lease of a period that ended long ago is closed for good, in the data group as in the
// control group.
func TestPeriodsEnd(t *testing.T) {
	control, d := newControl(t, nil), newData(t)
	const day = 24 * 3600 * 1000
	ask := func(start int64, have uint64) uint64 {
		op := &command.LeaseVolume{Volume: "x/day", StartMS: start, EndMS: start + day, Group: 1, Groups: 1, Have: have, Max: 8, Version: 1}
		return do(t, control, op).Version
	}
	grant := func(start int64) uint64 {
		return do(t, d, &command.GrantLease{Volume: "x/day", StartMS: start, EndMS: start + day, Granted: 2}).Version
	}
	long := int64(testMS - 10*day)
	if ask(long, 0) != 2 || grant(long) != 2 || ask(testMS, 0) != 2 || grant(testMS) != 2 {
		t.Fatal("no lease")
	}
	if got := fmt.Sprint(ask(long, 0), grant(long), ask(long-day, 0)); got != "0 0 0" {
		t.Errorf("a period that is closed is opened again: %s", got)
	}
	if leases, err := d.Leases(10); err != nil || len(leases) != 1 || leases[0].StartMS != testMS {
		t.Errorf("leases %+v, %v", leases, err)
	}
}
