package fsm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/cluster/store/record"
	"github.com/arbiterhq/arbiter/runtime/contact"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Data is the state machine of a data group: subjects, the decisions made for them, and their
// interaction history.
//
//	subjects     subject key                                              -> record
//	decisions    ULID                                                     -> decision entry
//	history      subject key                                              -> number of decisions in its history
//	history      subject key, ms, ULID, historyDecision                   -> nothing
//	history      subject key, ms, ULID, historyResponse, position, outcome -> response record
//	idempotency  id of the key                                            -> what the operation answered
//	contacts     subject key                                              -> contact ledger
//	due          dueKey, ms, id of the key                                -> nothing; see linked.go for the rest
//	control      see volumes.go
//	events, seen see events.go; letters see letters.go
//
// ApplyBatch, Apply, Snapshot and Restore are for raft; the rest is safe for concurrent use.
type Data struct {
	machine
	subjects atomic.Int64 // as of the last batch

	// newest is the greatest decision id that was ever stored here, or nothing. Ids begin with their
	// time, so nearly every new one is above it and needs no look into the store.
	newest []byte

	// expired is where the last removal by age ended: below it there are no decisions. Nothing begins
	// at the first.
	expired []byte

	// Used within one batch.
	count   int64 // of subjects
	counted int64 // as it was written last
	arena   arena
	old     record.Record
	set     record.Record
	patch   command.Patch
	keyed   command.KeyedOp
	claim   contact.Claim
	// recorded is reused for the memory of its claim.
	recorded    command.Recorded
	key         []byte
	events      eventState
	definitions definitions // of journeys
	campaignState

	outboxState
	timers queue
	strategyState
}

var keySubjects = []byte("subjects")

// NewData is the data state machine over s.
func NewData(s *store.Store) (*Data, error) {
	d := &Data{}
	d.machine = machine{store: s, rules: d}
	if err := d.open(); err != nil {
		return nil, fmt.Errorf("opening the data state: %w", err)
	}
	return d, nil
}

// Subjects is the number of subjects.
func (d *Data) Subjects() int64 { return d.subjects.Load() }

func (d *Data) reloadState() error {
	r, err := d.store.Acquire()
	if err != nil {
		return err
	}
	defer r.Release()
	d.newest, d.expired = d.newest[:0], nil
	r.ScanBack(store.Decisions, nil, nil, func(key, _ []byte) bool {
		d.newest = append(d.newest, key...)
		return false
	})
	if v := r.Get(store.Meta, keySubjects); len(v) == 8 {
		d.subjects.Store(int64(binary.LittleEndian.Uint64(v)))
	} else {
		d.subjects.Store(0)
	}
	if err := d.reloadEvents(r); err != nil {
		return err
	}
	d.reloadOutbox(r)
	d.timers.reset()
	return nil
}

func (d *Data) beginBatch() {
	d.count = d.subjects.Load()
	d.counted = d.count
}

func (d *Data) finishBatch(u *update) error {
	if err := d.finishOutbox(u); err != nil {
		return err
	}
	if d.count == d.counted {
		return nil
	}
	d.counted = d.count
	return u.local(keySubjects, binary.LittleEndian.AppendUint64(nil, uint64(d.count)))
}

func (d *Data) commitBatch() {
	d.subjects.Store(d.count)
	d.commitOutbox()
	d.timers.settle()
}

