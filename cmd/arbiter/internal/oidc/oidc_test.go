package oidc

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// idp is an OpenID Connect provider of the test: discovery, keys, and tokens signed with ES256 (RFC 7515,
// RFC 7518).
type idp struct {
	*httptest.Server
	key  *ecdsa.PrivateKey
	down bool
	asks int
}

func newIDP(t *testing.T) *idp {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := &idp{key: key}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.asks++
		if p.down {
			http.Error(w, "down", http.StatusServiceUnavailable)
			return
		}
		encode := base64.RawURLEncoding.EncodeToString
		point, _ := key.PublicKey.Bytes() // of a curve that is known
		body := map[string]any{"issuer": p.URL, "jwks_uri": p.URL + "/keys", "authorization_endpoint": p.URL, "token_endpoint": p.URL,
			"id_token_signing_alg_values_supported": []string{"ES256"}}
		if r.URL.Path == "/keys" {
			body = map[string]any{"keys": []any{map[string]any{"kty": "EC", "crv": "P-256", "kid": "1", "use": "sig", "alg": "ES256",
				"x": encode(point[1:33]), "y": encode(point[33:])}}}
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(body) // the client is the test
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *idp) token(t *testing.T, claims map[string]any) string {
	t.Helper()
	full := map[string]any{"iss": p.URL, "aud": "arbiter", "sub": "u-1", "exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix()}
	for k, v := range claims {
		full[k] = v
	}
	part := func(v any) string {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	body := part(map[string]string{"alg": "ES256", "kid": "1", "typ": "JWT"}) + "." + part(full)
	sum := sha256.Sum256([]byte(body))
	r, s, err := ecdsa.Sign(rand.Reader, p.key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return body + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func TestTokens(t *testing.T) {
	p := newIDP(t)
	v, err := New(t.Context(), Config{Issuer: p.URL, Audience: "arbiter", RolesClaim: "groups"})
	if err != nil {
		t.Fatal(err)
	}
	good := p.token(t, map[string]any{"name": "Ann", "groups": []string{"analyst", "skiing", "auditor"}})
	for range 3 {
		who, err := v.Verify(t.Context(), good)
		if err != nil || fmt.Sprint(who.ID, who.Name, who.Roles) != "u-1Ann[analyst auditor]" {
			t.Fatalf("%+v, %v", who, err)
		}
	}
	if p.asks != 2 {
		t.Errorf("the provider was asked %d times, want once for itself and once for its keys", p.asks)
	}
	if who, err := v.Verify(t.Context(), p.token(t, map[string]any{"groups": "channel"})); err != nil || fmt.Sprint(who.Roles) != "[channel]" {
		t.Errorf("one role as text: %+v, %v", who, err)
	}
	stranger := newIDP(t)
	for name, token := range map[string]string{
		"another audience": p.token(t, map[string]any{"aud": "others"}),
		"over":             p.token(t, map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}),
		"another issuer":   p.token(t, map[string]any{"iss": "https://example.net"}),
		"another key":      stranger.token(t, map[string]any{"iss": p.URL}),
		"changed":          strings.Replace(good, ".", ".e", 1),
		"unsigned":         good[:strings.LastIndexByte(good, '.')+1],
		"garbage":          "garbage",
		"long":             strings.Repeat("x", maxTokenBytes+1),
	} {
		if who, err := v.Verify(t.Context(), token); err == nil {
			t.Errorf("%s: taken as %+v", name, who)
		}
	}
}

func TestTokensEnd(t *testing.T) {
	p := newIDP(t)
	v, err := New(t.Context(), Config{Issuer: p.URL, Audience: "arbiter", RolesClaim: "groups"})
	if err != nil {
		t.Fatal(err)
	}
	token := p.token(t, map[string]any{"exp": time.Now().Add(20 * time.Second).Unix()})
	if _, err := v.Verify(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	key := sha256.Sum256([]byte(token))
	v.now = func() time.Time { return time.Now().Add(30 * time.Second) }
	if v.recall(key) != nil {
		t.Error("a token that is over is remembered")
	}
}

func TestProviderComesLater(t *testing.T) {
	p := newIDP(t)
	p.down = true
	v, err := New(t.Context(), Config{Issuer: p.URL, Audience: "arbiter", RolesClaim: "groups"})
	if err != nil {
		t.Fatal(err)
	}
	token := p.token(t, nil)
	if _, err := v.Verify(t.Context(), token); err == nil {
		t.Fatal("a token was taken without a provider")
	}
	asks := p.asks
	if _, err := v.Verify(t.Context(), token); err == nil || p.asks != asks {
		t.Errorf("the provider is not left alone: %d requests, %v", p.asks-asks, err)
	}
	p.down = false
	v.now = func() time.Time { return time.Now().Add(2 * retryAfter) }
	if _, err := v.Verify(t.Context(), token); err != nil {
		t.Errorf("the provider is back: %v", err)
	}
}
