package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

const absenceCatalog = `apiVersion: arbiter/v1
kind: Catalog
name: absence
channels: [{name: sms, direction: outbound, placements: [m]}]
issues: [{name: Grow, groups: [{name: Data}]}]
actions: [{name: reminder, issue: Grow, group: Data, value: 3, purpose: service, treatments: [{name: t, channel: sms}]}]
fallback: {action: reminder}
eventStrategies:
  - {name: carts, on: [cart.added], window: {sliding: 1h}, aggregate: {distinct: event.data.cart}}
  - name: cart-left
    purpose: service
    on: [cart.added]
    absence: {until: {on: [cart.bought]}, within: 6s}
    emit: {channels: [sms], contexts: {cart: event.data.cart}}
`

// TestTimersAfterTheLeader: what should have followed did not, and the node that would have told so was killed
// before it was time. Another one does, in time, once; what followed meanwhile is not told of.
func TestTimersAfterTheLeader(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t, 3)
	cartCluster(t, nodes, absenceCatalog)
	const customers = cartCustomers
	sendCarts(t, nodes[0], "cart.added", func(int) bool { return true })
	began := time.Now()
	nodes[0].kill9()
	sendCarts(t, nodes[1], "cart.bought", func(i int) bool { return i%2 == 0 })
	if took := time.Since(began); took > 5*time.Second {
		t.Skipf("the machine is too slow for this test: buying took %v", took)
	}
	// Without a sink the triggers are closed as soon as they are decided, and remembered for each customer.
	told := func() (waiting, wrong []string) {
		for i := range customers {
			r := nodes[1+i%2].patiently("GET", fmt.Sprintf("/v1/triggers/closed?subject=C-%d&type=subscriber", i), nil)
			page := decode[struct{ Items []nba.ClosedTrigger }](t, r, 200)
			switch want := i % 2; {
			case len(page.Items) < want:
				waiting = append(waiting, fmt.Sprint(i))
			case len(page.Items) > want:
				wrong = append(wrong, fmt.Sprint(i))
			}
		}
		return waiting, wrong
	}
	for {
		waiting, wrong := told()
		if len(wrong) > 0 {
			t.Fatalf("told of what did happen, or twice: %v", wrong)
		}
		if len(waiting) == 0 {
			break
		}
		if time.Since(began) > 30*time.Second {
			t.Fatalf("never told of %v\n%s", waiting, nodes[1].patiently("GET", "/v1/triggers/closed?limit=3", nil).body)
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Logf("all told %v after the events", time.Since(began).Round(100*time.Millisecond))
	nodes[0].restart()
	if waiting, wrong := told(); len(waiting)+len(wrong) > 0 {
		t.Errorf("after the node came back: %v %v", waiting, wrong)
	}
	known := decode[nba.SubjectAggregates](t, nodes[0].patiently("GET", "/v1/subjects/C-1/aggregates", nil), 200)
	if at := slices.IndexFunc(known.Aggregates, func(a nba.StrategyAggregate) bool { return a.Strategy == "carts" }); at < 0 || known.Aggregates[at].Value == nil || *known.Aggregates[at].Value != 1 {
		t.Errorf("got %+v", known.Aggregates)
	}
	if out := nodes[2].mustCLI("subject", "aggregates", "C-1"); !strings.Contains(out, "carts") || !strings.Contains(out, "absence") {
		t.Errorf("the CLI says\n%s", out)
	}
}
