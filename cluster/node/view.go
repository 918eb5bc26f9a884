package node

import (
	"context"
	"fmt"

	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/plugins/serving"
	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// view is everything a decision depends on besides the subject, as of one index of the control log.
// A decision takes one view and keeps it to its end, so it can never mix two versions. A view is
// immutable; its models are reference counted.
type view struct {
	state   *fsm.ControlState
	catalog *catalog.Catalog // nil before the first activation
	models  *serving.Set
	trials  []viewTrial
}

// acquire takes the current view. The caller releases it.
func (n *Node) acquire() *view {
	for {
		v := n.current.Load()
		if v.models.Acquire() {
			return v
		}
		// The view was replaced between Load and Acquire: the newer one is already stored.
	}
}

func (v *view) release() { v.models.Release() }

// activeCatalog is the active catalog, or an error that tells how to get one.
func (v *view) activeCatalog() (*catalog.Catalog, error) {
	if v.catalog == nil {
		return nil, nba.Errorf(nba.CodeCatalogUnknown, "no catalog is active: store one with PUT /v1/catalog and activate it")
	}
	return v.catalog, nil
}

// applyControl follows the control group: it makes the view of state current. The goroutine that
// applies calls it, so it only builds what is prepared already; activation is a pointer that is
// swapped. It never fails: what cannot be served is left out and logged, and decisions that need it
// say that they are degraded.
func (n *Node) applyControl(state *fsm.ControlState) {
	n.viewMu.Lock()
	defer n.viewMu.Unlock()
	if old := n.current.Load(); old == nil || old.state.Index < state.Index { // else a newer one was announced meanwhile
		n.replaceView(state)
	}
}

// refresh builds the view anew after a model was loaded that it had to leave out.
func (n *Node) refresh() {
	n.viewMu.Lock()
	defer n.viewMu.Unlock()
	if old := n.current.Load(); old != nil {
		n.replaceView(old.state)
	}
}

// replaceView is called with viewMu held.
func (n *Node) replaceView(state *fsm.ControlState) {
	old := n.current.Load()
	next := &view{state: state}
	next.catalog = n.catalogOf(old, state)
	next.models = n.modelsOf(old, state)
	next.trials = trialsOf(next.models.Plan())
	n.current.Store(next)
	if old != nil {
		old.release()
	}
	n.metrics.catalogVersion.Set(float64(state.Catalog.CatalogVersion))
}

func (n *Node) catalogOf(old *view, state *fsm.ControlState) *catalog.Catalog {
	switch {
	case state.Catalog.CatalogVersion == 0:
		return nil
	case old != nil && old.catalog != nil && old.state.Catalog.Active == state.Catalog.Active:
		return old.catalog
	}
	compiled, err := n.compiled(state, state.Catalog.Active)
	if err != nil {
		n.logger.Error("the active catalog cannot be compiled; the one before stays in force", "version", state.Catalog.Active, "error", err)
		if old != nil {
			return old.catalog
		}
	}
	return compiled
}

// modelsOf returns a set with a reference for the new view. The old set serves again if it holds
// exactly the active versions; one that had to leave a model out is made anew, so that the model
// comes back as soon as it can be loaded.
func (n *Node) modelsOf(old *view, state *fsm.ControlState) *serving.Set {
	plan := n.planOf(state)
	if old != nil && old.models.Plan().Equal(&plan) && old.models.Acquire() {
		return old.models
	}
	if set, err := n.host.Serve(plan, state.Dictionary); err == nil {
		return set
	} else if len(plan.Trials) > 0 {
		n.logger.Error("a version on trial or an active model cannot be served", "error", err)
		for i := range plan.Trials {
			plan.Trials[i].Digest = ""
		}
	}
	for {
		set, err := n.host.Serve(plan, state.Dictionary)
		if err == nil {
			return set
		}
		// A model that cannot be served must not take the others with it.
		n.logger.Error("an active model cannot be served; decisions use starting propensities for it", "error", err)
		plan.Active, plan.Trials = n.servable(plan.Active, state.Dictionary), nil
	}
}

// servable keeps the models that can be bound one by one.
func (n *Node) servable(active map[string]string, dict *nba.Dictionary) map[string]string {
	kept := map[string]string{}
	for name, digest := range active {
		if set, err := n.host.NewSetAside(map[string]string{name: digest}, dict); err == nil {
			set.Release()
			kept[name] = digest
		}
	}
	return kept
}

// maxCompiledCatalogs bounds the catalogs kept for activation and for decisions that pin a version.
const maxCompiledCatalogs = 16

// compiled is the catalog of a document version, compiled at most once while it is in use.
func (n *Node) compiled(state *fsm.ControlState, version uint64) (*catalog.Catalog, error) {
	n.catalogsMu.Lock()
	defer n.catalogsMu.Unlock()
	if c, ok := n.catalogs[version]; ok {
		return c, nil
	}
	document, ok, err := n.router.Control().Document(version)
	if err != nil {
		return nil, fmt.Errorf("reading catalog version %d: %w", version, err)
	}
	if !ok {
		return nil, nba.Errorf(nba.CodeCatalogUnknown, "there is no catalog of that version: GET /v1/catalog/versions lists them")
	}
	c, err := catalog.Compile(document, "catalog", catalog.Env{Dictionary: state.Dictionary})
	if err != nil {
		return nil, err
	}
	if len(n.catalogs) >= maxCompiledCatalogs {
		clear(n.catalogs) // rare: compiling again costs milliseconds
	}
	n.catalogs[version] = c
	return c, nil
}

// pinned is the catalog of another catalogVersion than the active one, for what-if decisions.
func (n *Node) pinned(_ context.Context, v *view, catalogVersion uint64) (*catalog.Catalog, error) {
	if document := v.state.Catalog.Document(catalogVersion); document != 0 {
		return n.compiled(v.state, document)
	}
	if _, stored := v.state.Catalog.Version(catalogVersion); stored {
		return n.compiled(v.state, catalogVersion)
	}
	return nil, &nba.Error{Code: nba.CodeCatalogUnknown, Message: "there is no catalog of that version",
		Details: []nba.Detail{{Pointer: "/options/catalogVersion", Code: nba.CodeCatalogUnknown,
			Detail: "no catalog was activated at that index: GET /v1/catalog/versions lists them"}}}
}
