package router

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/cluster/raftgroup"
	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/runtime/contact"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// HoldFor is how long contacts on the ledger of another subject are held before the group of the decision
// is asked whether it was recorded. It only bounds how long a decision that was given up without a word
// counts there: nothing is released that was recorded.
const HoldFor = 15 * time.Second

// forgetVerdicts is how long it is remembered whether decisions with such contacts were recorded.
const forgetVerdicts = 24 * time.Hour

// Limits of what a leader does for other ledgers in one round. A group that does not answer must not keep it
// from the others.
const (
	newsAtOnce    = 512
	newsRounds    = 32
	resolveAtOnce = command.MaxResolved
	newsTimeout   = time.Second
)

// Ledger is what a subject was contacted with, from the replica here, which must lead its group. It may be
// one that is not stored.
func (r *Router) Ledger(ref nba.SubjectRef) (contact.Ledger, error) {
	d := r.byRef(ref)
	if err := d.readable(); err != nil {
		return nil, err
	}
	reader, err := d.machine.Store().Acquire()
	if err != nil {
		return nil, storeError(err)
	}
	defer reader.Release()
	ledger := contact.Ledger(slices.Clone(reader.Get(store.Contacts, command.AppendSubjectKey(nil, ref))))
	return ledger, ledger.Check()
}

// ReserveContacts enters the contacts of a decision that is about to be recorded into the ledger of another
// subject. The error has CodeContactLimit where a limit leaves no room. Whoever reserves records the decision
// or gives it up.
func (r *Router) ReserveContacts(ctx context.Context, on nba.SubjectRef, decision string, claim *contact.Claim, now time.Time, keep time.Duration) error {
	op := command.Reserve{Key: command.AppendSubjectKey(nil, on), Decision: ulid.MustParseStrict(decision), TimeMS: now.UnixMilli(),
		KeepMS: min(keep.Milliseconds(), command.MaxKeepContactsMS), HoldMS: now.Add(HoldFor).UnixMilli(), Claim: claim}
	if err := r.allowed(&op); err != nil {
		return err
	}
	_, err := r.byRef(on).submit(ctx, &op, true)
	return err
}

// GiveUp releases the contacts that were reserved for a decision on other ledgers, unless it was recorded
// after all. It settles that it never will be. Where it fails the groups of the ledgers find out later.
func (r *Router) GiveUp(ctx context.Context, decision string, now time.Time, on []nba.SubjectRef) error {
	slot, ok := SlotOfDecision(decision)
	if !ok {
		return errUnknownDecision()
	}
	id := ulid.MustParseStrict(decision)
	result, err := r.bySlot(slot).submit(ctx, &command.Resolve{Decisions: []ulid.ULID{id}}, true)
	if err != nil || result.Version != 0 {
		return err
	}
	var problems []error
	for _, ref := range on {
		news := command.News{Key: command.AppendSubjectKey(nil, ref), Decision: id, What: command.NewsVoid, TimeMS: now.Add(HoldFor).UnixMilli()}
		_, err := r.byRef(ref).submit(ctx, &command.Tell{News: []command.News{news}}, true)
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

// untilNothing repeats what reports whether it found as much as it looks for at once.
func untilNothing(once func() (more bool, err error)) error {
	for range newsRounds {
		if more, err := once(); err != nil || !more {
			return err
		}
	}
	return nil
}

// ask submits an operation to a group that may be led elsewhere, and does not wait long.
func (r *Router) ask(ctx context.Context, group int, op raftgroup.Operation) (fsm.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, newsTimeout)
	defer cancel()
	return r.groups()[group].submit(ctx, op, true)
}

// deliver tells the ledgers in other groups what is in the outbox of a group that this node leads. It tells
// whether there may be more.
func (r *Router) deliver(ctx context.Context, d *dataGroup) (more bool, err error) {
	outgoing, err := d.machine.Outbox(newsAtOnce)
	if err != nil || len(outgoing) == 0 {
		return false, err
	}
	tell := make([]command.Tell, len(r.groups()))
	arrived := make([]command.Delivered, len(r.groups()))
	for _, news := range outgoing {
		to := groupOf(slotOfKey(news.Key), len(r.groups()))
		tell[to].News = append(tell[to].News, news.News)
		arrived[to].Keys = append(arrived[to].Keys, news.Stored)
	}
	var problems []error
	for to := range tell {
		if len(tell[to].News) == 0 {
			continue
		}
		_, err := r.ask(ctx, to, &tell[to])
		if err == nil {
			_, err = d.submit(ctx, &arrived[to], true)
		}
		problems = append(problems, err)
	}
	return len(outgoing) == newsAtOnce, errors.Join(problems...)
}

// resolve finds out what became of decisions that hold contacts in a group that this node leads. It tells
// whether there may be more.
func (r *Router) resolve(ctx context.Context, d *dataGroup, now time.Time) (more bool, err error) {
	held, err := d.machine.Holds(now.UnixMilli(), newsAtOnce)
	if err != nil || len(held) == 0 {
		return false, err
	}
	var problems []error
	for group := range r.groups() {
		var ask command.Resolve
		var news []command.News
		for _, h := range held {
			of, ok := SlotOfDecision(h.Decision.String())
			if ok && groupOf(of, len(r.groups())) == group {
				if len(news) == resolveAtOnce {
					more = true
					break
				}
				ask.Decisions = append(ask.Decisions, h.Decision)
				news = append(news, command.News{Key: h.Key, Decision: h.Decision, TimeMS: h.UntilMS})
			}
		}
		if len(news) == 0 {
			continue
		}
		result, err := r.ask(ctx, group, &ask)
		if err == nil {
			for i := range news {
				if news[i].What = command.NewsVoid; result.Version>>i&1 == 1 {
					news[i].What = command.NewsMade
				}
			}
			_, err = d.submit(ctx, &command.Tell{News: news}, true)
		}
		problems = append(problems, err)
	}
	return more || len(held) == newsAtOnce, errors.Join(problems...)
}

// elapse does what is due of decisions in a group that this node leads.
func (r *Router) elapse(ctx context.Context, d *dataGroup, now time.Time) error {
	op := command.Elapse{UntilMS: now.UnixMilli(), ForgetMS: now.Add(-forgetVerdicts).UnixMilli(), Limit: expireAtOnce}
	if r.allowed(&op) != nil {
		return nil // what falls due needs the same level
	}
	for range expireRounds {
		due, err := d.machine.Elapses(op.UntilMS, op.ForgetMS)
		if err != nil {
			return storeError(err)
		}
		if !due {
			return nil
		}
		if _, err := d.submit(ctx, &op, true); err != nil {
			return err
		}
	}
	return nil
}
