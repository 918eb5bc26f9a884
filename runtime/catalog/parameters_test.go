package catalog

import (
	"strings"
	"testing"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

func TestParameters(t *testing.T) {
	const document = `apiVersion: arbiter/v1
kind: Catalog
name: demo
channels: [{name: web, placements: [main]}]
issues: [{name: care, groups: [{name: g}]}]
actions: [{name: a, issue: care, group: g, value: 1, treatments: [{name: t, channel: web}]}]
parameters:
  newcomers: {boost: "1.5", issue: ""}
`
	c, err := Compile([]byte(document), "catalog.yaml", Env{Dictionary: nba.NewDictionary()})
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Parameters["newcomers"]; len(got) != 2 || got["boost"] != "1.5" || got["issue"] != "" {
		t.Errorf("parameters: %v", c.Parameters)
	}
	_, err = Compile([]byte(strings.Replace(document, `"1.5"`, "1.5", 1)), "catalog.yaml", Env{Dictionary: nba.NewDictionary()})
	if err == nil || !strings.Contains(err.Error(), "catalog.yaml:8") || !strings.Contains(err.Error(), "quotes") {
		t.Errorf("a number: %v", err)
	}
}
