package node

import (
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/router"
	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/contact"
	"github.com/arbiterhq/arbiter/runtime/engine"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// others are the other subjects whose ledgers a decision counts on, with what it claims there. The memory
// is reused.
type others struct {
	refs   []nba.SubjectRef
	linked []engine.Linked
	links  []int
	claims []*contact.Claim
	// away tells that some of them cannot be written: the decision is made without what counts there.
	away bool
}

// linkTimeout bounds how long a decision waits for what it needs of another subject's group.
const linkTimeout = time.Second

// errLinkedAway tells that contacts could not be reserved on the ledger of another subject.
var errLinkedAway = errors.New("the group of a linked subject does not answer")

// isAway tells whether an error means that a group does not answer.
func isAway(err error) bool {
	code := nba.CodeOf(err)
	return code == nba.CodeUnavailable || code == nba.CodeTimeout || code == nba.CodeOverloaded
}

// findLinked looks up the other subjects that the contact policies of the catalog count on, and their
// ledgers, which may be in groups that other nodes lead.
func (n *Node) findLinked(ctx context.Context, in *engine.Input, o *others) error {
	o.refs, o.linked, o.links = o.refs[:0], o.linked[:0], o.links[:0]
	if len(in.Catalog.Contacts.Links) == 0 {
		return nil
	}
	if err := n.followLinks(ctx, in, o); err != nil {
		return err
	}
	for i, ref := range o.refs {
		if i == len(o.claims) {
			o.claims = append(o.claims, new(contact.Claim))
		}
		o.claims[i].Reset()
		linked := engine.Linked{Claim: o.claims[i], Unknown: o.away}
		if !o.away {
			var err error
			linked.Ledger, err = n.ledgerSoon(ctx, ref)
			if linked.Unknown = err != nil && isAway(err) && ctx.Err() == nil; err != nil && !linked.Unknown {
				return err
			}
		}
		o.linked = append(o.linked, linked)
	}
	in.Linked, in.Links = o.linked, o.links
	return nil
}

// followLinks reads whom the subject is linked to. The record is given back before anything is asked of
// other nodes.
func (n *Node) followLinks(ctx context.Context, in *engine.Input, o *others) error {
	reading, err := n.reading(ctx, in.Request)
	if err != nil {
		return err
	}
	defer reading.Release()
	for _, link := range in.Catalog.Contacts.Links {
		at := -1
		if ref, ok := link.Of(reading); ok {
			at = indexOf(o.refs, ref)
			if at == len(o.refs) {
				o.refs = append(o.refs, ref)
			}
		}
		o.links = append(o.links, at)
	}
	return nil
}

func indexOf(refs []nba.SubjectRef, ref nba.SubjectRef) int {
	for i := range refs {
		if refs[i] == ref {
			return i
		}
	}
	return len(refs)
}

// ledgerSoon is ledgerOf for a decision, which rather does without than wait.
func (n *Node) ledgerSoon(ctx context.Context, ref nba.SubjectRef) (contact.Ledger, error) {
	ctx, cancel := context.WithTimeout(ctx, linkTimeout)
	defer cancel()
	return n.ledgerOf(ctx, ref)
}

// ledgerOf reads the ledger of another subject from the node that leads its group.
func (n *Node) ledgerOf(ctx context.Context, ref nba.SubjectRef) (ledger contact.Ledger, err error) {
	err = n.router.AtLeader(ctx, router.Slot(ref), func() (err error) {
		ledger, err = n.router.Ledger(ref)
		return err
	}, func(node string) error {
		var p packer
		p.text(ref.ID)
		p.text(string(ref.Type))
		u, err := n.ask(ctx, node, methodLedger, p.b)
		if err != nil {
			return err
		}
		ledger = contact.Ledger(u.text())
		return errors.Join(u.err(), ledger.Check())
	})
	return ledger, err
}

// serveLedger reads a ledger for another node.
func (n *Node) serveLedger(_ context.Context, _ string, request []byte) ([]byte, error) {
	u := unpacker{rest: string(request)}
	ref, err := nba.SubjectRef{ID: u.text(), Type: nba.SubjectType(u.text())}.Normalize()
	if err := errors.Join(u.err(), err); err != nil {
		return nil, err
	}
	if err := n.serving(); err != nil {
		return nil, err
	}
	ledger, err := n.router.Ledger(ref)
	return answer(err, func(p *packer) error {
		p.text(string(ledger))
		return nil
	})
}

// giveUpTimeout bounds how long a decision that was not recorded waits until its contacts on other ledgers
// are released. What it does not get done the groups of the ledgers do later.
const giveUpTimeout = 2 * time.Second

// recordLinked records a decision that counts on the ledgers of other subjects: its contacts are reserved
// there first. They stay if the decision was recorded, whatever happens in between.
func (n *Node) recordLinked(ctx context.Context, in *engine.Input, scratch *decideScratch) error {
	rec, o := &scratch.record, &scratch.others
	var on []nba.SubjectRef
	var keys [][]byte
	for i := range o.linked {
		if !o.linked[i].Claim.Empty() {
			on = append(on, o.refs[i])
			keys = append(keys, command.AppendSubjectKey(nil, o.refs[i]))
		}
	}
	if len(on) == 0 {
		return n.router.RecordDecision(ctx, rec)
	}
	channel, _ := in.Catalog.Channel(in.Request.Channel) // it decided for it
	rec.Kept = rec.Kept.Put(command.KeptLinks, command.AppendLinks(nil, keys...))
	rec.Effects = rec.Effects.Put(command.EffectRelease, command.AppendRelease(nil, uint64(channel.Reserve.Milliseconds())))
	reserved := 0
	var err error
	for i := range o.linked {
		if o.linked[i].Claim.Empty() || err != nil {
			continue
		}
		reserved++
		err = n.reserve(ctx, in, o, i)
	}
	if err == nil {
		err = n.router.RecordDecision(ctx, rec)
	}
	if errors.Is(err, errLinkedAway) {
		return err // what it reserved elsewhere is released when the groups find out
	}
	if key := nba.IdempotencyOf(ctx); err != nil || key != nil && key.Replayed() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveUpTimeout)
		defer cancel()
		if failed := n.router.GiveUp(ctx, in.DecisionID, in.Now, on[:reserved]); failed != nil {
			n.logger.Debug("reserved contacts are released later", "error", failed)
		}
	}
	return err
}

