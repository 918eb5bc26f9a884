package client

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Attributes is the attribute dictionary.
type Attributes struct {
	Attributes []nba.Attribute `json:"attributes"`
	Purposes   []nba.Purpose   `json:"purposes"`
}

// HistoryPage is one page of a subject's interaction history. NextCursor is empty on the last one.
type HistoryPage struct {
	Items      []nba.Interaction `json:"items"`
	NextCursor string            `json:"nextCursor,omitempty"`
}

// CatalogText is a stored catalog document with the ETag that a replacement must name.
type CatalogText struct {
	ETag     string
	Document []byte
}

// Decide asks for a decision.
func (c *Client) Decide(ctx context.Context, req *nba.DecisionRequest) (*nba.Decision, error) {
	out := &nba.Decision{}
	_, err := c.doJSON(ctx, request{method: http.MethodPost, path: "/v1/decisions"}, req, out)
	return out, err
}

// Respond reports responses; all are committed when it returns without an error.
func (c *Client) Respond(ctx context.Context, responses []nba.Response) ([]nba.ResponseReceipt, error) {
	var receipts []nba.ResponseReceipt
	_, err := c.doJSON(ctx, request{method: http.MethodPost, path: "/v1/responses"}, responses, &receipts)
	return receipts, err
}

// Subject reads one subject.
func (c *Client) Subject(ctx context.Context, ref nba.SubjectRef) (*nba.SubjectDocument, error) {
	path, q := subjectPath(ref, "")
	out := &nba.SubjectDocument{}
	_, err := c.doJSON(ctx, request{method: http.MethodGet, path: path, query: q}, nil, out)
	return out, err
}

// PutSubject creates or replaces a subject and returns its new version. ifMatch is an ETag such as
// "v3", or empty.
func (c *Client) PutSubject(ctx context.Context, doc nba.SubjectDocument, ifMatch string) (*nba.SubjectDocument, error) {
	path, q := subjectPath(doc.SubjectRef, "")
	out := &nba.SubjectDocument{}
	_, err := c.doJSON(ctx, request{method: http.MethodPut, path: path, query: q, header: matchHeader(ifMatch)}, doc, out)
	return out, err
}

// PatchSubject applies a JSON merge patch and returns the subject as it is then.
func (c *Client) PatchSubject(ctx context.Context, patch nba.SubjectPatch, ifMatch string) (*nba.SubjectDocument, error) {
	path, q := subjectPath(patch.SubjectRef, "")
	out := &nba.SubjectDocument{}
	body := struct {
		Attributes      map[string]any   `json:"attributes,omitempty"`
		Consents        map[string]*bool `json:"consents,omitempty"`
		ChannelConsents map[string]*bool `json:"channelConsents,omitempty"`
	}{patch.Attributes, patch.Consents, patch.ChannelConsents}
	_, err := c.doJSON(ctx, request{method: http.MethodPatch, path: path, query: q, header: matchHeader(ifMatch),
		contentType: "application/merge-patch+json"}, body, out)
	return out, err
}

// DeleteSubject removes a subject with its history.
func (c *Client) DeleteSubject(ctx context.Context, ref nba.SubjectRef, ifMatch string) error {
	path, q := subjectPath(ref, "")
	_, err := c.doJSON(ctx, request{method: http.MethodDelete, path: path, query: q, header: matchHeader(ifMatch)}, nil, nil)
	return err
}

// History reads one page of a subject's interactions, newest first. limit 0 means the server's
// default, cursor "" the first page.
func (c *Client) History(ctx context.Context, ref nba.SubjectRef, limit int, cursor string) (*HistoryPage, error) {
	path, q := subjectPath(ref, "/history")
	if limit > 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	if cursor != "" {
		q.Set("cursor", cursor)
	}
	out := &HistoryPage{}
	_, err := c.doJSON(ctx, request{method: http.MethodGet, path: path, query: q}, nil, out)
	return out, err
}

// Attributes reads the dictionary.
func (c *Client) Attributes(ctx context.Context) (*Attributes, error) {
	out := &Attributes{}
	_, err := c.doJSON(ctx, request{method: http.MethodGet, path: "/v1/attributes"}, nil, out)
	return out, err
}

// DeclareAttributes adds attributes to the dictionary; those that are there already change nothing.
func (c *Client) DeclareAttributes(ctx context.Context, declarations []nba.AttributeDeclaration) (*Attributes, error) {
	out := &Attributes{}
	in := struct {
		Attributes []nba.AttributeDeclaration `json:"attributes"`
	}{declarations}
	_, err := c.doJSON(ctx, request{method: http.MethodPut, path: "/v1/attributes"}, in, out)
	return out, err
}

