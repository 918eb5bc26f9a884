package artifact

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

var capabilities = [...]string{"log", "now_ms", "rand_u64", "param_get", "metric_add"}

// jsonError tells where in the manifest the JSON is wrong, without quoting it.
func jsonError(content []byte, dec *json.Decoder, err error) error {
	offset := dec.InputOffset()
	reason := "it is not a JSON object of this form"
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		offset, reason = syntax.Offset, "it is not JSON"
	} else if kind, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		offset, reason = kind.Offset, fmt.Sprintf("field %s must be a %s", kind.Field, kind.Type)
	} else if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		reason = "it ends too early"
	} else if strings.HasPrefix(err.Error(), "json: unknown field") {
		reason = "it has the " + strings.TrimPrefix(err.Error(), "json: ") + "; see docs/format/manifest.md for the fields"
	}
	line := 1 + strings.Count(string(content[:min(int(offset), len(content))]), "\n")
	return nba.Errorf(nba.CodePluginRefused, "rule manifest: the manifest is malformed at byte %d (line %d): %s", offset, line, reason)
}

// checker collects the mistakes of a manifest.
type checker struct{ details []nba.Detail }

func (c *checker) add(pointer, format string, args ...any) {
	if len(c.details) < 100 {
		c.details = append(c.details, nba.Detail{Pointer: pointer, Code: nba.CodePluginRefused, Detail: fmt.Sprintf(format, args...)})
	}
}

// Validate reports every mistake of m at once, as an *nba.Error with CodePluginRefused and one Detail
// for each.
func (m *Manifest) Validate() error {
	c := &checker{}
	if !ValidName(m.Name) {
		c.add("/name", "a plugin name is a lower-case letter followed by at most 62 lower-case letters, digits or hyphens")
	}
	if !ValidVersion(m.Version) {
		c.add("/version", "a version is a semantic version such as 1.4.0 or 1.4.0-rc.1")
	}
	if m.ABI != ABIVersion {
		c.add("/abi", "this host speaks contract version %d; rebuild the plugin for it", ABIVersion)
	}
	if !validText(m.Purpose) {
		c.add("/purpose", "a purpose is a text of 1 to %d bytes", MaxTextBytes)
	}
	switch m.Kind {
	case KindScorer:
		m.validateScorer(c)
	case KindStrategy:
		m.validateStrategy(c)
	default:
		c.add("/kind", "a kind is scorer or strategy")
	}
	m.validateLimits(c)
	m.validateCapabilities(c)
	m.validateAdapter(c)
	validateParameters(c, "/parameters", m.Parameters)
	if len(c.details) == 0 {
		return nil
	}
	return &nba.Error{Code: nba.CodePluginRefused, Message: "rule manifest: the manifest has mistakes", Details: c.details}
}

func (m *Manifest) validateScorer(c *checker) {
	if m.Output != OutputProbability && m.Output != OutputValue && m.Output != OutputVerdict {
		c.add("/output", "an output is probability, value or verdict")
	}
	if len(m.Features) == 0 {
		c.add("/features", "a scorer has 1 to %d features", MaxFeatures)
	}
	if len(m.Attributes) > 0 || len(m.Decisions) > 0 || m.Encoding != "" {
		c.add("/attributes", "attributes, encoding and decisions are for strategies; a scorer reads features and has golden rows")
	}
	m.validateFeatures(c)
	m.validateGolden(c)
}

func (m *Manifest) validateFeatures(c *checker) {
	if len(m.Features) > MaxFeatures {
		c.add("/features", "there are more than %d features", MaxFeatures)
	}
	seen := make(map[string]int, len(m.Features))
	candidate := false
	for i := range m.Features {
		f := &m.Features[i]
		at := fmt.Sprintf("/features/%d", i)
		if !validText(f.Name) {
			c.add(at+"/name", "a feature name is a text of 1 to %d bytes", MaxTextBytes)
		} else if first, ok := seen[f.Name]; ok {
			c.add(at+"/name", "the feature has the same name as feature %d; names are unique", first)
		}
		seen[f.Name] = i
		switch f.Scope {
		case ScopeCandidate:
			candidate = true
		case ScopeSubject:
			if candidate {
				c.add(at+"/scope", "a subject feature stands after a candidate feature; put all subject features first")
			}
		default:
			c.add(at+"/scope", "a scope is subject or candidate")
		}
		f.Recipe.validate(c, at+"/recipe", f.Scope)
	}
	if want := FeatureHash(m.Features); m.FeatureHash != want {
		c.add("/featureHash", "the hash does not belong to these features; it would be %s", want)
	}
}

