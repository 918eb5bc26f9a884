package catalog

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/arbiterhq/arbiter/runtime/expr"
	"github.com/arbiterhq/arbiter/runtime/history"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Env is what a document is compiled against.
type Env struct {
	// Dictionary types the attributes of expressions.
	Dictionary *nba.Dictionary
	// Models are the names of the plugins that exist. Nil means that they are not checked.
	Models []string
	// Strategies are the names of the strategy plugins that exist. Nil means that they are not checked.
	Strategies []string
}

// Compile reads, checks and resolves a document. file names it in messages. Any mistake gives an
// *nba.Error with CodeCatalogInvalid whose Details are all mistakes found, in the order of the
// document.
func Compile(document []byte, file string, env Env) (*Catalog, error) {
	expressions, err := expr.NewEnv(env.Dictionary)
	if err != nil {
		return nil, fmt.Errorf("preparing the expressions of the catalog: %w", err)
	}
	d := &decoder{file: file, lines: strings.Split(string(document), "\n")}
	root := d.parse(document)
	if root == nil {
		return nil, d.err()
	}
	c := &compiler{
		decoder: d, env: env, expressions: expressions, doc: d.document(root),
		catalog:    &Catalog{Digest: Digest(document), actions: map[string]*Action{}, channels: map[string]*Channel{}},
		predicates: map[string]*Predicate{}, tested: map[string]*Predicate{}, programs: map[programKey]compiled{}, issues: map[string]*issueSpec{},
	}
	c.compile(root)
	if err := d.err(); err != nil {
		return nil, err
	}
	return c.catalog, nil
}

// compiler resolves a document into a catalog.
type compiler struct {
	*decoder
	env         Env
	expressions *expr.Env
	doc         *document
	catalog     *Catalog

	predicates map[string]*Predicate
	tested     map[string]*Predicate // by table
	known      map[string]*namedTable
	programs   map[programKey]compiled
	issues     map[string]*issueSpec
	models     map[string]int // by name in the document: position in plugins
	plugins    []string
	placements int
	seasonsBy  map[string]*Season
	asked      map[history.Query][]*yaml.Node // where the history is asked for each
	// journeyAsks are where journeys are asked for what.
	journeyAsks map[expr.JourneyAsk][]*yaml.Node
	overEvents  *compiler // of expressions over events; nil before the first
	// counted is where the aggregates of event strategies are asked for, by their names.
	counted map[string][]*yaml.Node
	// scored is where the scores of models are asked for, by their names.
	scored map[string][]*yaml.Node
}

func (c *compiler) compile(root *yaml.Node) {
	c.catalog.Name, c.catalog.Parameters = c.doc.name.value, c.doc.parameters
	c.channels(root)
	c.strategies()
	c.consentDefaults()
	c.modelNames()
	c.segments()
	c.seasons()
	c.hierarchy()
	c.tables()
	c.checkPolicies()
	for i := range c.doc.actions {
		c.action(&c.doc.actions[i])
	}
	slices.SortFunc(c.catalog.Actions, func(a, b *Action) int { return cmp.Compare(a.Name, b.Name) })
	c.weights()
	c.bundles()
	c.contacts()
	c.controlGroups()
	c.catalog.Arbitration = c.doc.arbitration
	c.fallbacks()
	c.campaigns()
	c.events()
	c.eventStrategies()
	c.journeys()
	c.histories()
	c.checkCounts()
	c.checkScores()
	c.index()
}

