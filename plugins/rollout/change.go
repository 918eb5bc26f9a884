package rollout

import (
	"slices"
	"strings"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Start is a rollout that is asked for.
type Start struct {
	ID string
	Candidate
	Spec Spec
	At   time.Time
}

// Start begins a rollout. Starting the one that runs already, with the same Spec, changes nothing. The
// errors are *nba.Errors: CodeConflict when another rollout of the plugin runs, or nothing is there to
// compare with, CodeTooLarge when too many run.
func (s *State) Start(start Start) (next *State, id string, changed bool, err error) {
	if err := start.Spec.Validate(); err != nil {
		return s, "", false, err
	}
	spec := start.Spec.WithDefaults()
	if spec.Salt == "" {
		spec.Salt = start.ID
	}
	if err := start.check(); err != nil {
		return s, "", false, err
	}
	running := s.Running()
	for _, r := range running {
		if r.Plugin != start.Plugin {
			continue
		}
		same := spec
		if start.Spec.Salt == "" {
			same.Salt = r.Spec.Salt
		}
		if r.Digest == start.Digest && equalSpecs(&r.Spec, &same) {
			return s, r.ID, false, nil
		}
		return s, "", false, nba.Errorf(nba.CodeConflict, "rollout %s of plugin %s is under way: promote or abort it first", r.ID, r.Plugin)
	}
	if len(running) >= MaxRunning {
		return s, "", false, nba.Errorf(nba.CodeTooLarge, "%d rollouts are under way: promote or abort one of them first", MaxRunning)
	}
	if s.index(start.ID) >= 0 {
		return s, "", false, nba.Errorf(nba.CodeConflict, "a rollout of this id exists: start it again")
	}
	r := Rollout{ID: start.ID, Candidate: start.Candidate, Spec: spec, StartedAt: start.At}
	r.enter(Staged, 0, start.At)
	r.note(Event{At: start.At, Event: "started"})
	next = &State{Rollouts: append(s.room(), r), Reports: s.Reports}
	return next, r.ID, true, nil
}

func (c *Start) check() error {
	switch {
	case c.ID == "" || c.Plugin == "" || c.Digest == "":
		return nba.Errorf(nba.CodeInvalid, "a rollout needs a plugin and one of its versions")
	case c.IncumbentDigest == "":
		return nba.Errorf(nba.CodeConflict, "plugin %s has no active version to compare with: activate the first one directly", c.Plugin)
	case c.IncumbentDigest == c.Digest:
		return nba.Errorf(nba.CodeConflict, "version %s of plugin %s is active already", c.Version, c.Plugin)
	}
	return nil
}

func equalSpecs(a, b *Spec) bool {
	return slices.Equal(a.Steps, b.Steps) && a.Auto == b.Auto && a.Salt == b.Salt && a.WindowSeconds == b.WindowSeconds &&
		a.ShadowPermille == b.ShadowPermille && a.Guardrails == b.Guardrails
}

// room is the rollouts with room for one more: the oldest that ended is forgotten.
func (s *State) room() []Rollout {
	list := slices.Clone(s.Rollouts)
	for len(list) >= MaxRollouts {
		oldest := slices.IndexFunc(list, func(r Rollout) bool { return r.Stage == Retired || r.Stage == RolledBack })
		if oldest < 0 { // at most one is active or running for each plugin, but there are many plugins
			oldest = slices.IndexFunc(list, func(r Rollout) bool { return r.Stage == Active })
		}
		list = slices.Delete(list, oldest, oldest+1)
	}
	return list
}

// Acknowledge takes note of what a node says of its preparation. Once all members have the candidate
// ready the rollout is prepared, and its first step begins unless it is paused or has none.
func (s *State) Acknowledge(id string, ready NodeReady, members []string, at time.Time) (next *State, changed bool, err error) {
	found, err := s.Find(id)
	if err != nil {
		return s, false, err
	}
	if !slices.Contains(members, ready.Node) || len(members) > MaxNodes {
		return s, false, nba.Errorf(nba.CodeInvalid, "the node is not a member of the cluster")
	}
	ready.Failure = clip(ready.Failure)
	if slices.Contains(found.Nodes, ready) || !found.Stage.Running() {
		return s, false, nil
	}
	r := *found
	r.Nodes = slices.DeleteFunc(slices.Clone(r.Nodes), func(n NodeReady) bool {
		return n.Node == ready.Node || !slices.Contains(members, n.Node)
	})
	at64, _ := slices.BinarySearchFunc(r.Nodes, ready.Node, func(n NodeReady, name string) int { return strings.Compare(n.Node, name) })
	r.Nodes = slices.Insert(r.Nodes, at64, ready)
	event := "ready"
	if ready.Failure != "" {
		event = "notReady"
	}
	r.note(Event{At: at, Event: event, Node: ready.Node, Reason: ready.Failure})
	if r.Stage == Staged && len(r.Missing(members)) == 0 {
		r.prepared(at)
	}
	return s.with(r), true, nil
}

// maxReasonBytes bounds what is kept of a failure.
const maxReasonBytes = 512

func clip(text string) string {
	if len(text) > maxReasonBytes {
		text = text[:maxReasonBytes]
	}
	return strings.ToValidUTF8(text, "")
}

func (r *Rollout) prepared(at time.Time) {
	r.enter(Prepared, 0, at)
	r.note(Event{At: at, Event: "prepared", Auto: true})
	if !r.Paused && len(r.Spec.Steps) > 0 {
		r.begin(0, at, Event{Event: "began", Auto: true})
	}
}

func (r *Rollout) begin(step int, at time.Time, e Event) {
	r.enter(r.Spec.Steps[step].Stage, step, at)
	e.At = at
	r.note(e)
}

// Verb is a change that is asked for.
type Verb string

// The verbs. TakeBack is that of the guardrails.
const (
	Promote  Verb = "promote"
	Pause    Verb = "pause"
	Resume   Verb = "resume"
	Abort    Verb = "abort"
	Undo     Verb = "undo"
	TakeBack Verb = "takeBack"
)

// Change asks for a change of a rollout.
type Change struct {
	ID   string
	Verb Verb
	// Request names the change: the same one again changes nothing.
	Request string
	// IfRevision, unless 0, is the revision that the change was decided on.
	IfRevision uint64
	// Force promotes a staged rollout although nodes are missing.
	Force bool
	// Auto is set when nobody asked for it, and Checks are the evidence then.
	Auto   bool
	Checks []Check
	// Members are the nodes of the cluster.
	Members []string
	At      time.Time
}

// Effect is what a change does to the registry: the version of the plugin that becomes the active one. The
// zero Effect is nothing.
type Effect struct{ Plugin, Version string }

// Change does what is asked for. The errors are *nba.Errors: CodeNotFound, and CodeConflict when the
// rollout is not where that can be done.
func (s *State) Change(c Change) (next *State, effect Effect, changed bool, err error) {
	found, err := s.Find(c.ID)
	if err != nil {
		return s, Effect{}, false, err
	}
	if c.Request != "" && c.Request == found.Request {
		return s, Effect{}, false, nil
	}
	if c.IfRevision != 0 && c.IfRevision != found.Revision {
		return s, Effect{}, false, nba.Errorf(nba.CodeConflict, "the rollout has moved on meanwhile, to %s: look again", found.Stage)
	}
	r := *found
	if len(c.Checks) > MaxChecks {
		c.Checks = c.Checks[:MaxChecks]
	}
	switch c.Verb {
	case Promote:
		effect, err = r.promote(&c)
	case Pause, Resume:
		changed, err = r.pause(&c)
		if err != nil || !changed {
			return s, Effect{}, false, err
		}
	case Abort, TakeBack:
		err = r.abort(&c)
	case Undo:
		effect, err = r.undo(&c)
	default:
		err = nba.Errorf(nba.CodeInvalid, "a rollout can be promoted, paused, resumed, aborted and undone")
	}
	if err != nil {
		return s, Effect{}, false, err
	}
	r.Request = c.Request
	next = s.with(r)
	if effect.Plugin != "" {
		next.retireOthers(&r, c.At)
	}
	return next, effect, true, nil
}

func (r *Rollout) promote(c *Change) (Effect, error) {
	event := Event{At: c.At, Event: "promoted", Auto: c.Auto, Checks: c.Checks}
	switch {
	case !r.Stage.Running():
		return Effect{}, r.refusal("promoted")
	case r.Paused:
		return Effect{}, nba.Errorf(nba.CodeConflict, "the rollout is paused: resume it first")
	case r.Stage == Staged && !c.Force:
		return Effect{}, nba.Errorf(nba.CodeConflict, "not every node has version %s ready, missing: %s; wait for them, or promote with force",
			r.Version, names(r.Missing(c.Members)))
	}
	next := 0
	if r.Stage.Comparing() {
		next = r.Step + 1
	}
	if next < len(r.Spec.Steps) {
		r.begin(next, c.At, event)
		return Effect{}, nil
	}
	r.enter(Active, 0, c.At)
	r.note(event)
	return Effect{Plugin: r.Plugin, Version: r.Version}, nil
}

func (r *Rollout) pause(c *Change) (changed bool, err error) {
	pause := c.Verb == Pause
	if !r.Stage.Running() {
		return false, r.refusal(string(c.Verb) + "d")
	}
	if r.Paused == pause {
		return false, nil
	}
	r.Paused, r.Request = pause, c.Request
	event := Event{At: c.At, Event: "paused", Auto: c.Auto}
	if !pause {
		r.Since, event.Event = c.At, "resumed"
	}
	r.note(event)
	if !pause && r.Stage == Prepared && len(r.Spec.Steps) > 0 {
		r.begin(0, c.At, Event{Event: "began", Auto: true})
	}
	return true, nil
}

func (r *Rollout) abort(c *Change) error {
	if !r.Stage.Running() {
		return r.refusal("aborted")
	}
	event := Event{At: c.At, Event: "aborted", Auto: c.Auto, Checks: c.Checks}
	cause := CauseAborted
	if c.Verb == TakeBack {
		event.Event, cause = "takenBack", CauseBreach
		r.Breach = c.Checks
	}
	r.end(RolledBack, cause, event)
	return nil
}

func (r *Rollout) undo(c *Change) (Effect, error) {
	if r.Stage != Active {
		return Effect{}, r.refusal("undone")
	}
	r.end(RolledBack, CauseUndone, Event{At: c.At, Event: "undone", Auto: c.Auto, Checks: c.Checks})
	return Effect{Plugin: r.Plugin, Version: r.Incumbent}, nil
}

// end keeps the counters: they tell what was seen.
func (r *Rollout) end(stage Stage, cause string, e Event) {
	windows := r.Windows
	r.enter(stage, 0, e.At)
	r.Windows, r.Cause, r.Paused = windows, cause, false
	r.note(e)
}

func (r *Rollout) refusal(what string) error {
	remedy := "start another one"
	switch {
	case r.Stage == Active:
		remedy = "undo returns to version " + r.Incumbent
	case r.Stage.Running():
		remedy = "abort takes it back"
	}
	return nba.Errorf(nba.CodeConflict, "the rollout is %s and cannot be %s: %s", r.Stage, what, remedy)
}

// retireOthers ends what the activation of r, or of the version before it, makes obsolete. s is not
// shared yet.
func (s *State) retireOthers(r *Rollout, at time.Time) {
	for i := range s.Rollouts {
		if o := &s.Rollouts[i]; o.ID != r.ID && o.Plugin == r.Plugin {
			o.supersede(at)
		}
	}
}

func (r *Rollout) supersede(at time.Time) {
	switch {
	case r.Stage == Active:
		r.end(Retired, "", Event{At: at, Event: "retired", Auto: true})
	case r.Stage.Running():
		r.end(RolledBack, CauseSuperseded, Event{At: at, Event: "superseded", Auto: true})
	}
}

// Activated takes note that somebody activated a version of a plugin directly, or with digest "" none at
// all: rollouts of the plugin end.
func (s *State) Activated(plugin, digest string, at time.Time) (next *State, changed bool) {
	next = &State{Rollouts: slices.Clone(s.Rollouts), Reports: s.Reports}
	for i := range next.Rollouts {
		r := &next.Rollouts[i]
		if r.Plugin != plugin || r.Stage == Active && r.Digest == digest || !r.Stage.Running() && r.Stage != Active {
			continue
		}
		r.supersede(at)
		changed = true
	}
	if !changed {
		return s, false
	}
	return next, true
}
