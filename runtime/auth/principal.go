package auth

import "context"

// Kind tells how a principal proved who it is.
type Kind string

// The kinds.
const (
	KindKey  Kind = "key"  // an API key
	KindOIDC Kind = "oidc" // a token of an OpenID Connect provider
	// KindLocal did not: the node demands no proof of those who reach it.
	KindLocal Kind = "local"
)

// Principal is on whose behalf a call is made. It is immutable.
type Principal struct {
	Kind Kind `json:"kind"`
	// ID is the key's id or the subject of the token, Name what people call it.
	ID   string `json:"id,omitempty"`
	Name string `json:"name,omitempty"`
	// Roles are those it may act in.
	Roles []Role `json:"roles,omitempty"`
}

// May tells whether the principal has a permission.
func (p *Principal) May(want Permission) bool {
	return p.Kind == KindLocal || permissionsOf(p.Roles).Has(want)
}

// Local is the principal of calls to a node that demands no proof.
func Local() *Principal { return &Principal{Kind: KindLocal} }

// Call is what is asked, and by whom. It is immutable.
type Call struct {
	Principal *Principal
	// Action is the operation of the API, Object the path it was called with, Request the id of the request.
	Action, Object, Request string
}

type callKey struct{}

// With is ctx for the work of a call.
func With(ctx context.Context, call *Call) context.Context {
	return context.WithValue(ctx, callKey{}, call)
}

// From is the call in ctx, or nil for work that a node does by itself.
func From(ctx context.Context) *Call {
	call, _ := ctx.Value(callKey{}).(*Call)
	return call
}
