package config

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
)

// dnsPrefix marks an entry of cluster.join that is a name to look up each time.
const dnsPrefix = "dns:"

// Resolver looks names up; *net.Resolver is one.
type Resolver interface {
	LookupHost(ctx context.Context, host string) ([]string, error)
	LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error)
}

// Seeds gives the addresses to ask at when this node is to join a cluster: those of cluster.join, of which
// dns:NAME:PORT are the A and AAAA records of a name, and dns:NAME its SRV records, or, if it has none, its
// A and AAAA records with the port of cluster.addr. What cannot be looked up is an error besides the rest.
func (c *Cluster) Seeds(ctx context.Context, resolver Resolver) (addresses []string, err error) {
	var problems []error
	for _, entry := range strings.Split(c.Join, ",") {
		entry = strings.TrimSpace(entry)
		name, byDNS := strings.CutPrefix(entry, dnsPrefix)
		if !byDNS {
			addresses = append(addresses, entry)
			continue
		}
		found, err := c.lookUp(ctx, resolver, name)
		addresses = append(addresses, found...)
		problems = append(problems, err)
	}
	return addresses, errors.Join(problems...)
}

func (c *Cluster) lookUp(ctx context.Context, resolver Resolver, name string) (addresses []string, err error) {
	host, port, err := net.SplitHostPort(name)
	if err != nil {
		if _, records, err := resolver.LookupSRV(ctx, "", "", name); err == nil && len(records) > 0 {
			for _, r := range records {
				addresses = append(addresses, net.JoinHostPort(strings.TrimSuffix(r.Target, "."), strconv.Itoa(int(r.Port))))
			}
			return addresses, nil
		}
		host = name
		if _, port, err = net.SplitHostPort(c.Addr); err != nil {
			return nil, fmt.Errorf("looking up %s: it has no SRV records, and cluster.addr tells no port", name)
		}
	}
	hosts, err := resolver.LookupHost(ctx, host)
	if err != nil {
		return nil, fmt.Errorf("looking up the nodes to join: %w", err)
	}
	for _, h := range hosts {
		addresses = append(addresses, net.JoinHostPort(h, port))
	}
	return addresses, nil
}

// validateSeeds checks where a node asks to be let in.
func (c *Cluster) validateSeeds(p *problems) {
	for _, entry := range strings.Split(c.Join, ",") {
		entry = strings.TrimSpace(entry)
		name, byDNS := strings.CutPrefix(entry, dnsPrefix)
		if byDNS {
			host, port, err := net.SplitHostPort(name)
			if err != nil {
				host = name
			}
			if host == "" || strings.ContainsAny(host, " :/") || err == nil && port == "" {
				p.key("cluster.join", "has an entry that is no name to look up, such as dns:nodes.example.org:7001")
				return
			}
			continue
		}
		if host, port, err := net.SplitHostPort(entry); err != nil || host == "" || port == "" || port == "0" {
			p.key("cluster.join", "must be a list such as 127.0.0.1:7001,127.0.0.1:7002 or dns:nodes.example.org:7001")
			return
		}
	}
}

// validateJoin checks the settings of a node that joins.
func (c *Cluster) validateJoin(p *problems, secured bool) {
	c.validateSeeds(p)
	switch _, port, err := net.SplitHostPort(c.Addr); {
	case c.Addr == "":
		p.key("cluster.addr", "is missing: a node that joins says where the others reach it")
	case err == nil && port == "0":
		p.key("cluster.addr", "has port 0: the other nodes could not find this one")
	default:
		p.address("cluster.addr", c.Addr, secured)
	}
}
