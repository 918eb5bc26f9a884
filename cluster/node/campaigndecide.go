package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/router"
	"github.com/arbiterhq/arbiter/runtime/campaign"
	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/contact"
	"github.com/arbiterhq/arbiter/runtime/engine"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/replay"
)

// The reasons of suppression that are not stages of a decision.
const (
	codeCampaignVolume = "VOLUME_LIMIT"
	reasonVolume       = "campaign:" + codeCampaignVolume
	reasonEnded        = "campaign:EXPIRED"
	reasonNothing      = "arbitration:NOTHING"
	reasonModel        = "score:MODEL_FAILED"
)

// campaignDecider decides for the subjects of a campaign, one after the other, and gathers what comes of it
// in a batch. One that is dry only counts.
type campaignDecider struct {
	n       *Node
	group   uint64
	number  uint64 // of the run
	catalog *catalog.Catalog
	version uint64
	spec    *catalog.Campaign
	dry     bool
	// volume bounds the contacts of the run; nil: nothing does.
	volume *contact.Volume
	period contact.Period

	requests, explained []nba.DecisionRequest // by channel
	goOn                func() bool           // asked while it waits; nil: it goes on

	view    *view
	batch   command.Batch
	size    int // of the decisions
	labels  map[command.Label]int
	used    map[volumePeriod]uint64    // by the decisions of the batch
	spent   map[volumePeriod]time.Time // until when a volume counts as used up
	waits   map[volumePeriod]int       // how often a volume was waited for in vain
	lacking []charged

	scratch  decideScratch
	out, why nba.Decision
	reading  *router.Reading
	failed   error
}

// decideBy prepares to decide by a catalog.
func (c *campaignDecider) decideBy(compiled *catalog.Catalog, version uint64, name string) error {
	spec, ok := compiled.Campaign(name)
	if !ok {
		return nba.Errorf(nba.CodeNotFound, "the catalog has no campaign of this name: it has %s", strings.Join(compiled.CampaignNames(), ", "))
	}
	c.catalog, c.version, c.spec = compiled, version, spec
	c.requests, c.explained = nil, nil
	for i := range spec.Channels {
		on := &spec.Channels[i]
		req := nba.DecisionRequest{Subject: nba.SubjectRef{ID: "-"}, Channel: on.Channel.Name, Direction: nba.Outbound,
			Placements: []nba.PlacementRequest{{ID: on.Placement, Limit: 1}}, Options: nba.DecisionOptions{Simulate: c.dry}}
		if err := engine.ValidateRequest(&req, compiled); err != nil {
			return err
		}
		c.requests = append(c.requests, req)
		req.Options.Explain, req.Options.Simulate = nba.ExplainReasons, true
		c.explained = append(c.explained, req)
	}
	c.labels, c.used = map[command.Label]int{}, map[volumePeriod]uint64{}
	c.spent, c.waits = map[volumePeriod]time.Time{}, map[volumePeriod]int{}
	return nil
}

// beginBatch empties the batch. endBatch gives back what it was decided with.
func (c *campaignDecider) beginBatch(run uint64, cursor []byte) {
	c.view = c.n.acquire()
	b := &c.batch
	b.Account.Reset()
	*b = command.Batch{Run: run, From: cursor, Next: cursor, Account: b.Account, Held: b.Held[:0], Labels: b.Labels[:0], Contacts: b.Contacts[:0]}
	c.size = 0
	clear(c.labels)
	clear(c.used)
}

func (c *campaignDecider) endBatch() {
	c.view.release()
	c.view = nil
}

// maxCampaignAttempts bounds how often the decision for a subject is made again since volumes or the ledgers
// of others changed meanwhile.
const maxCampaignAttempts = 8

// subject decides for the subject of a key and adds what comes of it to the batch.
func (c *campaignDecider) subject(ctx context.Context, key []byte) error {
	c.scratch.others.away = false
	for attempt := 1; ; attempt++ {
		c.lacking = c.lacking[:0]
		done, err := c.once(ctx, key, attempt >= maxCampaignAttempts)
		switch {
		case errors.Is(err, errLinkedAway) && !c.scratch.others.away:
			c.scratch.others.away = true
		case nba.CodeOf(err) == nba.CodeContactLimit && attempt < maxCampaignAttempts: // on the ledger of another subject
		case err != nil:
			return err
		case done:
			return nil
		default:
			if err := c.leaseMore(ctx, key); err != nil {
				return err
			}
		}
	}
}

