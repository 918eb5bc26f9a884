package catalog

import (
	"strings"
	"time"

	"github.com/arbiterhq/arbiter/runtime/contact"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Contacts are the contact policies of a catalog.
type Contacts struct {
	Policies []contact.Policy
	// Zone is the time zone of subjects that have none of their own; ZoneAttribute is the attribute with
	// that of a subject, or -1.
	Zone          *time.Location
	ZoneAttribute int
	// Keep is how long contacts must be remembered.
	Keep time.Duration
	// Links lead from a subject to others that policies count on: Policy.Link is 1 more than the position
	// in Links.
	Links []Link
	// Pending tells that some policy counts what may still be shown.
	Pending bool
	// Volumes tells that some action has a budget over all subjects.
	Volumes bool
}

// Place is where a proposition of an action belongs.
func (a *Action) Place(channel string, direction nba.Direction) contact.Place {
	return contact.PlaceOf(channel, a.Issue, a.Group, a.Name, direction)
}

// Until is until when a proposition decided at a moment may be shown: until the action ends, and if a policy
// counts what may still be shown, until its reservation does. nil is without end.
func (c *Contacts) Until(a *Action, on *Channel, direction nba.Direction, decided time.Time) *time.Time {
	if !c.Pending {
		return a.To
	}
	at := a.Place(on.Name, direction)
	for i := range c.Policies {
		if p := &c.Policies[i]; p.Pending && p.For.Covers(&at) {
			if end := decided.Add(on.Reserve); a.To == nil || end.Before(*a.To) {
				return &end
			}
			break
		}
	}
	return a.To
}

// Link leads from a subject to another one, such as the account it belongs to: Attribute holds the id of
// that one, and Level is its type.
type Link struct {
	Level     nba.SubjectType
	Attribute nba.AttributeID
}

// Of is the subject that the link leads to; ok is false for a subject without one, or one that is itself of
// the level: what counts there counts on the subject alone.
func (l Link) Of(s nba.Subject) (ref nba.SubjectRef, ok bool) {
	if s.Ref().Type == l.Level {
		return nba.SubjectRef{}, false
	}
	value, ok := s.Attribute(l.Attribute)
	if !ok {
		return nba.SubjectRef{}, false
	}
	ref, err := nba.SubjectRef{ID: strings.Clone(value.Str()), Type: l.Level}.Normalize()
	return ref, err == nil
}

func levels() (names []string) {
	for _, t := range nba.SubjectTypes {
		names = append(names, string(t))
	}
	return names
}

// link is where a policy counts.
func (c *compiler) link(spec *contactSpec) int {
	if !spec.link.given() {
		return 0
	}
	id, ok := c.textAttribute(spec.link, "a link is the id of a subject")
	if !ok {
		return 0
	}
	contacts := &c.catalog.Contacts
	link := Link{Level: nba.SubjectType(spec.level.value), Attribute: id}
	for i := range contacts.Links {
		if contacts.Links[i] == link {
			return i + 1
		}
	}
	if len(contacts.Links) == MaxLinks {
		c.fail(spec.link.node, nba.CodeTooLarge, "at most %d different links: each is another ledger that a decision waits for", MaxLinks)
		return 0
	}
	contacts.Links = append(contacts.Links, link)
	return len(contacts.Links)
}
