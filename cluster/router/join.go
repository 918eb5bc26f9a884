package router

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/peer"
	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// A node with a new folder asks any node of a cluster to be let in. That one has it made a member, which is
// an operation of the control group, and tells it what its folder must say. What the node shall keep comes
// later, from the plan; see conduct.go.

// joinRequest is the question of a node that wants to join.
type joinRequest struct {
	Member  command.Member `json:"member"`
	Level   command.Level  `json:"level"`
	Release string         `json:"release"`
	// Cluster is the name of the cluster that it means; empty: whichever this is.
	Cluster string `json:"cluster,omitempty"`
}

// joinAnswer is what it needs to know.
type joinAnswer struct {
	ClusterID  string            `json:"clusterId"`
	DataGroups int               `json:"dataGroups"`
	Nodes      []string          `json:"nodes"` // that founded the cluster
	Replicas   int               `json:"replicas"`
	Members    map[string]string `json:"members"` // addresses of the nodes now
}

// How a node asks.
const (
	joinPause   = 500 * time.Millisecond
	joinTimeout = 10 * time.Second // of one question
	// maxRefusals is how often in a row no node was found that takes the question before the node gives up:
	// one may just be stopping.
	maxRefusals = 3
)

// admit has the node let in, if its folder is new and it is to join; it gives what the folder shall say and
// notes where the other nodes are.
func (o *Options) admit(ctx context.Context) (store.Node, error) {
	c := o.Cluster
	if c == nil || c.Join == nil {
		return o.founding(), nil
	}
	if there, err := store.Founded(o.Dir); err != nil || there {
		return store.Node{DataGroups: o.DataGroups}, err // the folder tells
	}
	ctx, cancel := context.WithTimeout(ctx, o.JoinTimeout)
	defer cancel()
	answer, err := o.knock(ctx)
	if err != nil {
		return store.Node{}, err
	}
	c.seeds = answer.Members
	return store.Node{ClusterID: answer.ClusterID, DataGroups: answer.DataGroups, NodeID: c.NodeID, Nodes: answer.Nodes, Replicas: answer.Replicas, Joined: true}, nil
}

// knock asks one node after the other until one answers.
func (o *Options) knock(ctx context.Context) (*joinAnswer, error) {
	c := o.Cluster
	question, err := json.Marshal(joinRequest{
		Member: command.Member{ID: c.NodeID, Addr: c.address(), Zone: c.Zone}, Level: command.LevelKnown, Release: o.Release, Cluster: c.ID,
	})
	if err != nil {
		return nil, fmt.Errorf("encoding the question to join: %w", err)
	}
	var last error
	for refusals := 0; ; {
		addresses, err := c.Join(ctx)
		if err != nil {
			last = err
		}
		refused := false
		for _, address := range addresses {
			if address == c.address() {
				continue // it cannot let itself in
			}
			answer, err := o.ask(ctx, address, question)
			if err == nil {
				return answer, nil
			}
			if final(err) {
				return nil, err
			}
			last, refused = err, refused || errors.Is(err, peer.ErrRefused)
			o.Logger.Info("asking to join", "at", address, "error", err)
		}
		if refused {
			refusals++
		}
		if refusals >= maxRefusals {
			return nil, nba.Errorf(nba.CodeConflict, "no node lets this one join: %w", last)
		}
		select {
		case <-ctx.Done():
			return nil, nba.Errorf(nba.CodeUnavailable, "no node of the cluster was found to join: %w", errors.Join(last, ctx.Err()))
		case <-time.After(joinPause):
		}
	}
}

// final tells whether asking again, or another node, would come to the same.
func final(err error) bool {
	switch nba.CodeOf(err) {
	case nba.CodeConflict, nba.CodeInvalid:
		return true
	}
	return false
}

func (o *Options) ask(ctx context.Context, address string, question []byte) (*joinAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	raw, err := peer.Ask(ctx, peer.Config{NodeID: o.Cluster.NodeID, TLS: o.Cluster.TLS}, address, question)
	if err != nil {
		return nil, err
	}
	var answer joinAnswer
	if err := json.Unmarshal(raw, &answer); err != nil || answer.DataGroups < 1 || len(answer.Nodes) == 0 {
		return nil, fmt.Errorf("the answer of %s to join cannot be read: %w", address, errors.Join(err, errWire))
	}
	return &answer, nil
}

