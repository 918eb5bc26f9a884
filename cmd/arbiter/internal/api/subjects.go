package api

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// The page sizes of the interaction history.
const (
	defaultHistoryLimit = 50
	maxHistoryLimit     = 500
)

// subjectRef reads the subject of the path and the query.
func subjectRef(in *request) (nba.SubjectRef, error) {
	id, err := in.param("id")
	if err != nil {
		return nba.SubjectRef{}, err
	}
	ref := nba.SubjectRef{ID: id, Type: nba.SubjectType(in.query.Get("type"))}
	return ref.Normalize() //nolint:wrapcheck // an *nba.Error with its pointer
}

// etagOf is the entity tag of a version.
func etagOf(version uint64) string { return `"v` + strconv.FormatUint(version, 10) + `"` }

// parseETag reads an entity tag that etagOf made.
func parseETag(header, text string) (uint64, error) {
	inner, quoted := strings.CutPrefix(text, `"v`)
	inner, ended := strings.CutSuffix(inner, `"`)
	version, err := strconv.ParseUint(inner, 10, 64)
	if !quoted || !ended || err != nil || version == 0 {
		return 0, nba.Errorf(nba.CodeInvalid, `%s must be one ETag as this API gives them, such as "v3" with its quotes`, header)
	}
	return version, nil
}

// precondition is what If-Match and If-None-Match ask for.
type precondition struct {
	version *uint64 // nil: any
	exists  bool    // If-Match: *
}

func preconditionOf(in *request) (p precondition, err error) {
	match, none := in.header("If-Match"), in.header("If-None-Match")
	switch {
	case match != "" && none != "":
		return p, nba.Errorf(nba.CodeInvalid, "If-Match and If-None-Match exclude each other")
	case none == "*":
		return precondition{version: new(uint64)}, nil
	case none != "":
		return p, nba.Errorf(nba.CodeInvalid, "If-None-Match of a change must be *, which means that nothing may be there yet")
	case match == "*":
		return precondition{exists: true}, nil
	case match != "":
		version, err := parseETag("If-Match", match)
		return precondition{version: &version}, err
	}
	return p, nil
}

func getSubject(ctx context.Context, core Core, in *request) (reply, error) {
	ref, err := subjectRef(in)
	if err != nil {
		return reply{}, err
	}
	read, err := readOf(in)
	if err != nil {
		return reply{}, err
	}
	doc, err := core.Subject(ctx, ref, &read)
	if err != nil {
		return reply{}, err
	}
	out, err := documentReply(in, doc)
	out.age = ageOf(&read)
	return out, err
}

// documentReply answers with a subject, or with 304 when the caller has it.
func documentReply(in *request, doc nba.SubjectDocument) (reply, error) {
	etag := etagOf(doc.Version)
	if in.header("If-None-Match") == etag {
		return reply{status: http.StatusNotModified, etag: etag}, nil
	}
	if doc.Attributes == nil {
		doc.Attributes = map[string]any{}
	}
	out, err := jsonReply(http.StatusOK, doc)
	out.etag = etag
	return out, err
}

// subjectVersion answers a PUT.
type subjectVersion struct {
	nba.SubjectRef
	Version uint64 `json:"version"`
}

