package node

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/contact"
	"github.com/arbiterhq/arbiter/runtime/engine"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// The details of triggers that were closed, besides the codes of what took actions out of a decision.
const (
	detailNoSink    = "NO_SINK"
	detailContexts  = "CONTEXTS"
	detailQuiet     = "QUIET_HOURS"
	detailControl   = "CONTROL_GROUP"
	triggeredWithin = 2 * time.Second // of one decision
)

// raising is what a triggered decision has besides that of a request.
type raising struct {
	trigger *command.Trigger
	// sink is where what is decided for the channel goes.
	sink string
	// turn waits for a processor and gives the function that frees it.
	turn func() func()
}

// errNothing tells that a triggered decision has nothing to propose: it is not recorded.
var errNothing = errors.New("nothing to propose")

// closing is what becomes of a trigger that is not decided: it is closed for a reason, or put off.
type closing struct {
	reason  command.CloseReason
	untilMS int64
	detail  string
}

// causeOf is what raised the decision that sections are kept of; nil for one that was asked for.
func causeOf(kept command.Sections) *nba.DeliveryCause {
	var by command.RaisedBy
	if body := kept.Get(command.KeptTrigger); body == nil || by.Decode(body) != nil {
		return nil
	}
	return &nba.DeliveryCause{Origin: strings.Clone(by.Origin), EventType: strings.Clone(by.EventType), At: time.UnixMilli(by.RaisedMS).UTC()}
}

// emitOf is what an origin asks for. What follows # numbers one of several of the same origin.
func emitOf(c *catalog.Catalog, origin string) (*catalog.Emit, bool) {
	name, _, _ := strings.Cut(origin, "#")
	return c.Emit(name)
}

// decideRaised decides a trigger. closed is nil if a decision was recorded, or if the trigger is gone. An error
// means that it is to be tried again.
func (n *Node) decideRaised(ctx context.Context, t *command.Trigger, turn func() func()) (closed *closing, err error) {
	ctx, cancel := context.WithTimeout(ctx, triggeredWithin)
	defer cancel()
	v := n.acquire()
	defer v.release()
	policies, err := v.activeCatalog()
	if err != nil {
		return nil, err
	}
	if t.ExpiresMS > 0 && n.clock.Now().UnixMilli() >= t.ExpiresMS {
		return &closing{reason: command.CloseExpired}, nil
	}
	emit, ok := emitOf(policies, t.Origin)
	if !ok || len(emit.Channels) == 0 {
		return n.undeclared(ctx, v)
	}
	r := &raised{n: n, v: v, catalog: policies, emit: emit, raising: raising{trigger: t, turn: turn}}
	if !r.request() {
		return &closing{reason: command.CloseFailed, detail: detailContexts}, nil
	}
	return r.settle(r.decide(ctx))
}

// undeclared closes a trigger whose origin is not in the catalog, unless this node only has not heard of the catalog
// that it came from.
func (n *Node) undeclared(ctx context.Context, v *view) (*closing, error) {
	if err := n.router.Control().Sync(ctx); err != nil {
		return nil, err
	}
	if n.current.Load() != v {
		return nil, nba.Errorf(nba.CodeUnavailable, "another catalog became active: the trigger is decided with that")
	}
	return &closing{reason: command.CloseUndeclared}, nil
}

// raised is the decision of one trigger.
type raised struct {
	n       *Node
	v       *view
	catalog *catalog.Catalog
	emit    *catalog.Emit
	raising raising
	among   []bool
	req     nba.DecisionRequest
	out     nba.Decision
}

// request makes the request, but for its channel.
func (r *raised) request() bool {
	ref, ok := command.ParseSubjectKey(r.raising.trigger.Key)
	if !ok {
		return false
	}
	r.req = nba.DecisionRequest{Subject: ref, Direction: nba.Outbound}
	if len(r.raising.trigger.Contexts) > 0 && json.Unmarshal(r.raising.trigger.Contexts, &r.req.Contexts) != nil {
		return false
	}
	r.among = amongOf(r.catalog, r.emit)
	return true
}

