// Package campaign is what runs of campaigns are made of, apart from where they run: the states of a run, how
// it accounts for everybody, when it is due, and what it was worth against those who were held out.
//
// A run maps one decision over all subjects at one catalogVersion. Every data group works through its own
// subjects; what it did is in its Account. The accounts of all groups added up are that of the run, in which
// the audience is those contacted, those held out, and those suppressed by reason. The package reads no clock
// and draws nothing: a State is changed by operations with their time, the same on every replica.
package campaign

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// RunState is where a run is.
type RunState string

// The states. A run that is stopped or done stays so.
const (
	Running RunState = "running"
	Paused  RunState = "paused"
	Stopped RunState = "stopped"
	Done    RunState = "done"
)

// Over tells whether nothing happens in the state any more.
func (s RunState) Over() bool { return s == Stopped || s == Done }

// Limits of what is remembered.
const (
	// MaxRuns bounds the runs that are kept, and MaxRunning those that are not over.
	MaxRuns    = 128
	MaxRunning = 16
	// RunFor is how long a run may take, and how long its volume counts.
	RunFor = 30 * 24 * time.Hour
)

// Run is one run of a campaign.
type Run struct {
	// Number is the index of the log entry that started it. It names the run.
	Number   uint64   `json:"number"`
	Campaign string   `json:"campaign"`
	State    RunState `json:"state"`
	// CatalogVersion is what it decides by, from beginning to end.
	CatalogVersion uint64 `json:"catalogVersion"`
	// Groups is the number of data groups that take part.
	Groups int `json:"groups"`
	// Due is when the schedule had it begin; nil for a run that was asked for.
	Due     *time.Time `json:"due,omitempty"`
	Started time.Time  `json:"started"`
	// Changed is when the state changed last, and Ended when it was over.
	Changed time.Time  `json:"changed"`
	Ended   *time.Time `json:"ended,omitempty"`
	// Finished are the groups that are through with their subjects, in the order of their numbers.
	Finished []Finished `json:"finished,omitempty"`
}

// Finished is a group that is through with a run.
type Finished struct {
	Group   uint64  `json:"group"`
	Account Account `json:"account"`
}

// ID is the name of a run for people: that of the campaign and the number.
func (r *Run) ID() string { return fmt.Sprintf("%s-%d", r.Campaign, r.Number) }

// FinishedBy tells whether a group is through.
func (r *Run) FinishedBy(group uint64) bool {
	return slices.ContainsFunc(r.Finished, func(f Finished) bool { return f.Group == group })
}

// State is all runs that are remembered, oldest first, and what schedules did. It is immutable.
type State struct {
	Runs []Run `json:"runs,omitempty"`
	// Dues are the last times for which a schedule started a run, by campaign, in the order of the names.
	Dues []Due `json:"dues,omitempty"`
}

// Due is the last time for which a schedule started a run of a campaign.
type Due struct {
	Campaign string    `json:"campaign"`
	At       time.Time `json:"at"`
}

// Parse reads a State from its JSON.
func Parse(raw []byte) (*State, error) {
	s := &State{}
	if err := json.Unmarshal(raw, s); err != nil {
		return nil, fmt.Errorf("reading the runs of campaigns: %w", err)
	}
	return s, nil
}

// Find looks a run up by its number; 0 is not one.
func (s *State) Find(number uint64) (*Run, bool) {
	for i := range s.Runs {
		if s.Runs[i].Number == number {
			return &s.Runs[i], true
		}
	}
	return nil, false
}

// Of are the runs of a campaign, newest first; of all campaigns if it is "".
func (s *State) Of(campaign string) (runs []*Run) {
	for i := range slices.Backward(s.Runs) {
		if campaign == "" || s.Runs[i].Campaign == campaign {
			runs = append(runs, &s.Runs[i])
		}
	}
	return runs
}

// LastDue is the last time for which the schedule of a campaign started a run; zero for none.
func (s *State) LastDue(campaign string) time.Time {
	for i := range s.Dues {
		if s.Dues[i].Campaign == campaign {
			return s.Dues[i].At
		}
	}
	return time.Time{}
}

// Start is a run that is about to begin.
type Start struct {
	Number         uint64
	Campaign       string
	CatalogVersion uint64
	Groups         int
	Due            *time.Time
	At             time.Time
}

