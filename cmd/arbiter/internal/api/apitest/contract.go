package apitest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

// Contract is a parsed openapi.yaml.
type Contract struct {
	root       map[string]any
	compiler   *jsonschema.Compiler
	operations map[string]*Operation
}

// Operation is one method of one path of the contract.
type Operation struct {
	ID     string
	Method string // upper case
	Path   string // with {name} for parameters

	pointer string // JSON pointer of the operation in the document
	body    map[string]any
}

const documentURL = "https://arbiter.invalid/openapi.json"

// ParseContract reads an OpenAPI 3.1 document in YAML.
func ParseContract(document []byte) (*Contract, error) {
	var tree any
	if err := yaml.Unmarshal(document, &tree); err != nil {
		return nil, fmt.Errorf("reading the contract: %w", err)
	}
	asJSON, err := json.Marshal(tree)
	if err != nil {
		return nil, fmt.Errorf("reading the contract: %w", err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
	if err != nil {
		return nil, fmt.Errorf("reading the contract: %w", err)
	}
	root, ok := value.(map[string]any)
	if !ok || root["openapi"] != "3.1.0" {
		return nil, fmt.Errorf("the contract is not an OpenAPI 3.1.0 document")
	}
	c := &Contract{root: root, compiler: jsonschema.NewCompiler(), operations: map[string]*Operation{}}
	c.compiler.AssertFormat()
	if err := c.compiler.AddResource(documentURL, value); err != nil {
		return nil, fmt.Errorf("reading the contract: %w", err)
	}
	return c, c.collect()
}

func (c *Contract) collect() error {
	for path, item := range object(c.root["paths"]) {
		for method, body := range object(item) {
			if method == "parameters" {
				continue
			}
			op := &Operation{Method: strings.ToUpper(method), Path: path, body: object(body),
				pointer: "/paths/" + escapePointer(path) + "/" + method}
			op.ID, _ = op.body["operationId"].(string)
			if op.ID == "" || c.operations[op.ID] != nil {
				return fmt.Errorf("%s %s: the operationId is missing or taken", op.Method, path)
			}
			c.operations[op.ID] = op
		}
	}
	return nil
}

// Operations are all operations, by path and method.
func (c *Contract) Operations() []*Operation {
	list := make([]*Operation, 0, len(c.operations))
	for _, op := range c.operations {
		list = append(list, op)
	}
	slices.SortFunc(list, func(a, b *Operation) int { return strings.Compare(a.Path+" "+a.Method, b.Path+" "+b.Method) })
	return list
}

// Parameters are the names of op's parameters that lie in where: path, query or header.
func (c *Contract) Parameters(op *Operation, where string) []string {
	var names []string
	item := object(object(c.root["paths"])[op.Path])
	for _, list := range []any{item["parameters"], op.body["parameters"]} {
		entries, _ := list.([]any)
		for _, entry := range entries {
			parameter, _ := c.resolve(object(entry), "")
			if parameter["in"] == where {
				names = append(names, fmt.Sprint(parameter["name"]))
			}
		}
	}
	slices.Sort(names)
	return names
}

// Consumes are the media types of op's request body.
func (c *Contract) Consumes(op *Operation) []string {
	body, _ := c.resolve(object(op.body["requestBody"]), "")
	return keys(object(body["content"]))
}

// CheckRequest tells whether a JSON request body agrees with the contract.
func (c *Contract) CheckRequest(op *Operation, contentType string, body []byte) error {
	declared, at := c.resolve(object(op.body["requestBody"]), op.pointer+"/requestBody")
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return fmt.Errorf("content type of the request: %w", err)
	}
	if _, ok := object(declared["content"])[media]; !ok {
		return fmt.Errorf("the contract knows no request body of type %s", media)
	}
	if !isJSON(media) {
		return nil
	}
	return c.validate(at+"/content/"+escapePointer(media)+"/schema", body)
}

// CheckResponse tells what in an answer disagrees with the contract; body has been read already.
func (c *Contract) CheckResponse(op *Operation, response *http.Response, body []byte) error {
	responses := object(op.body["responses"])
	status := strconv.Itoa(response.StatusCode)
	entry, ok := responses[status]
	if !ok {
		if response.StatusCode < http.StatusBadRequest {
			return fmt.Errorf("status %s is not documented", status)
		}
		status, entry = "default", responses["default"]
	}
	declared, at := c.resolve(object(entry), op.pointer+"/responses/"+status)
	for name, header := range object(declared["headers"]) {
		if err := c.checkHeader(name, object(header), response.Header); err != nil {
			return err
		}
	}
	content := object(declared["content"])
	if len(content) == 0 {
		if len(body) > 0 {
			return fmt.Errorf("status %s has a body of %d bytes and must not", status, len(body))
		}
		return nil
	}
	media, _, err := mime.ParseMediaType(response.Header.Get("Content-Type"))
	if err != nil {
		return fmt.Errorf("content type of the answer: %w", err)
	}
	if _, ok := content[media]; !ok {
		return fmt.Errorf("content type %s is not documented for status %s: %s", media, status, strings.Join(keys(content), ", "))
	}
	schema := at + "/content/" + escapePointer(media) + "/schema"
	switch {
	case isJSON(media):
		return c.validate(schema, body)
	case media == "application/x-ndjson":
		return c.validateLines(schema, body)
	default:
		return nil
	}
}

func (c *Contract) checkHeader(name string, header map[string]any, got http.Header) error {
	declared, _ := c.resolve(header, "")
	value := got.Get(name)
	if value == "" && declared["required"] == false {
		return nil // the document says that it comes in some cases only
	}
	if value == "" {
		return fmt.Errorf("header %s is missing", name)
	}
	schema, err := json.Marshal(declared["schema"])
	if err != nil {
		return fmt.Errorf("header %s: %w", name, err)
	}
	tree, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		return fmt.Errorf("header %s: %w", name, err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("header.json", tree); err != nil {
		return fmt.Errorf("header %s: %w", name, err)
	}
	compiled, err := compiler.Compile("header.json")
	if err != nil {
		return fmt.Errorf("header %s: %w", name, err)
	}
	if err := compiled.Validate(value); err != nil {
		return fmt.Errorf("header %s: %w", name, err)
	}
	return nil
}

func (c *Contract) validateLines(schema string, body []byte) error {
	lines := bytes.Split(bytes.TrimSuffix(body, []byte("\n")), []byte("\n"))
	for i, line := range lines {
		if err := c.validate(schema, line); err != nil {
			return fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	return nil
}

// validate checks body against the schema at a pointer.
func (c *Contract) validate(pointer string, body []byte) error {
	schema, err := c.compiler.Compile(documentURL + "#" + pointer)
	if err != nil {
		return fmt.Errorf("compiling the schema at %s: %w", pointer, err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("the body is not JSON: %w", err)
	}
	if err := schema.Validate(value); err != nil {
		return fmt.Errorf("the body disagrees with %s: %w", pointer, err)
	}
	return nil
}

// CheckExamples validates every example of a request or response body against its schema.
func (c *Contract) CheckExamples() []error {
	var problems []error
	var walk func(node any, pointer string)
	walk = func(node any, pointer string) {
		switch value := node.(type) {
		case map[string]any:
			for media, entry := range object(value["content"]) {
				at := pointer + "/content/" + escapePointer(media)
				problems = append(problems, c.checkExamples(object(entry), media, at)...)
			}
			for key, child := range value {
				walk(child, pointer+"/"+escapePointer(key))
			}
		case []any:
			for i, child := range value {
				walk(child, pointer+"/"+strconv.Itoa(i))
			}
		}
	}
	walk(c.root, "")
	return problems
}

func (c *Contract) checkExamples(entry map[string]any, media, at string) (problems []error) {
	examples := map[string]any{}
	for name, example := range object(entry["examples"]) {
		examples[name] = object(example)["value"]
	}
	if example, ok := entry["example"]; ok {
		examples["example"] = example
	}
	for name, example := range examples {
		var err error
		switch {
		case isJSON(media):
			var body []byte
			if body, err = json.Marshal(example); err == nil {
				err = c.validate(at+"/schema", body)
			}
		case media == "application/x-ndjson" && !strings.Contains(at, "requestBody"):
			err = c.validateLines(at+"/schema", []byte(fmt.Sprint(example)))
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("example %s at %s: %w", name, at, err))
		}
	}
	return problems
}

// resolve follows a $ref within the document; at is the pointer of node.
func (c *Contract) resolve(node map[string]any, at string) (map[string]any, string) {
	for range 8 {
		ref, ok := node["$ref"].(string)
		if !ok {
			break
		}
		at = strings.TrimPrefix(ref, "#")
		node = c.root
		for _, token := range strings.Split(strings.TrimPrefix(at, "/"), "/") {
			node = object(node[strings.NewReplacer("~1", "/", "~0", "~").Replace(token)])
		}
	}
	return node, at
}

func isJSON(media string) bool {
	return media == "application/json" || strings.HasSuffix(media, "+json")
}

// object is node as an object; nil if it is none.
func object(node any) map[string]any {
	m, _ := node.(map[string]any)
	return m
}

func keys(m map[string]any) []string {
	list := make([]string, 0, len(m))
	for key := range m {
		list = append(list, key)
	}
	slices.Sort(list)
	return list
}

// escapePointer writes a reference token (RFC 6901) for use in a URL fragment.
func escapePointer(token string) string {
	return strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D").Replace(token)
}
