package catalog

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/arbiterhq/arbiter/runtime/contact"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Limits of contact policies.
const (
	MaxContactPolicies = 64
	// MaxContactWindow is the longest that a contact counts, MaxContacts the highest limit.
	MaxContactWindow = 400 * 24 * time.Hour
	MaxContacts      = 400
	// MaxLinks bounds the other subjects whose contacts count with those of one.
	MaxLinks = 4
	// maxResponseTimeout bounds how long an answer is waited for.
	maxResponseTimeout = 45 * 24 * time.Hour
)

// The codes of contact policies that name none.
const (
	codeContactLimit = "CONTACT_LIMIT"
	codeSuppressed   = "SUPPRESSED"
	codeCoolOff      = "COOL_OFF"
	codeQuietHours   = "QUIET_HOURS"
)

// Reservations: how long a proposition that nobody has reported an impression of may still be shown.
const (
	defaultReserveInbound  = 30 * time.Minute
	defaultReserveOutbound = 24 * time.Hour
	maxReserve             = contact.MaxReservedMS * time.Millisecond
)

// contactSpec is a contact policy as it is written. It has one of limit, suppress, coolOff and
// quietHours.
type contactSpec struct {
	node, kind                          *yaml.Node
	kinds                               int
	name, code, label                   text
	channel, issue, group, action, side text
	same                                contact.Parts
	limit                               number
	window                              contact.Window
	after                               contact.Outcomes
	counting                            text
	times                               number
	quiet                               *contact.Quiet
	isCoolOff                           bool
	level, link                         text
}

// zoneSpec tells where the time zone of a subject comes from.
type zoneSpec struct{ attribute, fallback text }

func (d *decoder) contactPolicy(n *yaml.Node) contactSpec {
	s := contactSpec{node: n}
	kind := func(read func(*yaml.Node)) func(*yaml.Node) {
		return func(n *yaml.Node) {
			s.kinds++
			s.kind = n
			read(n)
		}
	}
	d.object(n, "a contact policy",
		required("name", d.name(&s.name)),
		optional("code", d.code(&s.code)),
		optional("label", d.label(&s.label, MaxLabelBytes)),
		optional("channel", d.name(&s.channel)),
		optional("direction", d.oneOf(&s.side, string(nba.Inbound), string(nba.Outbound))),
		optional("issue", d.name(&s.issue)),
		optional("group", d.name(&s.group)),
		optional("action", d.name(&s.action)),
		optional("same", d.list("parts", 5, d.part(&s.same))),
		optional("level", d.oneOf(&s.level, levels()...)),
		optional("link", d.name(&s.link)),
		optional("limit", kind(d.number(&s.limit, 1, MaxContacts))),
		optional("per", d.window(&s.window)),
		optional("counting", d.oneOf(&s.counting, "decisions", "impressions", "clicks")),
		optional("after", d.list("outcomes", len(nba.Outcomes), d.outcome(&s.after))),
		optional("times", d.number(&s.times, 1, MaxContacts)),
		optional("suppress", kind(d.rolling(&s.window))),
		optional("coolOff", kind(func(n *yaml.Node) {
			s.isCoolOff = true
			d.rolling(&s.window)(n)
		})),
		optional("quietHours", kind(func(n *yaml.Node) { s.quiet = d.quietHours(n) })),
	)
	d.checkContact(&s)
	return s
}

// checkContact reports fields that do not belong together.
func (d *decoder) checkContact(s *contactSpec) {
	wrong := func(format string, args ...any) { d.fail(s.node, nba.CodeInvalid, format, args...) }
	switch {
	case s.kinds != 1:
		wrong("a contact policy has one of limit, suppress, coolOff and quietHours")
	case s.limit.given && s.window == (contact.Window{}):
		wrong("a limit needs the field per, such as per: 7d or per: day")
	case s.limit.given && s.limit.value != math.Trunc(s.limit.value) || s.times.given && s.times.value != math.Trunc(s.times.value):
		wrong("a number of contacts is a whole number")
	case !s.limit.given && s.counting.given():
		wrong("counting belongs to a limit")
	case s.times.given && s.after == 0:
		wrong("times belongs to a suppression: give the outcomes in after")
	case s.after != 0 && (s.limit.given || s.isCoolOff || s.quiet != nil):
		wrong("after belongs to suppress: a limit counts decisions, impressions or clicks")
	case s.kinds == 1 && s.after == 0 && !s.limit.given && !s.isCoolOff && s.quiet == nil:
		wrong("suppress needs the field after, such as after: [Rejected]")
	case s.quiet != nil && (s.same != 0 || s.level.given() || s.link.given()):
		wrong("same, level and link belong to what counts contacts, and quiet hours count none")
	case s.level.given() != s.link.given():
		wrong("level and link belong together: link is the attribute with the id of the account, or whatever the level is, that the contacts count on")
	}
}

