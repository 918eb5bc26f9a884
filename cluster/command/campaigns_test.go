package command

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/arbiterhq/arbiter/runtime/campaign"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

func testBatch(t testing.TB) *Batch {
	t.Helper()
	decision := Decision{ID: "01JD4T2G8YQ0000000000000AB", Subject: nba.SubjectRef{ID: "C-1", Type: nba.Subscriber}, Time: time.UnixMilli(5), Channel: "sms",
		Propositions: []Proposition{{Placement: "message", Rank: 1, Action: "a", Treatment: "t", Propensity: 0.5, ContextWeight: 1, Value: 1, Lever: 1, Priority: 0.5, SelectionProbability: 1}},
		Kept:         Sections(nil).Put(KeptCampaign, AppendCampaign(nil, 7, "renewal"))}
	op, err := decision.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &Batch{Run: 7, From: []byte{1}, Next: testKey(), Done: true, Held: [][]byte{testKey()}, Labels: []Label{{"a", "sms"}}}
	b.Account = campaign.Account{Examined: 3, Audience: 3, HeldOut: 1}
	b.Account.Suppress("contact:X", 1)
	b.AddDecision(0, 500_000, op)
	return b
}

func TestBatchTravels(t *testing.T) {
	b := testBatch(t)
	encoded, err := b.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	if kind, version := KindOf(encoded); kind != CampaignBatch || version != opVersion {
		t.Errorf("kind %d version %d", kind, version)
	}
	var got Batch
	if err := got.Decode(encoded[opHeadBytes:]); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(*b, got); diff != "" {
		t.Error(diff)
	}
	for _, kind := range []Kind{CampaignStarted, CampaignChanged, CampaignFinished, CampaignBatch, CampaignForgotten} {
		if level, ok := Needs(kind, 1); !ok || level != LevelEvents {
			t.Errorf("kind %d needs level %d, %v", kind, level, ok)
		}
	}
	run, name, err := DecodeCampaign(AppendCampaign(nil, 1<<40, "renewal"))
	if err != nil || run != 1<<40 || name != "renewal" {
		t.Errorf("%d %q %v", run, name, err)
	}
	b.Contacts[0].Label = 1
	if _, err := b.Append(nil); err == nil {
		t.Error("a label that is not there is taken")
	}
}

func FuzzBatch(f *testing.F) {
	encoded, err := testBatch(f).Append(nil)
	if err != nil {
		f.Fatal(err)
	}
	forget, _ := (&ForgetCampaign{Run: 7, Limit: 9}).Append(nil)
	f.Add(encoded[opHeadBytes:])
	f.Add(forget[opHeadBytes:])
	f.Fuzz(func(t *testing.T, body []byte) {
		var b Batch
		if b.Decode(body) == nil {
			again, err := b.Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			var back Batch
			if err := back.Decode(again[opHeadBytes:]); err != nil || !bytes.Equal(back.Next, b.Next) || len(back.Contacts) != len(b.Contacts) {
				t.Fatalf("%v", err)
			}
		}
		var forget ForgetCampaign
		if forget.Decode(body) == nil {
			if again, _ := forget.Append(nil); new(ForgetCampaign).Decode(again[opHeadBytes:]) != nil {
				t.Fatal("it does not read back")
			}
		}
		_, _, _ = DecodeCampaign(body)
	})
}