// Start begins a run. One that the schedule began already for the same time, or a later one, is refused, and
// so is one of a campaign that is running or paused: CodeConflict.
func (s *State) Start(start Start) (next *State, err error) {
	running := 0
	for i := range s.Runs {
		r := &s.Runs[i]
		if r.State.Over() {
			continue
		}
		if running++; r.Campaign == start.Campaign {
			return s, nba.Errorf(nba.CodeConflict, "run %s of the campaign is %s: wait for it, or stop it", r.ID(), r.State)
		}
	}
	switch {
	case start.Campaign == "" || start.CatalogVersion == 0 || start.Groups < 1:
		return s, nba.Errorf(nba.CodeInvalid, "a run names a campaign, a catalogVersion and the number of data groups")
	case running >= MaxRunning:
		return s, nba.Errorf(nba.CodeOverloaded, "%d runs are under way: wait for one, or stop it", running)
	case start.Due != nil && !s.LastDue(start.Campaign).Before(*start.Due):
		return s, nba.Errorf(nba.CodeConflict, "the schedule started the run that was due then already")
	}
	next = s.clone()
	for len(next.Runs) >= MaxRuns {
		at := slices.IndexFunc(next.Runs, func(r Run) bool { return r.State.Over() })
		next.Runs = slices.Delete(next.Runs, at, at+1) // there is one: fewer run than are kept
	}
	next.Runs = append(next.Runs, Run{Number: start.Number, Campaign: start.Campaign, State: Running, CatalogVersion: start.CatalogVersion,
		Groups: start.Groups, Due: start.Due, Started: start.At, Changed: start.At})
	if start.Due != nil {
		at, found := slices.BinarySearchFunc(next.Dues, start.Campaign, func(d Due, name string) int { return cmp.Compare(d.Campaign, name) })
		if !found {
			next.Dues = slices.Insert(next.Dues, at, Due{Campaign: start.Campaign})
		}
		next.Dues[at].At = *start.Due
	}
	return next, nil
}

func (s *State) clone() *State {
	next := &State{Runs: slices.Clone(s.Runs), Dues: slices.Clone(s.Dues)}
	for i := range next.Runs {
		next.Runs[i].Finished = slices.Clip(next.Runs[i].Finished)
	}
	return next
}

// Verb is what is done to a run.
type Verb string

// The verbs.
const (
	Pause  Verb = "pause"
	Resume Verb = "resume"
	Stop   Verb = "stop"
)

// Change pauses, resumes or stops a run. Doing it again changes nothing; what cannot be done any more is
// refused with CodeConflict.
func (s *State) Change(number uint64, verb Verb, at time.Time) (next *State, changed bool, err error) {
	r, ok := s.Find(number)
	if !ok {
		return s, false, unknownRun()
	}
	to, ok := map[Verb]RunState{Pause: Paused, Resume: Running, Stop: Stopped}[verb]
	switch {
	case !ok:
		return s, false, nba.Errorf(nba.CodeInvalid, "a run is paused, resumed or stopped")
	case r.State == to:
		return s, false, nil
	case r.State.Over():
		return s, false, nba.Errorf(nba.CodeConflict, "the run is %s: start another one", r.State)
	}
	next = s.clone()
	r, _ = next.Find(number)
	r.State, r.Changed = to, at
	if to.Over() {
		r.Ended = &at
	}
	return next, true, nil
}

func unknownRun() error {
	return nba.Errorf(nba.CodeNotFound, "there is no such run, or it is forgotten: GET /v1/campaigns lists those that are kept")
}

// Finish takes in that a group is through with its subjects. The run is done when all groups are. Of a group
// that is known already, and of a run that is not any more, nothing changes. One that was stopped keeps the
// account, but stays stopped.
func (s *State) Finish(number, group uint64, account Account, at time.Time) (next *State, changed bool, err error) {
	r, ok := s.Find(number)
	if !ok {
		return s, false, unknownRun()
	}
	place, found := slices.BinarySearchFunc(r.Finished, group, func(f Finished, group uint64) int { return cmp.Compare(f.Group, group) })
	if found {
		return s, false, nil
	}
	if group < 1 || group > uint64(r.Groups) {
		return s, false, nba.Errorf(nba.CodeInvalid, "the run has no data group %d", group)
	}
	if err := account.Check(); err != nil {
		return s, false, err
	}
	next = s.clone()
	r, _ = next.Find(number)
	r.Finished = slices.Insert(slices.Clone(r.Finished), place, Finished{Group: group, Account: account})
	if len(r.Finished) == r.Groups && !r.State.Over() {
		r.State, r.Changed, r.Ended = Done, at, &at
	}
	return next, true, nil
}
