package report

import (
	"bytes"
	"encoding/xml"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

func sample() *nba.SimulationResult {
	return &nba.SimulationResult{
		At: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC), Seed: 7, Subjects: 100, Population: 1000, Groups: 4, AllGroups: 4, Channels: []string{"web", "app"},
		From: nba.SimulationCounts{Catalog: "demo <b>", CatalogVersion: 7, Decisions: 200, Propositions: 150, ExpectedValue: 1234.5,
			Actions:      []nba.SimulationAction{{Action: "family-plan", Propositions: 100, First: 90, ExpectedValue: 1000}, {Action: "old", Propositions: 50, ExpectedValue: 234.5}},
			Suppressions: []nba.SimulationSuppression{{Stage: "eligibility", Code: "NO_PHONE", Count: 40}}},
		To: nba.SimulationCounts{Catalog: "demo", Decisions: 200, Propositions: 160, ExpectedValue: 1500,
			Actions:      []nba.SimulationAction{{Action: "family-plan", Propositions: 120, ExpectedValue: 1300}, {Action: "new", Propositions: 40, ExpectedValue: 200}},
			Suppressions: []nba.SimulationSuppression{{Stage: "contact", Code: "OFTEN", Count: 12}}},
		Changed: 33, Changes: []nba.SimulationChange{{Channel: "web", Placement: "hero", From: "old", To: "", Count: 33}},
		Examples: []nba.SimulationExample{{Subject: nba.SubjectRef{ID: "S-<1>", Type: nba.Subscriber}, Channel: "web", Placement: "hero", From: "old", To: "new"}},
	}
}

// TestPage: the page is well-formed, holds every figure, asks nobody for anything, and is always the same.
func TestPage(t *testing.T) {
	var page bytes.Buffer
	if err := WriteSimulation(&page, sample()); err != nil {
		t.Fatal(err)
	}
	text := page.String()
	for _, want := range []string{"family-plan", "NO_PHONE", "OFTEN", "nothing", "1300", "21.5 %", "S-&lt;1&gt;", "demo &lt;b&gt;", `width="420"`} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in the page", want)
		}
	}
	if outside := regexp.MustCompile(`(?i)(https?:)?//[a-z]|<script|@import|url\(|<link|<img`).FindString(text); outside != "" {
		t.Errorf("the page asks for something else: %q", outside)
	}
	decoder := xml.NewDecoder(strings.NewReader(text))
	decoder.Strict, decoder.AutoClose, decoder.Entity = true, []string{"meta"}, xml.HTMLEntity
	for {
		if _, err := decoder.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("the page is not well-formed: %v", err)
		}
	}
	var again bytes.Buffer
	if err := WriteSimulation(&again, sample()); err != nil || again.String() != text {
		t.Errorf("the same result gives another page: %v", err)
	}
	if err := WriteSimulation(io.Discard, &nba.SimulationResult{}); err != nil {
		t.Errorf("an empty result: %v", err)
	}
}
