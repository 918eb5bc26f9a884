// Package rollout brings a new version of a plugin into use step by step and takes it back when it
// misbehaves.
//
// A rollout is staged, prepared on every node, scored in the shadow of the version in use, handed a
// growing share of the subjects (canary), and then active; the version before stays warm, so that undo is
// as quick as activation was. All of it is one State, which is part of the replicated state machine: it
// changes only through functions of the state and their arguments, without a clock, chance or floats. The
// nodes count what both versions do (Tally) and report it in the log; whoever leads the control group
// judges the counters outside of it (Judge) and proposes what follows, with the evidence.
//
// Read rollout.go for the state, change.go for its transitions, count.go for the counters, assess.go for
// the guardrails, assign.go for which subject gets which version. docs/format/rollout.md describes the
// JSON of a State.
package rollout

import (
	"slices"
	"strings"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Stage is how far a rollout has come.
type Stage string

// The stages. Retired and RolledBack are ends.
const (
	Staged     Stage = "staged"     // the nodes load it
	Prepared   Stage = "prepared"   // every node has it ready
	Shadow     Stage = "shadow"     // it scores beside the version in use, and nobody sees the scores
	Canary     Stage = "canary"     // a share of the subjects gets its scores
	Active     Stage = "active"     // it is the version in use; the one before is kept warm
	Retired    Stage = "retired"    // another version came after it
	RolledBack Stage = "rolledBack" // the version before is in use
)

// Running tells whether the stage lies before the decision whether the version becomes active.
func (s Stage) Running() bool {
	return s == Staged || s == Prepared || s == Shadow || s == Canary
}

// Comparing tells whether both versions are counted at this stage.
func (s Stage) Comparing() bool { return s == Shadow || s == Canary }

// Why a rollout was taken back.
const (
	CauseAborted    = "aborted"    // by an operator, before it was active
	CauseUndone     = "undone"     // by an operator, after it was active
	CauseBreach     = "breach"     // by a guardrail
	CauseSuperseded = "superseded" // somebody activated a version of the plugin directly
)

// The limits of a State.
const (
	MaxRunning  = 16  // rollouts that are neither active nor ended
	MaxRollouts = 64  // with those that ended; the oldest of these make room
	MaxEvents   = 64  // of one rollout; the oldest make room
	MaxNodes    = 256 // that acknowledge and report
)

// State is all rollouts. It is immutable: its methods return a changed copy that shares what did not
// change. The zero State is empty. It is safe for concurrent reading.
type State struct {
	// Rollouts are in the order in which they were started.
	Rollouts []Rollout `json:"rollouts"`
	// Reports tell how far the reports of each node were counted, sorted by node.
	Reports []Reported `json:"reports,omitempty"`
}

// Reported is the last report of a node that was counted.
type Reported struct {
	Node     string `json:"node"`
	Sequence uint64 `json:"sequence"`
}

// Rollout is one version of one plugin on its way.
type Rollout struct {
	ID string `json:"id"`
	Candidate
	Spec  Spec  `json:"spec"`
	Stage Stage `json:"stage"`
	// Step is the position in Spec.Steps, at the stages shadow and canary.
	Step   int  `json:"step"`
	Paused bool `json:"paused,omitempty"`
	// Revision counts the changes of stage and step, from 1. Counters belong to one revision.
	Revision uint64 `json:"revision"`
	// Since is when the present step, or its hold after a pause, began.
	StartedAt time.Time `json:"startedAt"`
	Since     time.Time `json:"since"`
	// Cause tells why it was taken back, and Breach what the guardrails saw then.
	Cause  string  `json:"cause,omitempty"`
	Breach []Check `json:"breach,omitempty"`
	// Nodes are those that answered whether they have it ready, sorted.
	Nodes   []NodeReady `json:"nodes,omitempty"`
	Windows Windows     `json:"windows"`
	// History is oldest first.
	History []Event `json:"history"`
	// Request is the last change that was asked for, so that asking again changes nothing.
	Request string `json:"request,omitempty"`
}

// Candidate names the version that is rolled out, and the incumbent it is compared with.
type Candidate struct {
	Plugin          string `json:"plugin"`
	Version         string `json:"version"`
	Digest          string `json:"digest"`
	Incumbent       string `json:"incumbent"`
	IncumbentDigest string `json:"incumbentDigest"`
}

// NodeReady is what a node said of its preparation. Failure is empty when it has the version ready.
type NodeReady struct {
	Node    string `json:"node"`
	Failure string `json:"failure,omitempty"`
}

// Event is one line of the history of a rollout.
type Event struct {
	At       time.Time `json:"at"`
	Event    string    `json:"event"`
	Stage    Stage     `json:"stage"`
	Permille int       `json:"permille,omitempty"`
	// Auto is set when nobody asked for it.
	Auto   bool    `json:"auto,omitempty"`
	Node   string  `json:"node,omitempty"`
	Reason string  `json:"reason,omitempty"`
	Checks []Check `json:"checks,omitempty"`
}

// Permille is the share of subjects that get the candidate's scores.
func (r *Rollout) Permille() int {
	switch r.Stage {
	case Canary:
		return r.Spec.Steps[r.Step].Permille
	case Active:
		return 1000
	}
	return 0
}

// Missing are those of members that have not said that they have the candidate ready.
func (r *Rollout) Missing(members []string) (missing []string) {
	for _, m := range members {
		if i := slices.IndexFunc(r.Nodes, func(n NodeReady) bool { return n.Node == m }); i < 0 || r.Nodes[i].Failure != "" {
			missing = append(missing, m)
		}
	}
	return missing
}

// Find looks a rollout up; the error is an *nba.Error with CodeNotFound.
func (s *State) Find(id string) (*Rollout, error) {
	if i := s.index(id); i >= 0 {
		return &s.Rollouts[i], nil
	}
	return nil, nba.Errorf(nba.CodeNotFound, "there is no such rollout: GET /v1/rollouts lists them")
}

func (s *State) index(id string) int {
	return slices.IndexFunc(s.Rollouts, func(r Rollout) bool { return r.ID == id })
}

// Running are the rollouts that are neither active nor ended.
func (s *State) Running() (running []*Rollout) {
	for i := range s.Rollouts {
		if s.Rollouts[i].Stage.Running() {
			running = append(running, &s.Rollouts[i])
		}
	}
	return running
}

// Warm are the digests that are kept loaded besides the active ones, sorted: candidates that run, and what
// undo would return to.
func (s *State) Warm() []string {
	var warm []string
	for i := range s.Rollouts {
		switch r := &s.Rollouts[i]; {
		case r.Stage == Active:
			warm = append(warm, r.IncumbentDigest)
		case r.Stage.Running():
			warm = append(warm, r.Digest)
		}
	}
	slices.Sort(warm)
	return slices.Compact(warm)
}

// Uses tells whether a rollout may still need the module, so that it must not be removed.
func (s *State) Uses(digest string) bool {
	for i := range s.Rollouts {
		r := &s.Rollouts[i]
		if (r.Stage.Running() || r.Stage == Active) && (r.Digest == digest || r.IncumbentDigest == digest) {
			return true
		}
	}
	return false
}

// with is s with one rollout replaced.
func (s *State) with(r Rollout) *State {
	next := &State{Rollouts: slices.Clone(s.Rollouts), Reports: s.Reports}
	next.Rollouts[s.index(r.ID)] = r
	return next
}

// note appends to the history, and forgets the oldest but the first.
func (r *Rollout) note(e Event) {
	e.Stage, e.Permille = r.Stage, r.Permille()
	history := slices.Clone(r.History)
	if len(history) >= MaxEvents {
		history = slices.Delete(history, 1, 2)
	}
	r.History = append(history, e)
}

// enter puts the rollout at a stage and a step of it, with new counters.
func (r *Rollout) enter(stage Stage, step int, at time.Time) {
	r.Stage, r.Step, r.Since = stage, step, at
	r.Revision++
	r.Windows = Windows{}
	if stage.Comparing() {
		r.Windows.From = at
	}
}

func names(list []string) string { return strings.Join(list, ", ") }
