package fsm

import (
	"encoding/binary"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/runtime/journey"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Where subjects stand in journeys, and the definitions that open instances moved by last: a timeout is
// applied by them, whatever the catalog says by then. The bucket of journeys:
//
//	subject key                  -> journey.State
//	journeyDefinition, digest    -> journey.Definition
//	journeyUses, digest          -> how many open instances moved by it; with none it is not there
const (
	journeyUses       = 0xfe
	journeyDefinition = 0xff
)

var errJourneys = errors.New("what is stored of journeys is corrupt")

// The Version of the result of a MoveJourney.
const (
	JourneyGoesOn = 1
	JourneyEnded  = 2
)

// JourneyOrigin is the origin of what a stage of an instance raises.
func JourneyOrigin(name, stage string, number uint64) string {
	return originJourney + name + "/" + stage + "#" + strconv.FormatUint(number, 10)
}

const originJourney = "journey:"

// journeyTimer is the origin of the timer of an instance.
func journeyTimer(name string, number uint64) string {
	return originJourney + name + "#" + strconv.FormatUint(number, 10)
}

func parseJourneyTimer(origin string) (name string, number uint64, ok bool) {
	rest, ok := strings.CutPrefix(origin, originJourney)
	at := strings.LastIndexByte(rest, '#')
	if !ok || at < 0 {
		return "", 0, false
	}
	number, err := strconv.ParseUint(rest[at+1:], 10, 64)
	return rest[:at], number, err == nil
}

// applyJourneys does what an event asks of the journeys of its subject.
func (d *Data) applyJourneys(u *update, at At, ev *command.AppliedEvent, body []byte) error {
	_, _, err := d.moveJourneys(u, at, ev.Key, ev.TimeMS, body)
	return err
}

// moveJourneys does what a section asks of the journeys of a subject.
func (d *Data) moveJourneys(u *update, at At, subjectKey []byte, eventMS int64, body []byte) (all []journey.Change, why journey.Refusal, err error) {
	effects, err := journey.DecodeEffects(body, nil)
	if err != nil {
		return nil, 0, err
	}
	subjectKey = slices.Clone(subjectKey)
	for i := range effects {
		changes, refusal, err := d.moveJourney(u, at, subjectKey, eventMS, &effects[i])
		if err != nil {
			return nil, 0, err
		}
		all, why = append(all, changes...), refusal
	}
	return all, why, nil
}

func (d *Data) moveJourney(u *update, at At, subjectKey []byte, eventMS int64, effect *journey.Effect) ([]journey.Change, journey.Refusal, error) {
	def, err := d.definitions.decode(effect.Definition)
	if err != nil {
		return nil, 0, err
	}
	stored := u.Get(store.Journeys, subjectKey)
	var state journey.State
	if state.Decode(stored) != nil {
		return nil, 0, errJourneys
	}
	had := func(digest [journey.DigestBytes]byte) *journey.Definition {
		if digest == effect.Digest {
			return def
		}
		known, _ := d.journeyDefinition(u, digest) // without it there is nothing to take back
		return known
	}
	changes, why := state.Apply(effect, def, had, journey.Times{EventMS: eventMS, NowMS: at.ProposedMS})
	if len(changes) == 0 {
		return nil, why, nil
	}
	ok, err := d.putJourneys(u, subjectKey, stored, &state)
	if err != nil || !ok {
		return nil, journey.TooMany, err
	}
	return changes, journey.Done, d.followJourneys(u, at, subjectKey, effect.Definition, changes)
}

// putJourneys stores the state of a subject; ok is false, and nothing is, if it is too large.
func (d *Data) putJourneys(u *update, subjectKey, stored []byte, state *journey.State) (ok bool, err error) {
	value, ok := state.Fit(nil)
	if !ok {
		return false, nil
	}
	return true, u.replace(store.Journeys, subjectKey, stored, value)
}

// followJourneys does what follows from changes that are stored.
func (d *Data) followJourneys(u *update, at At, subjectKey, definition []byte, changes []journey.Change) error {
	for i := range changes {
		c := &changes[i]
		if err := d.useDefinition(u, c, definition); err != nil {
			return err
		}
		timer := journeyTimer(c.Journey, c.Number)
		if c.ClearMS != 0 {
			if err := d.clearTimer(u, c.ClearMS, timerJourney, subjectKey, timer); err != nil {
				return err
			}
		}
		if c.SetMS != 0 {
			if err := d.setTimer(u, c.SetMS, timerJourney, subjectKey, timer, nil); err != nil {
				return err
			}
		}
		if c.Cancel {
			if err := d.cancel(u, at, subjectKey, JourneyOrigin(c.Journey, c.From, c.Number)); err != nil {
				return err
			}
		}
		if c.Raise {
			if err := d.raise(u, at, journeyTrigger(subjectKey, c)); err != nil {
				return err
			}
		}
	}
	return nil
}

// journeyTrigger is what an instance raises that comes into a stage. What it carries along is in the contexts.
func journeyTrigger(subjectKey []byte, c *journey.Change) *command.Trigger {
	t := &command.Trigger{Key: subjectKey, Origin: JourneyOrigin(c.Journey, c.To, c.Number), RaisedMS: c.AtMS, ExpiresMS: c.ExpiresMS}
	if c.Cause == journey.CauseEvent {
		t.EventType = c.Detail
	}
	b := appendContext(append(t.Contexts, '['), "journey", c.Journey)
	b = appendContext(append(b, ','), "stage", c.To)
	var room [32]byte
	for i := range c.Data {
		b = appendContext(append(b, ','), c.Data[i].Name, string(c.Data[i].AppendText(room[:0])))
	}
	t.Contexts = append(b, ']')
	return t
}

// appendContext appends a context as JSON.
func appendContext(dst []byte, key, value string) []byte {
	dst = appendJSON(append(dst, `{"type":"journey","key":`...), key)
	return append(appendJSON(append(dst, `,"value":`...), value), '}')
}

func appendJSON(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < 0x20:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

// journeyDefinition is a stored definition, nil if there is none.
func (d *Data) journeyDefinition(u *update, digest [journey.DigestBytes]byte) (*journey.Definition, []byte) {
	stored := u.Get(store.Journeys, append([]byte{journeyDefinition}, digest[:]...))
	if stored == nil {
		return nil, nil
	}
	def, err := d.definitions.decode(stored)
	if err != nil {
		return nil, nil
	}
	return def, stored
}

// definitions are those that were read last, with their bytes: a catalog has few, and nearly every event brings
// one of them. They are not changed.
type definitions struct {
	known []knownDefinition
	next  int
}

type knownDefinition struct {
	bytes string
	def   *journey.Definition
}

const maxKnownDefinitions = 64

func (k *definitions) decode(b []byte) (*journey.Definition, error) {
	for i := range k.known {
		if k.known[i].bytes == string(b) {
			return k.known[i].def, nil
		}
	}
	read := knownDefinition{bytes: string(b), def: new(journey.Definition)}
	if err := read.def.Decode(b); err != nil {
		return nil, err
	}
	if len(k.known) < maxKnownDefinitions {
		k.known = append(k.known, read)
	} else {
		k.known[k.next%maxKnownDefinitions] = read
		k.next++
	}
	return read.def, nil
}

// useDefinition counts the open instances that moved by a definition last, and keeps it while there are some.
func (d *Data) useDefinition(u *update, c *journey.Change, definition []byte) error {
	if c.Digest == c.Had {
		return nil
	}
	none := [journey.DigestBytes]byte{}
	if c.Digest != none {
		if err := d.countUses(u, c.Digest, 1, definition); err != nil {
			return err
		}
	}
	if c.Had == none {
		return nil
	}
	return d.countUses(u, c.Had, -1, nil)
}

func (d *Data) countUses(u *update, digest [journey.DigestBytes]byte, by int64, definition []byte) error {
	usesKey, key := append([]byte{journeyUses}, digest[:]...), append([]byte{journeyDefinition}, digest[:]...)
	stored, uses := u.Get(store.Journeys, usesKey), int64(0)
	if len(stored) == 8 {
		uses = int64(binary.LittleEndian.Uint64(stored))
	}
	switch uses += by; {
	case uses < 0 || by < 0 && stored == nil:
		return errJourneys
	case uses == 0:
		return errors.Join(u.remove(store.Journeys, usesKey, stored), u.remove(store.Journeys, key, u.Get(store.Journeys, key)))
	case stored == nil:
		if err := u.insert(store.Journeys, key, slices.Clone(definition)); err != nil {
			return err
		}
	}
	return u.replace(store.Journeys, usesKey, stored, binary.LittleEndian.AppendUint64(nil, uint64(uses)))
}

// fireJourney lets the stage of an instance time out.
func (d *Data) fireJourney(u *update, at At, dueMS int64, subjectKey []byte, origin string) error {
	name, number, ok := parseJourneyTimer(origin)
	if !ok {
		return errJourneys
	}
	stored := u.Get(store.Journeys, subjectKey)
	var state journey.State
	if state.Decode(stored) != nil {
		return errJourneys
	}
	i := slices.IndexFunc(state.Open, func(in journey.Instance) bool { return in.Number == number && in.Journey == name })
	if i < 0 {
		return nil
	}
	def, definition := d.journeyDefinition(u, state.Open[i].Digest)
	if def == nil {
		return errJourneys
	}
	changes := state.Fire(name, number, dueMS, def)
	if len(changes) == 0 {
		return nil
	}
	for i := range changes {
		changes[i].ClearMS = 0 // it is the timer that fired
	}
	// What is due happens, even if the name of the next stage makes the state a little too large.
	value, _ := state.Fit(nil)
	if err := u.replace(store.Journeys, subjectKey, stored, value); err != nil {
		return err
	}
	return d.followJourneys(u, at, subjectKey, slices.Clone(definition), changes)
}

// askJourney does what somebody asks of a journey.
func (d *Data) askJourney(u *update, at At, body []byte) (Result, error) {
	var op command.MoveJourney
	if err := op.Decode(body); err != nil {
		return Result{}, err
	}
	if u.Get(store.Subjects, op.Key) == nil {
		return refuse(unknownSubject())
	}
	changes, why, err := d.moveJourney(u, at, slices.Clone(op.Key), at.ProposedMS, &op.Effect)
	if err != nil {
		return Result{}, err
	}
	switch why {
	case journey.Done:
		result := Result{Created: changes[0].Began, Duplicate: changes[0].Stayed, Version: JourneyGoesOn}
		if changes[0].Ended {
			result.Version = JourneyEnded
		}
		return result, nil
	case journey.Over:
		return Result{Duplicate: true, Version: JourneyEnded}, nil
	case journey.TooMany:
		return refuse(nba.Errorf(nba.CodeConflict, "as many instances of the journey are open as may be: end one first"))
	default:
		return refuse(nba.Errorf(nba.CodeConflict, "the subject is not where this leads on from: read its journeys, and name the stage it is in, or none"))
	}
}

// eraseJourneys erases where a subject stands, and its timers.
func (d *Data) eraseJourneys(u *update, subjectKey []byte) error {
	stored := u.Get(store.Journeys, subjectKey)
	if stored == nil {
		return nil
	}
	var state journey.State
	if state.Decode(stored) != nil {
		return errJourneys
	}
	for i := range state.Open {
		in := &state.Open[i]
		if err := d.countUses(u, in.Digest, -1, nil); err != nil {
			return err
		}
		if in.DueMS == 0 {
			continue
		}
		if err := d.clearTimer(u, in.DueMS, timerJourney, subjectKey, journeyTimer(in.Journey, in.Number)); err != nil {
			return err
		}
	}
	return u.remove(store.Journeys, subjectKey, stored)
}

// JourneyDefinition is a definition that open instances move by, as reader sees it; nil if there is none. It
// is safe for concurrent use.
func JourneyDefinition(reader *store.Reader, digest [journey.DigestBytes]byte) *journey.Definition {
	def := new(journey.Definition)
	if stored := reader.Get(store.Journeys, append([]byte{journeyDefinition}, digest[:]...)); stored == nil || def.Decode(stored) != nil {
		return nil
	}
	return def
}
