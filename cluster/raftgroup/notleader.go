package raftgroup

import "github.com/arbiterhq/arbiter/runtime/nba"

// NotLeader is wrapped in the error of a call that only the leader's replica answers: nothing
// happened, and the call may be sent to the leader.
type NotLeader struct {
	// Leader is the node that leads the group as far as this one knows, empty if it does not.
	Leader string
}

// Error implements error.
func (e *NotLeader) Error() string {
	if e.Leader == "" {
		return "its leader is not known"
	}
	return "node " + e.Leader + " leads it"
}

// ErrNotLeader is an *nba.Error with CodeUnavailable that wraps a NotLeader.
func ErrNotLeader(group, leader string) error {
	return nba.Errorf(nba.CodeUnavailable, "group %s has no leader here: retry shortly (%w)", group, &NotLeader{Leader: leader})
}
