package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// cartCustomers is how many customers there are in the tests of carts: C-0, C-1, ...
const cartCustomers = 60

// cartCluster activates a catalog and stores the customers.
func cartCluster(t *testing.T, nodes []*server, catalog string) {
	t.Helper()
	put := nodes[0].repeat("PUT", "/v1/catalog", catalog, "Content-Type", "application/yaml", "If-Match", "*")
	version := decode[nba.CatalogVersion](t, put, 201)
	if r := nodes[0].repeat("POST", fmt.Sprintf("/v1/catalog/versions/%d/activate", version.Version), nil); r.status != 200 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	var lines strings.Builder
	for i := range cartCustomers {
		fmt.Fprintf(&lines, `{"id":"C-%d"}`+"\n", i)
	}
	if r := nodes[1].repeat("POST", "/v1/subjects/import", lines.String(), "Content-Type", "application/x-ndjson"); r.status != 200 {
		t.Fatalf("%d %s", r.status, r.body)
	}
}

// sendCarts sends one event of a type for each of the customers it is of. The batch may be sent again: an event
// that was applied is a duplicate.
func sendCarts(t *testing.T, s *server, kind string, of func(i int) bool) {
	t.Helper()
	var batch []string
	for i := range cartCustomers {
		if of(i) {
			batch = append(batch, fmt.Sprintf(`{"specversion":"1.0","id":"%s-%d","source":"/shop","type":"%s","subject":"C-%d","time":%q,"data":{"value":%d,"cart":"K-%d"}}`,
				kind, i, kind, i, time.Now().UTC().Format(time.RFC3339Nano), i, i))
		}
	}
	r := s.repeat("POST", "/v1/events", "["+strings.Join(batch, ",")+"]", "Content-Type", "application/cloudevents-batch+json")
	if got := decode[receipts](t, r, 200); got.DeadLettered > 0 || got.Accepted+got.Duplicates != len(batch) {
		t.Fatalf("%s", r.body)
	}
}
