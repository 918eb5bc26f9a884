package engine

import (
	"strings"
	"sync"
	"time"

	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/contact"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

const stageContact = "contact"

// contacts is what a decision knows of contact policies.
type contacts struct {
	local  time.Time // the time of the decision where the subject is
	ledger contact.Ledger
	now    int64
	limits []contact.Limit
	// scratch is the ledger with what this decision proposed already; it owns its memory.
	scratch contact.Ledger
}

// contact takes out the actions that a contact policy forbids now.
func (d *decision) contact() {
	if len(d.in.Catalog.Contacts.Policies) == 0 {
		return
	}
	d.beginContacts()
	d.filter(stageContact, func(d *decision, a *catalog.Action, into *nba.Stage) bool { return !d.forbidden(a, into) })
}

func (d *decision) beginContacts() {
	d.contacts.local, d.contacts.now, d.contacts.ledger = d.localTime(), d.in.Now.UnixMilli(), d.in.Contacts
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
			reached = d.contacts.ledger.Reached(&limit, d.contacts.now)
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
	return contact.PlaceOf(d.in.Request.Channel, a.Issue, a.Group, a.Name, d.in.Request.Direction)
}

// room tells whether one more proposition has room under the limits after those of this decision.
func (d *decision) room(a *catalog.Action) bool {
	if len(d.in.Catalog.Contacts.Policies) == 0 {
		return true
	}
	at := d.place(a)
	limits, about := d.limitsFor(&at)
	return !about || !d.in.Reads.answer(!d.leaveRoom(limits))
}

// leaveRoom tells whether one more contact has room under limits.
func (d *decision) leaveRoom(limits []contact.Limit) bool {
	counted := false
	for i := range limits {
		if d.ledger().Reached(&limits[i], d.contacts.now) {
			return false
		}
		counted = counted || limits[i].CountsUnanswered()
	}
	return !counted || d.ledger().Len() < contact.MaxEntries
}

// takeRoom counts a proposition for those that follow.
func (d *decision) takeRoom(a *catalog.Action) {
	at := d.place(a)
	if _, about := d.limitsFor(&at); !about {
		return
	}
	if len(d.contacts.scratch) == 0 {
		d.contacts.scratch = append(d.contacts.scratch, d.contacts.ledger...)
	}
	d.contacts.scratch = d.contacts.scratch.Append(&contact.Entry{TimeMS: d.contacts.now, ReservedMS: d.onChannel.Reserve.Milliseconds(), Place: at})
}

// limitsFor are the limits of a proposition; about tells whether any policy that counts contacts is
// about it. They are valid until the next call.
func (d *decision) limitsFor(at *contact.Place) (limits []contact.Limit, about bool) {
	limits = d.contacts.limits[:0]
	policies := d.in.Catalog.Contacts.Policies
	for i := range policies {
		if p := &policies[i]; p.Quiet == nil && p.For.Covers(at) {
			limits = append(limits, p.Limit(at, d.contacts.local))
		}
	}
	d.contacts.limits = limits
	return limits, len(limits) > 0
}

// claim writes down which contacts the decision makes, in the order of its propositions, for the state
// machine to grant.
func (d *decision) claim() {
	if d.in.Claim == nil || len(d.in.Catalog.Contacts.Policies) == 0 {
		return
	}
	position := 0
	for i := range d.out.Propositions {
		for j := range d.out.Propositions[i].Items {
			if a, ok := d.in.Catalog.Action(d.out.Propositions[i].Items[j].Action); ok {
				at := d.place(a)
				if limits, about := d.limitsFor(&at); about {
					d.in.Claim.Add(uint16(position), at, d.onChannel.Reserve.Milliseconds(), limits)
				}
			}
			position++
		}
	}
}

// ledger is what the subject was contacted with, and what this decision proposed already.
func (d *decision) ledger() contact.Ledger {
	if len(d.contacts.scratch) > 0 {
		return d.contacts.scratch
	}
	return d.contacts.ledger
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
