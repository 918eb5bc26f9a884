package catalog

import (
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// The header of every document.
const (
	apiVersion = "arbiter/v1"
	kind       = "Catalog"

	wholeDocument = "a catalog"
)

// The document as it is written, before references are resolved.
type (
	document struct {
		name           text
		channels       []channelSpec
		models         []modelSpec
		issues         []issueSpec
		actions        []actionSpec
		contextWeights []weightSpec
		fallbacks      []text
		contacts       []contactSpec
		controls       []controlSpec
		controlSalt    text
		arbitration    Arbitration
		tables         []tableSpec
		zone           zoneSpec
		consent        consentSpec
		bundles        []bundleSpec
		seasons        []seasonSpec
		strategy       text
		parameters     map[string]map[string]string
		segments       []segmentSpec
		campaigns      []campaignSpec
		journeys       []journeySpec

		events          []eventSpec
		eventStrategies []eventStrategySpec
	}
	channelSpec struct {
		name       text
		direction  nba.Direction
		consent    text
		placements []placementSpec
		reserve    time.Duration
		timeout    time.Duration
		sink       text
	}
	placementSpec struct{ name, strategy text }
	modelSpec     struct {
		name   text
		plugin text
		evidenceSpec
	}
	// evidenceSpec is how much a model has learned from, and how much the starting propensity counts.
	evidenceSpec struct{ evidence, starting number }
	policySpec   struct {
		when, table, plugin, code, label text
	}
	// scopeSpec is what issues, groups and actions have in common.
	scopeSpec struct {
		lever      number
		leverTable tableUse
		seasons    []text
		policies   [PolicyKinds][]policySpec
	}
	issueSpec struct {
		name text
		scopeSpec
		groups []groupSpec
	}
	groupSpec struct {
		name text
		scopeSpec
	}
	actionSpec struct {
		node *yaml.Node
		name text
		scopeSpec
		label, issue, group, purpose text
		offering                     *nba.Offering
		value                        number
		valueExpression              text
		valueTable                   tableUse
		model                        text
		invert                       bool
		starting                     number
		evidence                     evidenceSpec
		properties                   map[string]float64
		from, to                     *time.Time
		validity                     *yaml.Node
		treatments                   []treatmentSpec
		volumes                      []volumeSpec
	}
	treatmentSpec struct {
		name, channel text
		placements    []text
		content       map[string]string
	}
	weightSpec struct {
		node                       *yaml.Node
		when, issue, group, action text
		weight                     number
	}
)

func (d *decoder) document(n *yaml.Node) *document {
	doc := &document{}
	d.object(n, wholeDocument,
		required("apiVersion", d.exactly(apiVersion)),
		required("kind", d.exactly(kind)),
		required("name", d.name(&doc.name)),
		required("channels", d.list("channels", MaxChannels, func(n *yaml.Node) { doc.channels = append(doc.channels, d.channel(n)) })),
		optional("models", d.dictionary("models", MaxModels, func(key, value *yaml.Node) { doc.models = append(doc.models, d.model(key, value)) })),
		required("issues", d.list("issues", MaxIssues, func(n *yaml.Node) { doc.issues = append(doc.issues, d.issue(n)) })),
		required("actions", d.list("actions", MaxActions, func(n *yaml.Node) { doc.actions = append(doc.actions, d.action(n)) })),
		optional("contextWeights", d.list("context weights", MaxContextWeights, func(n *yaml.Node) { doc.contextWeights = append(doc.contextWeights, d.weight(n)) })),
		optional("arbitration", d.arbitration(&doc.arbitration)),
		optional("controlGroups", d.list("control groups", MaxControlGroups, func(n *yaml.Node) { doc.controls = append(doc.controls, d.controlGroup(n)) })),
		optional("controlSalt", d.label(&doc.controlSalt, MaxNameBytes)),
		optional("bundles", d.list("bundles", MaxBundles, func(n *yaml.Node) { doc.bundles = append(doc.bundles, d.bundle(n)) })),
		optional("seasons", d.list("seasons", MaxSeasons, func(n *yaml.Node) { doc.seasons = append(doc.seasons, d.season(n)) })),
		optional("strategy", d.name(&doc.strategy)),
		optional("parameters", d.dictionary("plugins with parameters", MaxParameterized, d.parameters(&doc.parameters))),
		optional("tables", d.list("tables", MaxTables, func(n *yaml.Node) { doc.tables = append(doc.tables, d.table(n)) })),
		optional("contactPolicies", d.list("contact policies", MaxContactPolicies, func(n *yaml.Node) { doc.contacts = append(doc.contacts, d.contactPolicy(n)) })),
		optional("timeZone", d.timeZone(&doc.zone)),
		optional("consent", d.consent(&doc.consent)),
		optional("fallback", d.fallback(&doc.fallbacks)),
		optional("segments", d.list("segments", MaxSegments, func(n *yaml.Node) { doc.segments = append(doc.segments, d.segment(n)) })),
		optional("events", d.list("events", MaxEvents, func(n *yaml.Node) { doc.events = append(doc.events, d.event(n)) })),
		optional("eventStrategies", d.list("event strategies", MaxEventStrategies, func(n *yaml.Node) {
			doc.eventStrategies = append(doc.eventStrategies, d.eventStrategy(n))
		})),
		optional("journeys", d.list("journeys", MaxJourneys, func(n *yaml.Node) { doc.journeys = append(doc.journeys, d.journey(n)) })),
		optional("campaigns", d.list("campaigns", MaxCampaigns, func(n *yaml.Node) { doc.campaigns = append(doc.campaigns, d.campaign(n)) })),
	)
	return doc
}

// fallback reads one action, or several in the order they are tried.
func (d *decoder) fallback(to *[]text) func(*yaml.Node) {
	return func(n *yaml.Node) {
		var one text
		before := d.mistakes
		d.object(n, "the fallback", optional("action", d.name(&one)), optional("actions", d.list("fallbacks", MaxFallbacks, d.names(to))))
		if d.mistakes == before && one.given() == (len(*to) > 0) {
			d.fail(n, nba.CodeInvalid, "the fallback needs the field action, or actions with several in the order they are tried")
		}
		if one.given() {
			*to = []text{one}
		}
	}
}

func (d *decoder) exactly(want string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if d.describing != nil && d.takes(n, jsonSchema{"const": want}) {
			return
		}
		if n.Kind != yaml.ScalarNode || n.Value != want {
			d.fail(n, nba.CodeInvalid, "this must be %s: it is the only one this version reads", want)
		}
	}
}

