package peer

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"
)

// Method numbers what a call asks for. Those below FirstBulk are urgent: they travel on a connection
// of their own and their messages are small (MaxUrgentBytes).
type Method uint16

// The ranges of methods. A number is never reused for something else.
const (
	// FirstRaft to FirstUrgent-1 belong to package raftgroup; those below to this package.
	FirstRaft Method = 8
	// FirstUrgent to FirstBulk-1 are free for urgent calls.
	FirstUrgent Method = 32
	// FirstBulk to FirstFree-1 belong to package raftgroup.
	FirstBulk Method = 64
	// FirstFree and above are free for all other calls and transfers.
	FirstFree Method = 80
)

// MaxUrgentBytes bounds the request and the answer of an urgent call.
const MaxUrgentBytes = 256 << 10

const (
	methodPing     Method = 1
	methodStranger Method = 2
)

func (m Method) lane() lane {
	if m < FirstBulk {
		return laneUrgent
	}
	return laneBulk
}

// Config describes a node's port.
type Config struct {
	// NodeID names this node, ClusterID the cluster. A node of another cluster is refused.
	NodeID    string
	ClusterID string
	// Listener accepts the other nodes. The port closes it.
	Listener net.Listener
	// Nodes maps the id of every node to its address, host:port; this node may be among them.
	Nodes map[string]string
	// Welcome tells whether a node that is not among Nodes may connect nevertheless: this node may not
	// have heard of it yet. nil: none may.
	Welcome func(node string) bool
	// TLS secures the connections, both ways: each side must show a certificate for its node id
	// (as DNS name) that the other's RootCAs and ClientCAs trust. It is asked for each connection, so
	// that certificates can be exchanged. nil: plaintext, for networks that are trusted.
	TLS     func() *tls.Config
	Logger  *slog.Logger // nil: slog.Default
	Metrics *Metrics     // nil: none
	Limits  Limits
}

// Limits bound a port. Zero values mean the defaults.
type Limits struct {
	// PingInterval is how often each other node is asked whether it is there (100 ms).
	PingInterval time.Duration
	// DownAfter is how long a node may be silent before it counts as down (1.5 s: a busy machine may
	// be silent for long). One whose
	// connection breaks and cannot be made again counts as down at once.
	DownAfter time.Duration
	// DialTimeout bounds making a connection, with its preamble (1 s).
	DialTimeout time.Duration
	// StallTimeout bounds how long a write to a connection may make no progress (10 s).
	StallTimeout time.Duration
	// MaxFrameBytes bounds one message (32 MiB).
	MaxFrameBytes int
	// MaxPendingBytes bounds what waits to be written on one connection; further calls wait (32 MiB).
	MaxPendingBytes int
	// MaxConcurrent bounds the calls of others that are handled at once; more are refused as
	// overloaded (4096).
	MaxConcurrent int
	// MaxConnections bounds the connections accepted from others (1024).
	MaxConnections int
}

func (l Limits) withDefaults() Limits {
	duration := func(v *time.Duration, def time.Duration) {
		if *v == 0 {
			*v = def
		}
	}
	number := func(v *int, def int) {
		if *v == 0 {
			*v = def
		}
	}
	duration(&l.PingInterval, 100*time.Millisecond)
	duration(&l.DownAfter, 1500*time.Millisecond)
	duration(&l.DialTimeout, time.Second)
	duration(&l.StallTimeout, 10*time.Second)
	number(&l.MaxFrameBytes, 32<<20)
	number(&l.MaxPendingBytes, 32<<20)
	number(&l.MaxConcurrent, 4096)
	number(&l.MaxConnections, 1024)
	return l
}

func (c *Config) validate() error {
	var problems []error
	for what, id := range map[string]string{"node": c.NodeID, "cluster": c.ClusterID} {
		if id == "" || len(id) > maxName {
			problems = append(problems, fmt.Errorf("the %s id has %d bytes: between 1 and %d", what, len(id), maxName))
		}
	}
	if c.Listener == nil {
		problems = append(problems, errors.New("no listener"))
	}
	for id, address := range c.Nodes {
		if id == "" || len(id) > maxName || address == "" {
			problems = append(problems, fmt.Errorf("node %q has the address %q: both are needed, and at most %d bytes of id", id, address, maxName))
		}
	}
	l := c.Limits
	if l.PingInterval < time.Millisecond || l.DownAfter < 2*l.PingInterval || l.DialTimeout <= 0 || l.StallTimeout <= 0 {
		problems = append(problems, errors.New("the intervals must be positive, DownAfter at least twice PingInterval"))
	}
	if l.MaxFrameBytes < MaxUrgentBytes || l.MaxFrameBytes > 1<<30 || l.MaxPendingBytes < 1 || l.MaxConcurrent < 1 || l.MaxConnections < 1 {
		problems = append(problems, fmt.Errorf("the limits must be positive, MaxFrameBytes between %d and 1 GiB", MaxUrgentBytes))
	}
	return errors.Join(problems...)
}