func putSubject(ctx context.Context, core Core, in *request) (reply, error) {
	ref, err := subjectRef(in)
	if err != nil {
		return reply{}, err
	}
	condition, err := preconditionOf(in)
	if err != nil {
		return reply{}, err
	}
	doc, err := new(jsonReader).subjectDocument(string(in.body), ref)
	if err != nil {
		return reply{}, err
	}
	if condition.exists {
		// The core knows versions alone. A write between this read and the put makes it a 412, which
		// is one of the two true answers.
		current, err := core.Subject(ctx, ref, nil)
		if nba.CodeOf(err) == nba.CodeSubjectUnknown {
			return reply{}, nba.Errorf(nba.CodePrecondition, "the subject does not exist")
		}
		if err != nil {
			return reply{}, err
		}
		condition.version = &current.Version
	}
	version, created, err := core.PutSubject(ctx, doc, condition.version)
	if err != nil {
		return reply{}, err
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	out, err := jsonReply(status, subjectVersion{SubjectRef: ref, Version: version})
	out.etag = etagOf(version)
	if created {
		out.location = locate("/v1/subjects/%s?type=%s", ref.ID, string(ref.Type))
	}
	return out, err
}

func patchSubject(ctx context.Context, core Core, in *request) (reply, error) {
	ref, condition, err := existing(in)
	if err != nil {
		return reply{}, err
	}
	patch, err := new(jsonReader).subjectPatch(string(in.body), ref)
	if err != nil {
		return reply{}, err
	}
	doc, err := core.PatchSubject(ctx, patch, condition.version)
	if err != nil {
		return reply{}, err
	}
	return documentReply(in, doc)
}

func deleteSubject(ctx context.Context, core Core, in *request) (reply, error) {
	ref, condition, err := existing(in)
	if err != nil {
		return reply{}, err
	}
	if err := core.DeleteSubject(ctx, ref, condition.version); err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusNoContent}, nil
}

// existing reads subject and precondition of a change to something that must be there, so If-Match: *
// adds nothing.
func existing(in *request) (ref nba.SubjectRef, condition precondition, err error) {
	if ref, err = subjectRef(in); err != nil {
		return ref, condition, err
	}
	if in.header("If-None-Match") != "" {
		return ref, condition, nba.Errorf(nba.CodeInvalid, "If-None-Match has no meaning here: use If-Match")
	}
	condition, err = preconditionOf(in)
	return ref, condition, err
}

// page is one page of a list.
type page[T any] struct {
	Items      []T    `json:"items"`
	NextCursor string `json:"nextCursor,omitempty"`
}

// pageReply answers with items, never null.
func pageReply[T any](items []T, next string) (reply, error) {
	if items == nil {
		items = []T{}
	}
	return jsonReply(http.StatusOK, page[T]{Items: items, NextCursor: next})
}

func getHistory(ctx context.Context, core Core, in *request) (reply, error) {
	ref, err := subjectRef(in)
	if err != nil {
		return reply{}, err
	}
	limit := defaultHistoryLimit
	if text := in.query.Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > maxHistoryLimit {
			return reply{}, nba.Errorf(nba.CodeInvalid, "the query parameter limit must be a whole number from 1 to %d", maxHistoryLimit)
		}
	}
	read, err := readOf(in)
	if err != nil {
		return reply{}, err
	}
	items, next, err := core.History(ctx, ref, &read, limit, in.query.Get("cursor"))
	if err != nil {
		return reply{}, err
	}
	out, err := pageReply(items, next)
	out.age = ageOf(&read)
	return out, err
}

func respond(ctx context.Context, core Core, in *request) (reply, error) {
	list, isArray, err := new(jsonReader).responses(string(in.body))
	if err != nil {
		return reply{}, err
	}
	receipts, err := core.Respond(ctx, list)
	if err != nil {
		return reply{}, err
	}
	if isArray || len(receipts) != 1 {
		return jsonReply(http.StatusOK, receipts)
	}
	return jsonReply(http.StatusOK, receipts[0])
}

// dictionary is the attribute dictionary as the API shows it.
type dictionary struct {
	Attributes []nba.Attribute `json:"attributes"`
	Purposes   []nba.Purpose   `json:"purposes"`
}

func dictionaryReply(d *nba.Dictionary) (reply, error) {
	shown := dictionary{Attributes: d.Attributes(), Purposes: d.Purposes()}
	if shown.Attributes == nil {
		shown.Attributes = []nba.Attribute{}
	}
	return jsonReply(http.StatusOK, shown)
}

func getAttributes(ctx context.Context, core Core, _ *request) (reply, error) {
	return dictionaryReply(core.Dictionary(ctx))
}

func declareAttributes(ctx context.Context, core Core, in *request) (reply, error) {
	declarations, err := new(jsonReader).declarations(string(in.body))
	if err != nil {
		return reply{}, err
	}
	d, err := core.DeclareAttributes(ctx, declarations)
	if err != nil {
		return reply{}, err
	}
	return dictionaryReply(d)
}
