package node

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/arbiterhq/arbiter/cluster/router"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// limitsCatalog has every kind of limit.
const limitsCatalog = `apiVersion: arbiter/v1
kind: Catalog
name: limits
channels:
  - {name: web, placements: [hero]}
  - {name: sms, direction: outbound, placements: [message]}
  - {name: push, direction: outbound, placements: [note]}
issues:
  - {name: Grow, groups: [{name: Plans}, {name: Family}, {name: Scarce}]}
actions:
  - {name: plan, issue: Grow, group: Plans, purpose: service, value: 1, treatments: [{name: t, channel: web}, {name: s, channel: sms}]}
  - {name: family, issue: Grow, group: Family, purpose: service, value: 2, treatments: [{name: t, channel: web}, {name: s, channel: sms}]}
  - {name: scarce, issue: Grow, group: Scarce, purpose: service, value: 3, volume: [{max: 20, per: total}, {max: 1000, per: day}], treatments: [{name: t, channel: push}]}
contactPolicies:
  - {name: plans, limit: 3, per: 7d, group: Plans}
  - {name: plans-sms, limit: 1, per: day, channel: sms, group: Plans, counting: decisions}
  - {name: household, limit: 4, per: 7d, group: Family, counting: decisions, level: account, link: household}
  - {name: household-web, limit: 2, per: 7d, group: Family, channel: web, level: account, link: household}
  - {name: scarce, coolOff: 1h, same: [action]}
`

// made is what clients were told: propositions by subject or account, channel and action, each decision once.
type made struct {
	mu    sync.Mutex
	seen  map[string]bool
	count map[string]int
	total map[string]int // by action
}

func (m *made) note(t *testing.T, subject, account, channel string, d *nba.Decision) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.seen[d.DecisionID] {
		return
	}
	m.seen[d.DecisionID] = true
	for _, p := range d.Propositions {
		for _, item := range p.Items {
			m.count[subject+" "+item.Action]++
			m.count[subject+" "+channel+" "+item.Action]++
			m.count[account+" "+item.Action]++
			m.count[account+" "+channel+" "+item.Action]++
			m.total[item.Action]++
		}
	}
}

func newMade() *made {
	return &made{seen: map[string]bool{}, count: map[string]int{}, total: map[string]int{}}
}

const limitsHouseholds, limitsMembers = 8, 4

func member(i int) (subject, account string) {
	return fmt.Sprintf("M-%d-%d", i/limitsMembers, i%limitsMembers), fmt.Sprintf("A-%d", i/limitsMembers)
}

func limitsCluster(t *testing.T, nodes, groups int) []*Node {
	t.Helper()
	return loadLimits(t, openCluster(t, nodes, groups))
}

func loadLimits(t *testing.T, cluster []*Node) []*Node {
	t.Helper()
	nodes := len(cluster)
	ctx := t.Context()
	if _, err := cluster[0].DeclareAttributes(ctx, []nba.AttributeDeclaration{{Name: "household", Type: nba.KindString, Purposes: []string{"service"}}}); err != nil {
		t.Fatal(err)
	}
	activate(t, cluster[0], limitsCatalog)
	for i := range limitsHouseholds * limitsMembers {
		id, account := member(i)
		doc := nba.SubjectDocument{SubjectRef: nba.SubjectRef{ID: id}, Attributes: map[string]any{"household": account}}
		if _, _, err := cluster[i%nodes].PutSubject(ctx, doc, nil); err != nil {
			t.Fatal(err)
		}
	}
	return cluster
}

// decideTwice makes a decision under an idempotency key, sometimes once more on another node: the answer is
// the same.
func decideTwice(t *testing.T, cluster []*Node, random *rand.Rand, key, subject, channel string) (d nba.Decision, ok bool) {
	t.Helper()
	ctx := nba.WithIdempotency(t.Context(), nba.NewIdempotency(key, [16]byte{1}))
	req := request(subject, channel)
	for attempt := 0; ; attempt++ {
		err := cluster[random.IntN(len(cluster))].Decide(ctx, req, &d)
		if err == nil {
			break
		}
		if code := nba.CodeOf(err); attempt > 20 || code != nba.CodeUnavailable && code != nba.CodeTimeout && code != nba.CodeOverloaded {
			t.Errorf("deciding: %v", err)
			return d, false
		}
		time.Sleep(20 * time.Millisecond)
	}
	if random.IntN(4) == 0 {
		var again nba.Decision
		ctx := nba.WithIdempotency(t.Context(), nba.NewIdempotency(key, [16]byte{1}))
		if err := cluster[random.IntN(len(cluster))].Decide(ctx, req, &again); err == nil && (again.DecisionID != d.DecisionID || len(again.Propositions) != len(d.Propositions)) {
			t.Errorf("the same key was answered with decision %s and then %s", d.DecisionID, again.DecisionID)
		}
	}
	return d, true
}

