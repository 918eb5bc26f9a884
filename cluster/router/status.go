package router

import (
	"encoding/hex"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/raftgroup"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Cluster is the nodes and the groups as this node sees them.
func (r *Router) Cluster() nba.Cluster {
	out := nba.Cluster{ID: r.ClusterID(), Node: r.NodeID(), Nodes: []nba.ClusterNode{}, Level: int(r.control.State().Features.Level)}
	leads := map[string]int{}
	for _, s := range r.shards() {
		g := s.describe()
		leads[g.Leader]++
		out.Groups = append(out.Groups, g)
	}
	if r.net != nil {
		for _, node := range r.net.nodes() {
			out.Nodes = append(out.Nodes, nba.ClusterNode{ID: node, Up: r.net.reachable(node), Leads: leads[node]})
		}
	}
	return out
}

func (s *shard) describe() nba.ClusterGroup {
	g := nba.ClusterGroup{Name: s.name, Nodes: s.keepers(), Preferred: s.preferred()}
	if s.local == nil {
		if node, ok := s.leader(); ok {
			g.Leader = node // or one that knows it
		}
		return g
	}
	status := s.local.Status()
	g.Role, g.Leader, g.Term = string(status.Role), status.Leader, status.Term
	g.Committed, g.Applied = status.Committed, status.Applied
	if age, known := s.local.Age(); known {
		ms := int64((age + time.Millisecond - 1) / time.Millisecond)
		g.AgeMS = &ms
	}
	if state, ok := s.machine.(marking); ok {
		at := state.Digest()
		g.Digest, g.DigestAt = hex.EncodeToString(command.AppendDigest(nil, at.Digest)), at.Index
	}
	if status.Failure != nil {
		g.Failure = status.Failure.Error()
	}
	return g
}

// collector shows how the replicas here stand, at every scrape.
type collector struct {
	router            *Router
	role, leader, age *prometheus.Desc
}

// Collector is the metrics of the groups of a cluster.
func (r *Router) Collector() prometheus.Collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("arbiter_group_"+name, help, labels, nil)
	}
	return &collector{
		router: r,
		role:   desc("role", "1 for the role that the replica here has in its group.", "group", "role"),
		leader: desc("leader", "1 for the node that leads the group as far as this one knows.", "group", "node"),
		age:    desc("age_seconds", "How old the replica here may be; absent while that is unknown.", "group"),
	}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	out <- c.role
	out <- c.leader
	out <- c.age
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	for _, s := range c.router.shards() {
		g := s.describe()
		if g.Leader != "" {
			gauge(c.leader, 1, g.Name, g.Leader)
		}
		if s.local == nil {
			continue
		}
		for _, role := range [...]raftgroup.Role{raftgroup.RoleLeader, raftgroup.RoleFollower, raftgroup.RoleCandidate, raftgroup.RoleNewborn, raftgroup.RoleStopped} {
			is := 0.0
			if g.Role == string(role) {
				is = 1
			}
			gauge(c.role, is, g.Name, string(role))
		}
		if age, known := s.local.Age(); known {
			gauge(c.age, age.Seconds(), g.Name)
		}
	}
}
