package cli

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
)

// devLinks are the ways between the nodes of arbiter dev: a forwarder for each direction of each pair, so
// that a node can be cut off from the others as a network would do it.
type devLinks struct {
	all     []*devLink
	workers sync.WaitGroup
}

// devLink forwards the connections of one node to another.
type devLink struct {
	from, to, target string
	listener         net.Listener

	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]struct{}
}

// newDevLinks opens the ways between all nodes.
func newDevLinks(nodes []*devNode) (*devLinks, error) {
	l := &devLinks{}
	for _, from := range nodes {
		for _, to := range nodes {
			if from == to {
				continue
			}
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return nil, errors.Join(fmt.Errorf("opening a way between nodes: %w", err), l.close())
			}
			link := &devLink{from: from.id, to: to.id, target: to.cluster, listener: listener, conns: map[net.Conn]struct{}{}}
			l.all = append(l.all, link)
			l.workers.Go(func() { link.accept(&l.workers) })
		}
	}
	return l, nil
}

// members is the list of all nodes as one of them sees it.
func (l *devLinks) members(self *devNode) string {
	list := []string{self.id + "=" + self.cluster}
	for _, link := range l.all {
		if link.from == self.id {
			list = append(list, link.to+"="+link.listener.Addr().String())
		}
	}
	return strings.Join(list, ",")
}

// isolate cuts a node off from all others, or joins it to them again.
func (l *devLinks) isolate(node string, cut bool) {
	for _, link := range l.all {
		if link.from == node || link.to == node {
			link.set(cut)
		}
	}
}

func (l *devLinks) close() (err error) {
	for _, link := range l.all {
		err = errors.Join(err, link.listener.Close())
		link.set(true)
	}
	l.workers.Wait()
	return err
}

// set breaks the connections of a link that is cut, and refuses further ones.
func (l *devLink) set(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
	if cut {
		for c := range l.conns {
			_ = c.Close() // its goroutine sees the error and ends
		}
	}
}

// keep notes a connection; false means that the link is cut.
func (l *devLink) keep(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.cut {
		l.conns[c] = struct{}{}
	}
	return !l.cut
}

func (l *devLink) drop(c net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
	_ = c.Close()
}

func (l *devLink) accept(workers *sync.WaitGroup) {
	for {
		c, err := l.listener.Accept()
		if err != nil {
			return
		}
		workers.Go(func() { l.forward(c) })
	}
}

// forward copies both ways until either side ends or the link is cut.
func (l *devLink) forward(near net.Conn) {
	defer l.drop(near)
	if !l.keep(near) {
		return
	}
	far, err := net.Dial("tcp", l.target)
	if err != nil {
		return
	}
	defer l.drop(far)
	if !l.keep(far) {
		return
	}
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(near, far) // an error ends it like an end of file
		_ = near.Close()
	})
	_, _ = io.Copy(far, near)
	_ = far.Close()
	back.Wait()
}
