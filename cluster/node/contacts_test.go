package node

import (
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// TestWhereASubjectStands asks two nodes, of which one at most leads.
func TestWhereASubjectStands(t *testing.T) {
	cluster := limitsCluster(t, 3, 3)
	d := decide(t, cluster[0], request("M-0-0", "web"))
	respond(t, cluster[1], &d, nba.Impression)
	decide(t, cluster[2], request("M-0-0", "push"))
	for _, n := range cluster[:2] {
		got, err := n.Contacts(t.Context(), nba.SubjectRef{ID: "M-0-0"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		byName := map[string]nba.ContactStanding{}
		for _, p := range got.Policies {
			byName[p.Policy] = p
		}
		household, web, scarce := byName["household"], byName["household-web"], byName["scarce"]
		if household.Used != 1 || household.Max != 4 || household.Reached || household.On == nil || household.On.ID != "A-0" || household.Group != "Family" {
			t.Errorf("the household stands at %+v", household)
		}
		if web.Used != 1 || web.Channel != "web" || scarce.Used != 1 || scarce.Reserved != 1 || !scarce.Reached || scarce.Action != "scarce" || scarce.Kind != "coolOff" {
			t.Errorf("the others stand at %+v and %+v", web, scarce)
		}
		if scarce.FreeAt == nil || scarce.FreeAt.Sub(got.At) > 24*time.Hour || scarce.FreeAt.Sub(got.At) < 23*time.Hour {
			t.Errorf("a reservation of a day ends at %v, now %v", scarce.FreeAt, got.At)
		}
		if len(got.Contacts) != 2 || got.Contacts[0].Action != "scarce" || got.Contacts[0].ReservedUntil == nil {
			t.Errorf("contacts: %+v", got.Contacts)
		}
	}
}

// TestTheAccountHears: what was reported of a decision of one subject counts on the ledger of its account,
// and what was never shown is released there.
func TestTheAccountHears(t *testing.T) {
	cluster := limitsCluster(t, 3, 3)
	d := decide(t, cluster[0], request("M-1-0", "web"))
	if d.Propositions[0].Items[0].ExpiresAt == nil {
		t.Error("a proposition under a limit of impressions does not say until when it may be shown")
	}
	respond(t, cluster[1], &d, nba.Rejected)
	account := nba.SubjectRef{ID: "A-1", Type: nba.Account}
	deadline := time.Now().Add(15 * time.Second)
	for {
		ledger, err := cluster[2].ledgerOf(t.Context(), account)
		if err == nil && ledger.Len() == 1 && ledger.At(0).Outcomes != 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the ledger of the account has %d contacts and did not hear of the response: %v", ledger.Len(), err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
