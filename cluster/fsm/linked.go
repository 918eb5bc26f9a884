package fsm

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"

	"github.com/oklog/ulid/v2"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/runtime/contact"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// A contact may count on the ledger of another subject, such as the account, which may be of another
// group. The contact is reserved there first (ContactsReserved), then the decision is recorded in the group
// of its own subject, which is what makes it so. Whoever is not told what became of a decision asks its
// group (DecisionsResolved); a decision that was not recorded by then never will be, so a reservation is
// released only when that is certain, whatever the clocks say. What is reported of a decision is put into
// the outbox of its group and told to the other ledgers in the order it happened (ContactsTold).
//
// All this lies in the bucket of what falls due:
//
//	dueDecision, ms, ULID, what         -> what the operation said: a proposition without an answer is recorded as
//	                                       ignored, or contacts on other ledgers are released
//	dueVerdict, ULID                    -> 1: the decision was recorded, 0: it never will be
//	dueVerdict                          -> ULID: of decisions up to it is not known any more whether they were recorded
//	dueHold, ms, ULID, key of the other subject -> nothing: contacts of a decision that is still to be resolved
//	dueOutbox, index, ULID, what, position, outcome, key of the other subject -> ms
const (
	dueDecision = 2
	dueVerdict  = 3
	dueHold     = 4
	dueOutbox   = 5

	// What is due of a decision.
	whatTimeout = 1
	whatRelease = 2
)

var errDue = errors.New("what is stored as due is corrupt")

func dueAt(dst []byte, kind byte, ms int64, id ulid.ULID) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, kind), uint64(ms)^signBit)
	return append(dst, id[:]...)
}

// dueAbove is above everything of a kind that is due at the time or before.
func dueAbove(kind byte, ms int64) []byte {
	return binary.BigEndian.AppendUint64([]byte{kind}, uint64(min(ms, math.MaxInt64-1)+1)^signBit)
}

func verdictKey(id ulid.ULID) []byte { return append([]byte{dueVerdict}, id[:]...) }

// decisionLost refuses a decision whose contacts on another ledger were given up meanwhile.
func decisionLost() error {
	return nba.Errorf(nba.CodeContactLimit, "the contact that the decision makes on another subject's ledger was given up meanwhile: decide again")
}

// effects puts into the state what a decision that is recorded brings with it.
func (d *Data) effects(u *update, p *command.Recorded) error {
	if body := p.Effects.Get(command.EffectTimeout); body != nil {
		timeout, err := command.DecodeTimeout(body)
		if err != nil {
			return err
		}
		key := append(dueAt(nil, dueDecision, p.TimeMS+int64(timeout.AfterMS), p.ID), whatTimeout)
		if err := u.insert(store.Due, key, slices.Clone(body)); err != nil {
			return err
		}
	}
	links, err := linksOf(p.Record)
	if err != nil || links == nil {
		return err
	}
	if err := u.insert(store.Due, verdictKey(p.ID), []byte{1}); err != nil {
		return err
	}
	body := p.Effects.Get(command.EffectRelease)
	if body == nil {
		return nil
	}
	after, err := command.DecodeRelease(body)
	if err != nil {
		return err
	}
	key := append(dueAt(nil, dueDecision, p.TimeMS+int64(after), p.ID), whatRelease)
	return u.insert(store.Due, key, slices.Clone(links))
}

// linksOf is the body of KeptLinks of a decision record, nil for most.
func linksOf(record []byte) ([]byte, error) {
	if !command.HasSections(record) {
		return nil, nil // as with most
	}
	r, err := command.OpenDecision(record)
	if err != nil {
		return nil, err
	}
	for {
		if _, ok := r.Next(); !ok {
			break
		}
	}
	if err := r.Err(); err != nil {
		return nil, err
	}
	return r.Sections().Get(command.KeptLinks), nil
}

