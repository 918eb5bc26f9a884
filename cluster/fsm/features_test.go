package fsm

import (
	"testing"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

func announced(node string, level command.Level, members ...string) *command.AnnounceNode {
	return &command.AnnounceNode{Node: node, Level: level, Members: members}
}

func TestLevelRisesWithTheLastNode(t *testing.T) {
	c := newControl(t, nil)
	if got := c.State().Features; got.Level != command.LevelFirst || got.Allows(command.SubjectPut, 1) != nil ||
		nba.CodeOf(got.Allows(command.Keyed, 1)) != nba.CodeUnavailable {
		t.Fatalf("a state without announcements: %+v", got)
	}
	// Something is stored, so this is not a new cluster.
	do(t, c, &command.DeclareAttributes{Attributes: []nba.AttributeDeclaration{{Name: "a", Type: nba.KindInt}}})
	for _, step := range []struct {
		op    *command.AnnounceNode
		code  nba.Code
		level command.Level
		nodes int
	}{
		{announced("n1", 2, "n2"), nba.CodeInvalid, 1, 0},
		{announced("n1", 2, "n1", "n2", "n3"), "", 1, 1},
		{announced("n2", 3, "n2", "n1", "n3"), "", 1, 2},
		{announced("n2", 2, "n2", "n1", "n3"), "", 1, 2},
		{announced("n3", 1, "n1", "n2", "n3"), "", 1, 3},
		{announced("n3", 2, "n1", "n2", "n3", "n3"), "", 2, 3},
		{announced("n3", 1, "n1", "n2", "n3"), nba.CodeConflict, 2, 3},
		{announced("n1", 3, "n1", "n2", "n3"), "", 2, 3},
		{announced("n1", 3, "n1"), "", 3, 1},
		{announced("n1", 3, "n1", "n4"), "", 3, 1},
		{announced("n4", 2, "n1", "n4"), nba.CodeConflict, 3, 1},
	} {
		got := do(t, c, step.op)
		f := c.State().Features
		if nba.CodeOf(got.Err) != step.code || f.Level != step.level || len(f.Nodes) != step.nodes {
			t.Errorf("%+v: got %q, %+v", step.op, nba.CodeOf(got.Err), f)
		}
	}
	again, err := NewControl(c.Store(), nil)
	if err != nil || again.State().Features.Level != 3 || again.Digest() != c.Digest() {
		t.Errorf("after opening again: %+v %v", again.State().Features, err)
	}
	f := again.State().Features
	if !f.Announced(AnnouncedNode{Node: "n1", Level: 3}, []string{"n4", "n1"}) || f.Announced(AnnouncedNode{Node: "n1", Level: 2}, []string{"n4", "n1"}) {
		t.Errorf("Announced is wrong of %+v", f)
	}
	if f.Allows(command.Keyed, 1) != nil || f.Allows(60, 1) == nil {
		t.Error("Allows is wrong")
	}
}

func TestNewClusterBeginsAtTheLevelOfItsFounder(t *testing.T) {
	c := newControl(t, nil)
	do(t, c, announced("n2", command.LevelKnown, "n1", "n2", "n3"))
	if got := c.State().Features.Level; got != command.LevelKnown {
		t.Errorf("got level %d", got)
	}
}

func TestRetentionIsSet(t *testing.T) {
	c := newControl(t, nil)
	if got := c.State().Retention; got != nba.DefaultRetention() {
		t.Errorf("got %+v", got)
	}
	want := nba.Retention{MaxAgeDays: 30, MaxPerSubject: 5, IdempotencyHours: 1}
	if got := do(t, c, &command.SetRetention{Retention: want}); got.Err != nil || got.Value != want {
		t.Errorf("got %+v", got)
	}
	bad := do(t, c, &command.SetRetention{Retention: nba.Retention{MaxAgeDays: -1, MaxPerSubject: 1 << 20}})
	if e, ok := bad.Err.(*nba.Error); !ok || e.Code != nba.CodeInvalid || len(e.Details) != 3 {
		t.Errorf("got %v", bad.Err)
	}
	if again, err := NewControl(c.Store(), nil); err != nil || again.State().Retention != want {
		t.Errorf("after opening again: %v", err)
	}
}