// amongOf are the actions that an emit lets a decision propose, without fallbacks: nobody is contacted to be
// told what is said when there is nothing to say.
func amongOf(c *catalog.Catalog, emit *catalog.Emit) []bool {
	among := make([]bool, len(c.Actions))
	for i, a := range c.Actions {
		among[i] = emit.Takes(a) && !a.Fallback
	}
	return among
}

// settle makes of an error what becomes of the trigger.
func (r *raised) settle(closed *closing, err error) (*closing, error) {
	switch code := nba.CodeOf(err); {
	case err == nil:
		return closed, nil
	case code == nba.CodeSubjectUnknown:
		return &closing{reason: command.CloseSubject}, nil
	case code == nba.CodeConflict:
		return nil, nil // it was decided or taken back meanwhile
	case code == nba.CodeUnavailable, code == nba.CodeTimeout, code == nba.CodeOverloaded, movedAway(err), errors.Is(err, context.Canceled),
		errors.Is(err, context.DeadlineExceeded), errors.Is(err, errLinkedAway), errors.Is(err, errLeased):
		return nil, err
	case code == nba.CodeContactLimit:
		return &closing{reason: command.CloseNothing, detail: string(code)}, nil
	default:
		r.n.logger.Error("a triggered decision cannot be made", "origin", r.raising.trigger.Origin, "error", err)
		return &closing{reason: command.CloseFailed, detail: string(cmp.Or(code, nba.CodeInternal))}, nil
	}
}

// decide tries the channels in their order.
func (r *raised) decide(ctx context.Context) (*closing, error) {
	if err := r.on(r.emit.Channels[0]); err != nil {
		return nil, err
	}
	if holds, err := r.holds(ctx); err != nil || !holds {
		return &closing{reason: command.CloseCondition}, err
	}
	for _, channel := range r.emit.Channels {
		if r.raising.sink = cmp.Or(channel.Sink, r.n.cfg.DefaultSink); r.raising.sink == "" {
			return &closing{reason: command.CloseFailed, detail: detailNoSink}, nil
		}
		if err := r.on(channel); err != nil {
			return nil, err
		}
		err := r.n.decideTriggered(ctx, r)
		if err == nil {
			return nil, nil
		}
		if !errors.Is(err, errNothing) {
			return nil, err
		}
	}
	return r.why(ctx)
}

// on makes the request one for a channel: for its first placement.
func (r *raised) on(channel *catalog.Channel) error {
	r.req.Channel, r.req.Placements = channel.Name, []nba.PlacementRequest{{ID: channel.Placements[0].Name, Limit: 1}}
	return engine.ValidateRequest(&r.req, r.catalog)
}

func (r *raised) input(req *nba.DecisionRequest) engine.Input {
	return engine.Input{
		Dictionary: r.v.state.Dictionary, Catalog: r.catalog, CatalogVersion: r.v.state.Catalog.CatalogVersion,
		Scorer: r.v.models, Strategy: r.v.models, Request: req, Among: r.among, Now: r.n.clock.Now().UTC().Truncate(time.Millisecond),
	}
}

// holds tells whether the condition of the emit is true now.
func (r *raised) holds(ctx context.Context) (bool, error) {
	if r.emit.When == nil {
		return true, nil
	}
	defer r.raising.turn()()
	reading, err := r.n.reading(ctx, &r.req)
	if err != nil {
		return false, err
	}
	defer reading.Release()
	in := r.input(&r.req)
	in.Subject = reading
	return r.n.engine.Holds(ctx, in, r.emit.When, r.emit.Purpose.ID)
}

// decideTriggered decides for one channel and records the decision with what it sends. errNothing: it has
// nothing to propose there.
func (n *Node) decideTriggered(ctx context.Context, r *raised) error {
	scratch := n.scratch.Get().(*decideScratch)
	defer n.scratch.Put(scratch)
	scratch.raising = &r.raising
	defer func() { scratch.raising = nil }()
	err := n.decideUntil(ctx, r.v, r.input(&r.req), nil, scratch, &r.out)
	if err == nil {
		r.v.count(r.req.Subject, &r.out)
	}
	return err
}

