package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// contactsCatalog has every kind of contact limit: by decisions and by impressions, for a channel and for
// all, for the household that subjects are linked to, and volumes over all subjects.
const contactsCatalog = `apiVersion: arbiter/v1
kind: Catalog
name: contacts
channels:
  - {name: web, placements: [hero], responseTimeout: 1m}
  - {name: sms, direction: outbound, placements: [message]}
issues: [{name: Grow, groups: [{name: Plans}, {name: Family}, {name: Scarce}]}]
actions:
  - {name: plan, issue: Grow, group: Plans, purpose: service, value: 1, treatments: [{name: t, channel: web}, {name: s, channel: sms}]}
  - {name: family, issue: Grow, group: Family, purpose: service, value: 2, treatments: [{name: t, channel: web}, {name: s, channel: sms}]}
  - {name: few, issue: Grow, group: Scarce, purpose: service, value: 5, volume: {max: 20, per: total}, treatments: [{name: t, channel: web}]}
  - {name: some, issue: Grow, group: Scarce, purpose: service, value: 4, volume: [{max: 150, per: total}, {max: 2000, per: day}], treatments: [{name: t, channel: web}]}
  - {name: many, issue: Grow, group: Scarce, purpose: service, value: 3, volume: {max: 1500, per: month, timeZone: Europe/Berlin}, treatments: [{name: t, channel: web}]}
contactPolicies:
  - {name: plans, limit: 3, per: 7d, group: Plans}
  - {name: plans-sms, limit: 1, per: 2d, channel: sms, group: Plans, counting: decisions}
  - {name: household, limit: 4, per: 7d, group: Family, counting: decisions, level: account, link: household}
  - {name: household-web, limit: 2, per: 7d, group: Family, channel: web, level: account, link: household}
  - {name: scarce, limit: 1, per: 7d, group: Scarce, same: [action]}
`

// The limits of the catalog, by what is counted.
func contactLimits(subject, household string) map[string]int {
	return map[string]int{
		subject + " plan": 3, subject + " sms plan": 1, subject + " few": 1, subject + " some": 1, subject + " many": 1,
		household + " family": 4, household + " web family": 2,
	}
}

var volumeLimits = map[string]int{"few": 20, "some": 150, "many": 1500}

// contacts decides for the same few subjects on all nodes at once, under keys that are sent again until they
// are answered. Subjects change with time, since their limits are used up soon.
type contacts struct {
	seed    uint64
	clients int
	members int           // of a household
	homes   int           // households at a time
	epoch   time.Duration // how long the same subjects are used
	total   atomic.Int64
	epochs  atomic.Int64

	mu      sync.Mutex
	told    map[string]toldDecision // acknowledged, by decision id
	other   int                     // keys that were answered differently the second time
	example string
}

// toldDecision is what a client was told of a decision.
type toldDecision struct {
	subject, household, channel string
	actions                     []string
}

func newContacts(seed uint64) *contacts {
	return &contacts{seed: seed, clients: 6, members: 4, homes: 4, epoch: 2 * time.Second, told: map[string]toldDecision{}}
}

func (w *contacts) progress() int64 { return w.total.Load() }

func (w *contacts) member(epoch int64, home, member int) (subject, household string) {
	return fmt.Sprintf("con-%d-%d-%d", epoch, home, member), fmt.Sprintf("home-%d-%d", epoch, home)
}

func (w *contacts) run(ctx context.Context, c *cluster) {
	began := time.Now()
	var clients sync.WaitGroup
	for client := range w.clients {
		clients.Go(func() {
			random := chance(w.seed, 800+client)
			stored := map[string]bool{}
			for n := 0; ctx.Err() == nil; n++ {
				epoch := int64(time.Since(began) / w.epoch)
				w.epochs.Store(max(epoch+1, w.epochs.Load()))
				subject, household := w.member(epoch, random.IntN(w.homes), random.IntN(w.members))
				if !stored[subject] {
					body := map[string]any{"attributes": map[string]any{"household": household}}
					stored[subject] = c.nodes[random.IntN(len(c.nodes))].do(http.MethodPut, "/v1/subjects/"+subject, body).fate == applied
				}
				if stored[subject] {
					w.decide(ctx, c, random, subject, household, fmt.Sprintf("contact-%d-%d-%d", w.seed, client, n))
				}
				pause(ctx, 2*time.Millisecond)
			}
		})
	}
	clients.Wait()
}

// decide sends one decision until it is answered, perhaps once more, and perhaps reports an impression.
func (w *contacts) decide(ctx context.Context, c *cluster, random *rand.Rand, subject, household, key string) {
	channel := []string{"web", "sms"}[random.IntN(2)]
	send := func() answer {
		return c.nodes[random.IntN(len(c.nodes))].do(http.MethodPost, "/v1/decisions",
			map[string]any{"subject": map[string]any{"id": subject}, "channel": channel}, "Idempotency-Key", key)
	}
	first := send()
	for first.fate != applied && ctx.Err() == nil {
		pause(ctx, 5*time.Millisecond)
		first = send()
	}
	if first.fate != applied {
		return
	}
	w.total.Add(1)
	token := w.note(first, toldDecision{subject: subject, household: household, channel: channel})
	if random.IntN(4) == 0 {
		if again := send(); again.fate == applied && string(again.body) != string(first.body) {
			w.mu.Lock()
			w.other++
			w.example = fmt.Sprintf("first %s, then %s", first.body, again.body)
			w.mu.Unlock()
		}
	}
	if token != "" && random.IntN(2) == 0 {
		c.nodes[random.IntN(len(c.nodes))].do(http.MethodPost, "/v1/responses", map[string]any{"responseToken": token, "outcome": "Impression"})
	}
}

