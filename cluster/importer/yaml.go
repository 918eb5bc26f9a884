package importer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/arbiterhq/arbiter/runtime/nba"
	"go.yaml.in/yaml/v3"
)

// yamlReader walks a YAML document strictly and collects every mistake with its place.
type yamlReader struct {
	file     string
	problems []nba.Detail
}

func (y *yamlReader) problem(n *yaml.Node, detail string) {
	y.problems = append(y.problems, nba.Detail{File: y.file, Line: n.Line, Column: n.Column, Code: nba.CodeInvalid, Detail: detail})
}

func (y *yamlReader) problemAt(line int, detail string) {
	y.problems = append(y.problems, nba.Detail{File: y.file, Line: line, Code: nba.CodeInvalid, Detail: detail})
}

// err is all mistakes as one *nba.Error, in the order of the document, or nil.
func (y *yamlReader) err() error {
	if len(y.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(y.problems, func(a, b nba.Detail) int { return a.Line - b.Line })
	return &nba.Error{Code: nba.CodeInvalid, Message: "the mapping has mistakes", Details: y.problems}
}

// document is the root mapping of the one document in text, or nil when there is none.
func (y *yamlReader) document(text []byte) *yaml.Node {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var doc, more yaml.Node
	err := decoder.Decode(&doc)
	if errors.Is(err, io.EOF) {
		y.problemAt(1, "the mapping is empty")
		return nil
	}
	if err == nil {
		if err = decoder.Decode(&more); errors.Is(err, io.EOF) {
			err = nil
		} else if err == nil {
			y.problem(&more, "a mapping is one document: remove the second")
		}
	}
	if err != nil {
		y.problemAt(yamlErrorLine(err), "the YAML cannot be read: check indentation, quotes and brackets here")
		return nil
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		y.problemAt(1, "a mapping is a YAML mapping with the keys subject, attributes and so on")
		return nil
	}
	return doc.Content[0]
}

// yamlErrorLine takes the line from the message of the parser, which gives it in no other way.
func yamlErrorLine(err error) int {
	if m := regexp.MustCompile(`line (\d+)`).FindStringSubmatch(err.Error()); m != nil {
		if line, convErr := strconv.Atoi(m[1]); convErr == nil {
			return line
		}
	}
	return 1
}

// each calls f for the entries of a YAML mapping and reports repeated keys.
func (y *yamlReader) each(node *yaml.Node, what string, f func(key, value *yaml.Node)) {
	if node.Kind != yaml.MappingNode {
		y.problem(node, what+" is a YAML mapping of key: value")
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			y.problem(key, "a key is plain text")
			continue
		}
		if seen[key.Value] {
			y.problem(key, "the key occurs twice")
			continue
		}
		seen[key.Value] = true
		f(key, value)
	}
}

// fields returns the values of the known keys of a YAML mapping and reports all others.
func (y *yamlReader) fields(node *yaml.Node, known ...string) map[string]*yaml.Node {
	found := map[string]*yaml.Node{}
	y.each(node, "this", func(key, value *yaml.Node) {
		if slices.Contains(known, key.Value) {
			found[key.Value] = value
			return
		}
		if near := nba.Nearest(key.Value, known); near != "" {
			y.problem(key, fmt.Sprintf("unknown key: did you mean %s?", near))
			return
		}
		y.problem(key, "unknown key: the keys here are "+strings.Join(known, ", "))
	})
	return found
}

// list returns the items of a YAML sequence; a nil node has none.
func (y *yamlReader) list(node *yaml.Node, what string) []*yaml.Node {
	if node == nil {
		return nil
	}
	if node.Kind != yaml.SequenceNode {
		y.problem(node, what+" is a YAML sequence")
		return nil
	}
	return node.Content
}

// text is the text of a scalar as it stands in the document.
func (y *yamlReader) text(node *yaml.Node, what string) string {
	if node.Kind != yaml.ScalarNode || node.Tag == "!!null" {
		y.problem(node, what+" is plain text here")
		return ""
	}
	if node.Value == "" {
		y.problem(node, what+" is empty")
	}
	return node.Value
}

// oneOf is the text of a scalar that must be one of a few words, or "".
func (y *yamlReader) oneOf(node *yaml.Node, what string, words ...string) string {
	if node.Kind == yaml.ScalarNode && slices.Contains(words, node.Value) {
		return node.Value
	}
	y.problem(node, fmt.Sprintf("%s is one of %s", what, strings.Join(words, ", ")))
	return ""
}