// proposes is nil if a triggered decision has something to send.
func (g *raising) proposes(out *nba.Decision) error {
	if out.Degraded && out.DegradedReason == engine.DegradedTimeout {
		return nba.Errorf(nba.CodeTimeout, "the deadline of a triggered decision passed")
	}
	for i := range out.Propositions {
		for j := range out.Propositions[i].Items {
			if out.Propositions[i].Items[j].Reason.Code != engine.ReasonFallback {
				return nil
			}
		}
	}
	return errNothing
}

// add puts what raised a decision, and what it sends, into its record.
func (g *raising) add(n *Node, in *engine.Input, scratch *decideScratch, out *nba.Decision) error {
	t := g.trigger
	by := command.RaisedBy{Origin: t.Origin, EventType: t.EventType, Trigger: t.ID, RaisedMS: t.RaisedMS}
	deliveries, err := n.deliveriesOf(in.Request, out, g.sink, &by, t.ExpiresMS)
	if err != nil {
		return err
	}
	rec := &scratch.record
	rec.Kept = rec.Kept.Put(command.KeptTrigger, by.Append(nil))
	rec.Effects = rec.Effects.Put(command.EffectTrigger, t.ID[:])
	rec.Effects = rec.Effects.Put(command.EffectOutbox, command.AppendOutbox(nil, deliveries))
	return nil
}

// deliveriesOf are the entries of the outbox for what a decision proposes: each proposition is one. untilMS is
// until when they are of use, 0 for as long as the propositions are.
func (n *Node) deliveriesOf(req *nba.DecisionRequest, out *nba.Decision, sink string, by *command.RaisedBy, untilMS int64) ([]command.Delivery, error) {
	var deliveries []command.Delivery
	key := command.AppendSubjectKey(nil, req.Subject)
	decision := ulid.MustParseStrict(out.DecisionID)
	for i := range out.Propositions {
		for j := range out.Propositions[i].Items {
			item := &out.Propositions[i].Items[j]
			if item.Reason.Code == engine.ReasonFallback || len(deliveries) == command.MaxOutbox {
				continue
			}
			id := deliveryID(req.Subject, out.DecidedAt)
			message := messageOf(req, out, out.Propositions[i].Placement, item, by)
			message.DeliveryID = id.String()
			expires := untilMS
			if item.ExpiresAt != nil && (expires == 0 || item.ExpiresAt.UnixMilli() < expires) {
				expires = item.ExpiresAt.UnixMilli()
			}
			message.ExpiresAt = timeOf(expires)
			payload, err := json.Marshal(message)
			if err != nil {
				return nil, err
			}
			if len(payload) > command.MaxPayload {
				return nil, nba.Errorf(nba.CodeTooLarge, "a delivery would have more than %d bytes", command.MaxPayload)
			}
			now := out.DecidedAt.UnixMilli()
			deliveries = append(deliveries, command.Delivery{
				ID: id, Decision: decision, Key: key, CreatedMS: now, DueMS: now, ExpiresMS: expires, RaisedMS: by.RaisedMS, ChangedMS: now,
				Origin: by.Origin, EventType: by.EventType, Channel: req.Channel, Sink: sink, Action: item.Action, Treatment: item.Treatment, Payload: payload,
			})
		}
	}
	return deliveries, nil
}

// deliveryID names a delivery. Like that of the decision it leads to the subject's group.
func deliveryID(ref nba.SubjectRef, now time.Time) ulid.ULID {
	return ulid.MustParseStrict(decisionID(ref, now, rand.Uint64(), rand.Uint64()))
}

func messageOf(req *nba.DecisionRequest, out *nba.Decision, placement string, item *nba.Proposition, by *command.RaisedBy) *nba.DeliveryMessage {
	return &nba.DeliveryMessage{
		Type: nba.DeliveryMessageType, Subject: req.Subject, Channel: req.Channel, Placement: placement,
		Action: item.Action, Label: item.Label, Issue: item.Issue, Group: item.Group, Treatment: item.Treatment, Content: item.Content,
		Offering: item.Offering, ResponseToken: item.ResponseToken, DecisionID: out.DecisionID, CatalogVersion: out.CatalogVersion,
		DecidedAt: out.DecidedAt, Reason: item.Reason, Contexts: req.Contexts,
		Cause: nba.DeliveryCause{Origin: by.Origin, EventType: by.EventType, At: time.UnixMilli(by.RaisedMS).UTC()},
	}
}