// TestLimitsHoldOnAllNodes makes decisions for the same subjects on three nodes at once, with retries under
// the same keys and a change of leaders: no limit is exceeded, neither by what clients were told nor by what
// is stored, and the volume is used fully.
func TestLimitsHoldOnAllNodes(t *testing.T) {
	cluster := limitsCluster(t, 3, 3)
	told := newMade()
	var clients sync.WaitGroup
	for client := range 12 {
		clients.Go(func() {
			random := rand.New(rand.NewPCG(20261122, uint64(client)))
			for k := range 40 {
				subject, account := member(random.IntN(limitsHouseholds * limitsMembers))
				channel := []string{"web", "sms", "push"}[random.IntN(3)]
				d, ok := decideTwice(t, cluster, random, fmt.Sprintf("key-%d-%d", client, k), subject, channel)
				if !ok {
					continue
				}
				told.note(t, subject, account, channel, &d)
				if channel == "web" && random.IntN(2) == 0 {
					respond(t, cluster[random.IntN(3)], &d, nba.Impression)
				}
				if client == 0 && k == 20 {
					cluster[0].HandOver(t.Context())
				}
			}
		})
	}
	clients.Wait()
	t.Logf("told: %v", told.total)
	checkLimits(t, told)
	checkStored(t, cluster)
}

func respond(t *testing.T, n *Node, d *nba.Decision, outcome nba.Outcome) {
	t.Helper()
	for _, p := range d.Propositions {
		for _, item := range p.Items {
			if _, err := n.Respond(t.Context(), []nba.Response{{ResponseToken: item.ResponseToken, Outcome: outcome}}); err != nil && nba.CodeOf(err) != nba.CodeUnavailable {
				t.Errorf("responding: %v", err)
			}
		}
	}
}

func checkLimits(t *testing.T, m *made) {
	t.Helper()
	atMost := func(what string, most int) {
		t.Helper()
		if got := m.count[what]; got > most {
			t.Errorf("%s: %d contacts, and the limit is %d", what, got, most)
		}
	}
	for i := range limitsHouseholds * limitsMembers {
		subject, account := member(i)
		atMost(subject+" plan", 3)
		atMost(subject+" sms plan", 1)
		atMost(subject+" scarce", 1)
		atMost(account+" family", 4)
		atMost(account+" web family", 2)
	}
	if m.total["scarce"] > 20 {
		t.Errorf("%d scarce propositions, and the volume is 20", m.total["scarce"])
	}
}

// checkStored counts the contacts in the histories.
func checkStored(t *testing.T, cluster []*Node) {
	t.Helper()
	stored := newMade()
	for i := range limitsHouseholds * limitsMembers {
		subject, account := member(i)
		items, _, err := cluster[i%len(cluster)].History(t.Context(), nba.SubjectRef{ID: subject}, nil, 1000, "")
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range items {
			if item.Outcome != "" {
				continue
			}
			d := nba.Decision{DecisionID: item.DecisionID, Propositions: []nba.PlacementPropositions{{Items: []nba.Proposition{{Action: item.Action}}}}}
			stored.note(t, subject, account, item.Channel, &d)
		}
	}
	checkLimits(t, stored)
}