func (d *decoder) channel(n *yaml.Node) channelSpec {
	c := channelSpec{direction: nba.Inbound}
	d.object(n, "a channel",
		required("name", d.name(&c.name)),
		optional("direction", func(n *yaml.Node) {
			if d.describing != nil && d.takes(n, jsonSchema{"enum": []nba.Direction{nba.Inbound, nba.Outbound}}) {
				return
			}
			if c.direction = nba.Direction(n.Value); n.Kind != yaml.ScalarNode || c.direction != nba.Inbound && c.direction != nba.Outbound {
				d.fail(n, nba.CodeInvalid, "a direction is inbound or outbound")
			}
		}),
		required("placements", d.list("placements", MaxPlacements, d.placement(&c.placements))),
		optional("reserve", d.duration(&c.reserve, maxReserve)),
		optional("consent", d.oneOf(&c.consent, consentDeny, consentAllow)),
		optional("responseTimeout", d.duration(&c.timeout, maxResponseTimeout)),
		optional("sink", d.name(&c.sink)),
	)
	if c.reserve == 0 {
		c.reserve = defaultReserveInbound
		if c.direction == nba.Outbound {
			c.reserve = defaultReserveOutbound
		}
	}
	return c
}

// placement reads a name, or a name with the strategy of the placement.
func (d *decoder) placement(to *[]placementSpec) func(*yaml.Node) {
	return func(n *yaml.Node) {
		var p placementSpec
		named := func(n *yaml.Node) {
			d.object(n, "a placement", required("name", d.name(&p.name)), optional("strategy", d.name(&p.strategy)))
		}
		if d.describing != nil && d.either(n, d.name(&p.name), named) {
			return
		}
		if n.Kind == yaml.MappingNode {
			named(n)
		} else {
			d.name(&p.name)(n)
		}
		if p.name.given() {
			*to = append(*to, p)
		}
	}
}

func (d *decoder) names(to *[]text) func(*yaml.Node) {
	return func(n *yaml.Node) {
		var name text
		if d.name(&name)(n); name.given() {
			*to = append(*to, name)
		}
	}
}

func (d *decoder) model(key, value *yaml.Node) modelSpec {
	m := modelSpec{name: text{value: key.Value, node: key}}
	d.object(value, "a model", append([]field{required("plugin", d.name(&m.plugin))}, d.evidence(&m.evidenceSpec)...)...)
	return m
}

// evidence are the fields that models and propensities share.
func (d *decoder) evidence(e *evidenceSpec) []field {
	return []field{optional("evidence", d.number(&e.evidence, 0, MaxEvidence)), optional("startingEvidence", d.number(&e.starting, 0, MaxEvidence))}
}

// scope are the fields that issues, groups and actions share.
func (d *decoder) scope(s *scopeSpec) []field {
	fields := []field{
		optional("lever", d.numberOrTable(&s.lever, &s.leverTable, MinLeverPercent, MaxLeverPercent)),
		optional("seasons", d.list("seasons", MaxSeasons, d.names(&s.seasons))),
	}
	for k := range PolicyKind(PolicyKinds) {
		fields = append(fields, optional(k.String(), d.list(k.String()+" policies", MaxPolicies, func(n *yaml.Node) {
			s.policies[k] = append(s.policies[k], d.policy(n))
		})))
	}
	return fields
}

