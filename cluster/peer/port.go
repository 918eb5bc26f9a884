package peer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Port is a node's side of the connections to all others. It is safe for concurrent use, except that
// what is handled must be told before Start.
type Port struct {
	config  Config
	limits  Limits
	logger  *slog.Logger
	metrics *Metrics
	opened  time.Time

	handlers map[Method]handling
	streams  map[Method]StreamHandler
	stranger Handler // nil: they are refused
	pulse    Pulse
	watchers []func(node string, up bool)
	viewers  []func()

	mu       sync.Mutex // guards what follows, and the order of starting and stopping
	nodes    map[string]string
	links    atomic.Pointer[map[string]*link]
	accepted map[*conn]struct{}
	raw      map[interface{ Close() error }]struct{} // connections before their preamble, and transfers
	started  bool
	closed   bool

	news    chan struct{} // one token: some node went up or down, or its view changed
	running chan struct{} // one token for each call that is handled
	quit    chan struct{}
	ctx     context.Context // ends with the port
	cancel  context.CancelFunc
	workers sync.WaitGroup // of the port
	serving sync.WaitGroup // of calls that are handled
}

// Pulse lets one user of the port speak in the pings, which every pair of nodes exchanges all the
// time in both directions. Its methods must be quick and never wait.
type Pulse interface {
	// Answer appends to the answer of a ping that node from sent.
	Answer(dst []byte, from string) []byte
	// Heard gives what node answered to a ping that this one sent at the time sent.
	Heard(node string, sent time.Time, answer []byte)
}

