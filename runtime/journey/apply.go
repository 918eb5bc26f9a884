package journey

// Times are what an effect is applied at, in milliseconds since 1970.
type Times struct {
	// EventMS is when it happened, NowMS when it arrived. What happened in the future is taken as now.
	EventMS, NowMS int64
}

func (t Times) at() int64 { return min(t.EventMS, t.NowMS) }

// Change is what became of one instance.
type Change struct {
	Moved
	// Digest identifies the definition now, Had the one before; each is zero where the instance was not
	// open.
	Digest, Had [DigestBytes]byte
	// ClearMS is when the timer was due that is to be removed, SetMS when the one is that is to be set; 0 for
	// none.
	ClearMS, SetMS int64
	// Cancel tells that what the stage From raised is to be taken back, Raise that To raises a trigger with
	// the contexts in Data, which expires at ExpiresMS (0: never).
	Cancel, Raise bool
	ExpiresMS     int64
	Data          []Field
	// Stayed tells that the instance did not change its stage, but perhaps its data or its timer.
	Stayed bool
	// Began and Ended tell that it did so.
	Began, Ended bool
}

// Refusal tells why an effect did not do what was asked.
type Refusal uint8

// The refusals.
const (
	Done Refusal = iota
	// NoRule: no rule leads on from where the subject is.
	NoRule
	// TooOld: something newer is known of the instance.
	TooOld
	// TooSoon: the last one ended too recently, or the journey is entered once only.
	TooSoon
	// TooMany: as many instances are open as may be.
	TooMany
	// Over: the last instance ended in the stage that a person asks for.
	Over
)

// Apply does what an effect asks for. definition is that of the effect. had tells which emitting stages the
// definitions have that instances moved by before: it is asked for the definition of a digest, and gives nil
// if it is not there any more.
func (s *State) Apply(e *Effect, definition *Definition, had func(digest [DigestBytes]byte) *Definition, t Times) ([]Change, Refusal) {
	a := applier{state: s, effect: e, def: definition, had: had, at: t.at(), refusal: NoRule}
	ordered := e.Cause == CauseEvent
	found := false
	for i := 0; i < len(s.Open); i++ {
		in := &s.Open[i]
		if in.Journey != definition.Name || !e.Every && in.Key != e.Key {
			continue
		}
		found = true
		if ordered && t.at() < in.EventMS {
			a.refuse(TooOld)
			continue
		}
		if a.follow(i) {
			i-- // it ended, and the next has its place
		}
	}
	if !found && !e.Every {
		a.begin(ordered)
	}
	if !found && ordered && len(a.changes) == 0 {
		a.passBy()
	}
	if len(a.changes) > 0 {
		a.refusal = Done
	}
	return a.changes, a.refusal
}

// Fire does what is due of an instance at a time. What is not due any more gives no change.
func (s *State) Fire(journey string, number uint64, dueMS int64, definition *Definition) []Change {
	for i := range s.Open {
		in := &s.Open[i]
		if in.Number != number || in.Journey != journey || in.DueMS != dueMS {
			continue
		}
		from := definition.stage(in.Stage)
		if from < 0 || definition.Stages[from].TimeoutMS == 0 {
			return nil
		}
		e := &Effect{Digest: in.Digest, Cause: CauseTimeout, Detail: ""}
		a := applier{state: s, effect: e, def: definition, at: dueMS,
			had: func([DigestBytes]byte) *Definition { return definition }}
		a.move(i, definition.Stages[from].To)
		return a.changes
	}
	return nil
}

type applier struct {
	state   *State
	effect  *Effect
	def     *Definition
	had     func([DigestBytes]byte) *Definition
	at      int64
	changes []Change
	refusal Refusal
}

func (a *applier) refuse(why Refusal) { a.refusal = why }