func (w *contacts) note(a answer, told toldDecision) (token string) {
	var decision struct {
		DecisionID   string `json:"decisionId"`
		Propositions []struct {
			Items []struct {
				Action        string `json:"action"`
				ResponseToken string `json:"responseToken"`
			} `json:"items"`
		} `json:"propositions"`
	}
	if json.Unmarshal(a.body, &decision) != nil {
		return ""
	}
	for _, p := range decision.Propositions {
		for _, item := range p.Items {
			told.actions = append(told.actions, item.Action)
			token = item.ResponseToken
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told[decision.DecisionID] = told
	return token
}

// counts are contacts by what limits count.
func counts(made map[string]toldDecision) (by map[string]int, actions map[string]int) {
	by, actions = map[string]int{}, map[string]int{}
	for _, d := range made {
		for _, action := range d.actions {
			for _, who := range [...]string{d.subject, d.household} {
				by[who+" "+action]++
				by[who+" "+d.channel+" "+action]++
			}
			actions[action]++
		}
	}
	return by, actions
}

func (w *contacts) check(t *testing.T, c *cluster) {
	t.Helper()
	if w.other > 0 {
		t.Errorf("%d keys were answered differently the second time: %s", w.other, w.example)
	}
	w.judge(t, "by what clients were told", w.told)
	for _, n := range c.nodes {
		stored := map[string]toldDecision{}
		for epoch := range w.epochs.Load() {
			for home := range w.homes {
				for m := range w.members {
					subject, household := w.member(epoch, home, m)
					if err := w.stored(n, subject, household, stored); err != nil {
						t.Error(err)
					}
				}
			}
		}
		w.judge(t, "by the histories on "+n.id, stored)
		missing := 0
		for id, told := range w.told {
			if len(told.actions) > 0 && stored[id].subject == "" {
				missing++
			}
		}
		if missing > 0 {
			t.Errorf("%d acknowledged decisions are not in the histories on %s", missing, n.id)
		}
	}
	_, actions := counts(w.told)
	t.Logf("%d decisions under contact limits, contacts made: %v", w.total.Load(), actions)
}

// judge holds contacts against all limits.
func (w *contacts) judge(t *testing.T, how string, made map[string]toldDecision) {
	t.Helper()
	by, actions := counts(made)
	wrong := 0
	exceeded := func(what string, got, most int) {
		if got > most {
			if wrong++; wrong <= 5 {
				t.Errorf("%s: %d contacts of %s, and the limit is %d", how, got, what, most)
			}
		}
	}
	for epoch := range w.epochs.Load() {
		for home := range w.homes {
			for m := range w.members {
				subject, household := w.member(epoch, home, m)
				for what, most := range contactLimits(subject, household) {
					exceeded(what, by[what], most)
				}
			}
		}
	}
	for action, most := range volumeLimits {
		exceeded(action+" over all subjects", actions[action], most)
	}
}

// stored adds the decisions in the history of a subject.
func (w *contacts) stored(n *node, subject, household string, into map[string]toldDecision) error {
	a := n.do(http.MethodGet, "/v1/subjects/"+subject+"/history?limit=500", nil)
	if a.status == http.StatusNotFound {
		return nil
	}
	if a.fate != applied {
		return fmt.Errorf("the history of %s on %s: status %d %v %s", subject, n.id, a.status, a.err, a.body)
	}
	var page struct {
		Items []struct {
			DecisionID string `json:"decisionId"`
			Action     string `json:"action"`
			Channel    string `json:"channel"`
			Outcome    string `json:"outcome"`
		} `json:"items"`
		NextCursor string `json:"nextCursor"`
	}
	if err := json.Unmarshal(a.body, &page); err != nil {
		return err
	}
	if page.NextCursor != "" {
		return fmt.Errorf("%s has more than 500 interactions", subject)
	}
	for _, item := range page.Items {
		if item.Outcome == "" {
			d := into[item.DecisionID]
			d.subject, d.household, d.channel = subject, household, item.Channel
			d.actions = append(d.actions, item.Action)
			into[item.DecisionID] = d
		}
	}
	return nil
}

// TestContactsUnderFaults: contacts made are at most the limit, for every limit, whatever happens to nodes
// and network.
func TestContactsUnderFaults(t *testing.T) {
	s := seed(t)
	c := newCluster(t, *flagNodes)
	declareCatalog(t, c, []any{map[string]any{"name": "household", "type": "string", "purposes": []string{"service"}}}, contactsCatalog)
	n := newNemesis(t, c, s, 700*time.Millisecond, append(processFaults(), networkFaults()...)...)
	torment(t, c, n, nemesisTime(12*time.Second), newContacts(s))
}
