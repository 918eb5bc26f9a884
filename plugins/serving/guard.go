package serving

import (
	"errors"

	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/wasm"
)

// guard makes a call to a version unless its breaker is open; then the last good version stands in, if
// there is one. The ModelInfo is that of the version that answered.
func (m *model) guard(call func() error, standIn func(other *model) error) (*nba.ModelInfo, error) {
	breaker := &m.version.breaker
	if m.aside || breaker.allow() {
		if err := m.note(call()); err != nil {
			return nil, err
		}
		return &m.info, nil
	}
	if other := m.lastGood; other != nil && other.version.breaker.allow() {
		if err := other.note(standIn(other)); err == nil {
			m.metrics.standIns.Inc()
			return &other.info, nil
		}
	}
	m.metrics.errors.WithLabelValues(reasonOpen).Inc()
	return nil, nba.Errorf(nba.CodeUnavailable, "plugin %s %s keeps failing and is taken out until a trial succeeds; activate another version", m.info.Name, m.info.Version)
}

// note tells the breaker of a version how a call ended, and returns its error.
func (m *model) note(err error) error {
	breaker := &m.version.breaker
	switch reason := fault(err); {
	case err == nil:
		breaker.succeeded()
	case reason == "":
		breaker.gaveUp()
	case breaker.failed(reason):
		m.metrics.breakers.Inc()
		m.version.logger.Warn("a plugin keeps failing and is taken out", "plugin", m.info.Name, "version", m.info.Version, "reason", reason)
	}
	return err
}

// fault is the reason of a failure that is the guest's, or "".
func fault(err error) string {
	switch reason := wasm.ReasonOf(err); {
	case err == nil:
		return ""
	case reason != "":
		return string(reason)
	case errors.Is(err, errRange):
		return reasonRange
	case isBadAnswer(err):
		return reasonAnswer
	}
	return ""
}

// Health tells how the active version of each plugin of the Set does on this node, by name.
func (s *Set) Health() map[string]*nba.PluginHealth {
	all := make(map[string]*nba.PluginHealth, len(s.models))
	for name, m := range s.models {
		h := m.version.breaker.health()
		if h.State == nba.BreakerOpen && m.lastGood != nil {
			h.StandIn = m.lastGood.info.Version
		}
		all[name] = h
	}
	return all
}