// follow lets the first rule that leads on from an instance move it; ended tells that it is gone.
func (a *applier) follow(i int) (ended bool) {
	in := &a.state.Open[i]
	from := a.def.stage(in.Stage)
	for _, rule := range a.effect.Rules {
		if rule.To >= len(a.def.Stages) {
			continue
		}
		switch rule.Kind {
		case Move:
			if rule.From != from {
				continue
			}
		case Jump:
			if rule.From != from && rule.From != AnyStage {
				continue
			}
			if rule.To == from {
				a.stay(in, false)
				return false
			}
		case Enter:
			a.stay(in, rule.To == from)
			return false
		case Exit:
		default:
			continue
		}
		return a.move(i, rule.To)
	}
	return false
}

// stay takes data over; anew begins the time of the stage again.
func (a *applier) stay(in *Instance, anew bool) {
	c := a.change(in)
	c.Stayed, c.From, c.To = true, in.Stage, in.Stage
	in.Digest = a.effect.Digest
	in.Data, _ = merged(in.Data, a.effect.Data)
	in.EventMS = max(in.EventMS, a.at)
	if stage := a.def.stage(in.Stage); anew && stage >= 0 {
		c.ClearMS = in.DueMS
		in.SinceMS = a.at
		in.DueMS = a.due(stage)
		c.SetMS = in.DueMS
	}
	c.Data = in.Data
	a.changes = append(a.changes, c)
}

func (a *applier) due(stage int) int64 {
	if after := a.def.Stages[stage].TimeoutMS; after > 0 {
		return a.at + after
	}
	return 0
}

func (a *applier) change(in *Instance) Change {
	return Change{Moved: Moved{Journey: in.Journey, Key: in.Key, Number: in.Number, AtMS: a.at, Cause: a.effect.Cause, Detail: a.effect.Detail},
		Digest: a.effect.Digest, Had: in.Digest}
}

// move brings an instance into another stage, and ends it if that is final.
func (a *applier) move(i, to int) (ended bool) {
	in := &a.state.Open[i]
	stage := &a.def.Stages[to]
	c := a.change(in)
	c.From, c.To = in.Stage, stage.Name
	c.ClearMS, c.Cancel = in.DueMS, a.emitted(in)
	in.Data, _ = merged(in.Data, a.effect.Data)
	in.Stage, in.SinceMS, in.Digest = stage.Name, a.at, a.effect.Digest
	if a.effect.Cause == CauseEvent {
		in.EventMS = max(in.EventMS, a.at)
	}
	in.DueMS = a.due(to)
	c.SetMS, c.Data = in.DueMS, in.Data
	a.raise(&c, stage)
	if stage.Final {
		a.end(i, &c)
	}
	a.note(c)
	return stage.Final
}

func (a *applier) raise(c *Change, stage *Stage) {
	if c.Raise = stage.Emits; c.Raise && stage.WithinMS > 0 {
		c.ExpiresMS = a.at + stage.WithinMS
	}
}

// emitted tells whether the stage of an instance raised something.
func (a *applier) emitted(in *Instance) bool {
	def := a.had(in.Digest)
	if def == nil {
		return false
	}
	stage := def.stage(in.Stage)
	return stage >= 0 && def.Stages[stage].Emits
}

// end removes an instance and remembers its end.
func (a *applier) end(i int, c *Change) {
	s, in := a.state, &a.state.Open[i]
	c.Ended, c.Digest, c.SetMS = true, [DigestBytes]byte{}, 0
	a.remember(Ended{Journey: in.Journey, Key: in.Key, Stage: c.To, AtMS: a.at, EventMS: in.EventMS})
	s.Open = append(s.Open[:i], s.Open[i+1:]...)
}

// remember puts the end of an instance in the place of that of the one before.
func (a *applier) remember(e Ended) {
	s := a.state
	for j := range s.Ended {
		if s.Ended[j].Journey == e.Journey {
			s.Ended = append(s.Ended[:j], s.Ended[j+1:]...)
			break
		}
	}
	if len(s.Ended) == MaxEffects {
		s.Ended = append(s.Ended[:0], s.Ended[1:]...)
	}
	s.Ended = append(s.Ended, e)
}

