package config

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Cluster is this node's place among others. A node without a NodeID stands alone.
type Cluster struct {
	NodeID   string
	Addr     string // host:port it listens on for the others
	Nodes    string // id=host:port, separated by commas
	ID       string // of the cluster; empty: made from the nodes
	Replicas int    // of each data group
	Join     string // host:port of nodes to ask to be let in, or dns:NAME:PORT, separated by commas
	Zone     string // where the node stands
	// ReplaceAfter is how long a node must be away before what it keeps is made anew on others; 0: never.
	ReplaceAfter time.Duration
}

// MaxNodes bounds the nodes of a list that founds a cluster.
const MaxNodes = 255

// nodeIDs are also names of files and labels of metrics.
func validNodeID(id string) bool {
	return regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`).MatchString(id)
}

// Joins tells whether the node joins a running cluster: those that Nodes lists found it. The same settings
// so do for all nodes.
func (c *Cluster) Joins() bool {
	if c.Join == "" {
		return false
	}
	members, err := c.Members()
	return c.Nodes == "" || err == nil && members[c.NodeID] == ""
}

// Members are the nodes by id, from Nodes.
func (c *Cluster) Members() (map[string]string, error) {
	members := map[string]string{}
	for _, entry := range strings.Split(c.Nodes, ",") {
		id, addr, ok := strings.Cut(strings.TrimSpace(entry), "=")
		switch {
		case !ok || addr == "":
			return nil, errors.New("must be a list such as n1=127.0.0.1:7001,n2=127.0.0.1:7002,n3=127.0.0.1:7003")
		case !validNodeID(id):
			return nil, errors.New("names a node by something else than up to 32 of a-z, 0-9 and -")
		case members[id] != "":
			return nil, errors.New("names a node twice")
		}
		for _, other := range members {
			if other == addr {
				return nil, errors.New("gives two nodes the same address")
			}
		}
		members[id] = addr
	}
	if len(members) > MaxNodes {
		return nil, fmt.Errorf("names more than %d nodes", MaxNodes)
	}
	return members, nil
}

// Listen is the address to listen on for the other nodes.
func (c *Cluster) Listen() string {
	if c.Addr != "" {
		return c.Addr
	}
	members, err := c.Members()
	if err != nil {
		return ""
	}
	return members[c.NodeID]
}

// validate checks the settings; secured nodes may listen beyond loopback for each other.
func (c *Cluster) validate(p *problems, secured bool) {
	p.between("cluster.replicas", c.Replicas, 1, 7)
	if c.ReplaceAfter < 0 || c.ReplaceAfter > 0 && c.ReplaceAfter < 10*time.Second {
		p.key("cluster.replaceAfter", "must be 0 for never, or at least 10s")
	}
	if c.Zone != "" && nba.ValidateNode("n", "h:1", c.Zone) != nil {
		p.key("cluster.zone", "must be up to 32 of a-z, 0-9, - and ., beginning with a letter or digit")
	}
	if c.NodeID == "" && c.Nodes == "" && c.Addr == "" && c.Join == "" {
		return
	}
	switch {
	case c.NodeID == "":
		p.key("cluster.nodeId", "is missing: a node of a cluster has a name, one of those in cluster.nodes")
		return
	case c.Joins():
		if !validNodeID(c.NodeID) {
			p.key("cluster.nodeId", "must be up to 32 of a-z, 0-9 and -")
		}
		c.validateJoin(p, secured)
		return
	case c.Nodes == "":
		p.key("cluster.nodes", "is missing: name all nodes of the cluster, such as n1=127.0.0.1:7001,n2=127.0.0.1:7002,n3=127.0.0.1:7003")
		return
	}
	if c.Join != "" {
		c.validateSeeds(p)
	}
	members, err := c.Members()
	if err != nil {
		p.key("cluster.nodes", err.Error())
		return
	}
	if members[c.NodeID] == "" {
		p.key("cluster.nodeId", "is none of the nodes in cluster.nodes")
	}
	for _, addr := range members {
		if _, port, err := net.SplitHostPort(addr); err == nil && port == "0" {
			p.key("cluster.nodes", "has a node at port 0: the others could not find it")
			return
		}
		before := len(p.details)
		if p.address("cluster.nodes", addr, secured); len(p.details) > before {
			return
		}
	}
	if c.Addr != "" {
		p.address("cluster.addr", c.Addr, secured)
	}
}
