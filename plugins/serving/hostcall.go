package serving

import (
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/arbiterhq/arbiter/runtime/consent"
	"github.com/arbiterhq/arbiter/runtime/engine"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/wasm"
)

// hostCall answers the host functions of one call to a plugin.
type hostCall struct {
	model      *model
	parameters map[string]string // of the catalog
	subject    nba.Subject
	mask       nba.PurposeSet
	contexts   []nba.ContextValue
	redactor   redactor
	ready      bool // the redactor knows the subject
}

// hostCalls lends them.
type hostCalls struct{ pool sync.Pool }

func (p *hostCalls) get() *hostCall {
	if c, ok := p.pool.Get().(*hostCall); ok {
		return c
	}
	return &hostCall{}
}

func (p *hostCalls) put(c *hostCall) {
	if c == nil {
		return
	}
	clear(c.redactor.texts)
	c.redactor.reset()
	*c = hostCall{redactor: c.redactor}
	p.pool.Put(c)
}

// host is what the guest of a scorer may call during call; nil when it may call nothing.
func (m *model) host(call *engine.ScoreCall) *hostCall {
	if !m.hosted {
		return nil
	}
	c := m.version.calls.get()
	c.model, c.parameters, c.subject, c.mask, c.contexts = m, call.Parameters, call.Subject, call.Mask, call.Contexts
	return c
}

var _ wasm.Host = (*hostCall)(nil)

// Param implements wasm.Host: what the catalog says goes before the manifest.
func (c *hostCall) Param(key string) (string, bool) {
	if value, ok := c.parameters[key]; ok {
		return value, true
	}
	value, ok := c.model.version.manifest.Parameters[key]
	return value, ok
}

// Log implements wasm.Host.
func (c *hostCall) Log(level wasm.LogLevel, text []byte) {
	now := time.Now()
	ok, dropped := c.model.log.take(now)
	if !ok {
		c.model.metrics.logsDropped.Inc()
		return
	}
	line := nba.PluginLogLine{Time: now.UTC(), Version: c.model.info.Version, Level: level.String()}
	if dropped > 0 {
		line.Text = fmt.Sprintf("(%d lines before this one were dropped: more than %d a second)", dropped, logRate)
		c.model.log.append(line)
	}
	c.know()
	line.Text = c.redactor.clean(string(text))
	c.model.log.append(line)
	c.model.metrics.logs.Inc()
}

// know tells the redactor what the subject is.
func (c *hostCall) know() {
	if c.ready {
		return
	}
	c.ready = true
	c.redactor.addText(c.subject.Ref().ID)
	in := &c.model.inputs
	for i := range in.attributes {
		if a := &in.attributes[i]; consent.Visible(a.purposes, in.purpose, c.mask) {
			value, _ := c.subject.Attribute(a.id)
			c.redactor.add(value)
		}
	}
	for i := range in.told {
		if a := &in.told[i]; consent.Visible(a.purposes, in.purpose, c.mask) {
			value, _ := c.subject.Attribute(a.id)
			c.redactor.add(value)
		}
	}
	for i := range c.contexts {
		c.redactor.addText(c.contexts[i].Value)
	}
}

// Metric implements wasm.Host.
func (c *hostCall) Metric(name string, value float64) { c.model.counters.add(name, value) }

// counters are those that a plugin makes of its own.
type counters struct {
	vector *prometheus.CounterVec // of one plugin, by name
	mu     sync.Mutex
	known  map[string]prometheus.Counter // guarded by mu
}

// add adds to a counter; one too many is dropped.
func (c *counters) add(name string, value float64) {
	c.mu.Lock()
	counter, ok := c.known[name]
	if !ok && len(c.known) < maxCounters {
		counter = c.vector.WithLabelValues(name)
		c.known[name] = counter
	}
	c.mu.Unlock()
	if counter != nil {
		counter.Add(value)
	}
}

// countersOf are the counters of a plugin. The caller need not hold mu.
func (h *Host) countersOf(name string) *counters {
	h.logsMu.Lock()
	defer h.logsMu.Unlock()
	c, ok := h.counters[name]
	if !ok {
		c = &counters{vector: h.metrics.custom.MustCurryWith(prometheus.Labels{"plugin": name}), known: map[string]prometheus.Counter{}}
		h.counters[name] = c
	}
	return c
}