func (m *Manifest) validateStrategy(c *checker) {
	if len(m.Golden) > 0 || m.Output != "" {
		c.add("/golden", "a strategy has no golden rows and no output; it has decisions")
	}
	if m.Encoding != EncodingJSON {
		c.add("/encoding", "the only encoding of a strategy is %s", EncodingJSON)
	}
	if len(m.Features) > 0 {
		m.validateFeatures(c)
		if m.CandidateFeatures() > 0 {
			c.add("/features", "a strategy has features of scope subject only; what it is told of candidates is fixed by the contract")
		}
	}
	if len(m.Attributes) > MaxAttributes {
		c.add("/attributes", "there are more than %d attributes", MaxAttributes)
		return
	}
	for i, name := range m.Attributes {
		switch at := fmt.Sprintf("/attributes/%d", i); {
		case !validText(name):
			c.add(at, "an attribute name is a text of 1 to %d bytes", MaxTextBytes)
		case slices.Contains(m.Attributes[:i], name):
			c.add(at, "the attribute is listed twice")
		}
	}
	m.validateDecisions(c)
}

func (m *Manifest) validateDecisions(c *checker) {
	if len(m.Decisions) > MaxGoldenDecisions {
		c.add("/decisions", "there are more than %d golden decisions; keep the most telling ones", MaxGoldenDecisions)
		return
	}
	for i := range m.Decisions {
		d, at := &m.Decisions[i], fmt.Sprintf("/decisions/%d", i)
		if d.Name != "" && !validText(d.Name) {
			c.add(at+"/name", "a name is a text of at most %d bytes", MaxTextBytes)
		}
		if len(d.Input)+len(d.Output) > MaxGoldenBytes || !isObject(d.Input) || !isObject(d.Output) {
			c.add(at, "input and output are JSON objects of at most %d bytes together", MaxGoldenBytes)
		}
		validateParameters(c, at+"/parameters", d.Parameters)
	}
}

func isObject(text json.RawMessage) bool {
	return json.Valid(text) && strings.HasPrefix(strings.TrimLeft(string(text), " \t\r\n"), "{")
}

func validateParameters(c *checker, at string, parameters map[string]string) {
	if len(parameters) > MaxParameters {
		c.add(at, "there are more than %d parameters", MaxParameters)
		return
	}
	for _, key := range slices.Sorted(maps.Keys(parameters)) {
		if value := parameters[key]; !validText(key) || len(key) > 128 || len(value) > MaxParameterBytes || !utf8.ValidString(value) {
			c.add(at, "a parameter has a name of 1 to 128 bytes and a text of at most %d bytes", MaxParameterBytes)
			return
		}
	}
}

func (m *Manifest) validateGolden(c *checker) {
	if len(m.Golden) > MaxGoldenRows {
		c.add("/golden", "there are more than %d golden rows; keep the most telling ones", MaxGoldenRows)
		return
	}
	for i := range m.Golden {
		g := &m.Golden[i]
		if len(g.Features) != len(m.Features) {
			c.add(fmt.Sprintf("/golden/%d/features", i), "the row has %d values for %d features", len(g.Features), len(m.Features))
		}
		if !finite(g.Score) || g.Raw != nil && !finite(*g.Raw) {
			c.add(fmt.Sprintf("/golden/%d", i), "raw and score must be finite numbers")
		}
		if m.Output == OutputVerdict && g.Score != 0 && g.Score != 1 {
			c.add(fmt.Sprintf("/golden/%d/score", i), "a verdict is 0 or 1")
		}
		if m.Output == OutputProbability && !(g.Score >= 0 && g.Score <= 1) {
			c.add(fmt.Sprintf("/golden/%d/score", i), "a probability lies between 0 and 1; set output to value if the score is no probability")
		}
	}
}

// validateAdapter checks what can be told without the module.
func (m *Manifest) validateAdapter(c *checker) {
	a := m.Adapter
	if a == nil {
		return
	}
	switch a.Kind {
	case AdapterOPA:
		if m.Kind != KindScorer {
			c.add("/adapter/kind", "an OPA policy is a scorer, usually with the output verdict")
		}
	case AdapterWASICommand:
		if a.Entrypoint != "" {
			c.add("/adapter/entrypoint", "a WASI command has no entry point but its main function")
		}
	case AdapterExtism:
	default:
		c.add("/adapter/kind", "an adapter is %s, %s or %s", AdapterOPA, AdapterWASICommand, AdapterExtism)
	}
	if a.Entrypoint != "" && !validText(a.Entrypoint) {
		c.add("/adapter/entrypoint", "an entry point is a text of at most %d bytes", MaxTextBytes)
	}
	if len(m.Capabilities) > 0 {
		c.add("/capabilities", "a module with an adapter imports nothing of the contract's host functions; remove the capabilities")
	}
	for i := range m.Golden {
		if m.Golden[i].Raw != nil {
			c.add(fmt.Sprintf("/golden/%d/raw", i), "a module with an adapter has no raw scores")
		}
	}
}