// once decides for a subject. It is not done where a volume is lacking, of which there may be more.
func (c *campaignDecider) once(ctx context.Context, key []byte, noRoom bool) (done bool, err error) {
	ref, ok := command.ParseSubjectKey(key)
	if !ok {
		return false, errWire
	}
	in := engine.Input{Dictionary: c.view.state.Dictionary, Catalog: c.catalog, CatalogVersion: c.version, Scorer: c.view.models,
		Strategy: c.view.models, Among: c.spec.Among, NoRoom: noRoom, Now: c.n.clock.Now().UTC().Truncate(time.Millisecond)}
	for i := range c.requests {
		c.requests[i].Subject, c.explained[i].Subject = ref, ref
	}
	in.Request = &c.requests[0]
	if err := c.n.findLinked(ctx, &in, &c.scratch.others); err != nil {
		if nba.CodeOf(err) == nba.CodeSubjectUnknown {
			return true, nil
		}
		return false, err
	}
	reason, contacted, err := c.read(ctx, &in, key)
	switch {
	case nba.CodeOf(err) == nba.CodeSubjectUnknown:
		return true, nil // it was erased meanwhile
	case err != nil:
		return false, err
	case len(c.lacking) > 0 && !noRoom:
		return false, nil
	}
	a := &c.batch.Account
	switch {
	case reason == outside:
		a.Examined++
		return true, nil
	case contacted && c.spec.HeldOut(ref):
		a.HeldOut++
		c.batch.Held = append(c.batch.Held, key)
	case contacted:
		if err := c.contact(ctx, &in); err != nil {
			return false, err
		}
	default:
		a.Suppress(reason, 1)
	}
	a.Examined++
	a.Audience++
	return true, nil
}

// outside is the reason of a subject that the campaign is not for.
const outside = "-"

// read decides with the subject's record, which is given back before anything is waited for.
func (c *campaignDecider) read(ctx context.Context, in *engine.Input, key []byte) (reason string, contacted bool, err error) {
	reading, err := c.n.router.AcquireKey(c.group, key)
	if err != nil {
		return "", false, err
	}
	c.reading, c.failed = reading, nil
	defer func() {
		c.reading = nil
		reading.Release()
	}()
	in.Subject = reading
	if c.spec.Audience != nil {
		if member, err := c.n.engine.Holds(ctx, *in, c.spec.Audience, c.spec.Purpose.ID); err != nil || !member {
			return outside, false, err
		}
	}
	switch {
	case !c.spec.Valid(in.Now):
		return reasonEnded, false, nil
	case c.volume != nil && c.Spent(c.volume, c.period):
		return reasonVolume, false, c.failed
	}
	if len(c.catalog.Contacts.Policies) > 0 {
		if in.Contacts, err = reading.Contacts(); err != nil {
			return "", false, err
		}
	}
	best := -1
	for i := range c.requests {
		if err := c.decide(ctx, in, i); err != nil {
			return "", false, err
		}
		if strings.HasPrefix(c.out.DegradedReason, engine.DegradedModel) {
			return reasonModel, false, nil // nobody is contacted with what a model that failed did not rank
		}
		if proposes(&c.out) {
			return "", true, nil
		}
		if len(c.lacking) > 0 {
			continue // it is decided again
		}
		stage, because, err := c.because(ctx, in, i)
		if err != nil {
			return "", false, err
		}
		if stage > best {
			best, reason = stage, because
		}
	}
	return reason, false, c.failed
}

func proposes(d *nba.Decision) bool {
	return len(d.Propositions) > 0 && len(d.Propositions[0].Items) > 0
}

