package node

import (
	"context"
	"slices"

	"github.com/oklog/ulid/v2"

	"github.com/arbiterhq/arbiter/cluster/router"
	"github.com/arbiterhq/arbiter/runtime/contact"
	"github.com/arbiterhq/arbiter/runtime/engine"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/replay"
)

// What is assumed besides attributes when another catalog makes a past decision.
const (
	assumedContacts = "contacts"
	assumedHistory  = "history"
	assumedJourneys = "journeys"
)

// asOther makes the decision as another catalog would have made it. What that reads and the one of then
// did not is taken from the subject as it is, and named.
func (n *Node) asOther(ctx context.Context, v *view, p *past, catalogVersion uint64, again *nba.Replay) error {
	other, version, err := n.catalogFor(ctx, v, catalogVersion)
	if err != nil {
		return err
	}
	in := p.input(v, other, version)
	in.Request.ExcludedActions = slices.DeleteFunc(slices.Clone(in.Request.ExcludedActions), func(name string) bool {
		_, there := other.Action(name)
		return !there
	})
	if err := engine.ValidateRequest(in.Request, other); err != nil {
		return err
	}
	live, err := n.router.Acquire(p.stored.Subject)
	if err != nil {
		return err
	}
	defer live.Release()
	subject := &subjectOfThen{Subject: p.reads.Subject(p.stored.Subject), live: live, beforeMS: p.stored.DecidedAt.UnixMilli(), assumed: map[nba.AttributeID]bool{}}
	in.Subject = subject
	if len(other.Contacts.Policies) > 0 {
		now, err := live.Contacts()
		if err != nil {
			return err
		}
		exact := false
		if in.Contacts, exact = contactsBefore(now, ulid.MustParseStrict(p.stored.DecisionID), subject.beforeMS); !exact || len(other.Contacts.Links) > 0 {
			again.Assumed = append(again.Assumed, assumedContacts)
		}
	}
	if err := n.engine.Decide(ctx, in, &again.Decision); err != nil {
		return err
	}
	if subject.history {
		again.Assumed = append(again.Assumed, assumedHistory)
	}
	if subject.stands {
		again.Assumed = append(again.Assumed, assumedJourneys)
	}
	for id := range subject.assumed {
		if a, ok := v.state.Dictionary.AttributeByID(id); ok {
			again.Assumed = append(again.Assumed, a.Name)
		}
	}
	slices.Sort(again.Assumed)
	return nil
}

// subjectOfThen is a subject as a decision saw it, completed by what it is now.
type subjectOfThen struct {
	*replay.Subject
	live     *router.Reading
	beforeMS int64
	// assumed are the attributes that were not read then, and may have changed since.
	assumed map[nba.AttributeID]bool
	history bool
	stands  bool // where it stands in its journeys was not asked for then, and may have changed since
}

// JourneyBytes implements journey.Holder.
func (s *subjectOfThen) JourneyBytes() ([]byte, error) {
	if s.Stood() {
		return s.Subject.JourneyBytes()
	}
	s.stands = true
	return s.live.JourneyBytes()
}

// Attribute implements nba.Subject.
func (s *subjectOfThen) Attribute(id nba.AttributeID) (nba.Value, bool) {
	if value, read := s.Read(id); read {
		return value, value.Kind() != nba.KindInvalid
	}
	if s.live.Version() != s.Version() {
		s.assumed[id] = true
	}
	return s.live.Attribute(id)
}

// Touches implements nba.Historian: those before the decision.
func (s *subjectOfThen) Touches(fn func(t *nba.Touch) (more bool)) error {
	s.history = true
	return s.live.Touches(func(t *nba.Touch) bool { return t.TimeMS >= s.beforeMS || fn(t) })
}

// contactsBefore is a ledger as it was before a decision, as far as it still tells: outcomes are without
// those that came later. It is exact as long as no other contact was made since, which may have pushed old
// ones out, and no outcome came.
func contactsBefore(ledger contact.Ledger, decision ulid.ULID, ms int64) (before contact.Ledger, exact bool) {
	exact = true
	for i := range ledger.Len() {
		e := ledger.At(i)
		if e.TimeMS >= ms {
			exact = exact && e.Decision == decision
			continue
		}
		if e.Outcomes != 0 && e.TimeMS+e.RespondedMS > ms {
			e.Outcomes, e.RespondedMS, exact = 0, 0, false
		}
		before = before.Append(&e)
	}
	return before, exact
}
