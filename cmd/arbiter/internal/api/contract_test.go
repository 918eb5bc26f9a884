package api

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/api/apitest"
	"github.com/prometheus/client_golang/prometheus"
	"go.yaml.in/yaml/v3"
)

// start serves core on a free port of loopback until the test ends, and returns the address.
func start(t testing.TB, core Core, change func(*Options)) string {
	t.Helper()
	options := DefaultOptions()
	if change != nil {
		change(&options)
	}
	return serveUntilEnd(t, New(core, options))
}

// server is what New and NewAdmin return.
type server interface {
	Serve(net.Listener) error
	Shutdown(context.Context) error
}

func serveUntilEnd(t testing.TB, s server) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("shutting down: %v", err)
		}
		if err := <-done; err != nil {
			t.Errorf("Serve returned %v", err)
		}
	})
	return ln.Addr().String()
}

func TestContract(t *testing.T) {
	addr := start(t, newMemCore(), nil)
	apitest.Run(t, "http://"+addr, OpenAPI(), apitest.Fixture{
		Attributes: []byte(`{"attributes":[{"name":"tenure","type":"int"}]}`),
		Catalog:    []byte("name: demo\n"), BadCatalog: []byte("name: demo\n\nmistake: 1\n"),
		Plugin: []byte("\x00asm\x01\x00\x00\x00"), Channel: "web", Placement: "hero",
	})
}

func TestContractExamples(t *testing.T) {
	contract, err := apitest.ParseContract(OpenAPI())
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range contract.CheckExamples() {
		t.Error(err)
	}
}

// TestContractHasNoStrayKeys: in YAML, {description: this, and that} has a key "and that" without a
// value.
func TestContractHasNoStrayKeys(t *testing.T) {
	var walk func(path string, node *yaml.Node)
	walk = func(path string, node *yaml.Node) {
		for i, child := range node.Content {
			at := path
			if node.Kind == yaml.MappingNode {
				if at = path + "/" + node.Content[i-i%2].Value; i%2 == 1 && child.Tag == "!!null" && !strings.Contains(path, "/example") {
					t.Errorf("line %d: %s has no value: quote the text before it", child.Line, at)
				}
			}
			walk(at, child)
		}
	}
	var document yaml.Node
	if err := yaml.Unmarshal(OpenAPI(), &document); err != nil {
		t.Fatal(err)
	}
	walk("", &document)
}

// TestContractNamesEveryRoute keeps the table of operations and the document equal in both directions.
func TestContractNamesEveryRoute(t *testing.T) {
	contract, err := apitest.ParseContract(OpenAPI())
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]*apitest.Operation{}
	for _, op := range contract.Operations() {
		documented[op.ID] = op
	}
	options := DefaultOptions()
	for _, op := range operations(&options) {
		in := documented[op.id]
		if in == nil {
			t.Errorf("%s is served and not in openapi.yaml", op.id)
			continue
		}
		delete(documented, op.id)
		if in.Method != op.method || in.Path != op.path {
			t.Errorf("%s: served as %s %s, documented as %s %s", op.id, op.method, op.path, in.Method, in.Path)
		}
		compare := func(what string, served, documented []string) {
			served = slices.Sorted(slices.Values(served))
			if !slices.Equal(served, documented) && len(served)+len(documented) > 0 {
				t.Errorf("%s: %s served %v, documented %v", op.id, what, served, documented)
			}
		}
		compare("query parameters", op.query, contract.Parameters(in, "query"))
		compare("path parameters", op.paramNames(), contract.Parameters(in, "path"))
		compare("body types", op.consumes, contract.Consumes(in))
	}
	for id := range documented {
		t.Errorf("%s is in openapi.yaml and not served", id)
	}
}

// TestRegisteredRoutes asks Fiber itself, in case a route is added beside the table.
func TestRegisteredRoutes(t *testing.T) {
	options := DefaultOptions()
	options.Registry = prometheus.NewRegistry()
	s := New(newMemCore(), options)
	known := map[string]bool{}
	for _, op := range operations(&options) {
		known[op.method+" "+op.fiberPath()] = true
	}
	for _, route := range s.app.GetRoutes(true) {
		key := route.Method + " " + route.Path
		if route.Method == "HEAD" {
			key = "GET " + route.Path
		}
		if !known[key] {
			t.Errorf("%s is registered and not in the table of operations", key)
		}
	}
}