// TestVolumeIsUsedFully asks for more than there is until nothing is left: exactly the volume is proposed.
func TestVolumeIsUsedFully(t *testing.T) {
	cluster := openCluster(t, 3, 4)
	activate(t, cluster[0], limitsVolume)
	const subjects = 200
	for i := range subjects {
		subject(t, cluster[i%3], fmt.Sprintf("V-%d", i))
	}
	var mu sync.Mutex
	total := 0
	deadline := time.Now().Add(20 * time.Second)
	for round := 0; total < 150 && time.Now().Before(deadline); round++ {
		var clients sync.WaitGroup
		for client := range 8 {
			clients.Go(func() {
				for i := client; i < subjects; i += 8 {
					d := decide(t, cluster[(i+round)%3], request(fmt.Sprintf("V-%d", i), "web"))
					mu.Lock()
					total += len(d.Propositions[0].Items)
					mu.Unlock()
				}
			})
		}
		clients.Wait()
		time.Sleep(100 * time.Millisecond)
	}
	if total != 150 {
		t.Errorf("%d propositions, and the volume is 150", total)
	}
	req := request("V-1", "web")
	req.Options.Explain = nba.ExplainReasons
	d := decide(t, cluster[1], req)
	at := slices.IndexFunc(d.Explanation.Stages, func(s nba.Stage) bool { return s.Stage == "volume" })
	if at < 0 || len(d.Explanation.Stages[at].Removed) != 1 || d.Explanation.Stages[at].Removed[0].Code != "VOLUME_LIMIT" {
		t.Errorf("the explanation does not say that the volume is used up: %+v", d.Explanation.Stages)
	}
}

const limitsVolume = `apiVersion: arbiter/v1
kind: Catalog
name: volume
channels: [{name: web, placements: [hero]}]
issues: [{name: Grow, groups: [{name: Plans}]}]
actions:
  - {name: scarce, issue: Grow, group: Plans, purpose: service, value: 3, volume: {max: 150, per: month, timeZone: Europe/Berlin}, treatments: [{name: t, channel: web}]}
`

// TestDecisionGivenUp reserves on the ledger of an account and goes away: the contact counts until its group
// found out that there is no decision, and then not any more. A decision that comes after that is refused.
func TestDecisionGivenUp(t *testing.T) {
	cluster := limitsCluster(t, 1, 2)
	n := cluster[0]
	account := nba.SubjectRef{ID: "A-0", Type: nba.Account}
	made := func(subject string) int {
		d := decide(t, n, request(subject, "web"))
		got := 0
		for _, item := range d.Propositions[0].Items {
			if item.Action == "family" {
				got++
			}
		}
		return got
	}
	if made("M-0-0") != 1 {
		t.Fatal("nothing for the first of the household")
	}
	ledger, err := n.router.Ledger(account)
	if err != nil || ledger.Len() != 1 {
		t.Fatalf("%d contacts on the ledger of the account, %v", ledger.Len(), err)
	}
	if made("M-0-1") != 1 || made("M-0-2") != 0 {
		t.Error("two of the household see it on the web, and no third")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	id := ledger.At(0).Decision
	if err := n.router.GiveUp(ctx, idOf(id), time.Now(), []nba.SubjectRef{account}); err != nil {
		t.Fatal(err)
	}
	if again, _ := n.router.Ledger(account); !again.Holds(id) {
		t.Error("a decision that was recorded is given up")
	}
}

func idOf(id [16]byte) string { return ulid.ULID(id).String() }

// TestTheAccountIsAway: a subject whose account's group does not answer gets a decision without what counts
// there, and it is the same when it is made again.
func TestTheAccountIsAway(t *testing.T) {
	cluster := loadLimits(t, openClusterOf(t, 3, 3, 1)) // each group on one node alone
	lost := cluster[2]
	if err := lost.Close(); err != nil {
		t.Fatal(err)
	}
	for i := range limitsHouseholds * limitsMembers {
		id, account := member(i)
		if lost.router.Keeps(router.Slot(nba.SubjectRef{ID: id, Type: nba.Subscriber})) || !lost.router.Keeps(router.Slot(nba.SubjectRef{ID: account, Type: nba.Account})) {
			continue
		}
		d := decide(t, cluster[0], request(id, "web"))
		if !d.Degraded || d.DegradedReason != "CONTACTS_UNKNOWN" || len(d.Propositions[0].Items) != 1 || d.Propositions[0].Items[0].Action != "plan" {
			t.Errorf("without the account: %+v", d)
		}
		again, err := cluster[1].ReplayDecision(t.Context(), d.DecisionID, 0)
		if err != nil || !again.Identical {
			t.Errorf("made again: %+v, %v", again.Differences, err)
		}
		return
	}
	t.Fatal("no subject is in another group than its account")
}