func (d *Data) applyOp(u *update, at At, op command.Op) (Result, error) {
	if _, known := command.Needs(op.Kind, op.Version); !known {
		return Result{}, unknownKind(op)
	}
	if refused := d.closed(op.Kind); refused != nil {
		return refuse(refused)
	}
	switch op.Kind {
	case command.RestoreBegun, command.PairsLoaded, command.RestoreEnded:
		return d.restore(u, op)
	case command.SubjectPut:
		return d.put(u, at, op.Body)
	case command.SubjectPatch:
		return d.patchSubject(u, op.Body)
	case command.SubjectDelete:
		return d.delete(u, op)
	case command.DecisionRecorded:
		return d.recordDecision(u, op)
	case command.ResponseRecorded:
		return d.recordResponse(u, at, op)
	case command.JourneyMoved:
		return d.askJourney(u, at, op.Body)
	case command.Keyed:
		return d.applyKeyed(u, at, op.Body)
	case command.Expired:
		return d.expire(u, op.Body)
	case command.ContactsReserved:
		return d.reserve(u, op.Body)
	case command.ContactsTold:
		return d.told(u, op.Body)
	case command.TimeElapsed:
		return d.elapse(u, at, op.Body)
	case command.DecisionsResolved:
		return d.resolve(u, op.Body)
	case command.NewsDelivered:
		return d.delivered(u, op.Body)
	case command.LeaseGranted:
		return d.grantLease(u, at, op.Body)
	case command.LeaseReturned:
		return d.returnLease(u, op.Body)
	case command.EventsApplied:
		return d.applyEvents(u, at, op.Body)
	case command.StreamsNoted:
		return d.noteStreams(u, op.Body)
	case command.CampaignBatch:
		return d.campaignBatch(u, at, op.Body)
	case command.CampaignForgotten:
		return d.forgetCampaign(u, op.Body)
	case command.LettersRemoved:
		return d.removeLetters(u, op.Body)
	case command.TimersFired:
		return d.fireTimers(u, at, op.Body)
	case command.TriggersClosed:
		return d.closeTriggers(u, at, op.Body)
	case command.DeliveriesChanged:
		return d.changeDeliveries(u, at, op.Body)
	default:
		return Result{}, unknownKind(op)
	}
}

func refuse(err *nba.Error) (Result, error) { return Result{Err: err}, nil }

func corruptSubject() error { return errors.New("a stored subject is corrupt") }

// guard checks the condition of a write. present is 0 for a subject that does not exist.
func guard(hasIf bool, want, present uint64) *nba.Error {
	if !hasIf || want == present {
		return nil
	}
	if present == 0 {
		return nba.Errorf(nba.CodePrecondition, "the subject does not exist: leave If-Match out to create it")
	}
	if want == 0 {
		return nba.Errorf(nba.CodePrecondition, "the subject exists at version %d: send that version to replace it", present)
	}
	return nba.Errorf(nba.CodePrecondition, "the subject is at version %d, not %d: read it again and repeat the change", present, want)
}

func (d *Data) put(u *update, at At, body []byte) (Result, error) {
	var p command.Put
	if err := p.Decode(body); err != nil {
		return Result{}, err
	}
	if d.set.Reset(nba.SubjectRef{}, p.Record) != nil {
		return refuse(nba.Errorf(nba.CodeInvalid, "the subject record is not well-formed"))
	}
	stored := u.Get(store.Subjects, p.Key)
	if stored != nil && d.old.Reset(nba.SubjectRef{}, stored) != nil {
		return Result{}, corruptSubject()
	}
	present := uint64(0)
	if stored != nil {
		present = d.old.Version()
	}
	if err := guard(p.HasIf, p.IfVersion, present); err != nil {
		return refuse(err)
	}
	var value []byte
	if p.Merge && stored != nil {
		change := record.Change{Set: &d.set, Grant: d.set.Granted(), Refuse: d.set.Refused()}
		merged, err := record.AppendMerge(d.arena.room(len(stored)+len(p.Record)), &d.old, change)
		if err != nil {
			return refuse(tooLarge())
		}
		value = d.arena.keep(merged)
	} else {
		if stored == nil {
			d.old = record.Record{}
		}
		whole, err := record.Put(d.arena.room(len(p.Record)+len(d.old.Consents())), &d.old, &d.set, p.Record, at.ProposedMS)
		if err != nil {
			return refuse(tooLarge())
		}
		value = d.arena.keep(whole)
	}
	record.SetVersion(value, present+1)
	if err := u.replaceKept(store.Subjects, d.arena.copied(p.Key), stored, value); err != nil {
		return Result{}, err
	}
	if stored == nil {
		d.count++
	}
	return Result{Version: present + 1, Created: stored == nil}, nil
}

func tooLarge() *nba.Error {
	return nba.Errorf(nba.CodeTooLarge, "the subject would have more than %d bytes of attributes, %d attributes, or consents to %d channels: remove some first",
		record.MaxDataBytes, record.MaxAttributes, nba.MaxChannelConsents)
}

