package membership

import "slices"

// Seats is who keeps a group: Voters vote and may lead, Followers keep the state only.
type Seats struct {
	Voters, Followers []string
}

// ChangeKind is what a Change does.
type ChangeKind string

// The kinds of changes.
const (
	// ChangeAdd lets a node follow, ChangePromote gives one that follows a vote, ChangeDemote takes it, and
	// ChangeRemove ends that it keeps the group.
	ChangeAdd     ChangeKind = "add"
	ChangePromote ChangeKind = "promote"
	ChangeDemote  ChangeKind = "demote"
	ChangeRemove  ChangeKind = "remove"
	// ChangeYield gives the lead to a node, since the leader itself shall not vote any more.
	ChangeYield ChangeKind = "yield"
)

// Change is the next thing that a group's leader does about who keeps the group.
type Change struct {
	Kind ChangeKind
	Node string
}

// Standing is what a group's leader knows of the nodes.
type Standing struct {
	// Self leads.
	Self string
	// Up tells whether a node answers, CaughtUp whether its replica has the state.
	Up, CaughtUp func(node string) bool
}

// Next is the next change on the way from the seats that a group has to those it shall have; ok is false
// when there is none now. Replicas come before others go: first new ones follow, then those that have
// caught up vote, and only when all that shall vote do, others lose their votes, never so that those that
// answer are no majority of what remains.
func Next(now, want Seats, s Standing) (c Change, ok bool) {
	has := func(node string) bool {
		return slices.Contains(now.Voters, node) || slices.Contains(now.Followers, node)
	}
	for _, node := range slices.Concat(want.Voters, want.Followers) {
		if !has(node) {
			return Change{ChangeAdd, node}, true
		}
	}
	waits := false
	for _, node := range want.Voters {
		if !slices.Contains(now.Followers, node) {
			continue
		}
		if s.Up(node) && s.CaughtUp(node) {
			return Change{ChangePromote, node}, true
		}
		waits = true
	}
	for _, node := range now.Followers { // they have no vote to lose
		if !slices.Contains(want.Voters, node) && !slices.Contains(want.Followers, node) {
			return Change{ChangeRemove, node}, true
		}
	}
	if waits {
		return Change{}, false
	}
	return nextLess(now, want, s)
}

// nextLess takes votes, from nodes that do not answer first, and from the leader last.
func nextLess(now, want Seats, s Standing) (c Change, ok bool) {
	last := false
	var extra []string
	for _, node := range now.Voters {
		switch {
		case slices.Contains(want.Voters, node):
		case node == s.Self:
			last = true
		case s.Up(node):
			extra = append(extra, node)
		default:
			extra = slices.Insert(extra, 0, node)
		}
	}
	for _, node := range extra {
		if !majority(now.Voters, node, s) {
			continue
		}
		if slices.Contains(want.Followers, node) {
			return Change{ChangeDemote, node}, true
		}
		return Change{ChangeRemove, node}, true
	}
	if !last || len(extra) > 0 {
		return Change{}, false
	}
	for _, node := range want.Voters {
		if slices.Contains(now.Voters, node) && s.Up(node) && s.CaughtUp(node) {
			return Change{ChangeYield, node}, true
		}
	}
	return Change{}, false
}

// majority tells whether the voters that answer are one without a node.
func majority(voters []string, without string, s Standing) bool {
	up, all := 0, 0
	for _, node := range voters {
		if node == without {
			continue
		}
		all++
		if node == s.Self || s.Up(node) {
			up++
		}
	}
	return up > all/2
}
