package api

import (
	"context"

	"github.com/arbiterhq/arbiter/plugins/registry"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

func (m *memCore) VerifyPlugin(ctx context.Context, module []byte) (nba.PluginVersion, error) {
	scratch := memCore{plugins: map[string]*nba.PluginVersion{}}
	return scratch.PushPlugin(ctx, module, false)
}

func (m *memCore) RemovePlugin(_ context.Context, name, version string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	found := false
	for key, p := range m.plugins {
		if p.Name != name || version != "" && p.Version != version {
			continue
		}
		if found = true; p.State == nba.StateActive {
			return nba.Errorf(nba.CodeConflict, "the version is active")
		}
		delete(m.plugins, key)
	}
	if !found {
		return nba.Errorf(nba.CodePluginUnknown, "no such plugin")
	}
	return nil
}

func (m *memCore) DeactivatePlugin(_ context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	found := false
	for _, p := range m.plugins {
		if p.Name == name {
			if found = true; p.State == nba.StateActive {
				p.State = nba.StateRetired
			}
		}
	}
	if !found {
		return nba.Errorf(nba.CodePluginUnknown, "no such plugin")
	}
	return nil
}

func (m *memCore) PluginLogs(_ context.Context, name string, limit int, cursor string) ([]nba.PluginLogLine, string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.plugins {
		if p.Name != name {
			continue
		}
		if cursor != "" {
			return nil, cursor, nil
		}
		return []nba.PluginLogLine{{Time: memTime, Node: "n1", Version: p.Version, Level: "info", Text: "picked [redacted]"}}, "c1", nil
	}
	return nil, "", nba.Errorf(nba.CodePluginUnknown, "no such plugin")
}

func (m *memCore) PluginKeys(context.Context) ([]nba.PluginKey, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.signers.Keys, nil
}

func (m *memCore) TrustPluginKey(_ context.Context, name string, public []byte) (nba.PluginKey, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	next, record, _, err := m.signers.Trust(nba.PluginKey{Name: name, PublicKey: public}, memTime)
	m.signers = *next
	return record, err
}

func (m *memCore) DistrustPluginKey(_ context.Context, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	next, err := m.signers.Distrust(key)
	m.signers = registry.Keys{Keys: next.Keys}
	return err
}
