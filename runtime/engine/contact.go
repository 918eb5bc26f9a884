package engine

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/arbiterhq/arbiter/runtime/arbitration"
	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/contact"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// DegradedContacts is the reason of a decision for which the contacts of a linked subject could not be read.
const DegradedContacts = "CONTACTS_UNKNOWN"

const (
	stageContact = "contact"
	stageVolume  = "volume"
)

// contacts is what a decision knows of contact policies.
type contacts struct {
	local  time.Time // the time of the decision where the subject is
	now    int64
	limits []contact.Limit
	// books are the ledgers that policies count on: that of the subject, then those of Input.Linked.
	books []book
}

// book is one ledger in a decision.
type book struct {
	ledger contact.Ledger
	// scratch is the ledger with what this decision proposed already; it owns its memory.
	scratch contact.Ledger
}

// now is the ledger with what this decision proposed already.
func (b *book) now() contact.Ledger {
	if len(b.scratch) > 0 {
		return b.scratch
	}
	return b.ledger
}

// forget keeps nothing but memory.
func (c *contacts) forget() {
	books := c.books[:cap(c.books)]
	for i := range books {
		books[i] = book{scratch: books[i].scratch[:0]}
	}
	*c = contacts{limits: c.limits[:0], books: books[:0]}
}

// contact takes out the actions that a contact policy forbids now.
func (d *decision) contact() {
	if len(d.in.Catalog.Contacts.Policies) == 0 {
		return
	}
	d.beginContacts()
	if len(d.in.Catalog.Contacts.Links) > 0 && d.in.Reads.answer(slices.ContainsFunc(d.in.Linked, func(l Linked) bool { return l.Unknown })) {
		d.degrade(DegradedContacts)
	}
	d.filter(stageContact, func(d *decision, a *catalog.Action, into *nba.Stage) bool { return !d.forbidden(a, into) })
}

func (d *decision) beginContacts() {
	c := &d.contacts
	c.local, c.now = d.localTime(), d.in.Now.UnixMilli()
	for len(c.books) <= len(d.in.Linked) {
		if len(c.books) < cap(c.books) {
			c.books = c.books[:len(c.books)+1]
		} else {
			c.books = append(c.books, book{})
		}
	}
	c.books[0].ledger = d.in.Contacts
	for i := range d.in.Linked {
		c.books[i+1].ledger = d.in.Linked[i].Ledger
	}
}

// bookOf is the position of the book that a policy counts on.
func (d *decision) bookOf(p *contact.Policy) int {
	if p.Link == 0 || p.Link > len(d.in.Links) {
		return 0
	}
	return d.in.Links[p.Link-1] + 1
}

// forbidden tells whether a contact policy forbids an action now.
func (d *decision) forbidden(a *catalog.Action, into *nba.Stage) bool {
	policies := d.in.Catalog.Contacts.Policies
	at := d.place(a)
	for i := range policies {
		p := &policies[i]
		if !p.For.Covers(&at) {
			continue
		}
		reached := false
		if p.Quiet != nil {
			reached = p.Quiet.At(d.contacts.local)
		} else {
			limit := p.Limit(&at, d.contacts.local)
			book := d.bookOf(p)
			reached = d.in.NoRoom && limit.CountsUnanswered() || book > 0 && d.in.Linked[book-1].Unknown ||
				d.contacts.books[book].ledger.Reached(&limit, d.contacts.now)
		}
		if d.in.Reads.answer(reached) {
			remove(into, a, p.Code, func() string { return p.Label })
			return true
		}
	}
	return false
}

// place is where a proposition of an action would belong.
func (d *decision) place(a *catalog.Action) contact.Place {
	return a.Place(d.in.Request.Channel, d.in.Request.Direction)
}

// room tells whether one more proposition has room under the limits after those of this decision.
func (d *decision) room(a *catalog.Action) bool {
	if len(d.in.Catalog.Contacts.Policies) == 0 {
		return true
	}
	at := d.place(a)
	asked, room := false, true
	for i := range d.contacts.books {
		if limits, about := d.limitsFor(&at, i); about {
			asked, room = true, room && d.leaveRoom(limits, d.contacts.books[i].now())
		}
	}
	return !asked || !d.in.Reads.answer(!room)
}

// leaveRoom tells whether one more contact has room under limits.
func (d *decision) leaveRoom(limits []contact.Limit, ledger contact.Ledger) bool {
	counted := false
	for i := range limits {
		if ledger.Reached(&limits[i], d.contacts.now) {
			return false
		}
		counted = counted || limits[i].CountsUnanswered()
	}
	return !counted || ledger.Len() < contact.MaxEntries
}