// oneOf reads one of some words.
func (d *decoder) oneOf(to *text, words ...string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if d.describing != nil && d.takes(n, jsonSchema{"enum": words}) {
			return
		}
		if n.Kind != yaml.ScalarNode || !slices.Contains(words, n.Value) {
			d.fail(n, nba.CodeInvalid, "this must be one of %s", strings.Join(words, ", "))
			return
		}
		*to = text{value: n.Value, node: n}
	}
}

func (d *decoder) part(to *contact.Parts) func(*yaml.Node) {
	return func(n *yaml.Node) {
		parts := map[string]contact.Parts{"channel": contact.PartChannel, "direction": contact.PartSide, "issue": contact.PartIssue,
			"group": contact.PartGroup, "action": contact.PartAction}
		if d.describing != nil && d.takes(n, jsonSchema{"enum": sortedKeys(parts)}) {
			return
		}
		part, ok := parts[n.Value]
		if !ok {
			d.fail(n, nba.CodeInvalid, "contacts can share a channel, direction, issue, group or action")
		}
		*to |= part
	}
}

func (d *decoder) outcome(to *contact.Outcomes) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if d.describing != nil && d.takes(n, jsonSchema{"enum": nba.Outcomes}) {
			return
		}
		set := contact.OutcomesOf(nba.Outcome(n.Value))
		if set == 0 {
			var known []string
			for _, o := range nba.Outcomes {
				known = append(known, string(o))
			}
			d.fail(n, nba.CodeInvalid, "unknown outcome %s%s", quote(n.Value), d.suggest(n.Value, known, ""))
		}
		*to |= set
	}
}

// window reads how far back contacts count: day, week, month, or a duration.
func (d *decoder) window(to *contact.Window) func(*yaml.Node) {
	return func(n *yaml.Node) {
		units := map[string]contact.Unit{"day": contact.Day, "week": contact.Week, "month": contact.Month}
		if d.describing != nil && d.either(n, func(n *yaml.Node) { d.takes(n, jsonSchema{"enum": sortedKeys(units)}) }, d.rolling(to)) {
			return
		}
		if unit, ok := units[n.Value]; ok && n.Kind == yaml.ScalarNode {
			*to = contact.Window{Since: unit}
			return
		}
		d.rolling(to)(n)
	}
}

func (d *decoder) rolling(to *contact.Window) func(*yaml.Node) {
	return func(n *yaml.Node) { d.duration(&to.Rolling, MaxContactWindow)(n) }
}

// duration reads a whole number of minutes, hours, days or weeks: 90m, 48h, 30d, 2w.
func (d *decoder) duration(to *time.Duration, most time.Duration) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if d.describing != nil && d.takes(n, jsonSchema{"type": "string", "pattern": "^[0-9]+[mhdw]$"}) {
			return
		}
		value, ok := parseDuration(n)
		switch {
		case !ok:
			d.fail(n, nba.CodeInvalid, "this must be a duration such as 90m, 48h, 30d or 2w")
		case value <= 0 || value > most:
			d.fail(n, nba.CodeInvalid, "this must be a duration of 1m to %dd", int(most/(24*time.Hour)))
		default:
			*to = value
		}
	}
}

func parseDuration(n *yaml.Node) (time.Duration, bool) {
	if n.Kind != yaml.ScalarNode || len(n.Value) < 2 {
		return 0, false
	}
	unit, ok := map[byte]time.Duration{'m': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour}[n.Value[len(n.Value)-1]]
	count, err := strconv.ParseUint(n.Value[:len(n.Value)-1], 10, 20)
	if !ok || err != nil {
		return 0, false
	}
	return time.Duration(count) * unit, true
}