// lost tells whether a decision with contacts on other ledgers may not be recorded any more.
func (d *Data) lost(u *update, p *command.Recorded) (bool, error) {
	links, err := linksOf(p.Record)
	if err != nil || links == nil {
		return false, err
	}
	if verdict := u.Get(store.Due, verdictKey(p.ID)); verdict != nil {
		return true, nil // it is not stored, so it was given up or erased
	}
	forgotten := u.Get(store.Due, []byte{dueVerdict})
	return forgotten != nil && string(p.ID[:]) <= string(forgotten), nil
}

// resolve settles whether decisions were recorded.
func (d *Data) resolve(u *update, body []byte) (Result, error) {
	var op command.Resolve
	if err := op.Decode(body); err != nil {
		return Result{}, err
	}
	recorded := uint64(0)
	forgotten := u.Get(store.Due, []byte{dueVerdict})
	for i, id := range op.Decisions {
		verdict := u.Get(store.Due, verdictKey(id))
		switch {
		case verdict != nil && verdict[0] == 1:
			recorded |= 1 << i
		case verdict != nil:
		case forgotten != nil && string(id[:]) <= string(forgotten):
			recorded |= 1 << i // nobody knows any more: the contact stays
		default:
			if err := u.insert(store.Due, verdictKey(id), []byte{0}); err != nil {
				return Result{}, err
			}
		}
	}
	return Result{Version: recorded}, nil
}

// reserve enters the contacts of a decision of another subject into a ledger here.
func (d *Data) reserve(u *update, body []byte) (Result, error) {
	op := command.Reserve{Claim: &d.claim}
	if err := op.Decode(body); err != nil {
		return Result{}, err
	}
	stored := u.Get(store.Contacts, op.Key)
	ledger := contact.Ledger(stored)
	if err := ledger.Check(); err != nil {
		return Result{}, err
	}
	hold := append(dueAt(nil, dueHold, op.HoldMS, op.Decision), op.Key...)
	if ledger.Holds(op.Decision) {
		return Result{Duplicate: true}, nil
	}
	next, _, ok := ledger.Grant(op.Claim, op.Decision, op.TimeMS, op.KeepMS)
	if !ok {
		return Result{Err: contactLimitReached()}, nil
	}
	if err := u.replace(store.Contacts, op.Key, stored, d.arena.keep(append(d.arena.room(len(next)), next...))); err != nil {
		return Result{}, err
	}
	return Result{}, u.replace(store.Due, hold, u.Get(store.Due, hold), []byte{})
}

// told takes in what became of decisions with contacts on ledgers here.
func (d *Data) told(u *update, body []byte) (Result, error) {
	var op command.Tell
	if err := op.Decode(body); err != nil {
		return Result{}, err
	}
	for i := range op.News {
		if err := d.hear(u, &op.News[i]); err != nil {
			return Result{}, err
		}
	}
	return Result{}, nil
}

func (d *Data) hear(u *update, n *command.News) error {
	if n.What == command.NewsMade || n.What == command.NewsVoid {
		hold := append(dueAt(nil, dueHold, n.TimeMS, n.Decision), n.Key...)
		if held := u.Get(store.Due, hold); held != nil {
			if err := u.remove(store.Due, hold, held); err != nil {
				return err
			}
		}
	}
	stored := u.Get(store.Contacts, n.Key)
	if stored == nil || n.What == command.NewsMade {
		return nil
	}
	ledger := contact.Ledger(d.arena.keep(append(d.arena.room(len(stored)), stored...)))
	if err := ledger.Check(); err != nil {
		return err
	}
	switch n.What {
	case command.NewsOutcome:
		if !ledger.Respond(n.Decision, n.Position, 1<<n.Outcome, n.TimeMS) {
			return nil
		}
	case command.NewsReleased:
		if !ledger.Release(n.Decision) {
			return nil
		}
	default:
		if ledger = ledger.Without(n.Decision); len(ledger) == 0 {
			return u.remove(store.Contacts, n.Key, stored)
		}
	}
	return u.replace(store.Contacts, n.Key, stored, ledger)
}

