package router

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/cluster/membership"
	"github.com/arbiterhq/arbiter/cluster/peer"
	"github.com/arbiterhq/arbiter/cluster/raftgroup"
	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Cluster is a node's place among others.
type Cluster struct {
	// NodeID names this node for good.
	NodeID string
	// Nodes are the addresses of the nodes that found the cluster by id, this one included. Addresses may
	// change between starts, on all nodes alike. A node that joins has none.
	Nodes map[string]string
	// Join gives the addresses to ask at when a node with a new folder is to join a cluster, some of which
	// may be of no use. nil: the node is one of Nodes.
	Join func(ctx context.Context) ([]string, error)
	// Addr is where the other nodes reach this one, if Nodes does not tell.
	Addr string
	// Zone is where this node stands: the replicas of a group are spread over zones.
	Zone string
	// ReplaceAfter is how long a node must have been away before what it keeps is made anew on others; 0
	// means 10 minutes, less than 0 never.
	ReplaceAfter time.Duration
	// ID names the cluster. Empty means one made from what all nodes are told alike.
	ID string
	// Replicas is how many nodes keep each data group of a new cluster; 0 means 3. All nodes keep the
	// control group.
	Replicas int
	// TLS secures the connections between nodes; see peer.Config. nil: plaintext.
	TLS func() *tls.Config
	// Listener takes the connections of the other nodes. Open makes it the router's, which closes it.
	Listener net.Listener
	// Metrics counts the messages; nil counts nothing.
	Metrics *peer.Metrics
	// Handlers answer what nodes ask each other beyond what the router itself does.
	Handlers map[Method]Handler

	seeds  map[string]string // the nodes that the one that let this one in named
	wanted int               // Replicas, however few nodes there are at first
}

// Method and Handler are those of the port between nodes.
type (
	Method  = peer.Method
	Handler = peer.Handler
)

// What one node asks of another.
const (
	MethodSubmit Method = peer.FirstFree + iota
	MethodPropose
	MethodBlob
	MethodLeaving
	MethodControl
	// MethodNode is the first of those that package node adds.
	MethodNode

	// MethodReady asks whether a node may be given groups to lead. Cluster.Handlers may answer it with
	// more than that all groups can be reached.
	MethodReady Method = 181
)

// maxFounders bounds the nodes of a list that founds a cluster. More can join.
const maxFounders = fsm.MaxMembers

// manyFounders is how many nodes of such a list all vote in the control group at first. Of more, the first
// fewFounders do. Both only matter until the plan chooses.
const manyFounders, fewFounders = 9, 5

// foundingVoters tells who votes in the control group of a cluster that nodes, sorted, found.
func foundingVoters(nodes []string) membership.Seats {
	if len(nodes) <= manyFounders {
		return membership.Seats{Voters: nodes}
	}
	return membership.Seats{Voters: nodes[:fewFounders], Followers: nodes[fewFounders:]}
}

func (c *Cluster) withDefaults() *Cluster {
	if c == nil {
		return nil
	}
	filled := *c
	if filled.Replicas == 0 {
		filled.Replicas = 3
	}
	if filled.wanted = filled.Replicas; filled.Join == nil {
		filled.Replicas = min(filled.Replicas, len(filled.Nodes))
	}
	if filled.ReplaceAfter == 0 {
		filled.ReplaceAfter = 10 * time.Minute
	}
	return &filled
}

func (c *Cluster) validate() error {
	switch {
	case c == nil:
		return nil
	case c.address() == "":
		return errors.New("the node is none of those of its cluster, and has no address to join one")
	case len(c.Nodes) > maxFounders:
		return fmt.Errorf("%d nodes: at most %d", len(c.Nodes), maxFounders)
	case c.Replicas < 1:
		return fmt.Errorf("%d replicas: at least 1", c.Replicas)
	case c.Listener == nil:
		return errors.New("no listener for the other nodes")
	}
	return nil
}

// founding describes the node to a folder that is new.
func (o *Options) founding() store.Node {
	if o.Cluster == nil {
		return store.Node{ClusterID: ulid.Make().String(), DataGroups: o.DataGroups}
	}
	c := o.Cluster
	node := store.Node{
		ClusterID: c.ID, DataGroups: o.DataGroups, NodeID: c.NodeID, Nodes: slices.Sorted(maps.Keys(c.Nodes)), Replicas: c.Replicas,
	}
	if node.ClusterID == "" {
		node.ClusterID = "cluster-" + hashOf(append(slices.Sorted(maps.Values(c.Nodes)), layout(node)))
	}
	return node
}

func hashOf(words []string) string {
	sum := sha256.Sum256([]byte(strings.Join(words, "\n")))
	return hex.EncodeToString(sum[:6])
}

// layout is what all nodes must agree on before they exchange a word.
func layout(n store.Node) string {
	return fmt.Sprintf("%s / %d data groups / %d replicas", strings.Join(n.Nodes, " "), n.DataGroups, n.Replicas)
}

