package fsm

import (
	"strings"
	"testing"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

func founding() *command.FoundNodes {
	return &command.FoundNodes{Replicas: 2, Voters: []string{"n1", "n2", "n3"},
		Nodes:  []command.Member{{ID: "n2", Addr: "h:2"}, {ID: "n1", Addr: "h:1", Zone: "a"}, {ID: "n3", Addr: "h:3"}},
		Groups: []command.Place{{Replicas: []string{"n1", "n2"}, Leader: "n1"}, {Replicas: []string{"n2", "n3"}, Leader: "n2"}}}
}

// TestMembers runs operations on members in their order; says is a part of the refusal.
func TestMembers(t *testing.T) {
	c := newControl(t, nil)
	yes := true
	addr, zone := "h:9", "b"
	version := func() uint64 { return c.State().Members.Version }
	for _, step := range []struct {
		name string
		op   interface{ Append([]byte) ([]byte, error) }
		says string
	}{
		{"before the founding", &command.JoinNode{Member: command.Member{ID: "n4", Addr: "h:4"}}, "being taken into its state"},
		{"a founding without nodes", &command.FoundNodes{Replicas: 3}, "between 1 and"},
		{"founding", founding(), ""},
		{"founding again", &command.FoundNodes{Replicas: 1, Nodes: []command.Member{{ID: "n9", Addr: "h:9"}}}, ""},
		{"a bad name", &command.JoinNode{Member: command.Member{ID: "N4", Addr: "h:4"}}, "the name of a node"},
		{"a bad address", &command.JoinNode{Member: command.Member{ID: "n4", Addr: "h"}}, "the address of a node"},
		{"an address that is taken", &command.JoinNode{Member: command.Member{ID: "n4", Addr: "h:1"}}, "another member has this address"},
		{"a name that is taken", &command.JoinNode{Member: command.Member{ID: "n1", Addr: "h:4"}}, "a node of this name"},
		{"joining", &command.JoinNode{Member: command.Member{ID: "n4", Addr: "h:4"}, Level: command.LevelKnown}, ""},
		{"joining again", &command.JoinNode{Member: command.Member{ID: "n4", Addr: "h:4"}}, ""},
		{"changing nobody", &command.ChangeNode{ID: "n8", Draining: &yes}, "no node of this name"},
		{"changing", &command.ChangeNode{ID: "n4", Addr: &addr, Zone: &zone, Draining: &yes}, ""},
		{"removing one that keeps groups", &command.RemoveNode{ID: "n2"}, "keeps 2 data groups still"},
		{"placing by an old map", &command.PlaceGroups{Map: 1}, "changed meanwhile"},
	} {
		result := do(t, c, step.op)
		if step.says == "" && result.Err != nil || step.says != "" && (result.Err == nil || !strings.Contains(result.Err.Error(), step.says)) {
			t.Fatalf("%s: %v", step.name, result.Err)
		}
	}
	m := c.State().Members
	if n, ok := m.Node("n4"); !ok || n.Addr != "h:9" || n.Zone != "b" || !n.Draining || !n.Joined || len(m.Nodes) != 4 {
		t.Errorf("%+v", m)
	}
	place := func(group int, leader string, replicas ...string) command.PlacedGroup {
		return command.PlacedGroup{Group: group, Place: command.Place{Replicas: replicas, Leader: leader}}
	}
	for name, bad := range map[string]command.PlacedGroup{
		"no such group": place(2, "n1", "n1"), "nobody": place(0, "n1"), "a stranger": place(0, "n8", "n8"), "a leader without a replica": place(0, "n3", "n1", "n2"),
		"out of order": place(0, "n1", "n2", "n1"), "twice": place(0, "n1", "n1", "n1"),
	} {
		if result := do(t, c, &command.PlaceGroups{Map: version(), Groups: []command.PlacedGroup{bad}}); nba.CodeOf(result.Err) != nba.CodeInvalid {
			t.Errorf("%s: %v", name, result.Err)
		}
	}
	before := version()
	if result := do(t, c, &command.PlaceGroups{Map: before, Groups: []command.PlacedGroup{place(0, "n4", "n1", "n4")}, Voters: []string{"n1"}}); result.Err != nil {
		t.Fatal(result.Err)
	}
	if m = c.State().Members; m.Version == before || m.Groups[0].Leader != "n4" || m.Keeps("n2") != 1 || len(m.Voters) != 1 {
		t.Errorf("%+v", m)
	}
	if result := do(t, c, &command.RemoveNode{ID: "n1", Force: true}); nba.CodeOf(result.Err) != nba.CodeConflict {
		t.Errorf("removing the only voter: %v", result.Err)
	}
	if result := do(t, c, &command.RemoveNode{ID: "n2", Force: true}); result.Err != nil {
		t.Fatal(result.Err)
	}
	if m = c.State().Members; len(m.Nodes) != 3 || m.Groups[1].Leader != "n3" || len(m.Groups[1].Replicas) != 1 || len(m.Removed) != 1 {
		t.Errorf("%+v", m)
	}
	if result := do(t, c, &command.JoinNode{Member: command.Member{ID: "n2", Addr: "h:2"}}); result.Err != nil || len(c.State().Members.Removed) != 0 {
		t.Errorf("joining after a removal: %v, %+v", result.Err, c.State().Members.Removed)
	}
}