// note remembers a change and its move.
func (a *applier) note(c Change) {
	s := a.state
	if len(s.Moves) >= MaxMoves {
		s.Moves = append(s.Moves[:0], s.Moves[len(s.Moves)-MaxMoves+1:]...)
	}
	s.Moves = append(s.Moves, c.Moved)
	a.changes = append(a.changes, c)
}

// begin begins an instance if a rule does, and if it may.
func (a *applier) begin(ordered bool) {
	for _, rule := range a.effect.Rules {
		if rule.To >= len(a.def.Stages) || rule.Kind != Enter && (rule.Kind != Jump || rule.From != None && rule.From != AnyStage) {
			continue
		}
		if rule.Kind == Jump && a.def.Stages[rule.To].Final {
			a.over(rule.To)
			return
		}
		if why := a.mayBegin(rule.Kind, ordered); why != Done {
			a.refuse(why)
			return
		}
		a.enter(rule.To)
		return
	}
}

// passBy remembers an event that would have ended an instance, had one been open: what began before that and
// comes late begins none.
func (a *applier) passBy() {
	exits := false
	for _, rule := range a.effect.Rules {
		exits = exits || rule.Kind == Exit
	}
	last := a.state.LastEnd(a.def.Name)
	if !exits || last != nil && last.EventMS >= a.at {
		return
	}
	if last == nil {
		a.remember(Ended{Journey: a.def.Name, Key: a.effect.Key, EventMS: a.at})
	} else if last.EventMS = a.at; !a.effect.Every {
		last.Key = a.effect.Key
	}
	a.changes = append(a.changes, Change{Stayed: true, Moved: Moved{Journey: a.def.Name, Key: a.effect.Key, AtMS: a.at, Cause: a.effect.Cause, Detail: a.effect.Detail}})
}

// over tells whether the last instance ended where somebody wants to end one.
func (a *applier) over(to int) {
	if last := a.state.LastEnd(a.def.Name); last != nil && last.Stage == a.def.Stages[to].Name && last.Key == a.effect.Key {
		a.refuse(Over)
	}
}

func (a *applier) mayBegin(kind RuleKind, ordered bool) Refusal {
	if last := a.state.LastEnd(a.def.Name); last != nil {
		switch {
		case ordered && a.at <= last.EventMS && last.Key == a.effect.Key:
			return TooOld
		case kind == Jump: // a person knows better
		case last.AtMS == 0: // none was open
		case a.def.AgainMS == Never || a.def.AgainMS > 0 && a.at < last.AtMS+a.def.AgainMS:
			return TooSoon
		}
	}
	_, open := a.state.Of(a.def.Name)
	if open >= a.def.Instances {
		if !a.def.Replace {
			return TooMany
		}
		for ; open >= a.def.Instances; open-- {
			a.replace()
		}
	}
	if len(a.state.Open) >= MaxOpen {
		return TooMany
	}
	return Done
}

// replace ends the oldest instance of the journey, since another begins.
func (a *applier) replace() {
	for i := range a.state.Open {
		in := &a.state.Open[i]
		if in.Journey != a.def.Name {
			continue
		}
		c := a.change(in)
		c.From, c.Cause, c.Detail = in.Stage, CauseReplaced, ""
		c.ClearMS, c.Cancel = in.DueMS, a.emitted(in)
		a.end(i, &c)
		a.note(c)
		return
	}
}

func (a *applier) enter(to int) {
	stage := &a.def.Stages[to]
	a.state.Next++
	data, _ := merged(nil, a.effect.Data)
	a.state.Open = append(a.state.Open, Instance{
		Journey: a.def.Name, Key: a.effect.Key, Stage: stage.Name, Number: a.state.Next, Digest: a.effect.Digest,
		BegunMS: a.at, SinceMS: a.at, EventMS: a.at, DueMS: a.due(to), Data: data,
	})
	i := len(a.state.Open) - 1
	in := &a.state.Open[i]
	c := a.change(in)
	c.Had, c.Began, c.To, c.SetMS, c.Data = [DigestBytes]byte{}, true, stage.Name, in.DueMS, in.Data
	a.raise(&c, stage)
	if stage.Final {
		a.end(i, &c)
	}
	a.note(c)
}