// reserve reserves the contacts of a decision on one of the other ledgers.
func (n *Node) reserve(ctx context.Context, in *engine.Input, o *others, i int) error {
	soon, cancel := context.WithTimeout(ctx, linkTimeout)
	defer cancel()
	err := n.router.ReserveContacts(soon, o.refs[i], in.DecisionID, o.linked[i].Claim, in.Now, in.Catalog.Contacts.Keep)
	if err != nil && isAway(err) && ctx.Err() == nil {
		return errLinkedAway
	}
	return err
}

// budgets tell a decision which volumes are used up in the group of its subject, and remember which of them
// that were.
type budgets struct {
	reading *router.Reading
	lacking []charged
	failed  error
}

// charged is a volume in one period.
type charged struct {
	volume *contact.Volume
	period contact.Period
}

// Spent implements engine.Volumes.
func (b *budgets) Spent(v *contact.Volume, p contact.Period) bool {
	left, err := b.reading.LeaseLeft(v.Key, p.StartMS)
	if err != nil {
		b.failed = err
	}
	if left == 0 {
		b.lacking = append(b.lacking, charged{v, p})
	}
	return left == 0
}

// leasesAtOnce bounds the leases that one decision asks for at the same time.
const leasesAtOnce = 8

// leaseLacking asks for parts of the volumes that a decision found used up in its group. It fails with
// errLeased if there is more now: the decision is to be made again.
func (n *Node) leaseLacking(ctx context.Context, in *engine.Input, b *budgets) error {
	if b.failed != nil || len(b.lacking) == 0 || in.NoRoom {
		return b.failed
	}
	slot := router.Slot(in.Request.Subject)
	if !n.router.Leads(slot) {
		return nba.Errorf(nba.CodeContactLimit, "the leader of the subject's group knows whether there is more of a volume")
	}
	var asking errgroup.Group
	asking.SetLimit(leasesAtOnce)
	more := make([]bool, len(b.lacking))
	for i, c := range b.lacking {
		asking.Go(func() (err error) {
			more[i], err = n.router.LeaseVolume(ctx, slot, c.volume, c.period, in.CatalogVersion)
			return err
		})
	}
	if err := asking.Wait(); err != nil {
		// Without the control group nothing more is to be had; the decision does without.
		n.logger.Debug("a part of a volume was not to be had", "error", err)
	}
	if slices.Contains(more, true) {
		return errLeased
	}
	return nil
}

// effects are what the state machine does with a decision besides storing it.
func (n *Node) effects(in *engine.Input, rec *command.Decision) (effects command.Sections) {
	if len(rec.Propositions) == 0 {
		return nil
	}
	if len(in.Claim.Charges) > 0 {
		effects = effects.Put(command.EffectCharges, contact.AppendCharges(nil, in.Claim.Charges))
	}
	if channel, ok := in.Catalog.Channel(in.Request.Channel); ok && channel.ResponseTimeout > 0 {
		timeout := command.Timeout{AfterMS: uint64(channel.ResponseTimeout.Milliseconds()), Shown: in.Request.Direction != nba.Outbound}
		effects = effects.Put(command.EffectTimeout, timeout.Append(nil))
	}
	return effects
}

// charge has more of the volumes asked for that a decision was recorded with, where they run low.
func (n *Node) charge(in *engine.Input, out *nba.Decision) {
	if len(in.Claim.Charges) == 0 {
		return
	}
	slot := router.Slot(in.Request.Subject)
	for i := range out.Propositions {
		for j := range out.Propositions[i].Items {
			action, ok := in.Catalog.Action(out.Propositions[i].Items[j].Action)
			if !ok {
				continue
			}
			n.chargeAction(slot, in, action)
		}
	}
}

func (n *Node) chargeAction(slot int, in *engine.Input, a *catalog.Action) {
	for i := range a.Volumes {
		v := &a.Volumes[i]
		n.router.Charged(slot, v, v.Period(in.Now), in.CatalogVersion)
	}
}