// serveJoin answers a node that wants to join.
func (r *Router) serveJoin(ctx context.Context, from string, question []byte) ([]byte, error) {
	var q joinRequest
	if err := json.Unmarshal(question, &q); err != nil {
		return nil, errWire
	}
	node := r.folder.Node()
	switch {
	case q.Member.ID != from:
		return nil, nba.Errorf(nba.CodeInvalid, "the node names itself in two ways")
	case q.Cluster != "" && q.Cluster != node.ClusterID:
		return nil, nba.Errorf(nba.CodeConflict, "this is another cluster than the one that the new node is to join: correct its --join, or its cluster id")
	case q.Level < r.control.State().Features.Level:
		return nil, nba.Errorf(nba.CodeConflict, "the cluster works at feature level %d and the release of the new node knows level %d: run at least the release of the other nodes",
			r.control.State().Features.Level, q.Level)
	}
	if err := r.Join(ctx, q.Member, q.Level); err != nil {
		return nil, err
	}
	r.options.Logger.Info("a node was let in", "node", from, "address", q.Member.Addr, "zone", q.Member.Zone, "release", q.Release)
	members := map[string]string{}
	for _, n := range r.control.State().Members.Nodes {
		members[n.ID] = n.Addr
	}
	answer, err := json.Marshal(joinAnswer{ClusterID: node.ClusterID, DataGroups: node.DataGroups, Nodes: node.Nodes, Replicas: node.Replicas, Members: members})
	if err != nil {
		return nil, fmt.Errorf("encoding the answer to a new node: %w", err)
	}
	return answer, nil
}

// Join makes a node a member, or takes it back in that is one and was draining. level is what its release
// can apply, 0 if it did not say. A member of that name that answers at another address is an *nba.Error
// with CodeConflict.
func (r *Router) Join(ctx context.Context, m command.Member, level command.Level) error {
	if err := r.changeable(); err != nil {
		return err
	}
	known, there := r.control.State().Members.Node(m.ID)
	if !there {
		_, err := r.control.submit(ctx, &command.JoinNode{Member: m, Level: level}, true)
		return err
	}
	change := command.ChangeNode{ID: m.ID, Joins: level > 0}
	if known.Addr != m.Addr {
		if r.net.reachable(m.ID) {
			return nba.Errorf(nba.CodeConflict, "a node of this name is a member and answers at another address: name the new one otherwise")
		}
		change.Addr = &m.Addr
	}
	if known.Zone != m.Zone {
		change.Zone = &m.Zone
	}
	if no := false; known.Draining && level == 0 {
		change.Draining = &no
	}
	_, err := r.control.submit(ctx, &change, true)
	return err
}

// changeable is nil when members can be changed.
func (r *Router) changeable() error {
	if r.net == nil {
		return nba.Errorf(nba.CodeConflict, "this node stands alone: start the nodes of a cluster with --node-id and --nodes, or --join")
	}
	return r.control.State().Features.Allows(command.NodeJoined, 1)
}

// address is where the other nodes reach this one.
func (c *Cluster) address() string {
	if own := c.Nodes[c.NodeID]; own != "" {
		return own
	}
	return c.Addr
}

// addresses are those of all nodes. The state tells, but of nodes that founded the cluster the list that this
// node was started with: all nodes may have moved while they were down, and ways may differ.
func (r *Router) addresses() map[string]string {
	c := r.options.Cluster
	members := &r.control.State().Members
	out := map[string]string{}
	if _, in := members.Node(c.NodeID); !in { // not founded, or this node has not caught up
		maps.Copy(out, c.seeds)
		maps.Copy(out, c.Nodes)
		if out[c.NodeID] == "" {
			out[c.NodeID] = c.address()
		}
		return out
	}
	for _, n := range members.Nodes {
		out[n.ID] = n.Addr
		if told := c.Nodes[n.ID]; told != "" && !n.Joined {
			out[n.ID] = told
		}
	}
	return out
}

// welcome tells whether a node that is not known here may connect: this one may not have heard of it.
func (r *Router) welcome(node string) bool {
	c := r.control
	return c == nil || !slices.Contains(c.State().Members.Removed, node)
}
