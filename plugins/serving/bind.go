package serving

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// bindAll makes a Set without references. The caller holds mu.
func (h *Host) bindAll(plan Plan, dictionary *nba.Dictionary) (*Set, error) {
	active := plan.Active
	s := &Set{host: h, plan: plan, models: make(map[string]*model, len(active))}
	var problems []nba.Detail
	for _, name := range slices.Sorted(maps.Keys(active)) {
		bound, found := h.bindOne(name, active[name], dictionary)
		problems = append(problems, found...)
		if bound != nil {
			s.models[name] = bound
		}
	}
	problems = append(problems, h.bindTrials(s, dictionary)...)
	for name, digest := range plan.LastGood {
		if m := s.models[name]; m != nil && digest != active[name] {
			if other, found := h.bindOne(name, digest, dictionary); len(found) == 0 && other.version.manifest.Kind == m.version.manifest.Kind {
				m.lastGood = other
			}
		}
	}
	if len(problems) > 0 {
		code := nba.CodeInvalid
		for i := range problems {
			if problems[i].Code == nba.CodeUnavailable {
				code = nba.CodeUnavailable
			}
		}
		return nil, &nba.Error{Code: code, Message: "the plugins cannot be put into service", Details: problems}
	}
	for _, digest := range plan.Warm {
		if version, ok := h.versions[digest]; ok {
			s.warm = append(s.warm, version)
		}
	}
	return s, nil
}

// bindOne makes a model of one version, nil when it is not there. The caller holds mu.
func (h *Host) bindOne(name, digest string, dictionary *nba.Dictionary) (*model, []nba.Detail) {
	version, ok := h.versions[digest]
	if !ok {
		return nil, []nba.Detail{{Pointer: "/" + name, Code: nba.CodeUnavailable,
			Detail: fmt.Sprintf("a version of plugin %s is not prepared on this node; prepare it first", name)}}
	}
	m := version.manifest
	if m.Name != name {
		return nil, []nba.Detail{{Pointer: "/" + name, Code: nba.CodeInvalid, Detail: fmt.Sprintf("the artifact is of plugin %s", m.Name)}}
	}
	in, problems := bind(m, dictionary)
	return &model{
		info:    nba.ModelInfo{Name: m.Name, Version: m.Version, Digest: version.digest},
		version: version, inputs: in, probability: m.Output == artifact.OutputProbability,
		metrics: h.metrics.forPlugin(name), hosted: len(m.Capabilities) > 0, log: h.logOf(name), counters: h.countersOf(name),
	}, problems
}

// CheckBinding tells whether the features of a manifest can be made from the attributes of a
// dictionary: the error is an *nba.Error with CodeInvalid that lists every feature that cannot.
func CheckBinding(m *artifact.Manifest, dictionary *nba.Dictionary) error {
	if _, problems := bind(m, dictionary); len(problems) > 0 {
		return &nba.Error{Code: nba.CodeInvalid, Message: fmt.Sprintf("plugin %s does not fit the attributes", m.Name), Details: problems}
	}
	return nil
}

// Names are what recipes may name besides attributes; nil means that nothing is known of them.
type Names struct{ Properties, Actions, Channels, EventStrategies []string }

// CheckNames tells whether the action properties, actions and channels that the features of a manifest
// name are there: the error is an *nba.Error with CodeInvalid that lists every one that is not, with the
// nearest name.
func CheckNames(m *artifact.Manifest, names Names) error {
	b := &binder{plugin: m.Name}
	for i := range m.Features {
		f := &m.Features[i]
		check := func(what, name string, known []string) {
			if name == "" || known == nil || slices.Contains(known, name) {
				return
			}
			remedy := "add it to the catalog first, or correct the recipe"
			if near := nba.Nearest(name, known); near != "" {
				remedy = "did you mean " + near + "?"
			}
			b.problem(fmt.Sprintf("/features/%d", i), nba.CodeInvalid, "feature %s of plugin %s reads %s %s, which the active catalog does not have; %s", f.Name, b.plugin, what, name, remedy)
		}
		check("action property", f.Recipe.ActionProperty, names.Properties)
		check("event strategy", f.Recipe.EventStrategy, names.EventStrategies)
		if h := f.Recipe.History; h != nil {
			check("the history of action", h.Action, names.Actions)
			check("the history of channel", h.Channel, names.Channels)
		}
	}
	if len(b.problems) > 0 {
		return &nba.Error{Code: nba.CodeInvalid, Message: fmt.Sprintf("plugin %s does not fit the catalog", m.Name), Details: b.problems}
	}
	return nil
}

