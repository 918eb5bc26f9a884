package catalog

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

const schemaFile = "../../" + SchemaID

// TestSchemaIsPublished: the file that editors read is the one the decoder makes.
func TestSchemaIsPublished(t *testing.T) {
	made, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(schemaFile, made, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	published, err := os.ReadFile(schemaFile)
	if err != nil || !bytes.Equal(made, published) {
		t.Errorf("%s is not what the decoder reads (%v): go test ./runtime/catalog -run Schema -update", SchemaID, err)
	}
}

func compiledSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	made, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(made))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("catalog.schema.json", parsed); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("catalog.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// asEditors reads a document as editors do: dates are text.
func asEditors(t *testing.T, document []byte) (any, error) {
	t.Helper()
	var root yaml.Node
	if err := yaml.Unmarshal(document, &root); err != nil {
		return nil, err
	}
	var plain func(n *yaml.Node)
	plain = func(n *yaml.Node) {
		if n.Tag == "!!timestamp" {
			n.Tag = "!!str"
		}
		for _, child := range n.Content {
			plain(child)
		}
	}
	plain(&root)
	var value any
	if err := root.Decode(&value); err != nil {
		return nil, err
	}
	encoded, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	return jsonschema.UnmarshalJSON(bytes.NewReader(encoded))
}

// TestSchemaTakesWhatCompiles: every good document is good to the schema too.
func TestSchemaTakesWhatCompiles(t *testing.T) {
	schema := compiledSchema(t)
	files, _ := filepath.Glob("testdata/*.good.yaml")
	files = append(files, "../../examples/catalog.yaml")
	for _, file := range files {
		document, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		value, err := asEditors(t, document)
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(value); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// TestSchemaRefuses: the mistakes that lie within one value are seen by the schema.
func TestSchemaRefuses(t *testing.T) {
	schema := compiledSchema(t)
	for _, name := range []string{"fields", "list", "consent", "contact", "arbitration"} {
		document, err := os.ReadFile("testdata/" + name + ".bad.yaml")
		if err != nil {
			t.Fatal(err)
		}
		value, err := asEditors(t, document)
		if err != nil {
			t.Logf("%s: editors see %v", name, err)
			continue
		}
		if schema.Validate(value) == nil {
			t.Errorf("%s.bad.yaml is good to the schema", name)
		}
	}
	good, err := os.ReadFile("testdata/everything.good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string][2]string{
		"an unknown field":         {"label: Family plan", "lable: Family plan"},
		"a missing field":          {"    value: 120\n", ""},
		"a lever that is text":     {"lever: -40", "lever: much"},
		"a lever out of bounds":    {"lever: -40", "lever: -400"},
		"a code of small letters":  {"code: TOO_NEW", "code: too_new"},
		"a name that is a number":  {"name: device\n", "name: 7\n"},
		"another kind":             {"kind: Catalog", "kind: Catalogue"},
		"an unknown direction":     {"direction: outbound", "direction: out"},
		"a propensity above one":   {"starting: 0.02", "starting: 2"},
		"a validity that is none":  {"from: 2026-11-01", "from: soon"},
		"a content that is a list": {"content: {text: \"Reply YES\"}", "content: [text]"},
	} {
		changed := strings.Replace(string(good), change[0], change[1], 1)
		if changed == string(good) {
			t.Fatalf("%s: nothing to change", what)
		}
		value, err := asEditors(t, []byte(changed))
		if err != nil {
			t.Fatal(err)
		}
		if schema.Validate(value) == nil {
			t.Errorf("%s is good to the schema", what)
		}
	}
}
