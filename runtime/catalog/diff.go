package catalog

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// ChangeKind is what happened to a part of a catalog.
type ChangeKind string

// The kinds of changes.
const (
	Added   ChangeKind = "added"
	Removed ChangeKind = "removed"
	Changed ChangeKind = "changed"
)

// Change is one difference between two documents: a part that is only in one of them, or a value that is
// another.
type Change struct {
	Kind ChangeKind `json:"kind"`
	// What is the kind of thing that is or has the part: action, channel, contact policy, table…
	What string `json:"what"`
	// Name names it; empty for fields of the document.
	Name string `json:"name,omitempty"`
	// Part is the field, or the path to it, such as treatments/web/content/headline; empty for the whole.
	Part string `json:"part,omitempty"`
	// Old and New are the values as YAML on one line; only those that there are.
	Old string `json:"old,omitempty"`
	New string `json:"new,omitempty"`
}

// String is the change on one line.
func (c Change) String() string {
	subject := strings.TrimSpace(c.What + " " + c.Name)
	if c.Part != "" {
		subject += " " + c.Part
	}
	switch {
	case c.Kind == Changed:
		return fmt.Sprintf("%s: %s -> %s", subject, c.Old, c.New)
	case c.Old+c.New != "":
		return fmt.Sprintf("%s %s: %s", subject, c.Kind, c.Old+c.New)
	default:
		return subject + " " + string(c.Kind)
	}
}

// Diff tells what two documents mean differently, in the order of the fields of a catalog and then by
// name. How they are written (order, quotes, comments, several files) makes no difference, nor does a
// default that is written out. Documents that cannot be read are errors; what is wrong in them otherwise
// does not matter.
func Diff(old, updated []byte) ([]Change, error) {
	before, err := treeOf(old, "old")
	if err != nil {
		return nil, err
	}
	after, err := treeOf(updated, "new")
	if err != nil {
		return nil, err
	}
	d := &differ{}
	for _, key := range unionOf(before, after) {
		d.top(key, valueOf(before, key), valueOf(after, key))
	}
	return d.changes, nil
}

func treeOf(document []byte, file string) (*yaml.Node, error) {
	d := &decoder{file: file}
	root := d.parse(document)
	if root == nil {
		return nil, d.err()
	}
	if root.Kind != yaml.MappingNode {
		return nil, &nba.Error{Code: nba.CodeCatalogInvalid, Message: "the document is not a mapping",
			Details: []nba.Detail{{File: file, Line: root.Line, Column: root.Column, Code: nba.CodeInvalid, Detail: "a catalog is a mapping"}}}
	}
	return root, nil
}

// sections are the fields of a document that hold named things, and what one is called.
func sections() map[string]string {
	return map[string]string{
		"channels": "channel", fieldModels: "model", "issues": "issue", "actions": "action", "contactPolicies": "contact policy",
		"controlGroups": "control group", fieldTables: "table", "bundles": "bundle", "seasons": "season", "contextWeights": "context weight",
		"segments": "segment", "events": "event", "eventStrategies": "event strategy", "campaigns": "campaign", "journeys": "journey",
	}
}

// defaults are what a field means that is left out, by its place.
func defaults() map[string]string {
	return map[string]string{
		"channel/direction": string(nba.Inbound), "action/purpose": defaultActionPurpose, "action/lever": "0", "issue/lever": "0",
		"issue/groups/lever": "0", "action/propensity/invert": "false", "action/propensity/starting": strconv.FormatFloat(defaultStarting, 'g', -1, 64),
		"event/subjectType": string(nba.Subscriber), "event/purpose": defaultActionPurpose, "event strategy/purpose": defaultActionPurpose,
		"event strategy/emit/within": "1d", "contact policy/counting": "impressions", "document/consent/purposes": consentDeny, "document/consent/channels": consentAllow,
	}
}

// differ collects changes.
type differ struct {
	changes []Change
}

