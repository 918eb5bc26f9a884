package api

import (
	"context"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// The membership of a cluster of one node.

func (m *memCore) Members(context.Context) ([]nba.ClusterMember, error) {
	return []nba.ClusterMember{{ID: "n1", Addr: "127.0.0.1:7001", Up: true, Votes: true, Keeps: 16, Has: 16, Leads: 17}}, nil
}

func (m *memCore) JoinMember(context.Context, string, string, string) error { return nil }

func (m *memCore) DrainMember(_ context.Context, id string, _ bool) error { return memMember(id) }

func (m *memCore) RemoveMember(_ context.Context, id string, _ bool) error { return memMember(id) }

func memMember(id string) error {
	if id != "n1" {
		return nba.Errorf(nba.CodeNotFound, "no node of this name is a member")
	}
	return nil
}

func (m *memCore) TransferLead(context.Context, string, string) error { return nil }

func (m *memCore) TransferAll(context.Context, string) (int, error) { return 6, nil }

func (m *memCore) Balance(context.Context) (nba.ClusterBalance, error) {
	return nba.ClusterBalance{MinReplicas: 12, MaxReplicas: 12, MinLeads: 4, MaxLeads: 4, Next: []nba.ClusterMove{}}, nil
}

func (m *memCore) Rebalance(ctx context.Context) (nba.ClusterBalance, error) { return m.Balance(ctx) }
