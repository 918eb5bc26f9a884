package e2e

import (
	"testing"

	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/api/apitest"
	"github.com/arbiterhq/arbiter/examples"
)

// TestContract sends every operation of the OpenAPI document to the running program and validates
// every answer against it.
func TestContract(t *testing.T) {
	t.Parallel()
	s := start(t, "dev", "--no-demo", "--subscribers", "20")
	document := s.call("GET", "/openapi.yaml", nil)
	if document.status != 200 {
		t.Fatalf("the server does not show its contract: %d", document.status)
	}
	apitest.Run(t, s.url, document.body, apitest.Fixture{
		Catalog: examples.Catalog(), BadCatalog: append(examples.Catalog(), "\nmistake: 1\n"...),
		Plugin: compileShifted(t), Channel: "web", Placement: "hero",
	})
}
