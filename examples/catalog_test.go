package examples_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/arbiterhq/arbiter/cluster/importer"
	"github.com/arbiterhq/arbiter/examples"
	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// dictionary is the demo's: what the mapping of the subscribers declares.
func dictionary(t testing.TB) (*importer.Mapping, *nba.Dictionary) {
	t.Helper()
	m, err := importer.ParseMapping(examples.SubscriberMapping(), "subscribers.mapping.yaml")
	if err != nil {
		t.Fatal(err)
	}
	d, _, err := nba.NewDictionary().Declare(m.Declarations())
	if err != nil {
		t.Fatal(err)
	}
	return m, d
}

func compileCatalog(t testing.TB) *catalog.Catalog {
	t.Helper()
	_, d := dictionary(t)
	c, err := catalog.Compile(examples.Catalog(), "catalog.yaml", catalog.Env{Dictionary: d, Models: []string{examples.ChurnPlugin}})
	if e, ok := errors.AsType[*nba.Error](err); ok {
		for _, p := range e.Details {
			t.Errorf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Detail)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCatalogCompiles(t *testing.T) {
	c := compileCatalog(t)
	if len(c.Actions) < 12 {
		t.Errorf("%d actions, want at least 12", len(c.Actions))
	}
	var issues []string
	for _, a := range c.Actions {
		if !slices.Contains(issues, a.Issue) {
			issues = append(issues, a.Issue)
		}
		if a.Issue == "Serve" && a.Purpose.ConsentRequired {
			t.Errorf("%s serves and needs a consent", a.Name)
		}
	}
	slices.Sort(issues)
	if want := []string{"Grow", "Retain", "Serve"}; !slices.Equal(issues, want) {
		t.Errorf("issues %v, want %v", issues, want)
	}
	for _, channel := range c.Channels {
		if len(channel.Actions) < 3 {
			t.Errorf("channel %s has %d actions, want at least 3", channel.Name, len(channel.Actions))
		}
	}
}