// top compares one field of the documents.
func (d *differ) top(key string, before, after *yaml.Node) {
	what, isSection := sections()[key]
	if !isSection {
		d.value(Change{What: "document", Part: key}, "document/"+key, before, after)
		return
	}
	old, updated := entriesOf(before), entriesOf(after)
	names := make([]string, 0, len(old)+len(updated))
	for name := range old {
		names = append(names, name)
	}
	for name := range updated {
		if _, known := old[name]; !known {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		d.thing(what, name, old[name], updated[name])
	}
}

// thing compares what has a name.
func (d *differ) thing(what, name string, before, after *yaml.Node) {
	switch {
	case before == nil:
		d.changes = append(d.changes, Change{Kind: Added, What: what, Name: name})
	case after == nil:
		d.changes = append(d.changes, Change{Kind: Removed, What: what, Name: name})
	default:
		d.value(Change{What: what, Name: name}, what, before, after)
	}
}

// value compares two values at a place; at is Change less its kind and values. path names the place without
// names, for defaults.
func (d *differ) value(at Change, path string, before, after *yaml.Node) {
	before, after = orDefault(before, path), orDefault(after, path)
	switch {
	case before == nil && after == nil, before != nil && after != nil && equal(before, after):
	case before != nil && after != nil && before.Kind == yaml.MappingNode && after.Kind == yaml.MappingNode:
		for _, key := range unionOf(before, after) {
			d.value(at.in(key), path+"/"+key, valueOf(before, key), valueOf(after, key))
		}
	case isList(before) && isList(after):
		d.list(at, path, before, after)
	case before == nil:
		d.add(at, Added, "", after)
	case after == nil:
		d.add(at, Removed, "", before)
	default:
		at.Kind, at.Old, at.New = Changed, inline(before), inline(after)
		d.changes = append(d.changes, at)
	}
}

func (c Change) in(part string) Change {
	if c.Part != "" {
		part = c.Part + "/" + part
	}
	c.Part = part
	return c
}

func isList(n *yaml.Node) bool { return n != nil && n.Kind == yaml.SequenceNode }

// list compares lists: by the names of their entries where they have some, else by what is in them.
func (d *differ) list(at Change, path string, before, after *yaml.Node) {
	old, updated := entriesOf(before), entriesOf(after)
	order := slices.Concat(namesOf(before), namesOf(after))
	seen := map[string]bool{}
	for _, name := range order {
		if seen[name] {
			continue
		}
		seen[name] = true
		b, a := old[name], updated[name]
		part := at.in(name)
		if b == nil || a == nil {
			// Unnamed entries are shown as what they are.
			if one := cmp.Or(b, a); nameOf(one) == "" {
				part = at
			}
		}
		switch {
		case b == nil:
			d.add(part, Added, "", a)
		case a == nil:
			d.add(part, Removed, "", b)
		default:
			d.value(part, path, b, a)
		}
	}
}

func (d *differ) add(at Change, kind ChangeKind, _ string, value *yaml.Node) {
	at.Kind = kind
	if kind == Added {
		at.New = inline(value)
	} else {
		at.Old = inline(value)
	}
	d.changes = append(d.changes, at)
}

// entriesOf are the entries of a list or mapping by what identifies them.
func entriesOf(n *yaml.Node) map[string]*yaml.Node {
	entries := map[string]*yaml.Node{}
	if n == nil {
		return entries
	}
	if n.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			entries[n.Content[i].Value] = n.Content[i+1]
		}
		return entries
	}
	for i, name := range namesOf(n) {
		entries[name] = n.Content[i]
	}
	return entries
}

// namesOf identifies the entries of a list: by name, by the code and condition of a policy, or by what they
// are; repetitions are numbered.
func namesOf(n *yaml.Node) []string {
	if n == nil {
		return nil
	}
	names, count := make([]string, len(n.Content)), map[string]int{}
	for i, item := range n.Content {
		name := identity(item)
		if count[name]++; count[name] > 1 {
			name += fmt.Sprintf(" (%d)", count[name])
		}
		names[i] = name
	}
	return names
}

func identity(n *yaml.Node) string {
	if n.Kind != yaml.MappingNode {
		return inline(n)
	}
	if name := nameOf(n); name != "" {
		return name
	}
	if code := valueOf(n, "code"); code != nil {
		return code.Value
	}
	var parts []string
	for _, key := range [...]string{"when", "table", "issue", "group", "action", "per"} {
		if value := valueOf(n, key); value != nil {
			parts = append(parts, inline(value))
		}
	}
	if len(parts) > 0 {
		return strings.Join(parts, " ")
	}
	return inline(n)
}

// unionOf are the keys of two mappings in the order of the first, then of the second.
func unionOf(a, b *yaml.Node) []string {
	var keys []string
	for _, n := range [...]*yaml.Node{a, b} {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if key := n.Content[i].Value; !slices.Contains(keys, key) {
				keys = append(keys, key)
			}
		}
	}
	return keys
}

// orDefault is n, or what leaving it out means.
func orDefault(n *yaml.Node, path string) *yaml.Node {
	if value, ok := defaults()[path]; ok && n == nil {
		return &yaml.Node{Kind: yaml.ScalarNode, Value: value}
	}
	return n
}

// equal tells whether two values mean the same.
func equal(a, b *yaml.Node) bool {
	if a.Kind != b.Kind || len(a.Content) != len(b.Content) {
		return false
	}
	if a.Kind == yaml.ScalarNode {
		return a.Value == b.Value || sameNumber(a.Value, b.Value) || strings.TrimRight(a.Value, " \n") == strings.TrimRight(b.Value, " \n")
	}
	if a.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(a.Content); i += 2 {
			if other := valueOf(b, a.Content[i].Value); other == nil || !equal(a.Content[i+1], other) {
				return false
			}
		}
		return true
	}
	for i := range a.Content {
		if !equal(a.Content[i], b.Content[i]) {
			return false
		}
	}
	return true
}

func sameNumber(a, b string) bool {
	x, err := strconv.ParseFloat(a, 64)
	if err != nil {
		return false
	}
	y, err := strconv.ParseFloat(b, 64)
	return err == nil && x == y
}

// maxInline bounds a value that is shown.
const maxInline = 200

// inline is a value on one line, shortened.
func inline(n *yaml.Node) string {
	var text string
	switch n.Kind {
	case yaml.ScalarNode:
		text = strings.Join(strings.Fields(n.Value), " ")
	case yaml.SequenceNode:
		parts := make([]string, len(n.Content))
		for i, item := range n.Content {
			parts[i] = inline(item)
		}
		text = "[" + strings.Join(parts, ", ") + "]"
	default:
		var parts []string
		for i := 0; i+1 < len(n.Content); i += 2 {
			parts = append(parts, n.Content[i].Value+": "+inline(n.Content[i+1]))
		}
		text = "{" + strings.Join(parts, ", ") + "}"
	}
	if runes := []rune(text); len(runes) > maxInline {
		return string(runes[:maxInline]) + "…"
	}
	return text
}
