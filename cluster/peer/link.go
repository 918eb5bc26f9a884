package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// link is the way to one other node: a connection for each lane, kept, and what is known of it.
type link struct {
	port    *Port
	node    string
	address atomic.Pointer[string]
	lanes   map[lane]*laneConn
	up      atomic.Bool
	heard   atomic.Int64  // when it answered last, in nanoseconds since the port was opened
	kick    chan struct{} // one token: ping now
	quit    chan struct{}
	workers sync.WaitGroup

	mu     sync.Mutex
	downs  []string // the nodes it reported as down, sorted
	reason error    // why it could not be connected last
}

// laneConn holds the connection of a lane while there is one.
type laneConn struct {
	mu    sync.Mutex
	conn  *conn
	ready chan struct{} // closed when conn was set
}

func (l *laneConn) set(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn = c
	if c != nil {
		close(l.ready)
	} else {
		l.ready = make(chan struct{})
	}
}

func (l *laneConn) get() (*conn, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.conn, l.ready
}

func newLink(p *Port, node, address string) *link {
	l := &link{
		port: p, node: node, kick: make(chan struct{}, 1), quit: make(chan struct{}),
		lanes: map[lane]*laneConn{laneUrgent: {ready: make(chan struct{})}, laneBulk: {ready: make(chan struct{})}},
	}
	l.address.Store(&address)
	return l
}

func (l *link) start() {
	l.workers.Add(1 + len(l.lanes))
	go l.ping()
	for kind := range l.lanes {
		go l.keep(kind)
	}
}

func (l *link) stop() {
	close(l.quit)
	for _, lane := range l.lanes {
		if c, _ := lane.get(); c != nil {
			c.close(errPortClosed)
		}
	}
	l.workers.Wait()
}

// acquire is the connection of a lane. It waits a moment for one that is being made again.
func (l *link) acquire(ctx context.Context, kind lane) (*conn, error) {
	if !l.up.Load() {
		return nil, errDown(l.node, l.lastReason())
	}
	c, ready := l.lanes[kind].get()
	if c != nil {
		return c, nil
	}
	timer := time.NewTimer(l.port.limits.DialTimeout)
	defer timer.Stop()
	select {
	case <-ready:
	case <-timer.C:
	case <-l.quit:
	case <-ctx.Done():
	}
	if c, _ = l.lanes[kind].get(); c == nil {
		return nil, errDown(l.node, l.lastReason())
	}
	return c, nil
}

func (l *link) lastReason() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reason
}

// keep holds a connection of a lane: it makes one, reads it until it breaks, and makes the next.
func (l *link) keep(kind lane) {
	defer l.workers.Done()
	const first, longest = 20 * time.Millisecond, 500 * time.Millisecond
	pause := first
	for {
		c, err := l.port.dial(l.node, *l.address.Load(), kind, l.quit)
		if err == nil {
			pause = first
			l.use(kind, c)
			select {
			case <-l.quit:
				return
			default:
				continue
			}
		}
		l.failed(kind, err)
		select {
		case <-time.After(pause):
		case <-l.quit:
			return
		}
		pause = min(2*pause, longest)
	}
}

// use runs a connection until it breaks.
func (l *link) use(kind lane, nc net.Conn) {
	c := newConn(l.port, l.node, kind, nc)
	l.lanes[kind].set(c)
	select {
	case <-l.quit: // stop may have looked before it was set
		c.close(errPortClosed)
	default:
	}
	var writing sync.WaitGroup
	writing.Go(c.write)
	l.pingNow()
	c.read(c.answered)
	l.lanes[kind].set(nil)
	writing.Wait()
}

// failed notes why no connection could be made. Without the urgent one the node is down.
func (l *link) failed(kind lane, err error) {
	l.mu.Lock()
	news := l.reason == nil || l.reason.Error() != err.Error()
	l.reason = err
	l.mu.Unlock()
	if kind != laneUrgent {
		return
	}
	if news && !errors.Is(err, errPortClosed) {
		l.port.logger.Warn("cannot connect to a node", "node", l.node, "error", err)
	}
	l.setUp(false)
}

func (l *link) setUp(up bool) {
	if l.up.Swap(up) == up {
		return
	}
	if up {
		l.mu.Lock()
		l.reason = nil
		l.mu.Unlock()
	}
	l.port.metrics.setUp(l.node, up)
	l.port.changed()
}

