package api

import (
	"context"
	"crypto/rand"
	"sync"
	"time"

	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/runtime/auth"
)

// memSecurity keeps API keys in memory, and a record of each that was made.
type memSecurity struct {
	mu      sync.Mutex
	keys    *auth.Keys
	records []fsm.AuditRecord
}

func (m *memSecurity) state() *auth.Keys {
	if m.keys == nil {
		m.keys = &auth.Keys{}
	}
	return m.keys
}

func (m *memSecurity) Keys(context.Context) []auth.View {
	m.mu.Lock()
	defer m.mu.Unlock()
	var views []auth.View
	for i := range m.state().Keys {
		views = append(views, m.keys.Keys[i].View())
	}
	return views
}

func (m *memSecurity) CreateKey(ctx context.Context, request *auth.KeyRequest, founding bool) (auth.View, error) {
	token, err := auth.NewToken(rand.Reader)
	if err != nil {
		return auth.View{}, err
	}
	key, err := request.Key(token, time.Now(), "")
	if err != nil {
		return auth.View{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	next, err := m.state().Add(key, founding)
	if err != nil {
		return auth.View{}, err
	}
	m.keys = next
	record := fsm.AuditRecord{Seq: uint64(len(m.records) + 1), Index: 1, At: time.Now().UTC(), Changes: []fsm.Change{{Fact: "key " + key.ID, After: "made"}}}
	if call := auth.From(ctx); call != nil {
		record.Actor, record.Action, record.Object, record.Request = *call.Principal, call.Action, call.Object, call.Request
	}
	if record.Hash, err = record.Chain(); err != nil {
		return auth.View{}, err
	}
	m.records = append(m.records, record)
	view := key.View()
	view.Token = token.Text()
	return view, nil
}

func (m *memSecurity) RevokeKey(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	next, err := m.state().Remove(id, time.Now().UnixMilli())
	if err == nil {
		m.keys = next
	}
	return err
}

func (m *memSecurity) Authenticate(token string) (auth.Key, bool) {
	parsed, ok := auth.ParseToken(token)
	if !ok {
		return auth.Key{}, false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state().Authenticate(parsed, time.Now().UnixMilli())
}

func (m *memSecurity) Audit(_ context.Context, after uint64, limit int) ([]fsm.AuditRecord, fsm.AuditHead, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	head := fsm.AuditHead{Seq: uint64(len(m.records))}
	if head.Seq > 0 {
		head.Hash = m.records[head.Seq-1].Hash
	}
	rest := m.records[min(after, head.Seq):]
	return rest[:min(limit, len(rest))], head, nil
}