// Catalog reads a catalog document: version "" is the one stored last, "active" the active one, else
// a number.
func (c *Client) Catalog(ctx context.Context, version string) (*CatalogText, error) {
	path := "/v1/catalog"
	if version != "" {
		path += "/versions/" + url.PathEscape(version)
	}
	resp, err := c.send(ctx, request{method: http.MethodGet, path: path,
		accept: "application/yaml, application/problem+json"})
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := c.readAll(resp.Body)
	if err != nil {
		return nil, err
	}
	return &CatalogText{ETag: resp.Header.Get("ETag"), Document: body}, nil
}

// PutCatalog validates and stores a document. ifMatch is the ETag of the document it replaces, "*"
// for whatever is there, or empty when there is none.
func (c *Client) PutCatalog(ctx context.Context, document []byte, ifMatch string) (*nba.CatalogVersion, error) {
	out := &nba.CatalogVersion{}
	_, err := c.doJSON(ctx, request{method: http.MethodPut, path: "/v1/catalog", contentType: "application/yaml",
		header: matchHeader(ifMatch), body: bytes.NewReader(document)}, nil, out)
	return out, err
}

// ValidateCatalog checks a document; every mistake is in the *Problem.
func (c *Client) ValidateCatalog(ctx context.Context, document []byte) error {
	_, err := c.doJSON(ctx, request{method: http.MethodPost, path: "/v1/catalog/validate", contentType: "application/yaml",
		body: bytes.NewReader(document)}, nil, nil)
	return err
}

// CatalogVersions lists the stored catalogs, newest first.
func (c *Client) CatalogVersions(ctx context.Context) ([]nba.CatalogVersion, error) {
	var out struct {
		Items []nba.CatalogVersion `json:"items"`
	}
	_, err := c.doJSON(ctx, request{method: http.MethodGet, path: "/v1/catalog/versions"}, nil, &out)
	return out.Items, err
}

// ActivateCatalog makes a stored version the active one. The note is kept with the activation.
func (c *Client) ActivateCatalog(ctx context.Context, version uint64, note string) (*nba.CatalogVersion, error) {
	q := url.Values{}
	if note != "" {
		q.Set("note", note)
	}
	out := &nba.CatalogVersion{}
	_, err := c.doJSON(ctx, request{method: http.MethodPost, query: q,
		path: fmt.Sprintf("/v1/catalog/versions/%d/activate", version)}, nil, out)
	return out, err
}

// CatalogActivations lists the activations that are kept, newest first.
func (c *Client) CatalogActivations(ctx context.Context) ([]nba.CatalogActivation, error) {
	var out struct {
		Items []nba.CatalogActivation `json:"items"`
	}
	_, err := c.doJSON(ctx, request{method: http.MethodGet, path: "/v1/catalog/activations"}, nil, &out)
	return out.Items, err
}

// PushPlugin uploads an artifact, and activates it if told.
func (c *Client) PushPlugin(ctx context.Context, module []byte, activate bool) (*nba.PluginVersion, error) {
	q := url.Values{}
	if activate {
		q.Set("activate", "true")
	}
	out := &nba.PluginVersion{}
	_, err := c.doJSON(ctx, request{method: http.MethodPost, path: "/v1/plugins", query: q,
		contentType: "application/wasm", body: bytes.NewReader(module)}, nil, out)
	return out, err
}

// Plugins lists all versions of all plugins.
func (c *Client) Plugins(ctx context.Context) ([]nba.PluginVersion, error) {
	var out struct {
		Items []nba.PluginVersion `json:"items"`
	}
	_, err := c.doJSON(ctx, request{method: http.MethodGet, path: "/v1/plugins"}, nil, &out)
	return out.Items, err
}

// Cluster is the nodes and the groups as the node that is asked sees them.
func (c *Client) Cluster(ctx context.Context) (*nba.Cluster, error) {
	var out nba.Cluster
	_, err := c.doJSON(ctx, request{method: http.MethodGet, path: "/v1/cluster"}, nil, &out)
	return &out, err
}

// ActivatePlugin makes a version the active one of its plugin.
func (c *Client) ActivatePlugin(ctx context.Context, name, version string) (*nba.PluginVersion, error) {
	out := &nba.PluginVersion{}
	_, err := c.doJSON(ctx, request{method: http.MethodPost,
		path: "/v1/plugins/" + url.PathEscape(name) + "/versions/" + url.PathEscape(version) + "/activate"}, nil, out)
	return out, err
}

func matchHeader(etag string) map[string]string {
	if etag == "" {
		return nil
	}
	if etag != "*" && etag[0] != '"' {
		etag = `"` + etag + `"`
	}
	return map[string]string{"If-Match": etag}
}
