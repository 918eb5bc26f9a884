package fsm

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/runtime/contact"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// batchOf is a batch that contacts subjects, under a limit of one contact each, from one key to another.
func batchOf(t testing.TB, from, next []byte, first byte, subjects ...string) *command.Batch {
	t.Helper()
	b := &command.Batch{Run: 7, From: from, Next: next, Labels: []command.Label{{Action: "a", Channel: "web"}}}
	b.Account.Examined, b.Account.Audience = uint64(len(subjects)), uint64(len(subjects))
	for i, subject := range subjects {
		d := decision(first+byte(i), subject, "a")
		d.Claim, d.KeepContactsMS = claimOf(1), 1_000_000
		op, err := d.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		b.AddDecision(0, 250_000, op)
	}
	return b
}

func progress(t testing.TB, d *Data, run uint64) Progress {
	t.Helper()
	p, _, err := d.CampaignProgress(run)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Account.Check(); err != nil {
		t.Error(err)
	}
	return p
}

// TestBatchIsAppliedOnce: a batch moves the cursor once; who had enough is suppressed, who is gone too; held out
// subjects are kept; nothing of an erased subject stays; a run that is forgotten leaves nothing.
func TestBatchIsAppliedOnce(t *testing.T) {
	d := newData(t)
	for _, id := range []string{"a", "b", "c", "d"} {
		do(t, d, &command.Put{Key: key(id), Record: rec(t, 0, 0)})
	}
	early := decision(1, "b", "a")
	early.Claim, early.KeepContactsMS = claimOf(1), 1_000_000
	do(t, d, early)
	batch := batchOf(t, nil, key("c"), 10, "a", "b", "gone", "c")
	if result := do(t, d, batch); result.Err != nil || result.Version != 2 {
		t.Fatalf("%+v", result)
	}
	for range 2 {
		if again := do(t, d, batch); nba.CodeOf(again.Err) != nba.CodeConflict {
			t.Errorf("applied again: %+v", again)
		}
	}
	p := progress(t, d, 7)
	if p.Account.Contacted != 2 || fmt.Sprint(p.Account.Suppressed) != "[{contact:CONTACT_LIMIT 1} {subject:GONE 1}]" || p.Account.ExpectedMicros() != 500_000 || string(p.Cursor) != string(key("c")) {
		t.Errorf("%+v", p)
	}
	last := batchOf(t, key("c"), key("d"), 20)
	last.Done, last.Held = true, [][]byte{key("d")}
	last.Account.Examined, last.Account.Audience, last.Account.HeldOut = 1, 1, 1
	if result := do(t, d, last); result.Err != nil {
		t.Fatalf("%+v", result)
	}
	if p = progress(t, d, 7); !p.Done || p.Account.HeldOut != 1 || p.Account.Audience != 5 {
		t.Errorf("%+v", p)
	}
	members := func(held bool) (out string) {
		if err := d.CampaignMembers(7, held, nil, func(_ *store.Reader, m CampaignMember) bool {
			out += string(m.Key[2:]) + " "
			return true
		}); err != nil {
			t.Fatal(err)
		}
		return out
	}
	if members(false) != "a c " || members(true) != "d " {
		t.Errorf("contacted %q, held out %q", members(false), members(true))
	}
	do(t, d, &command.Delete{Key: key("a")})
	do(t, d, &command.Delete{Key: key("d")})
	if members(false) != "c " || members(true) != "" {
		t.Errorf("after erasure: contacted %q, held out %q", members(false), members(true))
	}
	if more := do(t, d, &command.ForgetCampaign{Run: 7, Limit: 1}); more.Version != 1 {
		t.Errorf("%+v", more)
	}
	do(t, d, &command.ForgetCampaign{Run: 7, Limit: 10})
	if runs, err := d.CampaignRuns(); err != nil || len(runs) != 0 || keys(t, d, store.Campaigns) != 0 {
		t.Errorf("left: %v, %d keys, %v", runs, keys(t, d, store.Campaigns), err)
	}
	if err := d.Verify(); err != nil {
		t.Error(err)
	}
}

// TestBatchTakesItsVolume: a batch that needs more of a volume than the group has is refused whole; what is granted
// is used up exactly.
func TestBatchTakesItsVolume(t *testing.T) {
	d := newData(t)
	names := strings.Split("a b c d e", " ")
	for _, id := range names {
		do(t, d, &command.Put{Key: key(id), Record: rec(t, 0, 0)})
	}
	charged := func(from, next []byte, first byte, subjects ...string) *command.Batch {
		b := batchOf(t, from, next, first)
		b.Account.Examined, b.Account.Audience = uint64(len(subjects)), uint64(len(subjects))
		for i, subject := range subjects {
			one := decision(first+byte(i), subject, "a")
			one.Effects = one.Effects.Put(command.EffectCharges, contact.AppendCharges(nil, []contact.Charge{{Volume: "v"}}))
			op, err := one.Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			b.AddDecision(0, 0, op)
		}
		return b
	}
	do(t, d, &command.GrantLease{Volume: "v", EndMS: 1 << 60, Granted: 3})
	if result := do(t, d, charged(nil, key("e"), 10, names...)); nba.CodeOf(result.Err) != nba.CodeContactLimit || progress(t, d, 7).Account.Contacted != 0 {
		t.Errorf("five of three: %+v", result)
	}
	if result := do(t, d, charged(nil, key("c"), 10, names[:3]...)); result.Err != nil || result.Version != 3 {
		t.Errorf("three of three: %+v", result)
	}
	if result := do(t, d, charged(key("c"), key("d"), 20, "d")); nba.CodeOf(result.Err) != nba.CodeContactLimit {
		t.Errorf("one of none: %+v", result)
	}
	leases, err := d.Leases(10)
	if err != nil || len(leases) != 1 || leases[0].Left() != 0 || leases[0].Used != 3 {
		t.Errorf("%+v, %v", leases, err)
	}
}

// TestCampaignReplicasAgree: replicas that apply the same entries in other batches have the same state.
func TestCampaignReplicasAgree(t *testing.T) {
	one, other := newData(t), newData(t)
	ops := []operation{}
	for i := range 20 {
		ops = append(ops, &command.Put{Key: key(fmt.Sprint("s", i)), Record: rec(t, 0, 0)})
	}
	var cursor []byte
	for i := range 10 {
		a, b := fmt.Sprint("s", 2*i), fmt.Sprint("s", 2*i+1)
		batch := batchOf(t, cursor, key(b), byte(10+4*i), a, b)
		if i%3 == 0 {
			batch.Account.Suppress("consent:NO_CONSENT", 1)
			batch.Account.Examined++
			batch.Account.Audience++
		}
		cursor = key(b)
		ops = append(ops, batch, batch)
	}
	ops = append(ops, &command.Delete{Key: key("s3")}, &command.ForgetCampaign{Run: 8, Limit: 5})
	for _, op := range ops {
		do(t, one, op)
	}
	for i, chunk := uint64(1), slices.Clone(ops); len(chunk) > 0; i++ {
		n := min(len(chunk), 3)
		other.Apply(entry(t, i, chunk[:n]...))
		chunk = chunk[n:]
	}
	if one.Digest().Digest != other.Digest().Digest || progress(t, one, 7).Account.Contacted != 20 {
		t.Errorf("%+v\n%+v", progress(t, one, 7), progress(t, other, 7))
	}
}
