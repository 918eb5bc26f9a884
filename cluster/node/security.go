package node

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/runtime/auth"
)

// Keys are the API keys as this node has applied them.
func (n *Node) Keys(context.Context) []auth.View {
	keys := n.router.Control().State().Keys.Keys
	views := make([]auth.View, len(keys))
	for i := range keys {
		views[i] = keys[i].View()
	}
	return views
}

// CreateKey makes an API key. The view that it returns is the only one that ever has the token. founding
// makes the first key and nothing else.
func (n *Node) CreateKey(ctx context.Context, request *auth.KeyRequest, founding bool) (auth.View, error) {
	token, err := auth.NewToken(rand.Reader)
	if err != nil {
		return auth.View{}, fmt.Errorf("making an API key: %w", err)
	}
	maker := ""
	if call := auth.From(ctx); call != nil {
		maker = call.Principal.Name
	}
	key, err := request.Key(token, time.Now(), maker)
	if err != nil {
		return auth.View{}, err
	}
	view, err := n.router.Control().CreateKey(ctx, key, founding)
	if err != nil {
		return auth.View{}, err
	}
	view.Token = token.Text()
	return view, nil
}

// RevokeKey removes an API key; every node refuses it as soon as it has applied that.
func (n *Node) RevokeKey(ctx context.Context, id string) error {
	return n.router.Control().RevokeKey(ctx, id)
}

// Authenticate finds the key of a token. ok is false if the token proves nothing; which of the reasons it
// is, nobody learns.
func (n *Node) Authenticate(token string) (key auth.Key, ok bool) {
	parsed, ok := auth.ParseToken(token)
	if !ok {
		return auth.Key{}, false
	}
	return n.router.Control().State().Keys.Authenticate(parsed, time.Now().UnixMilli())
}

// Audit gives up to limit records of changes after one of them, oldest first, and the end of their chain.
func (n *Node) Audit(ctx context.Context, after uint64, limit int) ([]fsm.AuditRecord, fsm.AuditHead, error) {
	n.catchUp(ctx)
	return n.router.Control().Audit(after, limit)
}