// binder collects inputs and problems.
type binder struct {
	dictionary *nba.Dictionary
	plugin     string
	in         inputs
	byID       map[nba.AttributeID]int // position in in.attributes
	problems   []nba.Detail
}

func bind(m *artifact.Manifest, dictionary *nba.Dictionary) (inputs, []nba.Detail) {
	b := &binder{dictionary: dictionary, plugin: m.Name, byID: map[nba.AttributeID]int{}}
	b.in.subjectN, b.in.candidateN = m.SubjectFeatures(), m.CandidateFeatures()
	purpose, ok := dictionary.Purpose(m.Purpose)
	if !ok {
		near := ""
		if n := nba.Nearest(m.Purpose, dictionary.PurposeNames()); n != "" {
			near = "did you mean " + n + "? "
		}
		b.problem("/purpose", nba.CodeInvalid, "the manifest's purpose is not in the dictionary; %sthe purposes are %s",
			near, strings.Join(dictionary.PurposeNames(), ", "))
	}
	b.in.purpose = purpose.ID
	for i := range m.Features {
		f := &m.Features[i]
		b.in.names = append(b.in.names, f.Name)
		missing := math.NaN()
		if f.Recipe.Default != nil {
			missing = *f.Recipe.Default
		}
		switch {
		case f.Recipe.ActionProperty != "":
			b.in.properties = append(b.in.properties, namedInput{f.Recipe.ActionProperty, i - b.in.subjectN, missing})
		case f.Recipe.History != nil && f.Recipe.History.SameAction:
			b.in.histories = append(b.in.histories, newHistoryInput(f.Recipe.History, i-b.in.subjectN, missing))
		case f.Recipe.History != nil:
			b.in.histories = append(b.in.histories, newHistoryInput(f.Recipe.History, i, missing))
		case f.Recipe.EventStrategy != "":
			b.in.counted = append(b.in.counted, namedInput{f.Recipe.EventStrategy, i, missing})
		case f.Recipe.Ratio != nil:
			b.ratio(i, f, missing)
		case f.Recipe.Context != "":
			b.in.contexts = append(b.in.contexts, namedInput{f.Recipe.Context, i, missing})
		default:
			b.attribute(i, f, missing)
		}
	}
	for i, name := range m.Attributes {
		if a, ok := dictionary.Attribute(name); ok {
			b.in.told = append(b.in.told, toldAttribute{a.ID, a.Name, a.PurposeSet})
			continue
		}
		remedy := "declare it with PUT /v1/attributes, or correct the manifest"
		if near := dictionary.Nearest(name); near != "" {
			remedy = "did you mean " + near + "?"
		}
		b.problem(fmt.Sprintf("/attributes/%d", i), nba.CodeAttributeUnknown, "plugin %s is told of attribute %s, which is not in the dictionary; %s", b.plugin, name, remedy)
	}
	return b.in, b.problems
}

func (b *binder) problem(pointer string, code nba.Code, detail string, args ...any) {
	b.problems = append(b.problems, nba.Detail{Pointer: "/" + b.plugin + pointer, Code: code, Detail: fmt.Sprintf(detail, args...)})
}