func unknownSubject() *nba.Error {
	return nba.Errorf(nba.CodeSubjectUnknown, "no such subject: store it first with PUT /v1/subjects or an import")
}

func (d *Data) patchSubject(u *update, body []byte) (Result, error) {
	p := &d.patch
	if err := p.Decode(body); err != nil {
		return Result{}, err
	}
	if d.set.Reset(nba.SubjectRef{}, p.Set) != nil {
		return refuse(nba.Errorf(nba.CodeInvalid, "the subject record is not well-formed"))
	}
	stored := u.Get(store.Subjects, p.Key)
	if stored == nil {
		return refuse(unknownSubject())
	}
	if d.old.Reset(nba.SubjectRef{}, stored) != nil {
		return Result{}, corruptSubject()
	}
	present := d.old.Version()
	if err := guard(p.HasIf, p.IfVersion, present); err != nil {
		return refuse(err)
	}
	merged, err := record.AppendMerge(d.arena.room(len(stored)+len(p.Set)+16), &d.old, record.Change{
		Set: &d.set, Unset: p.Unset, Grant: p.Grant, Refuse: p.Refuse, Clear: p.Clear, Forget: p.Forget,
	})
	if err != nil {
		return refuse(tooLarge())
	}
	value := d.arena.keep(merged)
	record.SetVersion(value, present+1)
	return Result{Version: present + 1}, u.replaceKept(store.Subjects, d.arena.copied(p.Key), stored, value)
}

func (d *Data) delete(u *update, op command.Op) (Result, error) {
	var p command.Delete
	if err := p.Decode(op.Body); err != nil {
		return Result{}, err
	}
	stored := u.Get(store.Subjects, p.Key)
	if stored == nil {
		return d.deleteLedger(u, &p)
	}
	if d.old.Reset(nba.SubjectRef{}, stored) != nil {
		return Result{}, corruptSubject()
	}
	if err := guard(p.HasIf, p.IfVersion, d.old.Version()); err != nil {
		return refuse(err)
	}
	if err := d.deleteHistory(u, p.Key, op.Version >= command.NotingVersion); err != nil {
		return Result{}, err
	}
	if contacts := u.Get(store.Contacts, p.Key); contacts != nil {
		if err := u.remove(store.Contacts, p.Key, contacts); err != nil {
			return Result{}, err
		}
	}
	if err := d.eraseWindows(u, p.Key); err != nil {
		return Result{}, err
	}
	if err := d.deleteEvents(u, p.Key); err != nil {
		return Result{}, err
	}
	if err := d.eraseFromCampaigns(u, p.Key); err != nil {
		return Result{}, err
	}
	if err := errors.Join(d.eraseTriggers(u, p.Key), d.eraseDeliveries(u, p.Key)); err != nil {
		return Result{}, err
	}
	if err := d.eraseJourneys(u, p.Key); err != nil {
		return Result{}, err
	}
	d.count--
	return Result{Version: d.old.Version()}, u.remove(store.Subjects, p.Key, stored)
}

// deleteHistory erases the history of a subject and the decisions in it, whose ids it notes if told.
func (d *Data) deleteHistory(u *update, subjectKey []byte, note bool) error {
	var keys, values [][]byte
	u.Scan(store.History, subjectKey, func(key, value []byte) bool {
		keys, values = append(keys, slices.Clone(key)), append(values, value)
		return true
	})
	for i, key := range keys {
		if h, ok := ParseHistoryKey(key, len(subjectKey)); ok && h.Kind == HistoryDecision {
			if err := u.remove(store.Decisions, h.Decision[:], u.Get(store.Decisions, h.Decision[:])); err != nil {
				return err
			}
			if note {
				if err := markErased(u, h.Decision); err != nil {
					return err
				}
			}
		}
		if err := u.remove(store.History, key, values[i]); err != nil {
			return err
		}
	}
	return nil
}

