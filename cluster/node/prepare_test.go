package node

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/examples"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// TestCatalogActivationWaitsForEveryNode: a version becomes active nowhere while a live node has not
// acknowledged that it has it compiled, the error names that node, and once it has, the version is active
// on all of them under one catalogVersion.
func TestCatalogActivationWaitsForEveryNode(t *testing.T) {
	cluster := openCluster(t, 3, 1)
	loadDemo(t, cluster[0], 10)
	before := cluster[0].router.Control().State().Catalog
	stored, err := cluster[1].PutCatalog(t.Context(), append(examples.Catalog(), "\n# second\n"...), fmt.Sprintf("v%d", before.Head))
	if err != nil {
		t.Fatal(err)
	}
	busy := cluster[2]
	busy.catalogsMu.Lock() // its compiler is stuck
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	_, err = cluster[1].ActivateCatalog(ctx, stored.Version, "")
	cancel()
	if nba.CodeOf(err) != nba.CodeUnavailable || !strings.Contains(err.Error(), "node n3") {
		t.Errorf("a node that does not acknowledge: got %v, want an error that names n3", err)
	}
	for i, n := range cluster {
		if state := n.router.Control().State().Catalog; state.Active != before.Active || state.CatalogVersion != before.CatalogVersion {
			t.Errorf("node %d has version %d active although n3 did not acknowledge it", i+1, state.Active)
		}
	}
	busy.catalogsMu.Unlock()
	active, err := cluster[1].ActivateCatalog(t.Context(), stored.Version, "second try")
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range cluster {
		req := request("S-000001", "web")
		req.Options.Simulate = true
		if d := decide(t, n, req); d.CatalogVersion != active.CatalogVersion {
			t.Errorf("node %d decides by catalogVersion %d, want %d", i+1, d.CatalogVersion, active.CatalogVersion)
		}
		v := n.acquire()
		if v.catalog == nil || v.state.Catalog.Active != stored.Version || v.state.Catalog.CatalogVersion != active.CatalogVersion {
			t.Errorf("node %d mixes versions: %+v", i+1, v.state.Catalog)
		}
		v.release()
	}
	history, err := cluster[0].CatalogActivations(t.Context())
	if err != nil || len(history) != 2 || !history[0].Active || history[0].Note != "second try" || history[0].ActivatedAt == nil ||
		history[1].CatalogVersion != before.CatalogVersion {
		t.Errorf("activations are %+v, %v", history, err)
	}
}

// TestCatalogActivationPreparesModels: a node that lost the module of a model gets it back before a catalog
// that names it becomes active.
func TestCatalogActivationPreparesModels(t *testing.T) {
	cluster := openCluster(t, 3, 1)
	loadDemo(t, cluster[0], 5)
	head := cluster[0].router.Control().State().Catalog.Head
	stored, err := cluster[0].PutCatalog(t.Context(), append(examples.Catalog(), "\n# again\n"...), fmt.Sprintf("v%d", head))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cluster[0].ActivateCatalog(t.Context(), stored.Version, ""); err != nil {
		t.Fatal(err)
	}
	for i, n := range cluster {
		for name, digest := range n.router.Control().State().Plugins.Active() {
			if !n.host.Prepared(digest) {
				t.Errorf("node %d has not loaded model %s", i+1, name)
			}
		}
	}
}