// checkPlace compares what the folder says with what the node was told.
func checkPlace(folder store.Node, o *Options) error {
	c := o.Cluster
	switch {
	case c == nil && folder.NodeID != "":
		return nba.Errorf(nba.CodeConflict, "the data folder is that of node %s of a cluster: start it with --node-id and --nodes", folder.NodeID)
	case c == nil:
		return nil
	case folder.NodeID == "":
		return nba.Errorf(nba.CodeConflict, "the data folder is that of a node that stands alone: start the cluster with new folders and import its data")
	case folder.NodeID != c.NodeID:
		return nba.Errorf(nba.CodeConflict, "the data folder is that of node %s, not of %s: each node has a folder of its own", folder.NodeID, c.NodeID)
	case !folder.Joined && len(c.Nodes) > 0 && !slices.Equal(folder.Nodes, slices.Sorted(maps.Keys(c.Nodes))):
		return nba.Errorf(nba.CodeConflict, "the cluster was founded by the nodes %s: their names cannot change, only their addresses; others join with --join", strings.Join(folder.Nodes, ", "))
	case c.ID != "" && c.ID != folder.ClusterID:
		return nba.Errorf(nba.CodeConflict, "the data folder belongs to another cluster than the one named")
	}
	return nil
}

// join opens the way to the other nodes, if there are any.
func (r *Router) join() error {
	node, c := r.folder.Node(), r.options.Cluster
	if err := checkPlace(node, &r.options); err != nil || c == nil {
		return err
	}
	port, err := peer.Open(peer.Config{
		NodeID: c.NodeID, ClusterID: node.ClusterID + " of " + hashOf([]string{layout(node)}), Listener: c.Listener, Nodes: c.Nodes, Welcome: r.welcome, TLS: c.TLS,
		Logger: r.options.Logger, Metrics: c.Metrics,
	})
	if err != nil {
		return err
	}
	for method, handler := range map[Method]Handler{
		MethodSubmit: r.serveSubmit, MethodPropose: r.servePropose, MethodBlob: r.serveBlob,
		MethodLeaving: r.serveLeaving, MethodControl: r.serveControl, MethodStanding: r.serveStanding, MethodTransfer: r.serveTransfer,
		MethodCutOpen: r.serveCutOpen, MethodCutRead: r.serveCutRead, MethodCutClose: r.serveCutClose,
		MethodMark: r.serveMark, MethodReady: func(context.Context, string, []byte) ([]byte, error) { return nil, r.Ready() },
	} {
		port.Handle(method, handler)
	}
	for method, handler := range c.Handlers {
		port.Handle(method, handler)
	}
	port.HandleStranger(r.serveJoin)
	port.OnChange(func(node string, up bool) {
		if up {
			r.net.cameBack(node)
		}
	})
	r.port, r.mesh, r.net = port, raftgroup.NewMesh(port, r.options.Logger), newNetwork(c.NodeID, node.Nodes, port)
	return nil
}

// serve begins to talk with the other nodes, once the groups are there to answer them.
func (r *Router) serve() error {
	if err := r.port.Start(); err != nil {
		return err
	}
	r.conductor.begin(r)
	r.net.begin()
	go r.balance()
	return nil
}

// leave ends what join began.
func (r *Router) leave() error {
	switch {
	case r.port != nil:
		return errors.Join(r.mesh.Close(), r.port.Close())
	case r.options.Cluster != nil:
		return r.options.Cluster.Listener.Close()
	}
	return nil
}

// clusterReady is Ready for a node of a cluster.
func (r *Router) clusterReady() error {
	var missing []string
	for _, s := range r.shards() {
		if s.ready() != nil {
			missing = append(missing, s.name)
		}
	}
	if len(missing) == 0 {
		return r.leveled()
	}
	return nba.Errorf(nba.CodeUnavailable, "without a leader that this node knows and follows: %s; are enough nodes up and connected?", strings.Join(missing, ", "))
}

// maxLag is how far behind its leader a replica may be while its node calls itself ready.
const maxLag = 5 * time.Second

// ready is nil when calls on the group can be answered through this node, and its replica here, if it
// keeps one, is current.
func (s *shard) ready() error {
	if s.leads() {
		return nil
	}
	node, ok := s.leader()
	if !ok || !s.net.reachable(node) {
		return s.errLeaderless()
	}
	if s.local == nil || s.gone.Load() || s.number != controlGroup && !s.votes() {
		return nil // others answer
	}
	if age, known := s.local.Age(); !known || age > maxLag {
		return s.errLeaderless()
	}
	return nil
}

// shards are all groups, the control group first.
func (r *Router) shards() []*shard {
	groups := r.groups()
	all := make([]*shard, 0, len(groups)+1)
	all = append(all, &r.control.shard)
	for _, d := range groups {
		all = append(all, &d.shard)
	}
	return all
}

// shard finds a group by its number.
func (r *Router) shard(number uint64) (*shard, error) {
	switch {
	case number == controlGroup:
		return &r.control.shard, nil
	case number <= uint64(len(r.groups())):
		return &r.groups()[number-1].shard, nil
	}
	return nil, errWire
}

// Alone tells whether this node has no cluster around it.
func (r *Router) Alone() bool { return r.net == nil }

// NodeID names this node in its cluster; it is empty for a node that stands alone.
func (r *Router) NodeID() string { return r.folder.Node().NodeID }

// Call asks another node.
func (r *Router) Call(ctx context.Context, node string, method Method, request []byte) ([]byte, error) {
	return r.net.remote.Call(ctx, node, method, request)
}

// Others are the other nodes that answer, as far as is known; none for a node that stands alone.
func (r *Router) Others() []string {
	if r.net == nil {
		return nil
	}
	return r.net.others()
}

// Nodes is the number of nodes of the cluster, 1 for a node that stands alone.
func (r *Router) Nodes() int {
	if r.net == nil {
		return 1
	}
	return len(r.net.nodes())
}

// Elsewhere is the error that names the node that leads the group of a slot.
func (r *Router) Elsewhere(slot int) error {
	s := &r.bySlot(slot).shard
	node, _ := s.leader()
	return raftgroup.ErrNotLeader(s.name, node)
}
