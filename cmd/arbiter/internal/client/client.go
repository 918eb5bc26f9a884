// Package client is the small typed HTTP client of the arbiter command.
//
// It speaks the public API and nothing else: what the command line can do, any program can do. Every
// answer that is not 2xx becomes a *Problem, every failure to reach the server an *Unreachable, so
// that a caller can tell "the server said no" from "nobody answered". It never retries; package bulk
// does, because it knows that its requests may be repeated.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Limits of one exchange.
const (
	// DefaultTimeout bounds one exchange, body included.
	DefaultTimeout = 60 * time.Second
	// maxResponseBytes bounds what is read of one answer.
	maxResponseBytes = 64 << 20
	maxIdleConns     = 16
)

// Client talks to one Arbiter node. It is safe for concurrent use.
type Client struct {
	base      *url.URL
	http      *http.Client
	transport *http.Transport
	agent     string
	token     string
}

// Secrets are what a client needs where the API is guarded.
type Secrets struct {
	// CAFile holds the authorities whose certificates are trusted besides those of the system, PEM.
	CAFile string
	// Token is an API key or an OIDC token. It is sent over https, or to this machine.
	Token string
}

// With adds secrets to a client that was not used yet.
func (c *Client) With(s Secrets) error {
	if s.CAFile != "" {
		raw, err := os.ReadFile(s.CAFile)
		if err != nil {
			return fmt.Errorf("reading the trusted authorities: %w", err)
		}
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(raw) {
			return fmt.Errorf("%s holds no certificate in PEM form", s.CAFile)
		}
		c.transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
	}
	if s.Token != "" && c.base.Scheme != "https" && !loopback(c.base.Hostname()) {
		return errors.New("a token is sent over https only: write the address with https://")
	}
	c.token = s.Token
	return nil
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// New makes a client of the API at addr, such as "http://127.0.0.1:8080"; a bare "host:port" means
// http. userAgent names the program in the server's logs.
func New(addr, userAgent string) (*Client, error) {
	if !strings.Contains(addr, "://") {
		addr = "http://" + addr
	}
	base, err := url.Parse(addr)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, errors.New("the address is not like http://127.0.0.1:8080")
	}
	if base.Path != "" && base.Path != "/" || base.RawQuery != "" || base.User != nil {
		return nil, errors.New("the address is scheme, host and port only, like http://127.0.0.1:8080")
	}
	base.Path = ""
	transport := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		MaxIdleConns:        maxIdleConns,
		MaxIdleConnsPerHost: maxIdleConns,
		IdleConnTimeout:     30 * time.Second,
		TLSHandshakeTimeout: 5 * time.Second,
	}
	return &Client{base: base, http: &http.Client{Transport: transport, Timeout: DefaultTimeout},
		transport: transport, agent: userAgent}, nil
}

// Addr is the base address, without a trailing slash.
func (c *Client) Addr() string { return c.base.String() }

// Close closes idle connections. Exchanges under way are not disturbed.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Unreachable is returned when no HTTP answer came back at all.
type Unreachable struct {
	// Addr is the address that was tried.
	Addr string
	// Cause is what the network said.
	Cause error
}

// Error implements error.
func (u *Unreachable) Error() string {
	return fmt.Sprintf("no answer from %s: %s", u.Addr, plainCause(u.Cause))
}

// Unwrap returns the cause.
func (u *Unreachable) Unwrap() error { return u.Cause }

// plainCause drops the method and URL that net/http puts before every error: the address is in the
// message already.
func plainCause(err error) string {
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err
	}
	return err.Error()
}

// request is one exchange.
type request struct {
	method, path string
	query        url.Values
	contentType  string
	accept       string
	header       map[string]string
	body         io.Reader
}

// send performs r, with the idempotency key in ctx if there is one, and returns the answer if its status is 2xx; the caller closes the body.
func (c *Client) send(ctx context.Context, r request) (*http.Response, error) {
	u := *c.base
	escaped := r.path
	path, err := url.PathUnescape(escaped)
	if err != nil {
		return nil, fmt.Errorf("building the request path: %w", err)
	}
	u.Path, u.RawPath, u.RawQuery = path, escaped, r.query.Encode()
	req, err := http.NewRequestWithContext(ctx, r.method, u.String(), r.body)
	if err != nil {
		return nil, fmt.Errorf("building the request: %w", err)
	}
	req.Header.Set("User-Agent", c.agent)
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	if r.contentType != "" {
		req.Header.Set("Content-Type", r.contentType)
	}
	if r.accept != "" {
		req.Header.Set("Accept", r.accept)
	}
	for k, v := range r.header {
		req.Header.Set(k, v)
	}
	key := nba.IdempotencyOf(ctx)
	if key != nil {
		req.Header.Set(headerIdempotencyKey, key.Key)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, &Unreachable{Addr: c.Addr(), Cause: err}
	}
	if resp.StatusCode/100 != 2 {
		defer resp.Body.Close()
		return nil, readProblem(resp)
	}
	if key != nil && resp.Header.Get(headerReplayed) == "true" {
		key.SetReplayed()
	}
	return resp, nil
}

// doJSON sends in as JSON unless it is nil and decodes the answer into out unless that is nil.
func (c *Client) doJSON(ctx context.Context, r request, in, out any) (*http.Response, error) {
	if in != nil {
		body, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("encoding the request: %w", err)
		}
		r.body = bytes.NewReader(body)
		if r.contentType == "" {
			r.contentType = "application/json"
		}
	}
	r.accept = "application/json, application/problem+json"
	resp, err := c.send(ctx, r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := c.readAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if out == nil || len(body) == 0 {
		return resp, nil
	}
	if err := json.Unmarshal(body, out); err != nil {
		return nil, fmt.Errorf("decoding the answer of %s: %w", r.path, err)
	}
	return resp, nil
}

func (c *Client) readAll(r io.Reader) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, maxResponseBytes+1))
	if err != nil {
		return nil, &Unreachable{Addr: c.Addr(), Cause: err}
	}
	if len(body) > maxResponseBytes {
		return nil, fmt.Errorf("the answer is larger than %d MiB", maxResponseBytes>>20)
	}
	return body, nil
}