// attribute binds feature number place to its subject attribute.
func (b *binder) attribute(place int, f *artifact.Feature, missing float64) {
	at := fmt.Sprintf("/features/%d", place)
	name := f.Recipe.AttributeName()
	a, ok := b.known(place, f, name)
	if !ok {
		return
	}
	feature := attributeFeature{place: int32(place), missing: missing, ofBool: [2]float64{0, 1}, number: math.NaN()}
	switch {
	case f.Recipe.OneHot != nil:
		feature.oneHot(a.Type, f.Recipe.OneHot.Level)
	case len(f.Recipe.Levels) > 0:
		feature.ordinal(f.Recipe.Levels)
		if a.Type != nba.KindString && a.Type != nba.KindBool {
			b.problem(at, nba.CodeInvalid, "feature %s of plugin %s reads attribute %s as a level, but its type is %s; read it as a number or a bucket", f.Name, b.plugin, name, a.Type)
		}
	case a.Type == nba.KindString:
		b.problem(at, nba.CodeInvalid, "feature %s of plugin %s reads attribute %s as a number, but its type is string; use oneHot or levels", f.Name, b.plugin, name)
	case f.Recipe.Log != nil:
		feature.recipe, feature.number = recipeLog, f.Recipe.Log.Offset
		feature.ofBool = [2]float64{logarithm(0, feature.number, missing), logarithm(1, feature.number, missing)}
	case f.Recipe.Bucket != nil:
		bounds := f.Recipe.Bucket.Bounds
		feature.recipe, feature.table = recipeBucket, &table{bounds: bounds}
		feature.ofBool = [2]float64{float64(bucket(bounds, 0)), float64(bucket(bounds, 1))}
	}
	input := b.input(a)
	input.features = append(input.features, feature)
}

// known finds the attribute that a feature reads.
func (b *binder) known(place int, f *artifact.Feature, name string) (nba.Attribute, bool) {
	a, ok := b.dictionary.Attribute(name)
	if !ok {
		remedy := "declare it with PUT /v1/attributes, or correct the recipe"
		if near := b.dictionary.Nearest(name); near != "" {
			remedy = "did you mean " + near + "?"
		}
		b.problem(fmt.Sprintf("/features/%d", place), nba.CodeAttributeUnknown,
			"feature %s of plugin %s reads attribute %s, which is not in the dictionary; %s", f.Name, b.plugin, name, remedy)
	}
	return a, ok
}

// input is the one place where an attribute is read.
func (b *binder) input(a nba.Attribute) *attributeInput {
	position, ok := b.byID[a.ID]
	if !ok {
		position = len(b.in.attributes)
		b.byID[a.ID] = position
		b.in.attributes = append(b.in.attributes, attributeInput{id: a.ID, name: a.Name, purposes: a.PurposeSet})
	}
	return &b.in.attributes[position]
}

// ratio binds feature number place to its two attributes.
func (b *binder) ratio(place int, f *artifact.Feature, missing float64) {
	refs := [2]attributeRef{}
	for i, name := range [...]string{f.Recipe.Ratio.Attribute, f.Recipe.Ratio.By} {
		a, ok := b.known(place, f, name)
		if !ok {
			continue
		}
		if a.Type == nba.KindString {
			b.problem(fmt.Sprintf("/features/%d", place), nba.CodeInvalid, "feature %s of plugin %s divides attribute %s, but its type is string", f.Name, b.plugin, name)
		}
		b.input(a) // so that it is named when it is withheld
		refs[i] = attributeRef{a.ID, a.PurposeSet}
	}
	b.in.ratios = append(b.in.ratios, ratioInput{place, missing, refs[0], refs[1]})
}

// oneHot compares with level, as far as a value of kind k can equal it.
func (f *attributeFeature) oneHot(k nba.Kind, level string) {
	f.recipe, f.text, f.ofBool = recipeOneHot, level, [2]float64{0, 0}
	if value, ok := artifact.BoolLevel(level); ok && value {
		f.ofBool[1] = 1
	} else if ok {
		f.ofBool[0] = 1
	}
	switch k {
	case nba.KindInt, nba.KindFloat: // 1 and 1.0 are the same level: libraries print either
		if number, err := strconv.ParseFloat(level, 64); err == nil {
			f.number = number
		}
	case nba.KindTime:
		if v, err := nba.ParseValue(nba.KindTime, level); err == nil {
			f.number, _ = v.Number()
		}
	}
}

// ordinal looks the position of a level up.
func (f *attributeFeature) ordinal(levels []string) {
	f.recipe, f.table = recipeOrdinal, &table{levels: make(map[string]float64, len(levels))}
	f.ofBool = [2]float64{f.missing, f.missing}
	for position, level := range levels {
		f.table.levels[level] = float64(position)
		switch value, ok := artifact.BoolLevel(level); {
		case ok && value:
			f.ofBool[1] = float64(position)
		case ok:
			f.ofBool[0] = float64(position)
		}
	}
}