func (d *decoder) quietHours(n *yaml.Node) *contact.Quiet {
	q := &contact.Quiet{From: -1, To: -1, Days: contact.EveryDay}
	var days uint8
	d.object(n, "quiet hours", required("from", d.minute(&q.From)), required("to", d.minute(&q.To)),
		optional("days", d.list("days", 7, d.day(&days))))
	if days != 0 {
		q.Days = days
	}
	if q.From >= 0 && q.From == q.To {
		d.fail(n, nba.CodeInvalid, "quiet hours end when they begin: from and to must differ")
	}
	return q
}

// minute reads a time of day, as minutes since midnight.
func (d *decoder) minute(to *int) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if d.describing != nil && d.takes(n, jsonSchema{"type": "string", "pattern": "^([01]?[0-9]|2[0-3]):[0-5][0-9]$"}) {
			return
		}
		at, err := time.Parse("15:04", n.Value)
		if err != nil || n.Tag != "!!str" {
			d.fail(n, nba.CodeInvalid, "this must be a time of day in quotes, such as \"21:00\"")
			return
		}
		*to = at.Hour()*60 + at.Minute()
	}
}

func (d *decoder) day(to *uint8) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if d.describing != nil && d.takes(n, jsonSchema{"type": "string", "pattern": "^([Mm][Oo][Nn]|[Tt][Uu][Ee]|[Ww][Ee][Dd]|[Tt][Hh][Uu]|[Ff][Rr][Ii]|[Ss][Aa][Tt]|[Ss][Uu][Nn])$"}) {
			return
		}
		for day := time.Sunday; day <= time.Saturday; day++ {
			if strings.EqualFold(n.Value, day.String()[:3]) {
				*to |= 1 << day
				return
			}
		}
		d.fail(n, nba.CodeInvalid, "a day is Mon, Tue, Wed, Thu, Fri, Sat or Sun")
	}
}

func (d *decoder) timeZone(to *zoneSpec) func(*yaml.Node) {
	return func(n *yaml.Node) {
		d.object(n, "the time zone", optional("attribute", d.name(&to.attribute)), required("default", d.label(&to.fallback, MaxNameBytes)))
	}
}

// contacts resolves the contact policies and where the time zone comes from.
func (c *compiler) contacts() {
	c.zone()
	first := map[string]*yaml.Node{}
	for i := range c.doc.contacts {
		spec := &c.doc.contacts[i]
		if !c.unique(first, spec.name, "contact policy") {
			continue
		}
		c.catalog.Contacts.Policies = append(c.catalog.Contacts.Policies, c.contact(spec))
	}
	for _, a := range c.catalog.Actions {
		c.catalog.Contacts.Volumes = c.catalog.Contacts.Volumes || len(a.Volumes) > 0
	}
	for i := range c.catalog.Contacts.Policies {
		p := &c.catalog.Contacts.Policies[i]
		c.catalog.Contacts.Pending = c.catalog.Contacts.Pending || p.Pending
		c.catalog.Contacts.Keep = max(c.catalog.Contacts.Keep, p.Window.Longest())
	}
}

func (c *compiler) contact(spec *contactSpec) contact.Policy {
	c.contactScope(spec)
	p := contact.Policy{Link: c.link(spec), Name: spec.name.value, Label: spec.label.value, Same: spec.same, Window: spec.window, Quiet: spec.quiet,
		For: contact.Scope{Channel: contact.NameOf(spec.channel.value), Issue: contact.NameOf(spec.issue.value),
			Group: contact.NameOf(spec.group.value), Action: contact.NameOf(spec.action.value)}}
	if spec.side.given() {
		p.For.Side = contact.SideOf(nba.Direction(spec.side.value))
	}
	var code string
	switch {
	case spec.quiet != nil:
		code = codeQuietHours
	case spec.isCoolOff:
		code, p.Max, p.Pending, p.Outcomes, p.CoolOff = codeCoolOff, 1, true, contact.Shown(), true
	case spec.limit.given:
		code, p.Max = codeContactLimit, uint16(spec.limit.value)
		switch spec.counting.value {
		case "decisions":
		case "clicks":
			p.Outcomes, p.Pending = contact.Engaged(), true
		default:
			p.Outcomes, p.Pending = contact.Shown(), true
		}
	default:
		// A suppression takes the proposition out after so many outcomes, and reserves nothing.
		code, p.Outcomes, p.Max = codeSuppressed, spec.after, uint16(max(spec.times.value, 1))
	}
	p.Code = cmp.Or(spec.code.value, code)
	if p.Label == "" {
		p.Label = contactLabel(&p, spec)
	}
	return p
}