// why tells why no channel had anything to propose. Where quiet hours kept it from that, the trigger is put off
// until they end.
func (r *raised) why(ctx context.Context) (*closing, error) {
	closed := &closing{reason: command.CloseNothing}
	for i, channel := range r.emit.Channels {
		ends, quiet, err := r.quietUntil(ctx, channel)
		if err != nil {
			return nil, err
		}
		if !quiet && i > 0 {
			continue
		}
		if err := r.explain(ctx, channel); err != nil {
			return nil, err
		}
		if i == 0 {
			closed.detail = r.detail()
		}
		if quiet && r.removed(ends) && (closed.untilMS == 0 || ends.endMS < closed.untilMS) {
			closed.untilMS = ends.endMS
		}
	}
	if closed.untilMS == 0 {
		return closed, nil
	}
	closed.reason, closed.detail = command.CloseDeferred, ""
	if until := r.raising.trigger.ExpiresMS; until > 0 && closed.untilMS >= until {
		return &closing{reason: command.CloseExpired, detail: detailQuiet}, nil
	}
	return closed, nil
}

// hours are quiet hours that a subject has now: the codes of their policies, and when the first of them ends.
type hours struct {
	codes []string
	endMS int64
}

func (r *raised) quietUntil(ctx context.Context, channel *catalog.Channel) (h hours, quiet bool, err error) {
	reading, err := r.n.reading(ctx, &r.req)
	if err != nil {
		return h, false, err
	}
	defer reading.Release()
	local := r.n.clock.Now().In(zoneOf(&r.catalog.Contacts, &reading.Record))
	for i := range r.catalog.Contacts.Policies {
		p := &r.catalog.Contacts.Policies[i]
		if p.Quiet == nil || !p.Quiet.At(local) || !r.about(p.For.Covers, channel) {
			continue
		}
		if end, ok := p.Quiet.End(local); ok && (h.endMS == 0 || end.UnixMilli() < h.endMS) {
			h.endMS = end.UnixMilli()
		}
		h.codes = append(h.codes, p.Code)
	}
	return h, h.endMS != 0, nil
}

// about tells whether a policy is about an action that the decision may propose in a channel.
func (r *raised) about(covers func(*contact.Place) bool, channel *catalog.Channel) bool {
	for _, a := range channel.Actions {
		if at := a.Place(channel.Name, nba.Outbound); r.among[a.Index] && covers(&at) {
			return true
		}
	}
	return false
}

// explain makes the decision for a channel again with its reasons, for nobody.
func (r *raised) explain(ctx context.Context, channel *catalog.Channel) error {
	if err := r.on(channel); err != nil {
		return err
	}
	defer r.raising.turn()()
	scratch := r.n.scratch.Get().(*decideScratch)
	defer r.n.scratch.Put(scratch)
	req := r.req
	req.Options.Explain, req.Options.Simulate = nba.ExplainReasons, true
	in := r.input(&req)
	scratch.claim.Reset()
	in.Claim = &scratch.claim
	scratch.others.away = false
	if err := r.n.findLinked(ctx, &in, &scratch.others); err != nil {
		return err
	}
	return r.n.decideOn(ctx, in, scratch, &r.out)
}

// removed tells whether quiet hours took anything out of the decision that was explained.
func (r *raised) removed(h hours) bool {
	for _, stage := range r.out.Explanation.Stages {
		for _, removal := range stage.Removed {
			if stage.Stage == engine.StageContact && slices.Contains(h.codes, removal.Code) {
				return true
			}
		}
	}
	return false
}

// detail is the code that took most of those actions out of the decision that was explained that got furthest
// of all it may propose.
func (r *raised) detail() string {
	if r.out.InControlGroup {
		return detailControl
	}
	for _, stage := range slices.Backward(r.out.Explanation.Stages) {
		counts, most := map[string]int{}, ""
		for _, removal := range stage.Removed {
			if a, ok := r.catalog.Action(removal.Action); !ok || !r.among[a.Index] {
				continue
			}
			counts[removal.Code]++
			if n := counts[removal.Code]; n > counts[most] || n == counts[most] && removal.Code < most {
				most = removal.Code
			}
		}
		if most != "" {
			return most
		}
	}
	return ""
}
