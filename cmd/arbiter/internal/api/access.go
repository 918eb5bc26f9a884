package api

import (
	"context"
	"net/http"
	"strings"
	"sync"

	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/runtime/auth"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"golang.org/x/time/rate"
)

// Security is what a core knows of API keys and of changes on record.
type Security interface {
	// Keys are the API keys, without what proves them.
	Keys(ctx context.Context) []auth.View
	// CreateKey makes an API key; its token is in the view this once. founding makes the first key, and is
	// refused with CodeConflict when there ever was one.
	CreateKey(ctx context.Context, request *auth.KeyRequest, founding bool) (auth.View, error)
	// RevokeKey removes an API key.
	RevokeKey(ctx context.Context, id string) error
	// Authenticate finds the key of a token that is good now.
	Authenticate(token string) (auth.Key, bool)
	// Audit gives up to limit records of changes after one of them, oldest first, and the end of their
	// chain.
	Audit(ctx context.Context, after uint64, limit int) ([]fsm.AuditRecord, fsm.AuditHead, error)
}

// TokenVerifier proves who sent a token that is no API key. It is called from many goroutines at once.
type TokenVerifier interface {
	// Verify is the principal of a token; its error is shown to nobody.
	Verify(ctx context.Context, token string) (*auth.Principal, error)
}

// access decides who may call what. A nil one lets everybody do everything.
type access struct {
	core   Core
	tokens TokenVerifier // nil: API keys alone

	mu      sync.Mutex
	buckets map[string]*rate.Limiter // by id of a key with a rate
}

// newAccess is nil unless callers must prove who they are.
func newAccess(core Core, options *Options) *access {
	if !options.AuthRequired {
		return nil
	}
	return &access{core: core, tokens: options.Tokens, buckets: map[string]*rate.Limiter{}}
}

// admit finds out who calls, from the Authorization header, and whether they may.
func (a *access) admit(ctx context.Context, authorization string, op *operation) (*auth.Principal, error) {
	principal, err := a.identify(ctx, authorization)
	if err != nil {
		return nil, err
	}
	return principal, may(principal, permissionOf(op))
}

// check is admit for what is no operation.
func (a *access) check(ctx context.Context, authorization string, need auth.Permission) error {
	principal, err := a.identify(ctx, authorization)
	if err != nil {
		return err
	}
	return may(principal, need)
}

func may(principal *auth.Principal, need auth.Permission) error {
	if principal.May(need) {
		return nil
	}
	return nba.Errorf(nba.CodeForbidden, "this needs the permission %s, which the roles of the caller do not give: ask an admin for a key with another role", need)
}

// onlyLocal refuses a caller on another machine.
func onlyLocal() error {
	return nba.Errorf(nba.CodeForbidden, "this is answered to callers on the machine of the node alone")
}

func (a *access) identify(ctx context.Context, authorization string) (*auth.Principal, error) {
	scheme, token, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return nil, nba.Errorf(nba.CodeUnauthenticated, "send Authorization: Bearer with an API key or a token: an admin makes keys with `arbiter key create`")
	}
	refused := nba.Errorf(nba.CodeUnauthenticated, "the key or token is unknown, mistyped, revoked or over: get another")
	if auth.IsToken(token) {
		key, ok := a.core.Authenticate(token)
		if !ok {
			return nil, refused
		}
		if !a.allow(&key) {
			return nil, nba.Errorf(nba.CodeRateLimited, "the key may send %d requests a second to each node: slow down, or ask for a key that may send more", key.Rate)
		}
		return key.Principal(), nil
	}
	if a.tokens == nil {
		return nil, refused
	}
	principal, err := a.tokens.Verify(ctx, token)
	if err != nil {
		return nil, refused
	}
	return principal, nil
}

// allow takes one call off a key's rate. A second's worth may come at once.
func (a *access) allow(key *auth.Key) bool {
	if key.Rate == 0 {
		return true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	bucket := a.buckets[key.ID]
	if bucket == nil || bucket.Burst() != key.Rate {
		if len(a.buckets) >= 2*auth.MaxKeys { // most are of keys that are gone
			clear(a.buckets)
		}
		bucket = rate.NewLimiter(rate.Limit(key.Rate), key.Rate)
		a.buckets[key.ID] = bucket
	}
	return bucket.Allow()
}

// changes tells whether an operation may change what the control group agrees on, so that who asked is
// put on record.
func (op *operation) changes() bool { return op.budget == budgetAdmin && op.method != http.MethodGet }

// callOf is what is put on record of a request.
func callOf(op *operation, principal *auth.Principal, path, id string) *auth.Call {
	if principal == nil {
		principal = auth.Local()
	}
	return &auth.Call{Principal: principal, Action: op.id, Object: path, Request: id}
}
