package catalog

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
	"go.yaml.in/yaml/v3"

	"github.com/arbiterhq/arbiter/runtime/campaign"
	"github.com/arbiterhq/arbiter/runtime/expr"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Limits of campaigns.
const (
	MaxCampaigns        = 64
	MaxCampaignChannels = 8
	// MaxPerSecond bounds the throttle.
	MaxPerSecond = 1e6
	maxCost      = 1e6
	defaultTZ    = "UTC"
)

// Campaign is a decision for every subject of an audience.
type Campaign struct {
	Name, Label string
	// Purpose is what the audience is asked for: attributes that may not be used for it are absent.
	Purpose nba.Purpose
	// Audience is nil for everybody.
	Audience *expr.Program
	// Actions are the names of the actions among which the best is chosen, sorted; none: all but fallbacks.
	Actions []string
	// Among has them by Action.Index, for engine.Input.Among.
	Among []bool
	// Channels are tried in this order: the first that has something to propose is used.
	Channels []CampaignChannel
	// Schedule is nil for a campaign that only runs when it is asked for.
	Schedule *campaign.Schedule
	// Volume is the most contacts of one run, and PerSecond the most in a second; 0: any number.
	Volume    uint64
	PerSecond float64
	// Sink names where propositions are delivered; "" for nowhere.
	Sink string
	// From is inclusive and To exclusive: runs start and contact only between them. nil: without bound.
	From, To *time.Time

	heldOut uint64 // of controlShares
}

// CampaignChannel is a channel of a campaign.
type CampaignChannel struct {
	Channel *Channel
	// Placement is the slot that is asked for.
	Placement string
	// Cost of one contact in the channel.
	Cost float64
}

// Holdout is the share of those who would be contacted that is held out, from 0 to 1.
func (g *Campaign) Holdout() float64 { return float64(g.heldOut) / controlShares }

// HeldOut tells whether a subject is held out. It depends on the name of the campaign, and on the id and the
// type of the subject: the same subjects are held out in every run.
func (g *Campaign) HeldOut(ref nba.SubjectRef) bool {
	if g.heldOut == 0 {
		return false
	}
	var h xxhash.Digest
	h.Reset()
	for _, part := range [...]string{"campaign\x00", g.Name, "\x00", string(ref.Type), "\x00", ref.ID} {
		_, _ = h.WriteString(part) // never fails
	}
	return h.Sum64()%controlShares < g.heldOut
}

// Valid tells whether the campaign may contact anybody at a moment.
func (g *Campaign) Valid(now time.Time) bool {
	return (g.From == nil || !now.Before(*g.From)) && (g.To == nil || now.Before(*g.To))
}

// Campaign looks a campaign up by name.
func (c *Catalog) Campaign(name string) (*Campaign, bool) {
	for i := range c.Campaigns {
		if c.Campaigns[i].Name == name {
			return &c.Campaigns[i], true
		}
	}
	return nil, false
}

// CampaignNames are the names of all campaigns, for messages.
func (c *Catalog) CampaignNames() []string {
	names := make([]string, len(c.Campaigns))
	for i := range c.Campaigns {
		names[i] = c.Campaigns[i].Name
	}
	return names
}

type campaignSpec struct {
	node                       *yaml.Node
	name, label, purpose, sink text
	audience                   text
	actions                    []text
	channels                   []campaignChannelSpec
	cron, zone                 text
	now                        bool
	volume, throttle, holdout  number
	from, to                   *time.Time
}

type campaignChannelSpec struct {
	name text
	cost number
}

func (d *decoder) campaign(n *yaml.Node) campaignSpec {
	s := campaignSpec{node: n}
	d.object(n, "a campaign",
		required("name", d.name(&s.name)),
		optional("label", d.label(&s.label, MaxLabelBytes)),
		optional("purpose", d.name(&s.purpose)),
		optional("audience", d.expression(&s.audience)),
		optional("actions", d.list("actions", MaxActions, d.names(&s.actions))),
		required("channels", d.list("channels", MaxCampaignChannels, d.campaignChannel(&s.channels))),
		optional("schedule", d.schedule(&s)),
		optional("volume", d.number(&s.volume, 1, MaxVolume)),
		optional("throttle", d.number(&s.throttle, 0.001, MaxPerSecond)),
		optional("holdout", d.number(&s.holdout, 0, 100)),
		optional("sink", d.name(&s.sink)),
		optional("validity", func(n *yaml.Node) {
			d.object(n, "the validity of a campaign", optional("from", d.moment(&s.from)), optional("to", d.moment(&s.to)))
			if s.from != nil && s.to != nil && !s.from.Before(*s.to) {
				d.fail(n, nba.CodeInvalid, "the validity ends before it begins: to is exclusive and must be after from")
			}
		}),
	)
	if s.volume.given && s.volume.value != math.Trunc(s.volume.value) {
		d.fail(n, nba.CodeInvalid, "a number of contacts is a whole number")
	}
	return s
}

// campaignChannel reads a name, or a name with what a contact costs.
func (d *decoder) campaignChannel(to *[]campaignChannelSpec) func(*yaml.Node) {
	return func(n *yaml.Node) {
		var s campaignChannelSpec
		named := func(n *yaml.Node) {
			d.object(n, "a channel of a campaign", required("name", d.name(&s.name)), optional("cost", d.number(&s.cost, 0, maxCost)))
		}
		if d.describing != nil && d.either(n, d.name(&s.name), named) {
			return
		}
		if n.Kind == yaml.MappingNode {
			named(n)
		} else {
			d.name(&s.name)(n)
		}
		if s.name.given() {
			*to = append(*to, s)
		}
	}
}

