// Package oidc takes the tokens of an OpenID Connect provider as proof of who calls.
package oidc

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/arbiterhq/arbiter/runtime/auth"
	"github.com/coreos/go-oidc/v3/oidc"
)

// Limits of a verifier.
const (
	// requestTimeout bounds one request to the provider.
	requestTimeout = 10 * time.Second
	// retryAfter is how long a provider that could not be reached is left alone.
	retryAfter = 5 * time.Second
	// remember is for how long, and maxRemembered how many tokens that were good are taken without
	// checking their signature again.
	remember      = time.Minute
	maxRemembered = 10_000
	maxTokenBytes = 8 << 10
)

// Config names a provider.
type Config struct {
	Issuer, Audience string
	// RolesClaim lists the roles of the caller; those it does not know are passed over.
	RolesClaim string
	// CAFile holds authorities to trust besides those of the system; empty: none.
	CAFile string
}

// Verifier checks tokens. It is safe for concurrent use. The provider is asked for its keys when they
// are needed first, so that a node starts without it.
type Verifier struct {
	config Config
	ctx    context.Context //nolint:containedctx // the provider's keys are fetched for as long as the verifier lives
	now    func() time.Time

	mu       sync.Mutex
	verifier *oidc.IDTokenVerifier
	failed   time.Time // when the provider could not be reached last
	good     map[[sha256.Size]byte]remembered
}

// remembered is a token that was good.
type remembered struct {
	principal *auth.Principal
	until     time.Time
}

// New makes a verifier. ctx ends what it does.
func New(ctx context.Context, config Config) (*Verifier, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // it is one
	if config.CAFile != "" {
		raw, err := os.ReadFile(config.CAFile)
		if err != nil {
			return nil, fmt.Errorf("reading the authorities of the OpenID Connect provider: %w", err)
		}
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(raw) {
			return nil, fmt.Errorf("%s holds no certificate in PEM form", config.CAFile)
		}
		transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
	}
	client := &http.Client{Transport: transport, Timeout: requestTimeout}
	return &Verifier{config: config, ctx: oidc.ClientContext(ctx, client), now: time.Now, good: map[[sha256.Size]byte]remembered{}}, nil
}

// Verify is who the bearer of a token is.
func (v *Verifier) Verify(ctx context.Context, token string) (*auth.Principal, error) {
	if len(token) > maxTokenBytes {
		return nil, errors.New("the token is too long")
	}
	key := sha256.Sum256([]byte(token))
	if principal := v.recall(key); principal != nil {
		return principal, nil
	}
	verifier, err := v.provider()
	if err != nil {
		return nil, err
	}
	verified, err := verifier.Verify(ctx, token)
	if err != nil {
		return nil, fmt.Errorf("checking the token: %w", err)
	}
	principal, err := v.principal(verified)
	if err != nil {
		return nil, err
	}
	v.keep(key, principal, verified.Expiry)
	return principal, nil
}

// provider asks the provider where its keys are, once it answers.
func (v *Verifier) provider() (*oidc.IDTokenVerifier, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.verifier != nil {
		return v.verifier, nil
	}
	if v.now().Sub(v.failed) < retryAfter {
		return nil, errors.New("the OpenID Connect provider could not be reached a moment ago")
	}
	provider, err := oidc.NewProvider(v.ctx, v.config.Issuer)
	if err != nil {
		v.failed = v.now()
		return nil, fmt.Errorf("asking the OpenID Connect provider: %w", err)
	}
	v.verifier = provider.Verifier(&oidc.Config{ClientID: v.config.Audience})
	return v.verifier, nil
}

func (v *Verifier) principal(token *oidc.IDToken) (*auth.Principal, error) {
	var claims map[string]any
	if err := token.Claims(&claims); err != nil {
		return nil, fmt.Errorf("reading the claims of the token: %w", err)
	}
	p := &auth.Principal{Kind: auth.KindOIDC, ID: token.Subject}
	for _, claim := range []string{"name", "email", "preferred_username"} {
		if name, ok := claims[claim].(string); ok && name != "" {
			p.Name = name
			break
		}
	}
	var names []any
	switch listed := claims[v.config.RolesClaim].(type) {
	case []any:
		names = listed
	case string:
		names = []any{listed}
	}
	for _, name := range names {
		if text, ok := name.(string); ok && auth.Role(text).Permissions() != 0 {
			p.Roles = append(p.Roles, auth.Role(text))
		}
	}
	return p, nil
}

func (v *Verifier) recall(key [sha256.Size]byte) *auth.Principal {
	v.mu.Lock()
	defer v.mu.Unlock()
	r, ok := v.good[key]
	if !ok {
		return nil
	}
	if v.now().After(r.until) {
		delete(v.good, key)
		return nil
	}
	return r.principal
}

func (v *Verifier) keep(key [sha256.Size]byte, principal *auth.Principal, expiry time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.good) >= maxRemembered {
		clear(v.good)
	}
	until := v.now().Add(remember)
	if expiry.Before(until) {
		until = expiry
	}
	v.good[key] = remembered{principal, until}
}
