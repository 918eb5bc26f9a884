package node

import (
	"context"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Members are the nodes of the cluster; none for a node that stands alone.
func (n *Node) Members(ctx context.Context) ([]nba.ClusterMember, error) {
	return n.router.Members(ctx)
}

// JoinMember makes a node a member ahead of its start, or takes one back in that was draining.
func (n *Node) JoinMember(ctx context.Context, id, addr, zone string) error {
	return n.router.Join(ctx, command.Member{ID: id, Addr: addr, Zone: zone}, 0)
}

// DrainMember has a node give away what it keeps and leads, or, with cancel, take its share again.
func (n *Node) DrainMember(ctx context.Context, id string, cancel bool) error {
	return n.router.Drain(ctx, id, cancel)
}

// RemoveMember ends that an empty node is a member, or, with force, one that is lost.
func (n *Node) RemoveMember(ctx context.Context, id string, force bool) error {
	return n.router.RemoveMember(ctx, id, force)
}

// TransferLead gives the lead of a group to a node; empty, to is whichever can.
func (n *Node) TransferLead(ctx context.Context, group, to string) error {
	return n.router.TransferLead(ctx, group, to)
}

// TransferAll has a node give away all that it leads, and tells how many groups that were.
func (n *Node) TransferAll(ctx context.Context, from string) (int, error) {
	return n.router.TransferAll(ctx, from)
}

// Balance tells how evenly groups are dealt out and what follows; Rebalance gives leads back at once, too.
func (n *Node) Balance(ctx context.Context) (nba.ClusterBalance, error) {
	return n.router.Balance(ctx)
}

// Rebalance gives the leads to the nodes that should have them at once, and tells what else follows.
func (n *Node) Rebalance(ctx context.Context) (nba.ClusterBalance, error) {
	return n.router.Rebalance(ctx)
}