func (m *Manifest) validateLimits(c *checker) {
	l := m.Limits
	if l.MemoryPages < 1 || l.MemoryPages > MaxMemoryPages {
		c.add("/limits/memoryPages", "a plugin has 1 to %d pages of 64 KiB", MaxMemoryPages)
	}
	const maxFuel = 1 << 40
	if l.FuelBase < 0 || l.FuelPerRow < 0 || l.FuelBase > maxFuel || l.FuelPerRow > maxFuel || l.FuelBase+l.FuelPerRow <= 0 {
		c.add("/limits/fuelBase", "fuelBase and fuelPerRow lie between 0 and %d and are not both 0", int64(maxFuel))
	}
	if m.Kind == KindScorer && (l.MaxRows < 1 || l.MaxRows > MaxRows) {
		c.add("/limits/maxRows", "a call scores 1 to %d rows", MaxRows)
	}
	if m.Kind == KindStrategy && (l.MaxRows < 1 || l.MaxRows > MaxCandidates) {
		c.add("/limits/maxRows", "a strategy is given at most 1 to %d candidates", MaxCandidates)
	}
}

func (m *Manifest) validateCapabilities(c *checker) {
	if len(m.Capabilities) > MaxCapabilities {
		c.add("/capabilities", "there are more than %d capabilities", MaxCapabilities)
		return
	}
	for i, name := range m.Capabilities {
		at := fmt.Sprintf("/capabilities/%d", i)
		if !slices.Contains(capabilities[:], name) {
			c.add(at, "the capabilities are %s", strings.Join(capabilities[:], ", "))
		} else if slices.Contains(m.Capabilities[:i], name) {
			c.add(at, "the capability is listed twice")
		} else if m.Kind == KindScorer && (name == "now_ms" || name == "rand_u64") {
			c.add(at, "a scorer gives the same score for the same features, so it has neither time nor chance; make it a feature, or the plugin a strategy")
		}
	}
}

func (r *Recipe) validate(c *checker, at, scope string) {
	kinds := 0
	for _, set := range [...]bool{r.Attribute != "", r.OneHot != nil, r.Bucket != nil, r.Log != nil, r.Ratio != nil, r.History != nil, r.EventStrategy != "", r.ActionProperty != "", r.Context != ""} {
		if set {
			kinds++
		}
	}
	if kinds != 1 {
		c.add(at, "a recipe has exactly one of attribute, oneHot, bucket, log, ratio, history, eventStrategy, actionProperty, context")
		return
	}
	if r.ScopeOf() != scope && (scope == ScopeSubject || scope == ScopeCandidate) {
		c.add(at, "actionProperty, and history with sameAction, need scope candidate, every other recipe scope subject")
	}
	for _, text := range r.AttributeNames([]string{r.EventStrategy, r.ActionProperty, r.Context}) {
		if text != "" && !validText(text) {
			c.add(at, "a name in a recipe is a text of 1 to %d bytes", MaxTextBytes)
		}
	}
	if r.OneHot != nil && (r.OneHot.Attribute == "" || len(r.OneHot.Level) > nba.MaxStringBytes || !utf8.ValidString(r.OneHot.Level)) {
		c.add(at+"/oneHot", "oneHot needs an attribute and a level of at most %d bytes", nba.MaxStringBytes)
	}
	if r.Bucket != nil {
		r.Bucket.validate(c, at+"/bucket")
	}
	if r.Log != nil && (r.Log.Attribute == "" || !finite(r.Log.Offset)) {
		c.add(at+"/log", "log needs an attribute, and a finite offset")
	}
	if r.Ratio != nil && (r.Ratio.Attribute == "" || r.Ratio.By == "") {
		c.add(at+"/ratio", "ratio needs two attributes, attribute and by")
	}
	if r.History != nil {
		r.History.validate(c, at+"/history")
	}
	if r.Default != nil && !finite(*r.Default) {
		c.add(at+"/default", "a default is a finite number; leave it out to hand the missing value to the model")
	}
	r.validateLevels(c, at+"/levels")
}

func (r *Recipe) validateLevels(c *checker, at string) {
	if len(r.Levels) == 0 {
		return
	}
	if r.Attribute == "" {
		c.add(at, "levels go with attribute only")
	}
	if len(r.Levels) > MaxLevels {
		c.add(at, "there are more than %d levels", MaxLevels)
		return
	}
	seen := make(map[string]bool, len(r.Levels))
	for i, level := range r.Levels {
		if len(level) > nba.MaxStringBytes || !utf8.ValidString(level) || seen[level] {
			c.add(fmt.Sprintf("%s/%d", at, i), "levels are distinct texts of at most %d bytes", nba.MaxStringBytes)
		}
		seen[level] = true
	}
}

