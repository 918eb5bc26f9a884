package node

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/raftgroup"
	"github.com/arbiterhq/arbiter/cluster/router"
	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/contact"
	"github.com/arbiterhq/arbiter/runtime/engine"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/replay"
)

// decideScratch is what one decision needs besides its answer. It is pooled.
type decideScratch struct {
	record command.Decision
	claim  contact.Claim
	tokens tokenWriter
	// The ledgers of other subjects and the volumes that the decision counts on.
	others  others
	budgets budgets
	// What the decision reads, as bytes, and with the other sections that are kept.
	reads  engine.Reads
	texts  *replay.Texts
	replay []byte
	kept   command.Sections
	// raising is what raised the decision, nil for one that was asked for.
	raising *raising
}

func newScratchPool() *sync.Pool { return &sync.Pool{New: func() any { return new(decideScratch) }} }

// Decide answers req into out. The decision is in the log before Decide returns, unless it was
// asked to simulate. Neither req nor out is kept. In a cluster the call is moved to the node that leads
// the subject's group, so that the profile stays where it is; a stale decision is made here.
func (n *Node) Decide(ctx context.Context, req *nba.DecisionRequest, out *nba.Decision) error {
	if err := n.serving(); err != nil {
		return err
	}
	if n.router.Alone() {
		return n.decideHere(ctx, req, out)
	}
	subject, err := req.Subject.Normalize()
	if err != nil {
		return n.decideHere(ctx, req, out) // which reports it with every other mistake
	}
	slot := router.Slot(subject)
	if req.Options.Consistency == nba.ConsistencyStale && n.router.Keeps(slot) && nba.IdempotencyOf(ctx) == nil {
		// The replica here may not know the last contacts; its leader does.
		if err := n.decideHere(ctx, req, out); nba.CodeOf(err) != nba.CodeContactLimit {
			return err
		}
	}
	if n.router.Leads(slot) {
		if err := n.decideHere(ctx, req, out); !movedAway(err) {
			return err
		}
	}
	return n.router.AtLeader(ctx, slot,
		func() error { return n.decideHere(ctx, req, out) },
		func(node string) error { return n.decideAt(ctx, node, req, out) })
}

// movedAway tells whether a call failed since this node does not lead the group any more.
func movedAway(err error) bool {
	_, moved := asNotLeader(err)
	return moved
}

func asNotLeader(err error) (*raftgroup.NotLeader, bool) {
	return errors.AsType[*raftgroup.NotLeader](err)
}

// decideHere makes the decision on this node.
func (n *Node) decideHere(ctx context.Context, req *nba.DecisionRequest, out *nba.Decision) error {
	defer n.campaigns.enter()()
	v := n.acquire()
	defer v.release()
	key := nba.IdempotencyOf(ctx)
	if key != nil && !req.Options.Simulate {
		if done, err := n.replay(ctx, v, req.Subject, out); done || err != nil {
			return err
		}
	}
	policies, version, err := n.catalogFor(ctx, v, req.Options.CatalogVersion)
	if err != nil {
		return err
	}
	if err := engine.ValidateRequest(req, policies); err != nil {
		return err
	}
	scratch := n.scratch.Get().(*decideScratch)
	defer n.scratch.Put(scratch)
	err = n.decideUntil(ctx, v, engine.Input{
		Dictionary: v.state.Dictionary, Catalog: policies, CatalogVersion: version, Scorer: v.models, Strategy: v.models, Request: req,
	}, key, scratch, out)
	if err == nil && key != nil && key.Replayed() { // another call with this key was quicker
		_, err = n.replay(ctx, v, req.Subject, out)
	} else if err == nil && !req.Options.Simulate {
		v.count(req.Subject, out)
	}
	return err
}

// decideUntil decides, again where others made contacts meanwhile, and records the decision.
func (n *Node) decideUntil(ctx context.Context, v *view, in engine.Input, key *nba.Idempotency, scratch *decideScratch, out *nba.Decision) error {
	scratch.others.away = false
	for attempt := 1; ; attempt++ {
		in.NoRoom = attempt >= maxDecideAttempts
		scratch.noteReads(n, v, &in)
		err := n.decideOnce(ctx, in, key, scratch, out)
		if errors.Is(err, errLinkedAway) && !scratch.others.away {
			scratch.others.away = true
			continue
		}
		// Another decision made a contact that this one had room for, whose rest is known now; or there is
		// more of a volume.
		if (nba.CodeOf(err) == nba.CodeContactLimit || errors.Is(err, errLeased)) && !in.NoRoom {
			continue
		}
		return err
	}
}

// maxDecideAttempts bounds how often a decision is made again since others made contacts meanwhile. Each
// time one of them got ahead, which a limit allows only so often. The last one does without what is limited.
const maxDecideAttempts = 16

// errLeased tells that a volume has more than a decision found.
var errLeased = errors.New("a volume has more now")

