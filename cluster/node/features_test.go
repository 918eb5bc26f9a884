package node

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/examples"
	"github.com/arbiterhq/arbiter/plugins/compiler"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// TestFeaturesAreThoseThatWereScored: the export gives what the model was handed in a decision, and the
// history as it was at the moment that is asked for.
func TestFeaturesAreThoseThatWereScored(t *testing.T) {
	n := openNode(t, t.TempDir())
	loadDemo(t, n, 10)
	yes := true
	if _, err := n.PatchSubject(t.Context(), nba.SubjectPatch{SubjectRef: nba.SubjectRef{ID: "S-000005"},
		Consents: map[string]*bool{nba.PurposeProfiling: &yes, nba.PurposeMarketing: &yes}}, nil); err != nil {
		t.Fatal(err)
	}
	before := time.Now().Add(-time.Hour)
	req := request("S-000005", "callcentre")
	req.Options.Explain = nba.ExplainFull
	d := decide(t, n, req)
	rows := []nba.FeatureRow{{Subject: req.Subject}, {Subject: nba.SubjectRef{ID: "nobody"}}}
	table, err := n.Features(t.Context(), &nba.FeatureRequest{Plugin: "churn", Rows: rows})
	if err != nil {
		t.Fatal(err)
	}
	if len(table.Rows) != 2 || table.Rows[1] != nil {
		t.Fatalf("rows %v", table.Rows)
	}
	compared := 0
	for _, c := range d.Explanation.Candidates {
		if c.Model == nil {
			continue
		}
		for i, name := range table.Names {
			seen, ok := c.Features[name]
			if got := table.Rows[0][i]; ok != (got != nil) || ok && *got != seen {
				t.Fatalf("%s: exported %v, scored %v %v", name, got, seen, ok)
			}
			compared++
		}
	}
	if compared == 0 {
		t.Fatal("no candidate was scored")
	}

	item := d.Propositions[0].Items[0]
	if _, err := n.Respond(t.Context(), []nba.Response{{ResponseToken: item.ResponseToken, Outcome: nba.Accepted}}); err != nil {
		t.Fatal(err)
	}
	list := `[{"name":"logCharges","recipe":{"log":{"attribute":"monthlyCharges","offset":1}}},
	 {"name":"share","recipe":{"ratio":{"attribute":"monthlyCharges","by":"totalCharges"}}},
	 {"name":"value","recipe":{"actionProperty":"value"}},
	 {"name":"contacts","recipe":{"history":{"aggregate":"contacts","days":30}}},
	 {"name":"accepts","recipe":{"history":{"aggregate":"accepts","sameAction":true}}},
	 {"name":"balance","recipe":{"context":"balance"}}]`
	contexts := []nba.ContextValue{{Key: "balance", Value: "4.5"}}
	table, err = n.Features(t.Context(), &nba.FeatureRequest{Features: json.RawMessage(list), Rows: []nba.FeatureRow{
		{Subject: req.Subject, Action: item.Action, Contexts: contexts},
		{Subject: req.Subject, Action: item.Action, At: &before}}})
	if err != nil {
		t.Fatal(err)
	}
	now, then := table.Rows[0], table.Rows[1]
	if now[0] == nil || now[1] == nil || now[3] == nil || *now[3] < 1 || *now[4] != 1 || *now[5] != 4.5 {
		t.Errorf("now: %v", text(now))
	}
	if *then[3] != 0 || *then[4] != 0 || then[5] != nil || *then[0] != *now[0] {
		t.Errorf("an hour before: %v", text(then))
	}

	for _, c := range []struct {
		request nba.FeatureRequest
		code    nba.Code
		want    string
	}{
		{nba.FeatureRequest{Rows: rows}, nba.CodeInvalid, "name a plugin or list features"},
		{nba.FeatureRequest{Plugin: "chrun", Rows: rows}, nba.CodePluginUnknown, ""},
		{nba.FeatureRequest{Features: json.RawMessage(`[{"name":"a","recipe":{"attribute":"tenur"}}]`), Rows: rows}, nba.CodeInvalid, "did you mean tenure?"},
		{nba.FeatureRequest{Features: json.RawMessage(list), Rows: rows}, nba.CodeInvalid, "name the action"},
		{nba.FeatureRequest{Plugin: "churn", Rows: []nba.FeatureRow{{Subject: req.Subject, Action: "none"}}}, nba.CodeActionUnknown, ""},
		{nba.FeatureRequest{Features: json.RawMessage(`[{"name":"a","recipe":{}}]`), Rows: rows}, nba.CodeInvalid, "exactly one of"},
	} {
		_, err := n.Features(t.Context(), &c.request)
		if nba.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %s %q", err, c.code, c.want)
		}
	}
}

func text(row []*float64) string {
	encoded, _ := json.Marshal(row)
	return string(encoded)
}

// TestUnknownNamesAreRefusedAtPush: attributes, action properties and channels that are not there, with
// the nearest that are.
func TestUnknownNamesAreRefusedAtPush(t *testing.T) {
	n := openNode(t, t.TempDir())
	loadDemo(t, n, 1)
	for _, c := range []struct{ recipe, want string }{
		{"actionProperty: vlaue", "did you mean value?"},
		{"history: {aggregate: contacts, channel: callcenter}", "did you mean callcentre?"},
		{"ratio: {attribute: tenure, by: monthlyCharge}", "did you mean monthlyCharges?"},
		{"log: {attribute: tenrue}", "did you mean tenure?"},
	} {
		file := strings.Replace(string(examples.ChurnFeatures()), "{name: tenure, attribute: tenure}", "{name: tenure, "+c.recipe+"}", 1)
		features, err := compiler.LoadFeatures([]byte(file), "features.yaml")
		if err != nil {
			t.Fatal(c.recipe, err)
		}
		out, err := compiler.Compile(examples.ChurnModel(), compiler.Options{Name: "churn", Version: "3.0.0", Features: features})
		if err != nil {
			t.Fatal(c.recipe, err)
		}
		if _, err := n.PushPlugin(t.Context(), out.Module, true); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.recipe, err, c.want)
		}
	}
}