func (h *History) validate(c *checker, at string) {
	switch h.Aggregate {
	case AggregateContacts, AggregateAccepts:
		if h.Outcome != "" {
			c.add(at+"/outcome", "an outcome goes with responses and daysSince only")
		}
	case AggregateResponses:
		if h.Outcome == "" {
			c.add(at+"/outcome", "responses needs an outcome")
		}
	case AggregateDaysSince:
	default:
		c.add(at+"/aggregate", "an aggregate is contacts, accepts, responses or daysSince")
	}
	if h.Outcome != "" && nba.Outcome(h.Outcome).Index() < 0 {
		names := make([]string, len(nba.Outcomes))
		for i, o := range nba.Outcomes {
			names[i] = string(o)
		}
		c.add(at+"/outcome", "the outcomes are %s", strings.Join(names, ", "))
	}
	if h.Days < 0 || h.Days > MaxHistoryDays {
		c.add(at+"/days", "days are 1 to %d, or 0 for all that is kept", MaxHistoryDays)
	}
	for _, name := range [...]string{h.Channel, h.Action} {
		if name != "" && !validText(name) {
			c.add(at, "a name in a recipe is a text of 1 to %d bytes", MaxTextBytes)
		}
	}
	if h.Action != "" && h.SameAction {
		c.add(at+"/sameAction", "sameAction and action exclude each other")
	}
}

func (b *Bucket) validate(c *checker, at string) {
	if b.Attribute == "" {
		c.add(at+"/attribute", "a bucket needs an attribute")
	}
	if len(b.Bounds) == 0 || len(b.Bounds) > MaxBounds {
		c.add(at+"/bounds", "a bucket has 1 to %d bounds", MaxBounds)
		return
	}
	for i, bound := range b.Bounds {
		if !finite(bound) || i > 0 && bound <= b.Bounds[i-1] {
			c.add(fmt.Sprintf("%s/bounds/%d", at, i), "bounds are finite and ascend strictly")
		}
	}
}

func finite(f float64) bool { return !math.IsNaN(f) && !math.IsInf(f, 0) }

func validText(s string) bool {
	return s != "" && len(s) <= MaxTextBytes && utf8.ValidString(s) && !strings.ContainsFunc(s, func(c rune) bool { return c < 0x20 || c == 0x7f })
}

// ValidName tells whether name may name a plugin.
func ValidName(name string) bool {
	if name == "" || len(name) > 63 || name[0] < 'a' || name[0] > 'z' {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if c != '-' && (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// ValidVersion tells whether version is a semantic version (semver.org 2.0.0) of at most 64 bytes,
// without a leading v.
func ValidVersion(version string) bool {
	if len(version) > 64 {
		return false
	}
	core, build, hasBuild := strings.Cut(version, "+")
	core, pre, hasPre := strings.Cut(core, "-")
	numbers := strings.Split(core, ".")
	if len(numbers) != 3 {
		return false
	}
	for _, n := range numbers {
		if !digits(n) || len(n) > 1 && n[0] == '0' {
			return false
		}
	}
	return (!hasPre || identifiers(pre, true)) && (!hasBuild || identifiers(build, false))
}

func digits(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool { return c < '0' || c > '9' })
}

func identifiers(s string, noLeadingZero bool) bool {
	for part := range strings.SplitSeq(s, ".") {
		if part == "" || noLeadingZero && digits(part) && len(part) > 1 && part[0] == '0' {
			return false
		}
		if strings.ContainsFunc(part, func(c rune) bool {
			return c != '-' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z')
		}) {
			return false
		}
	}
	return true
}

// CheckFeature tells what is wrong with one feature by itself, for those who write manifests.
func CheckFeature(f *Feature) []string {
	c := &checker{}
	scope := f.Scope
	if scope == "" {
		scope = ScopeSubject
	}
	if !validText(f.Name) {
		c.add("", "a feature name is a text of 1 to %d bytes", MaxTextBytes)
	}
	if scope != ScopeSubject && scope != ScopeCandidate {
		c.add("", "a scope is subject or candidate")
	} else {
		f.Recipe.validate(c, "", scope)
	}
	problems := make([]string, len(c.details))
	for i := range c.details {
		problems[i] = c.details[i].Detail
	}
	return problems
}

// Capabilities are the host functions that a plugin may ask for.
func Capabilities() []string { return capabilities[:] }