func (d *decoder) policy(n *yaml.Node) policySpec {
	var p policySpec
	before := d.mistakes
	d.object(n, "a policy",
		optional("when", d.expression(&p.when)),
		optional("table", d.name(&p.table)),
		optional("plugin", d.name(&p.plugin)),
		optional("code", d.code(&p.code)),
		optional("label", d.label(&p.label, MaxLabelBytes)),
	)
	given := 0
	for _, t := range [...]text{p.when, p.table, p.plugin} {
		if t.given() {
			given++
		}
	}
	if d.mistakes == before && given != 1 {
		d.fail(n, nba.CodeInvalid, "a policy needs the field when, or table with the name of a decision table, or plugin with the name of a plugin")
	}
	return p
}

func (d *decoder) issue(n *yaml.Node) issueSpec {
	var i issueSpec
	d.object(n, "an issue", append([]field{
		required("name", d.name(&i.name)),
		required("groups", d.list("groups", MaxGroups, func(n *yaml.Node) { i.groups = append(i.groups, d.group(n)) })),
	}, d.scope(&i.scopeSpec)...)...)
	return i
}

func (d *decoder) group(n *yaml.Node) groupSpec {
	var g groupSpec
	d.object(n, "a group", append([]field{required("name", d.name(&g.name))}, d.scope(&g.scopeSpec)...)...)
	return g
}

func (d *decoder) action(n *yaml.Node) actionSpec {
	a := actionSpec{node: n}
	d.object(n, "an action", append([]field{
		required("name", d.name(&a.name)),
		optional("label", d.label(&a.label, MaxLabelBytes)),
		required("issue", d.name(&a.issue)),
		required("group", d.name(&a.group)),
		optional("purpose", d.name(&a.purpose)),
		optional("offering", d.offering(&a)),
		required("value", d.value(&a)),
		optional("propensity", func(n *yaml.Node) {
			d.object(n, "a propensity", append([]field{optional("model", d.name(&a.model)), optional("invert", d.flag(&a.invert)),
				optional("starting", d.number(&a.starting, 0, 1))}, d.evidence(&a.evidence)...)...)
		}),
		optional("properties", d.dictionary("properties", MaxProperties, d.property(&a))),
		optional("validity", func(n *yaml.Node) {
			a.validity = n
			d.object(n, "a validity", optional("from", d.moment(&a.from)), optional("to", d.moment(&a.to)))
		}),
		required("treatments", d.list("treatments", MaxTreatments, func(n *yaml.Node) { a.treatments = append(a.treatments, d.treatment(n)) })),
		optional("volume", d.volumes(&a.volumes)),
	}, d.scope(&a.scopeSpec)...)...)
	return a
}

func (d *decoder) offering(a *actionSpec) func(*yaml.Node) {
	return func(n *yaml.Node) {
		var id, href text
		d.object(n, "an offering", required("id", d.label(&id, MaxLabelBytes)), optional("href", d.label(&href, MaxContentBytes)))
		a.offering = &nba.Offering{ID: id.value, Href: href.value}
	}
}

// value reads a number, text, which is an expression, or the output of a table.
func (d *decoder) value(a *actionSpec) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if d.describing != nil && d.either(n, d.expression(&a.valueExpression), d.numberOrTable(&a.value, &a.valueTable, 0, MaxValue)) {
			return
		}
		if n.Kind == yaml.ScalarNode && n.Tag == "!!str" {
			d.expression(&a.valueExpression)(n)
			return
		}
		d.numberOrTable(&a.value, &a.valueTable, 0, MaxValue)(n)
	}
}

// numberOrTable reads a number, or the output of a table that gives one.
func (d *decoder) numberOrTable(to *number, use *tableUse, low, high float64) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if d.describing != nil && d.either(n, d.number(to, low, high), d.tableUse(use, low, high)) {
			return
		}
		if n.Kind == yaml.MappingNode {
			d.tableUse(use, low, high)(n)
			return
		}
		d.number(to, low, high)(n)
	}
}

func (d *decoder) property(a *actionSpec) func(key, value *yaml.Node) {
	return func(key, value *yaml.Node) {
		var p number
		if d.number(&p, -MaxValue, MaxValue)(value); p.given {
			if a.properties == nil {
				a.properties = map[string]float64{}
			}
			a.properties[key.Value] = p.value
		}
	}
}

func (d *decoder) treatment(n *yaml.Node) treatmentSpec {
	var t treatmentSpec
	d.object(n, "a treatment",
		required("name", d.name(&t.name)),
		required("channel", d.name(&t.channel)),
		optional("placements", d.list("placements", MaxPlacements, d.names(&t.placements))),
		optional("content", d.dictionary("content fields", MaxContentFields, func(key, value *yaml.Node) {
			var content text
			if d.label(&content, MaxContentBytes)(value); content.given() {
				if t.content == nil {
					t.content = map[string]string{}
				}
				t.content[key.Value] = content.value
			}
		})),
	)
	return t
}

func (d *decoder) weight(n *yaml.Node) weightSpec {
	w := weightSpec{node: n}
	d.object(n, "a context weight",
		required("when", d.expression(&w.when)),
		optional("issue", d.name(&w.issue)),
		optional("group", d.name(&w.group)),
		optional("action", d.name(&w.action)),
		required("weight", d.number(&w.weight, 0, MaxContextWeight)),
	)
	return w
}
