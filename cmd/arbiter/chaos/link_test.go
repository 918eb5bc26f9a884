package chaos

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// link carries the connections that one node opens to another. What goes one way or the other can be
// held back, as a network without a route does, or late; connections can be cut.
type link struct {
	from, to string
	target   string
	listener net.Listener
	pumps    sync.WaitGroup

	mu      sync.Mutex
	changed *sync.Cond
	blocked [2]bool // there, back
	delay   time.Duration
	refuse  bool
	closed  bool
	conns   map[net.Conn]bool
}

// The directions of a link.
const (
	there = iota // from the node that dialled
	back
)

func newLink(t *testing.T, from, to, target string) *link {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &link{from: from, to: to, target: target, listener: ln, conns: map[net.Conn]bool{}}
	l.changed = sync.NewCond(&l.mu)
	l.pumps.Go(l.accept)
	return l
}

func (l *link) addr() string { return l.listener.Addr().String() }

func (l *link) accept() {
	for {
		in, err := l.listener.Accept()
		if err != nil {
			return
		}
		l.pumps.Go(func() { l.join(in) })
	}
}

// join connects in with the target and pumps both ways until either ends.
func (l *link) join(in net.Conn) {
	defer in.Close()
	if !l.admit(in) {
		return
	}
	defer l.forget(in)
	out, err := net.DialTimeout("tcp", l.target, time.Second)
	if err != nil {
		return
	}
	defer out.Close()
	if !l.admit(out) {
		return
	}
	defer l.forget(out)
	var both sync.WaitGroup
	both.Go(func() { l.pump(out, in, there); in.Close(); out.Close() })
	both.Go(func() { l.pump(in, out, back); in.Close(); out.Close() })
	both.Wait()
}

// admit waits while nothing passes, and is false when the connection is refused.
func (l *link) admit(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns[c] = true
	for (l.blocked[there] || l.blocked[back]) && !l.refuse && !l.closed {
		l.changed.Wait()
	}
	if l.refuse || l.closed {
		delete(l.conns, c)
		return false
	}
	return true
}

func (l *link) forget(c net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
}

type parcel struct {
	data []byte
	due  time.Time
}

// maxParcels bounds what is under way on a slow link, as a window does.
const maxParcels = 256

// pump reads and delivers what it read when it is due.
func (l *link) pump(to io.Writer, from io.Reader, direction int) {
	parcels := make(chan parcel, maxParcels)
	var writer sync.WaitGroup
	writer.Go(func() {
		for p := range parcels {
			time.Sleep(time.Until(p.due))
			l.awaitPassage(direction)
			if _, err := to.Write(p.data); err != nil {
				break
			}
		}
		if c, ok := to.(net.Conn); ok {
			c.Close()
		}
		for range parcels { // the reader must not wait for us
		}
	})
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			l.mu.Lock()
			due := time.Now().Add(l.delay)
			l.mu.Unlock()
			parcels <- parcel{append([]byte(nil), buffer[:n]...), due}
		}
		if err != nil {
			break
		}
	}
	close(parcels)
	writer.Wait()
}

func (l *link) awaitPassage(direction int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.blocked[direction] && !l.closed && !l.refuse {
		l.changed.Wait()
	}
}

// block holds back what goes in one direction.
func (l *link) block(direction int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.blocked[direction] = true
}

// slow makes everything arrive late by d.
func (l *link) slow(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.delay = d
}

// cut resets every connection and refuses new ones.
func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refuse = true
	l.reset()
}

// reset ends the connections at once, without the lock's help to the other side. The caller holds mu.
func (l *link) reset() {
	for c := range l.conns {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		c.Close()
	}
	l.changed.Broadcast()
}

// open ends every fault of the link.
func (l *link) open() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.blocked, l.delay, l.refuse = [2]bool{}, 0, false
	l.changed.Broadcast()
}

func (l *link) close() {
	l.mu.Lock()
	l.closed = true
	l.reset()
	l.mu.Unlock()
	l.listener.Close()
	l.pumps.Wait()
}
