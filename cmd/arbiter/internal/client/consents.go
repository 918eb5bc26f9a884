package client

import (
	"context"
	"net/http"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Consents is what a subject said to purposes and channels, and what follows from it now.
func (c *Client) Consents(ctx context.Context, ref nba.SubjectRef) (*nba.ConsentDocument, error) {
	path, q := subjectPath(ref, "/consents")
	out := &nba.ConsentDocument{}
	_, err := c.doJSON(ctx, request{method: http.MethodGet, path: path, query: q}, nil, out)
	return out, err
}

// PutConsents replaces what a subject said to purposes and channels. ifMatch is an ETag such as "v3", or
// empty.
func (c *Client) PutConsents(ctx context.Context, doc *nba.ConsentDocument, ifMatch string) error {
	path, q := subjectPath(doc.SubjectRef, "/consents")
	_, err := c.doJSON(ctx, request{method: http.MethodPut, path: path, query: q, header: matchHeader(ifMatch)}, doc, &nba.SubjectDocument{})
	return err
}
