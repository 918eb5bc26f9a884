package catalog

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// SchemaID is where the schema of the documents is published, relative to the repository.
const SchemaID = "docs/catalog.schema.json"

// jsonSchema is a JSON Schema under construction.
type jsonSchema map[string]any

// description is what a decoder collects when it describes a document instead of reading one: each reader
// is handed a node that stands for any value, and writes down what it would take.
type description struct {
	of          map[*yaml.Node]jsonSchema
	definitions map[string]jsonSchema
	mistakes    []string
}

// Schema is the JSON Schema (draft 7) of catalog documents, for editors and for tools that write them. It is
// made by the decoder itself, so it has the fields, bounds and words that Compile takes. What lies between
// fields (references, expressions, dates in order) only Compile finds.
func Schema() ([]byte, error) { return makeSchema(false) }

// PartSchema is Schema for the files of a catalog that is written in several: each has some of the fields.
func PartSchema() ([]byte, error) { return makeSchema(true) }

func makeSchema(part bool) ([]byte, error) {
	d := &decoder{describing: &description{of: map[*yaml.Node]jsonSchema{}, definitions: map[string]jsonSchema{}}}
	root, top := d.anyValue()
	d.document(root)
	for node, schema := range d.describing.of {
		if len(schema) == 0 {
			d.describing.mistakes = append(d.describing.mistakes, fmt.Sprintf("a value is read without being described: %v", node.Value))
		}
	}
	if mistakes := d.describing.mistakes; len(mistakes) > 0 {
		slices.Sort(mistakes)
		return nil, fmt.Errorf("describing the documents: %s", strings.Join(slices.Compact(mistakes), "; "))
	}
	top["$schema"], top["title"], top["definitions"] = "http://json-schema.org/draft-07/schema#", "Arbiter catalog", d.describing.definitions
	top["description"] = "All actions, policies, levers and model bindings of one operator. docs/catalog.md explains every field."
	if part {
		delete(top, "required")
		top["title"] = "Part of an Arbiter catalog"
	}
	encoded, err := json.MarshalIndent(top, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding the schema: %w", err)
	}
	return append(encoded, '\n'), nil
}

// anyValue is a node that stands for any value, and its schema, which a reader fills.
func (d *decoder) anyValue() (*yaml.Node, jsonSchema) {
	n, schema := &yaml.Node{}, jsonSchema{}
	d.describing.of[n] = schema
	return n, schema
}

// describes is the schema to fill where n stands for any value; ok is false where a document is read.
func (d *decoder) describes(n *yaml.Node) (schema jsonSchema, ok bool) {
	if d.describing == nil {
		return nil, false
	}
	schema, ok = d.describing.of[n]
	return schema, ok
}

// takes describes a value where n stands for any, and tells whether it does.
func (d *decoder) takes(n *yaml.Node, what jsonSchema) bool {
	schema, ok := d.describes(n)
	for key, value := range what {
		if ok {
			schema[key] = value
		}
	}
	return ok
}

// either describes a value that several readers take, where n stands for any, and tells whether it does.
func (d *decoder) either(n *yaml.Node, readers ...func(*yaml.Node)) bool {
	schema, ok := d.describes(n)
	if !ok {
		return false
	}
	var alternatives []jsonSchema
	for _, read := range readers {
		node, one := d.anyValue()
		read(node)
		alternatives = append(alternatives, one)
	}
	schema["anyOf"] = alternatives
	return true
}

// describeObject describes a mapping with known keys, once under the name of what it is.
func (d *decoder) describeObject(schema jsonSchema, what string, fields []field) {
	properties, needed := map[string]jsonSchema{}, []string{}
	for _, f := range fields {
		node, value := d.anyValue()
		node.Value = what + "." + f.key
		f.read(node)
		properties[f.key] = value
		if f.required {
			needed = append(needed, f.key)
		}
	}
	slices.Sort(needed)
	object := jsonSchema{"type": "object", "title": what, "properties": properties, "additionalProperties": false}
	if len(needed) > 0 {
		object["required"] = needed
	}
	name := what
	for _, article := range [...]string{"a ", "an ", "the "} {
		name = strings.TrimPrefix(name, article)
	}
	name = strings.ReplaceAll(name, " ", "-")
	known, again := d.describing.definitions[name]
	if what == wholeDocument || again && !reflect.DeepEqual(known, object) { // the same but for its bounds
		for key, value := range object {
			schema[key] = value
		}
		return
	}
	d.describing.definitions[name] = object
	schema["$ref"] = "#/definitions/" + name
}

// describeList describes a sequence.
func (d *decoder) describeList(schema jsonSchema, limit int, item func(*yaml.Node)) {
	node, value := d.anyValue()
	item(node)
	schema["type"], schema["items"], schema["maxItems"] = "array", value, limit
}

// describeDictionary describes a mapping with free keys.
func (d *decoder) describeDictionary(schema jsonSchema, limit int, entry func(key, value *yaml.Node)) {
	node, value := d.anyValue()
	entry(&yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: "name"}, node)
	schema["type"], schema["additionalProperties"], schema["maxProperties"] = "object", value, limit
	schema["propertyNames"] = nameSchema()
}

func nameSchema() jsonSchema {
	return jsonSchema{"type": "string", "pattern": fmt.Sprintf("^[A-Za-z][A-Za-z0-9_.-]{0,%d}$", MaxNameBytes-1)}
}

// textSchema bounds characters, of which there are no more than bytes.
func textSchema(limit int) jsonSchema {
	return jsonSchema{"type": "string", "minLength": 1, "maxLength": limit}
}