// contactLabel describes a policy that has no label.
func contactLabel(p *contact.Policy, spec *contactSpec) string {
	switch {
	case p.Quiet != nil:
		return fmt.Sprintf("quiet hours from %02d:%02d to %02d:%02d", p.Quiet.From/60, p.Quiet.From%60, p.Quiet.To/60, p.Quiet.To%60)
	case spec.limit.given:
		return fmt.Sprintf("contact limit %s is reached", p.Name)
	case spec.isCoolOff:
		return "cool-off " + p.Name
	default:
		return "suppressed by " + p.Name
	}
}

// contactScope reports names that do not exist.
func (c *compiler) contactScope(spec *contactSpec) {
	if spec.channel.given() {
		if _, ok := c.catalog.channels[spec.channel.value]; !ok {
			c.fail(spec.channel.node, nba.CodeInvalid, "unknown channel %s%s", quote(spec.channel.value), c.suggest(spec.channel.value, sortedKeys(c.catalog.channels), "declare it under channels"))
		}
	}
	if spec.issue.given() {
		if _, ok := c.issues[spec.issue.value]; !ok {
			c.fail(spec.issue.node, nba.CodeInvalid, "unknown issue %s%s", quote(spec.issue.value), c.suggest(spec.issue.value, sortedKeys(c.issues), "declare it under issues"))
		}
	}
	if spec.group.given() {
		var groups []string
		for _, issue := range c.doc.issues {
			for _, g := range issue.groups {
				groups = append(groups, g.name.value)
			}
		}
		if !slices.Contains(groups, spec.group.value) {
			c.fail(spec.group.node, nba.CodeInvalid, "unknown group %s%s", quote(spec.group.value), c.suggest(spec.group.value, groups, "declare it in an issue"))
		}
	}
	if spec.action.given() {
		if _, ok := c.catalog.actions[spec.action.value]; !ok {
			c.fail(spec.action.node, nba.CodeInvalid, "unknown action %s%s", quote(spec.action.value), c.suggest(spec.action.value, sortedKeys(c.catalog.actions), "declare it under actions"))
		}
	}
}

// zone resolves the time zone.
func (c *compiler) zone() {
	contacts := &c.catalog.Contacts
	contacts.Zone = time.UTC
	contacts.ZoneAttribute = -1
	if fallback := c.doc.zone.fallback; fallback.given() {
		zone, err := time.LoadLocation(fallback.value)
		if err != nil {
			c.fail(fallback.node, nba.CodeInvalid, "unknown time zone %s: use a name of the IANA database, such as Europe/Berlin", quote(fallback.value))
			return
		}
		contacts.Zone = zone
	}
	attribute := c.doc.zone.attribute
	if !attribute.given() {
		return
	}
	if id, ok := c.textAttribute(attribute, "a time zone is a name such as Europe/Berlin"); ok {
		contacts.ZoneAttribute = int(id)
	}
}

// textAttribute finds an attribute that must be text, since it is what why says.
func (c *compiler) textAttribute(name text, why string) (nba.AttributeID, bool) {
	declared, ok := c.env.Dictionary.Attribute(name.value)
	switch {
	case !ok:
		hint := ""
		if near := c.env.Dictionary.Nearest(name.value); near != "" {
			hint = ": did you mean " + near + "?"
		}
		c.fail(name.node, nba.CodeInvalid, "no attribute %s in the dictionary%s", quote(name.value), hint)
	case declared.Type != nba.KindString:
		c.fail(name.node, nba.CodeInvalid, "attribute %s is not text: %s", quote(name.value), why)
	default:
		return declared.ID, true
	}
	return 0, false
}
