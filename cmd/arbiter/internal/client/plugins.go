package client

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// VerifyPlugin has the node check an artifact as a push does, and keeps nothing.
func (c *Client) VerifyPlugin(ctx context.Context, module []byte) (*nba.PluginVersion, error) {
	out := &nba.PluginVersion{}
	_, err := c.doJSON(ctx, request{method: http.MethodPost, path: "/v1/plugins/verify", contentType: "application/wasm",
		body: bytes.NewReader(module)}, nil, out)
	return out, err
}

// RemovePlugin removes a version of a plugin, or with version "" all of them.
func (c *Client) RemovePlugin(ctx context.Context, name, version string) error {
	path := "/v1/plugins/" + url.PathEscape(name)
	if version != "" {
		path += "/versions/" + url.PathEscape(version)
	}
	_, err := c.doJSON(ctx, request{method: http.MethodDelete, path: path}, nil, nil)
	return err
}

// DeactivatePlugin retires the active version of a plugin.
func (c *Client) DeactivatePlugin(ctx context.Context, name string) error {
	_, err := c.doJSON(ctx, request{method: http.MethodPost, path: "/v1/plugins/" + url.PathEscape(name) + "/deactivate"}, nil, nil)
	return err
}

// PluginLogs reads what a plugin wrote, oldest first; limit 0 means the server's default. next continues
// behind the last line.
func (c *Client) PluginLogs(ctx context.Context, name string, limit int, cursor string) (lines []nba.PluginLogLine, next string, err error) {
	q := url.Values{}
	if limit > 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	if cursor != "" {
		q.Set("cursor", cursor)
	}
	var out struct {
		Items      []nba.PluginLogLine `json:"items"`
		NextCursor string              `json:"nextCursor"`
	}
	_, err = c.doJSON(ctx, request{method: http.MethodGet, path: "/v1/plugins/" + url.PathEscape(name) + "/logs", query: q}, nil, &out)
	return out.Items, out.NextCursor, err
}

// PluginKeys lists the keys whose signatures are trusted.
func (c *Client) PluginKeys(ctx context.Context) ([]nba.PluginKey, error) {
	var out struct {
		Items []nba.PluginKey `json:"items"`
	}
	_, err := c.doJSON(ctx, request{method: http.MethodGet, path: "/v1/plugin-keys"}, nil, &out)
	return out.Items, err
}

// TrustPluginKey adds an ed25519 public key.
func (c *Client) TrustPluginKey(ctx context.Context, name string, public []byte) (*nba.PluginKey, error) {
	in := struct {
		Name      string `json:"name"`
		PublicKey []byte `json:"publicKey"`
	}{name, public}
	out := &nba.PluginKey{}
	_, err := c.doJSON(ctx, request{method: http.MethodPost, path: "/v1/plugin-keys"}, in, out)
	return out, err
}

// DistrustPluginKey removes a key by its id or name.
func (c *Client) DistrustPluginKey(ctx context.Context, key string) error {
	_, err := c.doJSON(ctx, request{method: http.MethodDelete, path: "/v1/plugin-keys/" + url.PathEscape(key)}, nil, nil)
	return err
}