// decideOnce decides and records the decision, unless it is simulated.
func (n *Node) decideOnce(ctx context.Context, in engine.Input, key *nba.Idempotency, scratch *decideScratch, out *nba.Decision) (err error) {
	req := in.Request
	in.Now = n.clock.Now().UTC().Truncate(time.Millisecond)
	in.DecisionID = decisionID(req.Subject, in.Now, rand.Uint64(), rand.Uint64())
	in.Seed = replay.Seed(in.DecisionID)
	scratch.claim.Reset()
	in.Claim = &scratch.claim
	if err := n.findLinked(ctx, &in, &scratch.others); err != nil {
		return err
	}
	if err := n.decideInTurn(ctx, in, scratch, out); err != nil {
		return err
	}
	if err := n.leaseLacking(ctx, &in, &scratch.budgets); err != nil {
		return err
	}
	if scratch.raising != nil {
		if err := scratch.raising.proposes(out); err != nil {
			return err
		}
	}
	addTokens(&scratch.tokens, out)
	if req.Options.Simulate {
		n.metrics.decided(req.Channel, out)
		return nil
	}
	scratch.fill(req, out)
	if scratch.record.Kept = scratch.kept; in.Reads != nil { // every node takes sections
		scratch.record.Kept = keepStrategies(scratch.kept, in.Catalog, req.Channel, out)
	}
	scratch.record.Claim, scratch.record.KeepContactsMS = &scratch.claim, in.Catalog.Contacts.Keep.Milliseconds()
	if key != nil && out.Explanation != nil {
		if scratch.record.Explanation, err = json.Marshal(out.Explanation); err != nil {
			return fmt.Errorf("keeping the explanation of a decision: %w", err)
		}
	}
	scratch.record.Effects = n.effects(&in, &scratch.record)
	if scratch.raising != nil {
		if err := scratch.raising.add(n, &in, scratch, out); err != nil {
			return err
		}
	}
	if err := n.recordLinked(ctx, &in, scratch); err != nil {
		return err
	}
	n.charge(&in, out)
	n.metrics.decided(req.Channel, out)
	return nil
}

// decideInTurn is decideOn, for which a triggered decision waits until it has a processor.
func (n *Node) decideInTurn(ctx context.Context, in engine.Input, scratch *decideScratch, out *nba.Decision) error {
	if scratch.raising != nil {
		defer scratch.raising.turn()()
	}
	return n.decideOn(ctx, in, scratch, out)
}

// decideOn runs the engine on the subject's record and gives the record back before anything waits
// for the log.
func (n *Node) decideOn(ctx context.Context, in engine.Input, scratch *decideScratch, out *nba.Decision) error {
	reading, err := n.reading(ctx, in.Request)
	if err != nil {
		return err
	}
	defer reading.Release()
	in.Subject = reading
	if len(in.Catalog.Contacts.Policies) > 0 {
		if in.Contacts, err = reading.Contacts(); err != nil {
			return err
		}
	}
	scratch.budgets = budgets{reading: reading, lacking: scratch.budgets.lacking[:0]}
	in.Volumes = &scratch.budgets
	if err := n.engine.Decide(ctx, in, out); err != nil {
		return err
	}
	scratch.keepReads(&in)
	return nil
}

func (n *Node) reading(ctx context.Context, req *nba.DecisionRequest) (*router.Reading, error) {
	if n.router.Alone() || req.Options.Consistency == nba.ConsistencyLeader { // as ValidateRequest left it
		return n.router.Acquire(req.Subject)
	}
	reading, _, err := n.router.AcquireRead(ctx, req.Subject, nba.Read{Consistency: req.Options.Consistency, MaxAge: nba.DefaultMaxAge})
	return reading, err
}

func (n *Node) catalogFor(ctx context.Context, v *view, pinned uint64) (*catalog.Catalog, uint64, error) {
	if pinned == 0 || pinned == v.state.Catalog.CatalogVersion {
		active, err := v.activeCatalog()
		return active, v.state.Catalog.CatalogVersion, err
	}
	c, err := n.pinned(ctx, v, pinned)
	return c, pinned, err
}

// decisionID draws the random part of the id. It names the decision and protects nothing, so it need
// not be unpredictable.
func decisionID(ref nba.SubjectRef, now time.Time, a, b uint64) string {
	var entropy [10]byte
	binary.LittleEndian.PutUint64(entropy[:], a)
	binary.LittleEndian.PutUint16(entropy[8:], uint16(b))
	return router.NewDecisionID(ref, now, entropy)
}

func addTokens(w *tokenWriter, d *nba.Decision) {
	id := ulid.MustParseStrict(d.DecisionID)
	for i := range d.Propositions {
		items := d.Propositions[i].Items
		for j := range items {
			items[j].ResponseToken = w.token(id, items[j].Action, items[j].Treatment)
		}
	}
}

// fill makes the decision record.
func (s *decideScratch) fill(req *nba.DecisionRequest, d *nba.Decision) {
	r := &s.record
	*r = command.Decision{
		ID: d.DecisionID, Subject: req.Subject, Time: d.DecidedAt, Channel: req.Channel, Direction: req.Direction,
		CatalogVersion: d.CatalogVersion, RequestID: req.DecisionRequestID, Degraded: d.Degraded, DegradedReason: d.DegradedReason,
		InControlGroup: d.InControlGroup, ControlGroup: d.ControlGroup, Placements: r.Placements[:0], Propositions: r.Propositions[:0],
	}
	for i := range d.Propositions {
		p := &d.Propositions[i]
		r.Placements = append(r.Placements, p.Placement)
		for j := range p.Items {
			item := &p.Items[j]
			proposition := command.Proposition{
				Placement: p.Placement, Rank: item.Rank, Action: item.Action, Treatment: item.Treatment,
				Propensity: item.Propensity, ContextWeight: item.ContextWeight, Value: item.Value, Lever: item.Lever, Priority: item.Priority,
				SelectionProbability: item.SelectionProbability, ReasonCode: item.Reason.Code, ReasonLabel: item.Reason.Label,
			}
			if item.Model != nil {
				proposition.ModelName, proposition.ModelVersion, proposition.ModelDigest = item.Model.Name, item.Model.Version, item.Model.Digest
			}
			r.Propositions = append(r.Propositions, proposition)
		}
	}
}