func (l *link) pingNow() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// ping asks the node whether it is there, and judges its silence.
func (l *link) ping() {
	defer l.workers.Done()
	limits := l.port.limits
	ticker := time.NewTicker(limits.PingInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-l.kick:
		case <-l.quit:
			return
		}
		l.pingOnce()
		if l.up.Load() && l.port.now()-l.heard.Load() > int64(limits.DownAfter) {
			l.port.logger.Warn("a node is silent", "node", l.node, "after", limits.DownAfter)
			l.setUp(false)
			for _, lane := range l.lanes {
				if c, _ := lane.get(); c != nil {
					c.close(errSilent)
				}
			}
		}
	}
}

var (
	errSilent     = errors.New("it does not answer")
	errPortClosed = errors.New("this node is shutting down")
)

func (l *link) pingOnce() {
	c, _ := l.lanes[laneUrgent].get()
	if c == nil {
		return
	}
	sent := time.Now()
	body := appendNames(nil, l.port.downNodes())
	_, _ = c.call(context.Background(), methodPing, nil, body, func(answer []byte, err error) {
		if err == nil {
			l.answered(sent, answer)
		}
	}) // a ping that cannot be sent makes a silent node
}

// answered takes the answer to a ping.
func (l *link) answered(sent time.Time, answer []byte) {
	names, rest, err := parseNames(answer)
	if err != nil {
		return
	}
	l.heard.Store(l.port.now())
	l.port.metrics.roundTrip(l.node, time.Since(sent))
	l.report(names)
	if bulk, _ := l.lanes[laneBulk].get(); bulk != nil {
		l.setUp(true)
	}
	if pulse := l.port.pulse; pulse != nil {
		pulse.Heard(l.node, sent, rest)
	}
}

// report takes what the node says about which others are down.
func (l *link) report(names []string) {
	slices.Sort(names)
	l.mu.Lock()
	same := slices.Equal(names, l.downs)
	l.downs = names
	l.mu.Unlock()
	if !same {
		l.port.viewChanged()
	}
}

// appendNames appends a list of node ids.
func appendNames(dst []byte, names []string) []byte {
	dst = append(dst, byte(min(len(names), maxNames)))
	for _, name := range names[:min(len(names), maxNames)] {
		dst = append(dst, byte(len(name)))
		dst = append(dst, name...)
	}
	return dst
}

const maxNames = 255

func parseNames(b []byte) (names []string, rest []byte, err error) {
	if len(b) < 1 {
		return nil, nil, errFrame
	}
	n := int(b[0])
	b = b[1:]
	for range n {
		if len(b) < 1 || int(b[0]) > maxName || len(b) < 1+int(b[0]) {
			return nil, nil, errFrame
		}
		names = append(names, string(b[1:1+b[0]]))
		b = b[1+b[0]:]
	}
	return names, b, nil
}

// dial connects to a node and exchanges the preambles.
func (p *Port) dial(node, address string, kind lane, quit <-chan struct{}) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), p.limits.DialTimeout)
	defer cancel()
	over := make(chan struct{})
	defer close(over)
	p.workers.Go(func() {
		select {
		case <-quit:
			cancel()
		case <-over:
		}
	})
	dialer := net.Dialer{KeepAlive: 15 * time.Second}
	nc, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	c, err := p.greet(ctx, nc, node, address, kind)
	if err != nil {
		return nil, errors.Join(err, nc.Close())
	}
	return c, nil
}

func (p *Port) greet(ctx context.Context, nc net.Conn, node, address string, kind lane) (net.Conn, error) {
	deadline, _ := ctx.Deadline()
	if err := nc.SetDeadline(deadline); err != nil {
		return nil, err
	}
	raw := nc
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if p.config.TLS != nil {
		config := p.config.TLS().Clone()
		config.ServerName = node
		secured := tls.Client(nc, config)
		if err := secured.HandshakeContext(ctx); err != nil {
			return nil, fmt.Errorf("securing the connection to node %s: %w", node, err)
		}
		nc = secured
	}
	hello := appendGreeting(nil, greeting{version: version, lane: kind, cluster: p.config.ClusterID, from: p.config.NodeID, to: node}, false)
	if _, err := nc.Write(hello); err != nil {
		return nil, fmt.Errorf("greeting node %s: %w", node, err)
	}
	answer, err := readGreeting(nc, true)
	if err != nil {
		return nil, fmt.Errorf("reading the greeting of node %s: %w", node, err)
	}
	if err := refusal(byte(answer.lane), p.config, node, address, answer); err != nil {
		return nil, err
	}
	if !stop() {
		return nil, context.Cause(ctx)
	}
	return nc, nc.SetDeadline(time.Time{})
}
