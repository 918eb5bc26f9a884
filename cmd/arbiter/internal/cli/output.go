package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"
)

// format is how a command prints its answer.
type format string

// The formats. A table is for people and may change; the other two are the API's own documents.
const (
	formatTable format = "table"
	formatJSON  format = "json"
	formatYAML  format = "yaml"
)

func formatNames() []string {
	return []string{string(formatTable), string(formatJSON), string(formatYAML)}
}

// String implements pflag.Value; the zero value is a table.
func (f *format) String() string {
	if *f == "" {
		return string(formatTable)
	}
	return string(*f)
}

// Set implements pflag.Value.
func (f *format) Set(text string) error {
	switch format(text) {
	case formatTable, formatJSON, formatYAML:
		*f = format(text)
		return nil
	}
	return fmt.Errorf("use table, json or yaml")
}

// Type implements pflag.Value.
func (f *format) Type() string { return "format" }

// print writes v in the format the user asked for; table is called for the one for people.
func (a *app) print(v any, table func(w io.Writer, p paint)) error {
	switch a.format {
	case formatJSON:
		enc := json.NewEncoder(a.out)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if err := enc.Encode(v); err != nil {
			return fmt.Errorf("writing the answer: %w", err)
		}
		return nil
	case formatYAML:
		body, err := toYAML(v)
		if err != nil {
			return fmt.Errorf("writing the answer: %w", err)
		}
		_, err = a.out.Write(body)
		return err
	}
	// A table is built in memory, so that a failing pipe cannot leave half of one.
	var b bytes.Buffer
	table(&b, a.paint(a.outTTY))
	_, err := a.out.Write(b.Bytes())
	return err
}

// toYAML gives v the names and the order of its JSON form.
func toYAML(v any) ([]byte, error) {
	asJSON, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var node yaml.Node
	if err := yaml.Unmarshal(asJSON, &node); err != nil {
		return nil, err
	}
	blockStyle(&node)
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(&node); err != nil {
		return nil, err
	}
	return b.Bytes(), enc.Close()
}

// blockStyle undoes JSON's braces and quotes; the encoder quotes again where a text needs it.
func blockStyle(n *yaml.Node) {
	n.Style = 0
	for _, child := range n.Content {
		blockStyle(child)
	}
}