func (d *Data) recordDecision(u *update, op command.Op) (Result, error) {
	p := &d.recorded
	if err := p.Decode(op.Body, op.Version); err != nil {
		return Result{}, err
	}
	if u.Get(store.Subjects, p.Key) == nil {
		return refuse(unknownSubject())
	}
	if stored := d.decision(u, p.ID[:]); stored != nil {
		if e, err := OpenDecisionEntry(stored); err != nil {
			return Result{}, err
		} else if string(e.Key) != string(p.Key) {
			return refuse(nba.Errorf(nba.CodeConflict, "the decision id is already in use"))
		}
		return Result{Duplicate: true, Decision: p.ID}, nil
	}
	if !d.triggered(u, p) {
		return refuse(triggerGone())
	}
	if refused, err := d.allow(u, p); err != nil || refused != nil {
		return Result{Err: refused}, err
	}
	if bytes.Compare(p.ID[:], d.expired) < 0 {
		d.expired = nil
	}
	if err := d.countDecision(u, p); err != nil {
		return Result{}, err
	}
	value := d.arena.keep(appendDecisionEntry(d.arena.room(len(p.Key)+p.Propositions+len(p.Record)+8), p))
	if err := u.replaceKept(store.Decisions, d.arena.copied(p.ID[:]), nil, value); err != nil {
		return Result{}, err
	}
	if err := errors.Join(d.effects(u, p), d.send(u, p)); err != nil {
		return Result{}, err
	}
	d.key = AppendHistoryKey(d.key[:0], p.Key, HistoryKey{TimeMS: p.TimeMS, Decision: p.ID, Kind: HistoryDecision})
	return Result{Decision: p.ID}, u.insert(store.History, d.key, nil)
}

// decision is the stored decision of an id, or nil.
func (d *Data) decision(u *update, id []byte) []byte {
	if bytes.Compare(id, d.newest) > 0 {
		d.newest = append(d.newest[:0], id...)
		return nil
	}
	return u.Get(store.Decisions, id)
}

func (d *Data) recordResponse(u *update, at At, op command.Op) (Result, error) {
	var p command.Responded
	if err := p.Decode(op.Body, op.Version); err != nil {
		return Result{}, err
	}
	stored := u.Get(store.Decisions, p.ID[:])
	if stored == nil {
		return refuse(nba.Errorf(nba.CodeDecisionUnknown, "no such decision: it was simulated, it is older than what is kept, or its subject was deleted"))
	}
	entry, err := OpenDecisionEntry(stored)
	if err != nil {
		return Result{}, err
	}
	position, err := entry.find(p.Action)
	if err != nil {
		return Result{}, err
	}
	if position < 0 {
		return refuse(nba.Errorf(nba.CodeActionUnknown, "the decision did not propose this action"))
	}
	if entry.Outcomes[position]&(1<<p.Outcome) != 0 {
		return Result{Duplicate: true}, nil
	}
	if err := d.respond(u, at, &p, stored, &entry, position); err != nil {
		return Result{}, err
	}
	if body := p.Effects.Get(command.EffectJourneys); body != nil {
		_, _, err = d.moveJourneys(u, at, entry.Key, p.TimeMS, body)
	}
	return Result{}, err
}

// respond enters an outcome, which is new, into the decision that is stored, the ledgers and the history.
func (d *Data) respond(u *update, at At, p *command.Responded, stored []byte, entry *DecisionEntry, position int) error {
	value := d.arena.keep(append(d.arena.room(len(stored)), stored...))
	value[entry.outcomesAt+position] |= 1 << p.Outcome
	if err := u.replace(store.Decisions, p.ID[:], stored, value); err != nil {
		return err
	}
	if err := d.respondContact(u, entry.Key, p, position); err != nil {
		return err
	}
	links, err := linksOf(entry.Record)
	if err != nil {
		return err
	}
	if links != nil {
		news := command.News{Decision: p.ID, What: command.NewsOutcome, Position: uint16(position), Outcome: p.Outcome, TimeMS: p.TimeMS}
		if err := d.post(u, at, links, news); err != nil {
			return err
		}
	}
	d.key = AppendHistoryKey(d.key[:0], entry.Key, HistoryKey{
		TimeMS: p.TimeMS, Decision: p.ID, Kind: HistoryResponse, Position: uint16(position), Outcome: p.Outcome,
	})
	return u.insert(store.History, d.key, d.arena.keep(append(d.arena.room(len(p.Record)), p.Record...)))
}
