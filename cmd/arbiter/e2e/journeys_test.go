package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

const journeyCatalog = `apiVersion: arbiter/v1
kind: Catalog
name: journeys
channels: [{name: sms, direction: outbound, placements: [m]}, {name: store, placements: [tablet]}]
issues: [{name: Sell, groups: [{name: Cart}]}]
actions:
  - {name: reminder, issue: Sell, group: Cart, value: 3, purpose: service, treatments: [{name: t, channel: sms, content: {text: "Your cart waits."}}],
     applicability: [{when: 'journey("cart").stage == "left"'}]}
  - {name: hello, issue: Sell, group: Cart, value: 0, purpose: service, treatments: [{name: t, channel: store}]}
fallback: {action: hello}
journeys:
  - name: cart
    purpose: service
    data: {value: event.data.value}
    enter: [{on: cart.updated}]
    stages:
      - {name: open, timeout: {after: 6s, to: left}}
      - {name: left, emit: {channels: [sms], actions: [reminder], when: 'journey("cart").data.value < 1000'}}
      - {name: bought, final: true}
    exit: [{on: cart.bought, to: bought}]
`

// TestJourneysAfterTheLeader: the node that led where carts are open is killed. The others remind those who left
// theirs, each once, and nobody who bought meanwhile; and it comes back with the same state.
func TestJourneysAfterTheLeader(t *testing.T) {
	t.Parallel()
	phones := newPhones(t)
	settings := filepath.Join(t.TempDir(), "sinks.yaml")
	text := "delivery: {defaultSink: inbox}\nsinks: [{name: inbox, url: '" + phones.URL + "', firstRetry: 50ms, longestRetry: 200ms, attempts: 1000}]\n"
	if err := os.WriteFile(settings, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	nodes := startCluster(t, 3, "--data-groups", "4", "--config", settings)
	cartCluster(t, nodes, journeyCatalog)
	const customers = cartCustomers
	sendCarts(t, nodes[0], "cart.updated", func(int) bool { return true })
	began := time.Now()
	nodes[0].kill9()
	sendCarts(t, nodes[1], "cart.bought", func(i int) bool { return i%2 == 0 })
	if took := time.Since(began); took > 5*time.Second {
		t.Skipf("the machine is too slow for this test: buying took %v", took)
	}
	// A message may be sent again, under the id it has.
	reminded := func(i int) int {
		ids := map[string]bool{}
		for _, m := range phones.of(fmt.Sprintf("C-%d", i)) {
			ids[m.DeliveryID] = true
		}
		return len(ids)
	}
	until(t, "all who left a cart are reminded", func() bool {
		for i := 1; i < customers; i += 2 {
			if reminded(i) == 0 {
				return false
			}
		}
		return true
	})
	t.Logf("all reminded %v after their carts", time.Since(began).Round(100*time.Millisecond))
	nodes[0].restart()
	for i := range customers {
		if got := reminded(i); got != i%2 {
			t.Errorf("C-%d was reminded %d times", i, got)
		}
		r := nodes[i%3].patiently("GET", fmt.Sprintf("/v1/subjects/C-%d/journeys?consistency=linearizable", i), nil)
		got := decode[nba.SubjectJourneys](t, r, 200)
		if open := len(got.Journeys); open != i%2 || got.Moves[0].To != [...]string{"bought", "left"}[i%2] {
			t.Errorf("C-%d stands in %+v", i, got)
		}
	}
}