// Open makes a port. Tell it what to handle, then Start it; Close ends it.
func Open(config Config) (*Port, error) {
	config.Limits = config.Limits.withDefaults()
	if err := config.validate(); err != nil {
		return nil, fmt.Errorf("opening the port between nodes: %w", err)
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	if config.Metrics == nil {
		config.Metrics = NewMetrics(nil)
	}
	p := &Port{
		config: config, limits: config.Limits, nodes: maps.Clone(config.Nodes), logger: config.Logger, metrics: config.Metrics, opened: time.Now(),
		handlers: make(map[Method]handling), streams: make(map[Method]StreamHandler),
		accepted: make(map[*conn]struct{}), raw: make(map[interface{ Close() error }]struct{}),
		news: make(chan struct{}, 1), running: make(chan struct{}, config.Limits.MaxConcurrent), quit: make(chan struct{}),
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	links := make(map[string]*link)
	p.links.Store(&links)
	p.HandleInline(methodPing, p.handlePing)
	return p, nil
}

// NodeID is this node.
func (p *Port) NodeID() string { return p.config.NodeID }

// Nodes are the ids of all nodes, this one too, sorted.
func (p *Port) Nodes() []string {
	names := append(slices.Collect(maps.Keys(*p.links.Load())), p.config.NodeID)
	slices.Sort(names)
	return names
}

// SetPulse sets who speaks in the pings. Call it before Start, once.
func (p *Port) SetPulse(pulse Pulse) { p.pulse = pulse }

// OnChange calls fn after a node went up or down, in the order of what happened, with changes that
// were undone at once left out. Calls are made one at a time. Call it before Start.
func (p *Port) OnChange(fn func(node string, up bool)) { p.watchers = append(p.watchers, fn) }

// OnView calls fn after anything changed in what Alive or SeenDownBy answer. Call it before Start.
func (p *Port) OnView(fn func()) { p.viewers = append(p.viewers, fn) }

// Start begins to accept and to connect.
func (p *Port) Start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.started || p.closed {
		return errors.New("the port was started before")
	}
	p.started = true
	p.workers.Add(2)
	go p.accept()
	go p.announce()
	p.setNodes(p.nodes)
	return nil
}

// SetNodes changes which nodes there are. Connections to nodes that stay are kept, and made again at
// the new address if that changed. Before Start it has no effect beyond Config.Nodes.
func (p *Port) SetNodes(nodes map[string]string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if maps.Equal(p.nodes, nodes) {
		return
	}
	p.nodes = maps.Clone(nodes)
	if p.started && !p.closed {
		p.setNodes(nodes)
	}
}

func (p *Port) setNodes(nodes map[string]string) {
	links := maps.Clone(*p.links.Load())
	for node, address := range nodes {
		if node == p.config.NodeID {
			continue
		}
		if l := links[node]; l != nil {
			if old := l.address.Swap(&address); *old == address {
				continue
			}
			for _, lane := range l.lanes {
				if c, _ := lane.get(); c != nil {
					c.close(errors.New("its address changed"))
				}
			}
			continue
		}
		l := newLink(p, node, address)
		links[node] = l
		l.start()
	}
	var gone []*link
	for node, l := range links {
		if _, ok := nodes[node]; !ok {
			delete(links, node)
			gone = append(gone, l)
		}
	}
	p.links.Store(&links)
	for _, l := range gone {
		l.stop()
		l.setUp(false)
	}
}

func (p *Port) link(node string) *link { return (*p.links.Load())[node] }

// now is the time since the port was opened, in nanoseconds.
func (p *Port) now() int64 { return int64(time.Since(p.opened)) }

// Alive tells whether a node answers. This one always does.
func (p *Port) Alive(node string) bool {
	if node == p.config.NodeID {
		return true
	}
	l := p.link(node)
	return l != nil && l.up.Load()
}

// SeenDownBy are the nodes that hold the given one for down, as far as is known here: this one, and
// those that answer here and say so. Sorted.
func (p *Port) SeenDownBy(node string) (by []string) {
	if !p.Alive(node) {
		by = append(by, p.config.NodeID)
	}
	for name, l := range *p.links.Load() {
		if name == node || !l.up.Load() {
			continue
		}
		l.mu.Lock()
		if _, down := slices.BinarySearch(l.downs, node); down {
			by = append(by, name)
		}
		l.mu.Unlock()
	}
	slices.Sort(by)
	return by
}

// PingNow asks all nodes at once whether they are there, instead of at the next interval.
func (p *Port) PingNow() {
	for _, l := range *p.links.Load() {
		l.pingNow()
	}
}

// Reason is why a node could not be connected last, or nil.
func (p *Port) Reason(node string) error {
	if l := p.link(node); l != nil {
		return l.lastReason()
	}
	return nil
}

func (p *Port) downNodes() (down []string) {
	for name, l := range *p.links.Load() {
		if !l.up.Load() {
			down = append(down, name)
		}
	}
	return down
}

// changed is called when a node went up or down: the others shall know at once.
func (p *Port) changed() {
	p.PingNow()
	p.viewChanged()
}

func (p *Port) viewChanged() {
	select {
	case p.news <- struct{}{}:
	default:
	}
}

// announce calls those who want to know.
func (p *Port) announce() {
	defer p.workers.Done()
	known := make(map[string]bool)
	for {
		select {
		case <-p.news:
		case <-p.quit:
			return
		}
		now := make(map[string]bool)
		for name, l := range *p.links.Load() {
			now[name] = l.up.Load()
		}
		for name := range known {
			if _, ok := now[name]; !ok {
				now[name] = false
			}
		}
		for name, up := range now {
			if known[name] == up {
				continue
			}
			known[name] = up
			p.logger.Info("a node changed", "node", name, "up", up)
			for _, fn := range p.watchers {
				fn(name, up)
			}
		}
		for _, fn := range p.viewers {
			fn()
		}
	}
}

// Close ends all connections, and waits for the calls that are being handled.
func (p *Port) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	started := p.started
	links := *p.links.Load()
	p.mu.Unlock()

	p.cancel()
	close(p.quit)
	err := p.config.Listener.Close()
	for _, l := range links {
		l.stop()
	}
	p.mu.Lock()
	accepted, raw := p.accepted, p.raw
	p.accepted, p.raw = nil, nil
	p.mu.Unlock()
	for c := range accepted {
		c.close(errPortClosed)
	}
	for c := range raw {
		_ = c.Close()
	}
	if started {
		p.workers.Wait()
	}
	p.serving.Wait()
	if err != nil {
		return fmt.Errorf("closing the port between nodes: %w", err)
	}
	return nil
}
