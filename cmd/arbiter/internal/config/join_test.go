package config

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
)

type names struct {
	hosts map[string][]string
	srv   map[string][]*net.SRV
}

func (n names) LookupHost(_ context.Context, host string) ([]string, error) {
	if n.hosts[host] == nil {
		return nil, errors.New("no such host")
	}
	return n.hosts[host], nil
}

func (n names) LookupSRV(_ context.Context, _, _, name string) (string, []*net.SRV, error) {
	if n.srv[name] == nil {
		return "", nil, errors.New("no such name")
	}
	return name, n.srv[name], nil
}

func TestSeeds(t *testing.T) {
	known := names{
		hosts: map[string][]string{"nodes.example": {"10.0.0.1", "fd00::2"}},
		srv:   map[string][]*net.SRV{"_peer._tcp.example": {{Target: "a.example.", Port: 7001}, {Target: "b.example.", Port: 7002}}},
	}
	for _, c := range []struct {
		join, want string
		fails      bool
	}{
		{"127.0.0.1:7001, 127.0.0.1:7002", "127.0.0.1:7001 127.0.0.1:7002", false},
		{"dns:nodes.example:7009", "10.0.0.1:7009 [fd00::2]:7009", false},
		{"dns:nodes.example", "10.0.0.1:7005 [fd00::2]:7005", false},
		{"dns:_peer._tcp.example", "a.example:7001 b.example:7002", false},
		{"dns:unknown.example,127.0.0.1:7001", "127.0.0.1:7001", true},
	} {
		cluster := Cluster{Join: c.join, Addr: "10.0.0.9:7005"}
		got, err := cluster.Seeds(t.Context(), known)
		if !slices.Equal(got, strings.Fields(c.want)) || (err != nil) != c.fails {
			t.Errorf("%s: %v, %v", c.join, got, err)
		}
	}
}

func TestValidateJoin(t *testing.T) {
	for _, c := range []struct {
		cluster Cluster
		says    string
	}{
		{Cluster{NodeID: "n4", Addr: "127.0.0.1:7004", Join: "127.0.0.1:7001,dns:localhost:7001", Replicas: 3, Zone: "a"}, ""},
		{Cluster{NodeID: "n4", Join: "127.0.0.1:7001", Replicas: 3}, "cluster.addr is missing"},
		{Cluster{NodeID: "n4", Addr: "127.0.0.1:0", Join: "127.0.0.1:7001", Replicas: 3}, "cluster.addr has port 0"},
		{Cluster{NodeID: "n4", Addr: "10.0.0.1:7004", Join: "127.0.0.1:7001", Replicas: 3}, "beyond loopback"},
		{Cluster{NodeID: "n4", Addr: "127.0.0.1:7004", Join: "127.0.0.1", Replicas: 3}, "cluster.join must be"},
		{Cluster{NodeID: "n4", Addr: "127.0.0.1:7004", Join: "dns:", Replicas: 3}, "no name to look up"},
		{Cluster{NodeID: "n4", Addr: "127.0.0.1:7004", Join: "127.0.0.1:7001", Nodes: "n4=127.0.0.1:7004", Replicas: 3}, ""},
		{Cluster{NodeID: "n4", Addr: "127.0.0.1:7004", Join: "127.0.0.1:7001", Nodes: "n1=127.0.0.1:7001", Replicas: 3}, ""},
		{Cluster{NodeID: "n4", Join: "127.0.0.1:7001", Nodes: "n1=127.0.0.1:7001", Replicas: 3}, "cluster.addr is missing"},
		{Cluster{NodeID: "n4", Addr: "127.0.0.1:7004", Join: "127.0.0.1:7001", Replicas: 3, Zone: "A B"}, "cluster.zone"},
		{Cluster{Addr: "127.0.0.1:7004", Join: "127.0.0.1:7001", Replicas: 3}, "cluster.nodeId is missing"},
	} {
		config := Default()
		config.Data.Dir, config.Cluster = "/d", c.cluster
		err := config.Validate()
		if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%+v: %v", c.cluster, err)
		}
	}
}