// decide asks the engine in one channel.
func (c *campaignDecider) decide(ctx context.Context, in *engine.Input, channel int) error {
	in.Request = &c.requests[channel]
	in.DecisionID = decisionID(in.Request.Subject, in.Now, rand.Uint64(), rand.Uint64())
	in.Seed = replay.Seed(in.DecisionID)
	in.Volumes = c
	if c.dry {
		return c.n.engine.Decide(ctx, *in, &c.out)
	}
	c.scratch.claim.Reset()
	in.Claim = &c.scratch.claim
	for i := range in.Linked {
		in.Linked[i].Claim.Reset()
	}
	c.scratch.noteReads(c.n, c.view, in)
	if err := c.n.engine.Decide(ctx, *in, &c.out); err != nil {
		return err
	}
	if proposes(&c.out) {
		c.scratch.keepReads(in) // while the record is there
	}
	return c.failed
}

// because tells at which stage nothing was left in a channel, and the code that took most there. stage orders
// the stages.
func (c *campaignDecider) because(ctx context.Context, in *engine.Input, channel int) (stage int, reason string, err error) {
	again := *in
	again.Request, again.Claim, again.Reads, again.Volumes = &c.explained[channel], nil, nil, c
	again.Linked = slices.Clone(in.Linked)
	for i := range again.Linked {
		again.Linked[i].Claim = nil
	}
	if err := c.n.engine.Decide(ctx, again, &c.why); err != nil {
		return 0, "", err
	}
	return c.lastRemoval(channel)
}

// lastRemoval is the last stage at which one of the campaign's actions left, in what was explained last.
func (c *campaignDecider) lastRemoval(channel int) (stage int, reason string, err error) {
	stage, reason = -1, reasonNothing
	if c.why.Explanation == nil {
		return stage, reason, nil
	}
	var codes []string
	for i := range c.why.Explanation.Stages {
		s := &c.why.Explanation.Stages[i]
		for j := range s.Removed {
			a, ok := c.catalog.Action(s.Removed[j].Action)
			if !ok || !c.spec.Among[a.Index] || !a.InChannel(c.spec.Channels[channel].Channel) {
				continue
			}
			if i > stage {
				stage, codes = i, codes[:0]
			}
			codes = append(codes, s.Removed[j].Code)
		}
	}
	if stage >= 0 {
		reason = c.why.Explanation.Stages[stage].Stage + ":" + commonest(codes)
	}
	return stage, reason, nil
}

// commonest is the code that took most out, the first of the alphabet among equals.
func commonest(codes []string) string {
	counts := map[string]int{}
	for _, code := range codes {
		counts[code]++
	}
	best := ""
	for code, count := range counts {
		if best == "" || cmp.Or(cmp.Compare(count, counts[best]), cmp.Compare(best, code)) > 0 {
			best = code
		}
	}
	return best
}

// contact adds the decision that was made to the batch.
func (c *campaignDecider) contact(ctx context.Context, in *engine.Input) error {
	item := &c.out.Propositions[0].Items[0]
	expected := micros(item.Propensity * item.Value)
	if c.dry {
		c.batch.Account.Contact(item.Action, in.Request.Channel, 1, expected)
		return nil
	}
	s := &c.scratch
	if c.volume != nil {
		s.claim.Charges = append(s.claim.Charges, contact.Charge{Volume: c.volume.Key, StartMS: c.period.StartMS})
	}
	s.fill(in.Request, &c.out)
	rec := &s.record
	rec.Keep = c.view.state.Retention.MaxPerSubject
	rec.Kept = keepStrategies(s.kept, in.Catalog, in.Request.Channel, &c.out)
	rec.Kept = rec.Kept.Put(command.KeptCampaign, command.AppendCampaign(nil, c.number, c.spec.Name))
	rec.Claim, rec.KeepContactsMS = &s.claim, in.Catalog.Contacts.Keep.Milliseconds()
	rec.Effects = c.n.effects(in, rec)
	if err := c.send(in, rec); err != nil {
		return err
	}
	if err := c.reserveLinked(ctx, in); err != nil {
		return err
	}
	op, err := rec.Append(nil)
	if err != nil {
		return err
	}
	label := command.Label{Action: strings.Clone(item.Action), Channel: in.Request.Channel}
	at, ok := c.labels[label]
	if !ok {
		at = len(c.batch.Labels)
		c.labels[label] = at
		c.batch.Labels = append(c.batch.Labels, label)
	}
	c.batch.AddDecision(at, expected, op)
	c.size += len(op)
	for i := range s.claim.Charges {
		charge := &s.claim.Charges[i]
		c.used[volumePeriod{Volume: charge.Volume, StartMS: charge.StartMS}]++
	}
	return nil
}

