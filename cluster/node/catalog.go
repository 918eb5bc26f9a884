package node

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Catalog reads a stored document: version "" is the head, "active" the active one, else a number.
func (n *Node) Catalog(ctx context.Context, version string) (nba.CatalogDocument, error) {
	n.catchUp(ctx)
	state := n.router.Control().State()
	var want uint64
	switch version {
	case "":
		want = state.Catalog.Head
	case "active":
		want = state.Catalog.Active
	default:
		number, err := strconv.ParseUint(version, 10, 64)
		if err != nil {
			return nba.CatalogDocument{}, nba.Invalid("/version", "a catalog version is a number, or the word active")
		}
		want = number
	}
	meta, ok := storedVersion(state.Catalog.Versions, want)
	if !ok {
		return nba.CatalogDocument{}, unknownCatalog()
	}
	document, ok, err := n.router.Control().Document(meta.Version)
	if err != nil {
		return nba.CatalogDocument{}, fmt.Errorf("reading catalog version %d: %w", meta.Version, err)
	}
	if !ok {
		return nba.CatalogDocument{}, unknownCatalog()
	}
	return nba.CatalogDocument{CatalogVersion: meta, Document: document}, nil
}

func unknownCatalog() error {
	return nba.Errorf(nba.CodeCatalogUnknown, "there is no such catalog: GET /v1/catalog/versions lists those that are stored, PUT /v1/catalog stores one")
}

// storedVersion finds a document by the version that stored it or by a catalogVersion that activated
// it: both are indexes of one log, so no number means two things.
func storedVersion(versions []nba.CatalogVersion, number uint64) (nba.CatalogVersion, bool) {
	i := slices.IndexFunc(versions, func(v nba.CatalogVersion) bool {
		return number != 0 && (v.Version == number || v.CatalogVersion == number)
	})
	if i < 0 {
		return nba.CatalogVersion{}, false
	}
	return versions[i], true
}

// CatalogVersions lists all stored versions, newest first.
func (n *Node) CatalogVersions(ctx context.Context) ([]nba.CatalogVersion, error) {
	n.catchUp(ctx)
	versions := slices.Clone(n.router.Control().State().Catalog.Versions)
	slices.Reverse(versions)
	return versions, nil
}

// CatalogActivations lists the activations that are kept, newest first: what the catalogVersion of a
// decision can be.
func (n *Node) CatalogActivations(ctx context.Context) ([]nba.CatalogActivation, error) {
	n.catchUp(ctx)
	state := n.router.Control().State().Catalog
	byVersion := make(map[uint64]nba.CatalogVersion, len(state.Versions))
	for _, v := range state.Versions {
		byVersion[v.Version] = v
	}
	out := make([]nba.CatalogActivation, 0, len(state.Activations))
	for i := range slices.Backward(state.Activations) {
		a := &state.Activations[i]
		document := byVersion[a.Version]
		shown := nba.CatalogActivation{CatalogVersion: a.CatalogVersion, Version: a.Version, Name: document.Name, Digest: document.Digest,
			Note: a.Note, Active: a.CatalogVersion == state.CatalogVersion}
		switch {
		case !a.At.IsZero():
			shown.ActivatedAt = &a.At
		case document.CatalogVersion == a.CatalogVersion:
			shown.ActivatedAt = document.ActivatedAt
		}
		out = append(out, shown)
	}
	return out, nil
}

// ValidateCatalog reports every mistake of a document.
func (n *Node) ValidateCatalog(ctx context.Context, document []byte) error {
	_, err := n.compileCatalog(ctx, document)
	return err
}

// compileCatalog compiles against the dictionary and the models that are active now.
func (n *Node) compileCatalog(ctx context.Context, document []byte) (*catalog.Catalog, error) {
	if err := n.serving(); err != nil {
		return nil, err
	}
	n.catchUp(ctx)
	v := n.acquire()
	defer v.release()
	return catalog.Compile(document, "catalog", catalog.Env{Dictionary: v.state.Dictionary,
		Models: v.models.OfKind(artifact.KindScorer), Strategies: v.models.OfKind(artifact.KindStrategy)})
}

// PutCatalog validates a document and stores it as the new head.
func (n *Node) PutCatalog(ctx context.Context, document []byte, ifMatch string) (nba.CatalogVersion, error) {
	compiled, err := n.compileCatalog(ctx, document)
	if err != nil {
		return nba.CatalogVersion{}, err
	}
	head := n.router.Control().State().Catalog.Head
	switch {
	case ifMatch == "" && head != 0:
		return nba.CatalogVersion{}, nba.Errorf(nba.CodePreconditionNeeds, "send If-Match with the ETag of GET /v1/catalog, so that nobody's change is lost")
	case ifMatch != "" && ifMatch != "*" && ifMatch != "v"+strconv.FormatUint(head, 10):
		return nba.CatalogVersion{}, staleCatalog()
	}
	var ifHead *uint64
	if ifMatch != "*" {
		ifHead = &head
	}
	version, err := n.router.Control().StoreCatalog(ctx, compiled.Name, compiled.Digest, document, ifHead)
	if err != nil {
		return nba.CatalogVersion{}, err
	}
	stored, _ := n.router.Control().State().Catalog.Version(version)
	return stored, nil
}

func staleCatalog() error {
	return nba.Errorf(nba.CodePrecondition, "the catalog was changed meanwhile: get it again and merge your change")
}

// ActivateCatalog makes a stored version the active one. It is compiled, and its models are checked,
// before the entry that activates it is proposed, and every node that answers has said that it has the
// catalog compiled and its models ready. note is kept with the activation.
func (n *Node) ActivateCatalog(ctx context.Context, version uint64, note string) (nba.CatalogVersion, error) {
	if len(note) > nba.MaxNoteBytes {
		return nba.CatalogVersion{}, nba.Invalid("/note", fmt.Sprintf("a note has at most %d bytes", nba.MaxNoteBytes))
	}
	document, err := n.Catalog(ctx, strconv.FormatUint(version, 10))
	if err != nil {
		return nba.CatalogVersion{}, err
	}
	if _, err := n.compileCatalog(ctx, document.Document); err != nil {
		return nba.CatalogVersion{}, err
	}
	if err := n.prepareCatalog(ctx, document.Version); err != nil {
		return nba.CatalogVersion{}, err
	}
	if err := n.prepareOthers(ctx, preparation{catalog: document.Version}); err != nil {
		return nba.CatalogVersion{}, err
	}
	if _, err := n.router.Control().ActivateCatalog(ctx, document.Version, note); err != nil {
		return nba.CatalogVersion{}, err
	}
	n.settle(ctx)
	active, _ := n.router.Control().State().Catalog.Version(document.Version)
	return active, nil
}