func (c *compiler) channels(root *yaml.Node) {
	if len(c.doc.channels) == 0 && len(c.problems) == 0 {
		c.fail(root, nba.CodeInvalid, "a catalog needs at least one channel")
	}
	first := map[string]*yaml.Node{}
	for i := range c.doc.channels {
		spec := &c.doc.channels[i]
		if !c.unique(first, spec.name, "channel") {
			continue
		}
		channel := &Channel{ID: len(c.catalog.Channels), Name: spec.name.value, Direction: spec.direction, Reserve: spec.reserve, ResponseTimeout: spec.timeout, Sink: spec.sink.value}
		if len(spec.placements) == 0 {
			c.fail(spec.name.node, nba.CodeInvalid, "the channel needs at least one placement")
		}
		inChannel := map[string]*yaml.Node{}
		for _, placement := range spec.placements {
			if !c.unique(inChannel, placement.name, "placement") {
				continue
			}
			if c.placements == MaxPlacements {
				c.fail(placement.name.node, nba.CodeTooLarge, "at most %d placements over all channels", MaxPlacements)
				return
			}
			channel.Placements = append(channel.Placements, Placement{ID: c.placements, Name: placement.name.value, Strategy: -1})
			channel.Requests = append(channel.Requests, nba.PlacementRequest{ID: placement.name.value, Limit: 1})
			c.placements++
		}
		// A request names at most so many placements; more are reached by naming them.
		channel.Requests = slices.Clip(channel.Requests[:min(len(channel.Requests), nba.MaxPlacements)])
		c.catalog.Channels = append(c.catalog.Channels, channel)
		c.catalog.channels[channel.Name] = channel
	}
}

// unique tells whether a name is given and new, and reports one that is declared again.
func (c *compiler) unique(first map[string]*yaml.Node, name text, what string) bool {
	if !name.given() {
		return false
	}
	if earlier, again := first[name.value]; again {
		c.fail(name.node, nba.CodeInvalid, "%s %s is declared twice: first on line %d", what, name.value, earlier.Line)
		return false
	}
	first[name.value] = name.node
	return true
}

func (c *compiler) modelNames() {
	c.models = map[string]int{}
	for _, m := range c.doc.models {
		if !m.plugin.given() {
			continue
		}
		if c.env.Models != nil && !slices.Contains(c.env.Models, m.plugin.value) {
			c.fail(m.plugin.node, nba.CodePluginUnknown, "no plugin %s%s", quote(m.plugin.value),
				c.suggest(m.plugin.value, c.env.Models, "push it first: arbiter plugin push"))
		}
		c.models[m.name.value] = c.pluginPosition(m.plugin.value)
	}
}

func (c *compiler) hierarchy() {
	first := map[string]*yaml.Node{}
	for i := range c.doc.issues {
		issue := &c.doc.issues[i]
		if !c.unique(first, issue.name, "issue") {
			continue
		}
		c.issues[issue.name.value] = issue
		groups := map[string]*yaml.Node{}
		for _, group := range issue.groups {
			c.unique(groups, group.name, "group")
		}
	}
}

// checkPolicies compiles every policy once, so that those of issues and groups without actions are
// checked too.
func (c *compiler) checkPolicies() {
	check := func(s *scopeSpec) {
		c.seasonsOf(s)
		c.tableNumber(&s.leverTable)
		for k := range s.policies {
			for _, p := range s.policies[k] {
				if p.plugin.given() {
					c.rule(&p, PolicyKind(k))
				} else {
					c.condition(&p)
				}
			}
		}
	}
	for i := range c.doc.issues {
		check(&c.doc.issues[i].scopeSpec)
		for j := range c.doc.issues[i].groups {
			check(&c.doc.issues[i].groups[j].scopeSpec)
		}
	}
}

// index sorts actions into models, channels and placements.
func (c *compiler) index() {
	order := make([]int, len(c.plugins)) // from the order of the document to that of the names
	names := slices.Sorted(slices.Values(c.plugins))
	for i, plugin := range c.plugins {
		order[i] = slices.Index(names, plugin)
	}
	for _, name := range names {
		c.catalog.Models = append(c.catalog.Models, Model{Plugin: name})
	}
	for i, a := range c.catalog.Actions {
		a.Index = i
		c.catalog.actions[a.Name] = a
		c.indexRules(a, order)
		if a.Propensity.Model >= 0 {
			a.Propensity.Model = order[a.Propensity.Model]
			m := &c.catalog.Models[a.Propensity.Model]
			m.Actions = append(m.Actions, a)
		}
		for _, channel := range c.catalog.Channels {
			if !a.InChannel(channel) {
				continue
			}
			channel.Actions = append(channel.Actions, a)
			for p := range channel.Placements {
				if a.Treatment(channel.Placements[p].ID) != nil {
					channel.Placements[p].Actions = append(channel.Placements[p].Actions, a)
				}
			}
		}
	}
	c.gates()
	c.campaignActions()
	c.catalog.Predicates = len(c.predicates) + len(c.tested)
}
