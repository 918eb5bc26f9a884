package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/arbiterhq/arbiter/runtime/auth"
	"github.com/prometheus/client_golang/prometheus"
)

// provider takes one token.
type provider struct{}

func (provider) Verify(_ context.Context, token string) (*auth.Principal, error) {
	if token != "good.oidc.token" {
		return nil, errors.New("no")
	}
	return &auth.Principal{Kind: auth.KindOIDC, ID: "u-1", Name: "Ann", Roles: []auth.Role{auth.Auditor}}, nil
}

func guarded(o *Options) { o.AuthRequired, o.Tokens = true, provider{} }

// ask sends a request with a token and returns status, body and header.
func ask(t *testing.T, method, url, token, body string) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", contentTypeJSON)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(raw), resp.Header
}

func keyOf(t *testing.T, core *memCore, founding bool, rate int, roles ...string) auth.View {
	t.Helper()
	key, err := core.CreateKey(t.Context(), &auth.KeyRequest{Name: strings.Join(roles, "+"), Roles: roles, Rate: rate}, founding)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestCallersProveWhoTheyAre(t *testing.T) {
	core := newMemCore()
	api := "http://" + start(t, core, guarded)
	options := DefaultOptions()
	guarded(&options)
	admin := "http://" + serveUntilEnd(t, NewAdmin(core, prometheus.NewRegistry(), options))
	tokens := map[string]string{"nobody": "", "garbage": "garbage", "oidc": "good.oidc.token", "stranger": "other.oidc.token",
		"mistyped": "arb_a_b_c"}
	for i, role := range append([]auth.Role{auth.Admin}, auth.Roles()...) {
		tokens[string(role)] = keyOf(t, core, i == 0, 0, string(role)).Token
	}
	for _, test := range []struct {
		method, path, body string
		may                string // who gets through; all others do not
	}{
		{"GET", "/v1/whoami", "", "channel analyst scientist operator admin auditor oidc"},
		{"GET", "/v1/subjects/none", "", "channel analyst scientist operator admin auditor oidc"},
		{"PUT", "/v1/subjects/s", `{"attributes":{}}`, "operator admin"},
		{"POST", "/v1/decisions", `{"subject":{"id":"none"},"channel":"web"}`, "channel analyst admin"},
		{"GET", "/v1/catalog/versions", "", "analyst scientist operator admin auditor oidc"},
		{"POST", "/v1/catalog/versions/7/activate", "", "analyst admin"},
		{"PUT", "/v1/retention", `{"maxPerSubject":500}`, "operator admin"},
		{"POST", "/v1/plugins/none/versions/1.0.0/activate", "", "scientist admin"},
		{"GET", "/v1/keys", "", "admin"},
		{"GET", "/v1/audit", "", "admin auditor oidc"},
		{"GET", "/healthz", "", "nobody garbage stranger mistyped channel analyst scientist operator admin auditor oidc"},
	} {
		for who, token := range tokens {
			status, body, header := ask(t, test.method, api+test.path, token, test.body)
			refused := status == http.StatusUnauthorized || status == http.StatusForbidden
			if refused == strings.Contains(" "+test.may+" ", " "+who+" ") {
				t.Errorf("%s %s by %s: %d %s", test.method, test.path, who, status, body)
			}
			unknown := strings.Contains("nobody garbage stranger mistyped", who)
			if refused && (status == http.StatusUnauthorized) != unknown || status == http.StatusUnauthorized && header.Get("WWW-Authenticate") != "Bearer" {
				t.Errorf("%s %s by %s: %d with %q", test.method, test.path, who, status, header.Get("WWW-Authenticate"))
			}
			if token != "" && strings.Contains(body, token) {
				t.Errorf("%s %s by %s repeats the token", test.method, test.path, who)
			}
		}
	}
	for path, may := range map[string]string{"/metrics": "operator", "/debug/pprof/cmdline": "operator"} {
		for _, who := range []string{"nobody", "channel", "operator"} {
			if status, body, _ := ask(t, "GET", admin+path, tokens[who], ""); (status == http.StatusOK) != (who == may) {
				t.Errorf("%s by %s: %d %.100s", path, who, status, body)
			}
		}
	}
	if status, _, _ := ask(t, "GET", admin+"/readyz", "", ""); status == http.StatusUnauthorized {
		t.Error("a probe must prove who it is")
	}
}

func TestRevokedKeysProveNothing(t *testing.T) {
	core := newMemCore()
	api := "http://" + start(t, core, guarded)
	admin := keyOf(t, core, true, 0, "admin")
	channel := keyOf(t, core, false, 0, "channel")
	if status, body, _ := ask(t, "GET", api+"/v1/whoami", channel.Token, ""); status != 200 || !strings.Contains(body, `"name":"channel"`) {
		t.Fatalf("%d %s", status, body)
	}
	if status, body, _ := ask(t, "DELETE", api+"/v1/keys/"+channel.ID, admin.Token, ""); status != 204 {
		t.Fatalf("%d %s", status, body)
	}
	if status, _, _ := ask(t, "GET", api+"/v1/whoami", channel.Token, ""); status != 401 {
		t.Errorf("a revoked key: %d", status)
	}
}

func TestKeysHaveRates(t *testing.T) {
	core := newMemCore()
	api := "http://" + start(t, core, guarded)
	keyOf(t, core, true, 0, "admin")
	slow, free := keyOf(t, core, false, 3, "channel"), keyOf(t, core, false, 0, "channel")
	refused := 0
	for range 30 {
		status, _, header := ask(t, "GET", api+"/v1/whoami", slow.Token, "")
		if status == http.StatusTooManyRequests {
			refused++
			if header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		}
	}
	if refused == 0 {
		t.Error("30 requests at once with a key for 3 a second")
	}
	if status, body, _ := ask(t, "GET", api+"/v1/whoami", free.Token, ""); status != 200 {
		t.Errorf("another key pays for it: %d %s", status, body)
	}
}

// TestPermissionsAreComplete: every operation that is not public has its line in the table.
func TestPermissionsAreComplete(t *testing.T) {
	options := DefaultOptions()
	known := map[string]bool{}
	for _, op := range operations(&options) {
		known[op.id] = true
		if _, ok := permissions[op.id]; !ok && !op.quick && !op.local {
			t.Errorf("%s %s has no permission: add %s to the table", op.method, op.path, op.id)
		}
	}
	for id := range permissions {
		if !known[id] {
			t.Errorf("%s is no operation", id)
		}
	}
}

// TestChangesAreAttributed: what is put on record names the caller also where nobody must prove who they are.
func TestChangesAreAttributed(t *testing.T) {
	core := newMemCore()
	api := "http://" + start(t, core, nil)
	if status, body, _ := ask(t, "POST", api+"/v1/keys", "", `{"name":"x","roles":["admin"]}`); status != 201 {
		t.Fatalf("%d %s", status, body)
	}
	records, _, err := core.Audit(t.Context(), 0, 10)
	if err != nil || len(records) != 1 {
		t.Fatalf("%d records, %v", len(records), err)
	}
	r := records[0]
	if got := fmt.Sprint(r.Actor.Kind, r.Action, r.Object); got != "localcreateKey/v1/keys" || r.Request == "" {
		t.Errorf("got %s, request %q", got, r.Request)
	}
}
