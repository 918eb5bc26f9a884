package node

import (
	"context"
	"io"

	"github.com/arbiterhq/arbiter/cluster/importer"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Subject reads one subject.
func (n *Node) Subject(ctx context.Context, ref nba.SubjectRef) (doc nba.SubjectDocument, err error) {
	if ref, err = n.admit(ctx, ref); err != nil {
		return doc, err
	}
	reading, err := n.router.Acquire(ref)
	if err != nil {
		return doc, err
	}
	defer reading.Release()
	return document(n.Dictionary(ctx), &reading.Record), nil
}

// admit is what every call on a subject begins with.
func (n *Node) admit(ctx context.Context, ref nba.SubjectRef) (nba.SubjectRef, error) {
	if err := n.Ready(ctx); err != nil {
		return ref, err
	}
	return ref.Normalize()
}

// PutSubject creates or replaces a subject.
func (n *Node) PutSubject(ctx context.Context, doc nba.SubjectDocument, ifVersion *uint64) (version uint64, created bool, err error) {
	ref, err := n.admit(ctx, doc.SubjectRef)
	if err != nil {
		return 0, false, err
	}
	dict := n.Dictionary(ctx)
	attributes, _, err := decodeAttributes(dict, doc.Attributes)
	if err != nil {
		return 0, false, err
	}
	consents := make(map[string]*bool, len(doc.Consents))
	for name, granted := range doc.Consents {
		consents[name] = &granted
	}
	granted, refused, _, err := decodeConsents(dict, consents)
	if err != nil {
		return 0, false, err
	}
	return n.router.PutSubject(ctx, ref, attributes, granted, refused, ifVersion)
}

// PatchSubject applies a merge patch and returns the subject as it is then.
func (n *Node) PatchSubject(ctx context.Context, patch nba.SubjectPatch, ifVersion *uint64) (doc nba.SubjectDocument, err error) {
	ref, err := n.admit(ctx, patch.SubjectRef)
	if err != nil {
		return doc, err
	}
	dict := n.Dictionary(ctx)
	set, unset, err := decodeAttributes(dict, patch.Attributes)
	if err != nil {
		return doc, err
	}
	grant, refuse, cleared, err := decodeConsents(dict, patch.Consents)
	if err != nil {
		return doc, err
	}
	if _, err := n.router.PatchSubject(ctx, ref, set, unset, grant, refuse, cleared, ifVersion); err != nil {
		return doc, err
	}
	return n.Subject(ctx, ref)
}

// DeleteSubject removes a subject with its history and decision records.
func (n *Node) DeleteSubject(ctx context.Context, ref nba.SubjectRef, ifVersion *uint64) (err error) {
	if ref, err = n.admit(ctx, ref); err != nil {
		return err
	}
	return n.router.DeleteSubject(ctx, ref, ifVersion)
}

// History lists interactions, newest first. A limit of 0 means the default page.
func (n *Node) History(ctx context.Context, ref nba.SubjectRef, limit int, cursor string) (items []nba.Interaction, next string, err error) {
	if ref, err = n.admit(ctx, ref); err != nil {
		return nil, "", err
	}
	if limit == 0 {
		limit = n.cfg.HistoryPage
	}
	if limit < 0 || limit > n.cfg.MaxHistoryPage {
		return nil, "", nba.Invalid("/limit", "the limit is between 1 and 1000")
	}
	return n.router.History(ref, limit, cursor)
}

// Dictionary is the attribute dictionary as this node has applied it.
func (n *Node) Dictionary(context.Context) *nba.Dictionary {
	return n.router.Control().State().Dictionary
}

// DeclareAttributes adds attributes to the dictionary; all or none.
func (n *Node) DeclareAttributes(ctx context.Context, declarations []nba.AttributeDeclaration) (*nba.Dictionary, error) {
	if err := n.Ready(ctx); err != nil {
		return nil, err
	}
	dict, changed, err := n.Dictionary(ctx).Declare(declarations)
	if err != nil || !changed {
		return dict, err
	}
	if err := n.router.Control().DeclareAttributes(ctx, declarations); err != nil {
		return nil, err
	}
	return n.Dictionary(ctx), nil
}

// ImportSubjects reads body to its end and writes every good line; see importer.Run. The attributes
// that the mapping declares are declared first.
func (n *Node) ImportSubjects(ctx context.Context, body io.Reader, spec importer.Spec, result func(importer.Result) error) (importer.Summary, error) {
	if err := n.Ready(ctx); err != nil {
		return importer.Summary{}, err
	}
	dict := n.Dictionary(ctx)
	if spec.Mapping != nil {
		declared, err := n.DeclareAttributes(ctx, spec.Mapping.Declarations())
		if err != nil {
			return importer.Summary{}, err
		}
		dict = declared
	}
	summary, err := importer.Run(ctx, body, spec, dict, n.router, result)
	n.metrics.imported.WithLabelValues("accepted").Add(float64(summary.Accepted))
	n.metrics.imported.WithLabelValues("rejected").Add(float64(summary.Rejected))
	return summary, err
}
