package fsm

import (
	"cmp"
	"slices"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Features tell what the cluster can apply.
type Features struct {
	// Level is what every member can apply. It never falls: what was proposed at it is in the logs.
	Level command.Level `json:"level"`
	// Members are the nodes of the cluster, sorted, and Nodes those that announced themselves, by name.
	Members []string        `json:"members"`
	Nodes   []AnnouncedNode `json:"nodes"`
}

// AnnouncedNode is what a node said of itself.
type AnnouncedNode struct {
	Node    string        `json:"node"`
	Level   command.Level `json:"level"`
	Release string        `json:"release,omitempty"`
}

// Allows is nil when an operation of this kind may be proposed, or an *nba.Error with CodeUnavailable.
func (f *Features) Allows(kind command.Kind, version uint8) error {
	needs, known := command.Needs(kind, version)
	if known && needs <= f.Level {
		return nil
	}
	return nba.Errorf(nba.CodeUnavailable,
		"not every node of the cluster knows this yet (feature level %d of %d): finish the upgrade of all nodes, then repeat", f.Level, needs)
}

// Announced tells whether the node is known to be as it says, so that it need not announce itself again.
func (f *Features) Announced(node AnnouncedNode, members []string) bool {
	return slices.Contains(f.Nodes, node) && slices.Equal(f.Members, sorted(members))
}

func sorted(names []string) []string { return slices.Compact(slices.Sorted(slices.Values(names))) }

// announce takes note of a node. Members that did not announce themselves count as of the first release.
// In a new cluster, where nothing is stored yet, nobody can be of an earlier release than the first that
// comes, which founds it at its own level.
func (c *Control) announce(body []byte) (Result, error) {
	var op command.AnnounceNode
	if err := command.DecodeControl(body, &op); err != nil {
		return Result{}, err
	}
	f := c.next.Features
	if op.Node == "" || op.Level < command.LevelFirst || !slices.Contains(op.Members, op.Node) {
		return refuse(nba.Errorf(nba.CodeInvalid, "the announcement names no node, no level, or members without the node"))
	}
	if op.Level < f.Level {
		return refuse(nba.Errorf(nba.CodeConflict, "the cluster works at feature level %d and the release of this node knows level %d: run at least the release of the other nodes",
			f.Level, op.Level))
	}
	next := Features{Level: f.Level, Members: sorted(op.Members)}
	for _, known := range f.Nodes {
		if known.Node != op.Node && slices.Contains(next.Members, known.Node) {
			next.Nodes = append(next.Nodes, known)
		}
	}
	next.Nodes = append(next.Nodes, AnnouncedNode{Node: op.Node, Level: op.Level, Release: op.Release})
	slices.SortFunc(next.Nodes, func(a, b AnnouncedNode) int { return cmp.Compare(a.Node, b.Node) })
	least := next.Nodes[0].Level
	for _, n := range next.Nodes {
		least = min(least, n.Level)
	}
	founding := len(f.Nodes) == 0 && c.next.blank()
	if (founding || len(next.Nodes) == len(next.Members)) && least > next.Level {
		next.Level = least
	}
	c.next.Features, c.dirty[partFeatures] = next, true
	return Result{Value: next}, nil
}

// blank tells whether nothing was ever stored.
func (s *ControlState) blank() bool {
	return len(s.Dictionary.Attributes()) == 0 && len(s.Catalog.Versions) == 0 && len(s.Plugins.Versions()) == 0
}

func (c *Control) setRetention(body []byte) (Result, error) {
	var op command.SetRetention
	if err := command.DecodeControl(body, &op); err != nil {
		return Result{}, err
	}
	if err := op.Retention.Validate(); err != nil {
		return Result{Err: err}, nil
	}
	if changed := c.next.Retention != op.Retention; changed {
		c.next.Retention, c.dirty[partRetention] = op.Retention, true
	}
	return Result{Value: op.Retention}, nil
}