// post puts news for the other ledgers of a decision into the outbox.
func (d *Data) post(u *update, at At, links []byte, n command.News) error {
	keys, err := command.DecodeLinks(links)
	if err != nil {
		return err
	}
	for _, key := range keys {
		out := binary.BigEndian.AppendUint64([]byte{dueOutbox}, at.Index)
		out = append(append(out, n.Decision[:]...), n.What)
		out = append(binary.BigEndian.AppendUint16(out, n.Position), n.Outcome)
		out = append(out, key...)
		if err := u.replace(store.Due, out, u.Get(store.Due, out), binary.LittleEndian.AppendUint64(nil, uint64(n.TimeMS))); err != nil {
			return err
		}
	}
	return nil
}

const outboxHead = 1 + 8 + 16 + 1 + 2 + 1

func parseOutbox(key, value []byte) (n command.News, ok bool) {
	if len(key) <= outboxHead || key[0] != dueOutbox || len(value) != 8 {
		return n, false
	}
	n.Decision = ulid.ULID(key[9:])
	n.What, n.Position, n.Outcome = key[25], binary.BigEndian.Uint16(key[26:]), key[28]
	n.Key, n.TimeMS = slices.Clone(key[outboxHead:]), int64(binary.LittleEndian.Uint64(value))
	return n, true
}

// delivered empties the outbox of what has arrived.
func (d *Data) delivered(u *update, body []byte) (Result, error) {
	var op command.Delivered
	if err := op.Decode(body); err != nil {
		return Result{}, err
	}
	for _, key := range op.Keys {
		stored := u.Get(store.Due, key)
		if _, ok := parseOutbox(key, stored); !ok {
			continue // it was taken before
		}
		if err := u.remove(store.Due, key, stored); err != nil {
			return Result{}, err
		}
	}
	return Result{}, nil
}

// Outgoing is news in the outbox, with its key there.
type Outgoing struct {
	command.News
	Stored []byte
}

// Outbox is the news for other ledgers, in the order it happened, at most limit of it. It is safe for
// concurrent use.
func (d *Data) Outbox(limit int) (news []Outgoing, err error) {
	r, err := d.store.Acquire()
	if err != nil {
		return nil, err
	}
	defer r.Release()
	r.Scan(store.Due, []byte{dueOutbox}, func(key, value []byte) bool {
		n, ok := parseOutbox(key, value)
		if !ok {
			err = errDue
			return false
		}
		news = append(news, Outgoing{News: n, Stored: slices.Clone(key)})
		return len(news) < limit
	})
	return news, err
}

// Held is a reservation of a decision that is still to be resolved.
type Held struct {
	Decision ulid.ULID
	Key      []byte // of the subject whose ledger it is on
	UntilMS  int64
}

// Holds are the reservations held until a time or less, at most limit of them. It is safe for concurrent
// use.
func (d *Data) Holds(untilMS int64, limit int) (held []Held, err error) {
	r, err := d.store.Acquire()
	if err != nil {
		return nil, err
	}
	defer r.Release()
	r.ScanBetween(store.Due, []byte{dueHold}, dueAbove(dueHold, untilMS), func(key, _ []byte) bool {
		if len(key) <= 25 {
			err = errDue
			return false
		}
		held = append(held, Held{Decision: ulid.ULID(key[9:]), Key: slices.Clone(key[25:]), UntilMS: int64(binary.BigEndian.Uint64(key[1:]) ^ signBit)})
		return len(held) < limit
	})
	return held, err
}

// deleteLedger erases a subject that is not stored: the ledger of one that others are linked to, and events of
// it that came while it was unknown.
func (d *Data) deleteLedger(u *update, p *command.Delete) (Result, error) {
	contacts := u.Get(store.Contacts, p.Key)
	if contacts == nil && !hasLetters(u, p.Key) {
		return refuse(unknownSubject())
	}
	if err := guard(p.HasIf, p.IfVersion, 0); err != nil {
		return refuse(err)
	}
	if err := d.deleteLetters(u, p.Key); err != nil || contacts == nil {
		return Result{}, err
	}
	return Result{}, u.remove(store.Contacts, p.Key, contacts)
}
