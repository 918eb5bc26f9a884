package node

import (
	"context"
	"io"
	"time"

	"github.com/arbiterhq/arbiter/cluster/importer"
	"github.com/arbiterhq/arbiter/cluster/router"
	"github.com/arbiterhq/arbiter/cluster/store/record"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Subject reads one subject as current as read asks, and sets read.Age. A nil read asks the leader.
func (n *Node) Subject(ctx context.Context, ref nba.SubjectRef, read *nba.Read) (doc nba.SubjectDocument, err error) {
	err = n.readRecord(ctx, ref, read, func(r *record.Record) (err error) {
		doc, err = n.documentOf(ctx, r)
		return err
	})
	return doc, err
}

func normalize(read *nba.Read) (nba.Read, error) {
	if read == nil {
		return nba.Read{}.Normalize()
	}
	return read.Normalize()
}

func answered(read *nba.Read, age time.Duration) {
	if read != nil {
		read.Age = age
	}
}

// admit is what every call on a subject begins with.
func (n *Node) admit(ctx context.Context, ref nba.SubjectRef) (nba.SubjectRef, error) {
	if err := n.serving(); err != nil {
		return ref, err
	}
	return ref.Normalize()
}

// decodeAttributes reads attributes by the dictionary here. One that it does not know may have been
// declared through another node a moment ago.
func (n *Node) decodeAttributes(ctx context.Context, in map[string]any) (dict *nba.Dictionary, set []record.Attr, unset []nba.AttributeID, err error) {
	dict = n.Dictionary(ctx)
	if set, unset, err = decodeAttributes(dict, in); err == nil || n.router.Alone() {
		return dict, set, unset, err
	}
	n.catchUp(ctx)
	if newer := n.Dictionary(ctx); newer != dict {
		dict = newer
		set, unset, err = decodeAttributes(dict, in)
	}
	return dict, set, unset, err
}

// PutSubject creates or replaces a subject.
func (n *Node) PutSubject(ctx context.Context, doc nba.SubjectDocument, ifVersion *uint64) (version uint64, created bool, err error) {
	ref, err := n.admit(ctx, doc.SubjectRef)
	if err != nil {
		return 0, false, err
	}
	dict, attributes, _, err := n.decodeAttributes(ctx, doc.Attributes)
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
	channels, err := channelAnswers(pointers(doc.ChannelConsents))
	if err != nil {
		return 0, false, err
	}
	return n.router.PutExtended(ctx, ref, attributes, granted, refused, channels, ifVersion)
}

// PatchSubject applies a merge patch and returns the subject as it is then. If another call deleted it
// meanwhile, the document has the version that the patch made and nothing else: the patch took effect.
func (n *Node) PatchSubject(ctx context.Context, patch nba.SubjectPatch, ifVersion *uint64) (doc nba.SubjectDocument, err error) {
	ref, err := n.admit(ctx, patch.SubjectRef)
	if err != nil {
		return doc, err
	}
	dict, set, unset, err := n.decodeAttributes(ctx, patch.Attributes)
	if err != nil {
		return doc, err
	}
	grant, refuse, cleared, err := decodeConsents(dict, patch.Consents)
	if err != nil {
		return doc, err
	}
	channels, err := channelAnswers(patch.ChannelConsents)
	if err != nil {
		return doc, err
	}
	version, err := n.router.ChangeSubject(ctx, ref, router.SubjectChange{
		Set: set, Unset: unset, Grant: grant, Refuse: refuse, Clear: cleared, Consents: channels}, ifVersion)
	if err != nil {
		return doc, err
	}
	doc, err = n.Subject(ctx, ref, nil)
	if nba.CodeOf(err) == nba.CodeSubjectUnknown {
		return nba.SubjectDocument{SubjectRef: ref, Version: version, Attributes: map[string]any{}}, nil
	}
	return doc, err
}

// DeleteSubject removes a subject with its history and decision records.
func (n *Node) DeleteSubject(ctx context.Context, ref nba.SubjectRef, ifVersion *uint64) (err error) {
	if ref, err = n.admit(ctx, ref); err != nil {
		return err
	}
	return n.router.DeleteSubject(ctx, ref, ifVersion)
}

// History lists interactions, newest first. A limit of 0 means the default page. read is as for
// Subject.
func (n *Node) History(ctx context.Context, ref nba.SubjectRef, read *nba.Read, limit int, cursor string) (items []nba.Interaction, next string, err error) {
	if ref, err = n.admit(ctx, ref); err != nil {
		return nil, "", err
	}
	want, err := normalize(read)
	if err != nil {
		return nil, "", err
	}
	if limit == 0 {
		limit = n.cfg.HistoryPage
	}
	if limit < 0 || limit > n.cfg.MaxHistoryPage {
		return nil, "", nba.Invalid("/limit", "the limit is between 1 and 1000")
	}
	err = n.router.AtReader(ctx, router.Slot(ref), want, func() (err error) {
		var age time.Duration
		items, next, age, err = n.router.History(ctx, ref, want, limit, cursor)
		answered(read, age)
		return err
	}, func(node string) (err error) {
		items, next, err = n.historyFrom(ctx, node, ref, want, read, limit, cursor)
		return err
	})
	return items, next, err
}

// Dictionary is the attribute dictionary as this node has applied it.
func (n *Node) Dictionary(context.Context) *nba.Dictionary {
	return n.router.Control().State().Dictionary
}

// DeclareAttributes adds attributes to the dictionary; all or none.
func (n *Node) DeclareAttributes(ctx context.Context, declarations []nba.AttributeDeclaration) (*nba.Dictionary, error) {
	if err := n.serving(); err != nil {
		return nil, err
	}
	n.catchUp(ctx)
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
	if err := n.serving(); err != nil {
		return importer.Summary{}, err
	}
	n.catchUp(ctx)
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