// schedule reads the word now, or a cron expression with a time zone.
func (d *decoder) schedule(s *campaignSpec) func(*yaml.Node) {
	var word text
	now := d.oneOf(&word, "now")
	timed := func(n *yaml.Node) {
		d.object(n, "a schedule", required("cron", d.label(&s.cron, MaxLabelBytes)), optional("timeZone", d.label(&s.zone, MaxNameBytes)))
	}
	return func(n *yaml.Node) {
		if d.describing != nil && d.either(n, now, timed) {
			return
		}
		if n.Kind == yaml.MappingNode {
			timed(n)
			return
		}
		now(n)
		s.now = word.given()
	}
}

// campaigns resolves the campaigns of the document.
func (c *compiler) campaigns() {
	first := map[string]*yaml.Node{}
	for i := range c.doc.campaigns {
		spec := &c.doc.campaigns[i]
		if c.unique(first, spec.name, "campaign") {
			c.catalog.Campaigns = append(c.catalog.Campaigns, c.campaign(spec))
		}
	}
}

func (c *compiler) campaign(spec *campaignSpec) Campaign {
	g := Campaign{Name: spec.name.value, Label: spec.label.value, Volume: uint64(spec.volume.value), PerSecond: spec.throttle.value,
		Sink: spec.sink.value, From: spec.from, To: spec.to, heldOut: uint64(math.Round(spec.holdout.value * controlShares / 100))}
	if g.Label == "" {
		g.Label = g.Name
	}
	g.Purpose = c.purposeOf(spec.purpose, spec.name.node)
	if g.Audience = c.program(spec.audience, expr.BoolResult); g.Audience != nil {
		c.audienceReads(&g, spec.audience)
	}
	chosen := c.members(spec.actions)
	for _, a := range chosen {
		g.Actions = append(g.Actions, a.Name)
	}
	slices.Sort(g.Actions)
	g.Schedule = c.scheduleOf(spec)
	seen := map[string]*yaml.Node{}
	for i := range spec.channels {
		if c.unique(seen, spec.channels[i].name, "channel") {
			c.campaignChannel(&g, &spec.channels[i], chosen)
		}
	}
	if len(spec.channels) == 0 {
		c.fail(spec.node, nba.CodeInvalid, "a campaign needs at least one channel")
	}
	return g
}

// audienceReads reports attributes that may never be used for the purpose of the campaign.
func (c *compiler) audienceReads(g *Campaign, source text) {
	for _, id := range g.Audience.Reads() {
		attribute, _ := c.env.Dictionary.AttributeByID(id)
		if g.Purpose.Name != "" && !attribute.PurposeSet.Has(g.Purpose.ID) {
			line, column := c.place(source.node, expr.Problem{Line: 1, Column: 1})
			c.failAt(line, column, nba.CodeInvalid, fmt.Sprintf("attribute %s may be used for %s but not for %s, the purpose of campaign %s",
				attribute.Name, strings.Join(attribute.Purposes, ", "), g.Purpose.Name, g.Name))
		}
	}
}

// campaignChannel resolves a channel of a campaign. chosen are its actions; none: all but fallbacks.
func (c *compiler) campaignChannel(g *Campaign, spec *campaignChannelSpec, chosen []*Action) {
	channel, ok := c.catalog.channels[spec.name.value]
	if !ok {
		c.fail(spec.name.node, nba.CodeInvalid, "unknown channel %s%s", quote(spec.name.value),
			c.suggest(spec.name.value, c.catalog.ChannelNames(), "declare it under channels"))
		return
	}
	on := CampaignChannel{Channel: channel, Cost: spec.cost.value}
	best, most := 0, 0
	for i := range channel.Placements {
		treated := 0
		for _, a := range c.catalog.Actions {
			if len(a.Treatments(channel.Placements[i].ID)) > 0 && takesPart(a, chosen) {
				treated++
			}
		}
		if treated > most {
			best, most = i, treated
		}
	}
	if most == 0 {
		c.fail(spec.name.node, nba.CodeInvalid, "no action of the campaign has a treatment for channel %s", channel.Name)
		return
	}
	on.Placement = channel.Placements[best].Name
	g.Channels = append(g.Channels, on)
}

// takesPart tells whether an action is one of those chosen; if none is, all are but fallbacks.
func takesPart(a *Action, chosen []*Action) bool {
	if len(chosen) == 0 {
		return !a.Fallback
	}
	return slices.Contains(chosen, a)
}

// campaignActions numbers the actions of the campaigns, once actions have their places.
func (c *compiler) campaignActions() {
	for i := range c.catalog.Campaigns {
		g := &c.catalog.Campaigns[i]
		g.Among = make([]bool, len(c.catalog.Actions))
		for _, a := range c.catalog.Actions {
			g.Among[a.Index] = slices.Contains(g.Actions, a.Name) || len(g.Actions) == 0 && !a.Fallback
		}
	}
}

func (c *compiler) scheduleOf(spec *campaignSpec) *campaign.Schedule {
	if spec.now {
		return &campaign.Schedule{Once: true}
	}
	if !spec.cron.given() {
		return nil
	}
	name := spec.zone.value
	if name == "" {
		name = c.doc.zone.fallback.value
	}
	if name == "" {
		name = defaultTZ
	}
	zone, err := time.LoadLocation(name)
	if err != nil || name == time.Local.String() {
		if spec.zone.given() {
			c.fail(spec.zone.node, nba.CodeInvalid, "unknown time zone %s: use a name of the IANA database, such as Europe/Berlin", quote(name))
		}
		zone = time.UTC
	}
	schedule, err := campaign.ParseSchedule(spec.cron.value, zone)
	if err != nil {
		c.fail(spec.cron.node, nba.CodeInvalid, "%s", err)
	}
	return schedule
}