// roomForAll tells whether all candidates that are proposed together have room, each after those before
// it.
func (d *decision) roomForAll(unit []*arbitration.Candidate) bool {
	if len(unit) == 1 {
		return d.room(unit[0].Action)
	}
	before := make([]contact.Ledger, len(d.contacts.books))
	for i := range d.contacts.books {
		before[i] = slices.Clone(d.contacts.books[i].scratch)
	}
	room := true
	for i := 0; room && i < len(unit); i++ {
		if room = d.room(unit[i].Action); room {
			d.takeRoom(unit[i].Action)
		}
	}
	for i := range d.contacts.books {
		d.contacts.books[i].scratch = append(d.contacts.books[i].scratch[:0], before[i]...)
	}
	return room
}

// takeRoom counts a proposition for those that follow.
func (d *decision) takeRoom(a *catalog.Action) {
	at := d.place(a)
	for i := range d.contacts.books {
		if _, about := d.limitsFor(&at, i); !about {
			continue
		}
		b := &d.contacts.books[i]
		if len(b.scratch) == 0 {
			b.scratch = append(b.scratch, b.ledger...)
		}
		b.scratch = b.scratch.Append(&contact.Entry{TimeMS: d.contacts.now, ReservedMS: d.reserve(i), Place: at})
	}
}

// reserve is how long a contact is reserved. One on the ledger of another subject is until that hears that
// it is not.
func (d *decision) reserve(book int) int64 {
	if book > 0 {
		return contact.MaxReservedMS
	}
	return d.onChannel.Reserve.Milliseconds()
}

// limitsFor are the limits of a proposition on one book; about tells whether any policy that counts
// contacts there is about it. They are valid until the next call.
func (d *decision) limitsFor(at *contact.Place, book int) (limits []contact.Limit, about bool) {
	limits = d.contacts.limits[:0]
	policies := d.in.Catalog.Contacts.Policies
	for i := range policies {
		if p := &policies[i]; p.Quiet == nil && d.bookOf(p) == book && p.For.Covers(at) {
			limits = append(limits, p.Limit(at, d.contacts.local))
		}
	}
	d.contacts.limits = limits
	return limits, len(limits) > 0
}

// claim writes down which contacts the decision makes, in the order of its propositions, and what it takes
// off the budgets of volumes, for the state machine to grant.
func (d *decision) claim() {
	if d.in.Claim == nil || len(d.in.Catalog.Contacts.Policies) == 0 && !d.in.Catalog.Contacts.Volumes {
		return
	}
	position := 0
	for i := range d.out.Propositions {
		for j := range d.out.Propositions[i].Items {
			if a, ok := d.in.Catalog.Action(d.out.Propositions[i].Items[j].Action); ok {
				d.claimFor(a, uint16(position))
			}
			position++
		}
	}
}

func (d *decision) claimFor(a *catalog.Action, position uint16) {
	for i := range a.Volumes {
		v := &a.Volumes[i]
		d.in.Claim.Charges = append(d.in.Claim.Charges, contact.Charge{Volume: v.Key, StartMS: v.Period(d.in.Now).StartMS})
	}
	at := d.place(a)
	for i := range d.contacts.books {
		limits, about := d.limitsFor(&at, i)
		switch {
		case !about:
		case i == 0:
			d.in.Claim.Add(position, at, d.reserve(i), limits)
		default:
			d.in.Linked[i-1].Claim.Add(position, at, d.reserve(i), limits)
		}
	}
}

// volume takes out the actions whose budget over all subjects is used up.
func (d *decision) volume() {
	if !d.in.Catalog.Contacts.Volumes {
		return
	}
	d.filter(stageVolume, func(d *decision, a *catalog.Action, into *nba.Stage) bool {
		for i := range a.Volumes {
			v := &a.Volumes[i]
			if d.in.Reads.answer(d.in.NoRoom || d.in.Volumes != nil && d.in.Volumes.Spent(v, v.Period(d.in.Now))) {
				remove(into, a, v.Code, func() string { return v.Label })
				return false
			}
		}
		return true
	})
}

// localTime is the time of the decision in the time zone of the subject.
func (d *decision) localTime() time.Time {
	c := &d.in.Catalog.Contacts
	zone := c.Zone
	if c.ZoneAttribute >= 0 {
		if value, ok := d.in.Subject.Attribute(nba.AttributeID(c.ZoneAttribute)); ok {
			if own := d.engine.zones.get(value.Str()); own != nil {
				zone = own
			}
		}
	}
	return d.in.Now.In(zone)
}

// maxZones bounds the zones that are kept: their names come from subjects.
const maxZones = 1024

// zoneCache keeps the time zones that were asked for.
type zoneCache struct {
	mu    sync.RWMutex
	known map[string]*time.Location // guarded by mu
}

// get is the zone of a name of the IANA database, nil if there is none.
func (z *zoneCache) get(name string) *time.Location {
	z.mu.RLock()
	zone, ok := z.known[name]
	z.mu.RUnlock()
	if ok || name == "" || name == time.Local.String() {
		return zone
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		zone = nil
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.known == nil {
		z.known = map[string]*time.Location{}
	}
	if len(z.known) < maxZones {
		z.known[strings.Clone(name)] = zone
	}
	return zone
}