// send puts what the decision proposes into the outbox, where the campaign, the channel or the server names a sink: the
// contact and what is sent are one entry of the log.
func (c *campaignDecider) send(in *engine.Input, rec *command.Decision) error {
	channel, _ := in.Catalog.Channel(in.Request.Channel) // it decided for it
	sink := cmp.Or(c.spec.Sink, channel.Sink, c.n.cfg.DefaultSink)
	if sink == "" {
		return nil
	}
	addTokens(&c.scratch.tokens, &c.out)
	by := command.RaisedBy{Origin: campaignOrigin(c.spec.Name, c.number), RaisedMS: in.Now.UnixMilli()}
	deliveries, err := c.n.deliveriesOf(in.Request, &c.out, sink, &by, 0)
	if err != nil {
		return err
	}
	rec.Effects = rec.Effects.Put(command.EffectOutbox, command.AppendOutbox(nil, deliveries))
	return nil
}

// campaignPrefix begins the origin of what a campaign decided.
const campaignPrefix = "campaign:"

// campaignOrigin names what a run sends.
func campaignOrigin(name string, run uint64) string {
	return fmt.Sprintf("%s%s-%d", campaignPrefix, name, run)
}

// reserveLinked reserves the contacts on the ledgers of other subjects. They are released there if the batch
// is not applied, once the groups of the ledgers find that out.
func (c *campaignDecider) reserveLinked(ctx context.Context, in *engine.Input) error {
	o, rec := &c.scratch.others, &c.scratch.record
	var keys [][]byte
	for i := range o.linked {
		if o.linked[i].Claim.Empty() {
			continue
		}
		keys = append(keys, command.AppendSubjectKey(nil, o.refs[i]))
		if err := c.n.reserve(ctx, in, o, i); err != nil {
			return err
		}
	}
	if len(keys) == 0 {
		return nil
	}
	channel, _ := in.Catalog.Channel(in.Request.Channel) // it decided for it
	rec.Kept = rec.Kept.Put(command.KeptLinks, command.AppendLinks(nil, keys...))
	rec.Effects = rec.Effects.Put(command.EffectRelease, command.AppendRelease(nil, uint64(channel.Reserve.Milliseconds())))
	return nil
}

// micros is a value in millionths, bounded so that a million million of them can be added up.
func micros(value float64) int64 {
	const most = 1e18
	return int64(math.Round(min(max(value*1e6, -most), most)))
}

// accountOf is an account as it is shown.
func accountOf(a *campaign.Account, spec *catalog.Campaign) nba.CampaignAccount {
	shown := nba.CampaignAccount{Examined: a.Examined, Audience: a.Audience, Contacted: a.Contacted, HeldOut: a.HeldOut,
		Suppressed: []nba.CampaignSuppressed{}, Actions: []nba.CampaignAction{}}
	for i := range a.Suppressed {
		stage, code, _ := strings.Cut(a.Suppressed[i].Reason, ":")
		shown.Suppressed = append(shown.Suppressed, nba.CampaignSuppressed{Stage: stage, Code: code, Count: a.Suppressed[i].Count})
	}
	for i := range a.Actions {
		p := &a.Actions[i]
		line := nba.CampaignAction{Action: p.Action, Channel: p.Channel, Count: p.Count, ExpectedValue: float64(p.ExpectedMicros) / 1e6}
		for j := 0; spec != nil && j < len(spec.Channels); j++ {
			if spec.Channels[j].Channel.Name == p.Channel {
				line.Cost = spec.Channels[j].Cost * float64(p.Count)
			}
		}
		shown.Actions = append(shown.Actions, line)
		shown.ExpectedValue += line.ExpectedValue
		shown.Cost += line.Cost
	}
	return shown
}
