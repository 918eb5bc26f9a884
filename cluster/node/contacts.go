package node

import (
	"context"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/arbiterhq/arbiter/cluster/store/record"
	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/contact"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Contacts tells where a subject stands with the contact policies of the active catalog. read is as for
// Subject; the contacts themselves are always those that the leader knows.
func (n *Node) Contacts(ctx context.Context, ref nba.SubjectRef, read *nba.Read) (out nba.SubjectContacts, err error) {
	if ref, err = n.admit(ctx, ref); err != nil {
		return out, err
	}
	v := n.acquire()
	defer v.release()
	policies, err := v.activeCatalog()
	if err != nil {
		return out, err
	}
	var refs []nba.SubjectRef // whose ledger each link leads to
	zone := policies.Contacts.Zone
	err = n.readRecord(ctx, ref, read, func(r *record.Record) error {
		refs = refs[:0]
		for _, link := range policies.Contacts.Links {
			if other, ok := link.Of(r); ok {
				refs = append(refs, other)
			} else {
				refs = append(refs, ref)
			}
		}
		zone = zoneOf(&policies.Contacts, r)
		return nil
	})
	if err != nil {
		return out, err
	}
	now := n.clock.Now().UTC().Truncate(time.Millisecond)
	out = nba.SubjectContacts{SubjectRef: ref, CatalogVersion: v.state.Catalog.CatalogVersion, At: now, Policies: []nba.ContactStanding{}, Contacts: []nba.Contact{}}
	ledgers := map[nba.SubjectRef]contact.Ledger{}
	for _, who := range append(refs, ref) {
		if _, known := ledgers[who]; known {
			continue
		}
		if ledgers[who], err = n.ledgerOf(ctx, who); err != nil {
			return out, err
		}
	}
	names := placeNamesOf(policies)
	for i := range policies.Contacts.Policies {
		p := &policies.Contacts.Policies[i]
		on := ref
		if p.Link > 0 {
			on = refs[p.Link-1]
		}
		for _, s := range p.Standings(ledgers[on], now.In(zone)) {
			out.Policies = append(out.Policies, names.standing(&s, on, ref))
		}
	}
	for i := range ledgers[ref].Len() {
		e := ledgers[ref].At(i)
		out.Contacts = append(out.Contacts, names.contact(&e, now))
	}
	slices.Reverse(out.Contacts)
	return out, nil
}

// zoneOf is the time zone of a subject.
func zoneOf(c *catalog.Contacts, s nba.Subject) *time.Location {
	if c.ZoneAttribute >= 0 {
		if value, ok := s.Attribute(nba.AttributeID(c.ZoneAttribute)); ok && value.Str() != "" && value.Str() != time.Local.String() {
			if zone, err := time.LoadLocation(value.Str()); err == nil {
				return zone
			}
		}
	}
	return c.Zone
}

// placeNames give back the names of a catalog that ledgers have as numbers.
type placeNames map[contact.Name]string

func placeNamesOf(c *catalog.Catalog) placeNames {
	known := placeNames{}
	add := func(name string) { known[contact.NameOf(name)] = name }
	for _, a := range c.Actions {
		add(a.Issue)
		add(a.Group)
		add(a.Name)
	}
	for _, channel := range c.Channels {
		add(channel.Name)
	}
	return known
}

func directionOf(side contact.Side) nba.Direction {
	return [...]nba.Direction{contact.AnySide: "", contact.InboundSide: nba.Inbound, contact.OutboundSide: nba.Outbound}[side]
}

func (known placeNames) standing(s *contact.Standing, on, of nba.SubjectRef) nba.ContactStanding {
	out := nba.ContactStanding{
		Policy: s.Policy.Name, Kind: kindOf(s.Policy), Code: s.Policy.Code, Label: s.Policy.Label,
		Channel: known[s.Scope.Channel], Direction: directionOf(s.Scope.Side), Issue: known[s.Scope.Issue], Group: known[s.Scope.Group], Action: known[s.Scope.Action],
		Max: s.Max, Used: s.Used, Reserved: s.Reserved, Reached: s.Reached, Since: timeOf(s.SinceMS), FreeAt: timeOf(s.FreeMS),
	}
	if on != of {
		out.On = &on
	}
	return out
}

func kindOf(p *contact.Policy) string {
	switch {
	case p.Quiet != nil:
		return "quietHours"
	case p.Outcomes != 0 && !p.Pending:
		return "suppression"
	case p.CoolOff:
		return "coolOff"
	}
	return "limit"
}

func timeOf(ms int64) *time.Time {
	if ms == 0 {
		return nil
	}
	t := time.UnixMilli(ms).UTC()
	return &t
}

func (known placeNames) contact(e *contact.Entry, now time.Time) nba.Contact {
	out := nba.Contact{
		Time: time.UnixMilli(e.TimeMS).UTC(), DecisionID: ulid.ULID(e.Decision).String(), Channel: known[e.Place.Channel], Direction: directionOf(e.Place.Side),
		Issue: known[e.Place.Issue], Group: known[e.Place.Group], Action: known[e.Place.Action],
	}
	for i, outcome := range nba.Outcomes {
		if e.Outcomes>>i&1 != 0 {
			out.Outcomes = append(out.Outcomes, outcome)
		}
	}
	if end := e.TimeMS + e.ReservedMS; e.Outcomes == 0 && end > now.UnixMilli() {
		out.ReservedUntil = timeOf(end)
	}
	return out
}
