package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/sdk/realdata"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

const recommendations = "/tmf-api/recommendationManagement/v4/queryProductRecommendation"

// officialTMF680 compiles definitions of the swagger document that TM Forum publishes.
func officialTMF680(t *testing.T) func(definition string) *jsonschema.Schema {
	t.Helper()
	text, err := os.ReadFile(realdata.Path(t, "tmforum/TMF680_Recommendation_Management_API_v4.0.0_swagger.json"))
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft4) // what Swagger 2.0 is made of
	c.AssertFormat()
	if err := c.AddResource("tmf680.json", document); err != nil {
		t.Fatal(err)
	}
	return func(definition string) *jsonschema.Schema {
		t.Helper()
		schema, err := c.Compile("tmf680.json#/definitions/" + definition)
		if err != nil {
			t.Fatal(err)
		}
		return schema
	}
}

// TestTMF680 holds requests and answers of the real program against TM Forum's own definition.
func TestTMF680(t *testing.T) {
	t.Parallel()
	official := officialTMF680(t)
	s := start(t, "dev", "--no-demo", "--subscribers", "20")
	s.mustCLI("catalog", "apply", catalogFolder(t, map[string]string{"head.yaml": folderHead,
		"actions.yaml": strings.Replace(folderActions, "value: 100", "value: 100, label: Fibre, offering: {id: PO-1, href: /offers/1}", 1)}))
	s.mustCLI("subject", "consents", "S-000001", "--grant", "marketing")
	valid := func(definition string, body []byte) any {
		t.Helper()
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
		if err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		if err := official(definition).Validate(value); err != nil {
			t.Errorf("%s: %v\n%s", definition, err, body)
		}
		return value
	}
	create := `{"@type":"QueryProductRecommendation","name":"banner 7","instantSyncRecommendation":true,"recommendationType":"crossSell",
		"category":[{"id":"plans"}],"channel":[{"id":"web","name":"Web"}],"shoppingCart":[{"id":"cart-1"}],
		"relatedParty":{"id":"S-000001","@referredType":"Customer","role":"customer"}}`
	valid("QueryProductRecommendation_Create", []byte(create))
	post := func(body string) reply { return s.call("POST", recommendations, json.RawMessage(body)) }
	made := post(create)
	if made.status != http.StatusCreated {
		t.Fatalf("status %d: %s", made.status, made.body)
	}
	valid("QueryProductRecommendation", made.body)
	var query struct {
		ID, Href           string
		RecommendationItem []struct {
			Priority        int
			ProductOffering struct{ ID string }
		}
	}
	if err := json.Unmarshal(made.body, &query); err != nil || len(query.RecommendationItem) == 0 || query.RecommendationItem[0].ProductOffering.ID != "PO-1" {
		t.Errorf("recommended: %s", made.body)
	}
	// It is a decision, and reads the same later.
	rec := decode[nba.DecisionRecord](t, s.call("GET", "/v1/decisions/"+query.ID, nil), 200)
	if rec.DecisionRequestID != "banner 7" || rec.Channel != "web" || rec.Propositions[0].Items[0].Action != "fibre" {
		t.Errorf("decision %+v", rec)
	}
	read := s.call("GET", query.Href, nil)
	valid("QueryProductRecommendation", read.body)
	if diff := strings.Compare(strings.TrimSpace(string(read.body)), strings.TrimSpace(string(made.body))); diff != 0 {
		t.Errorf("read\n%s\nmade\n%s", read.body, made.body)
	}
	listed := s.call("GET", recommendations+"?relatedParty.id=S-000001&limit=5", nil)
	var list []json.RawMessage
	if err := json.Unmarshal(listed.body, &list); err != nil || len(list) != 1 || listed.header.Get("X-Total-Count") != "1" {
		t.Errorf("list: %s %s", listed.header.Get("X-Total-Count"), listed.body)
	}
	for _, one := range list {
		valid("QueryProductRecommendation", one)
	}
	for name, bad := range map[string]reply{
		"an unknown party":   post(`{"channel":[{"id":"web"}],"relatedParty":{"id":"nobody","@referredType":"Customer"}}`),
		"an unknown channel": post(`{"channel":[{"id":"447700900123"}],"relatedParty":{"id":"S-000001","@referredType":"Customer"}}`),
		"no party":           post(`{"channel":[{"id":"web"}]}`),
		"no JSON":            post(`{}`),
		"an unknown query":   s.call("GET", recommendations+"?nothing=1", nil),
		"an unknown id":      s.call("GET", recommendations+"/1", nil),
		"a wrong method":     s.call("DELETE", recommendations, nil),
	} {
		valid("Error", bad.body)
		if bad.status < 400 || bad.status > 409 || strings.Contains(string(bad.body), "447700900123") {
			t.Errorf("%s: status %d: %s", name, bad.status, bad.body)
		}
	}
}

// TestInference scores rows of features with the demo's model by the Open Inference Protocol, and finds the
// scores that the library gave.
func TestInference(t *testing.T) {
	t.Parallel()
	s := start(t, "dev", "--no-demo", "--subscribers", "20")
	type tensor struct {
		Name     string     `json:"name"`
		Datatype string     `json:"datatype"`
		Shape    []int      `json:"shape"`
		Data     []*float64 `json:"data"`
	}
	var model struct {
		Name     string
		Versions []string
		Inputs   []tensor
	}
	if r := s.call("GET", "/v2/models/churn", nil); r.status != 200 || json.Unmarshal(r.body, &model) != nil || len(model.Inputs) == 0 || len(model.Versions) != 1 {
		t.Fatalf("status %d: %s", r.status, r.body)
	}
	var plugin struct {
		Manifest struct {
			Golden []struct {
				Features []*float64
				Score    float64
			}
		}
	}
	if r := s.call("GET", "/v1/plugins/churn/versions/"+model.Versions[0], nil); r.status != 200 || json.Unmarshal(r.body, &plugin) != nil || len(plugin.Manifest.Golden) == 0 {
		t.Fatalf("status %d: %s", r.status, r.body)
	}
	golden := plugin.Manifest.Golden
	matrix := tensor{Name: "features", Datatype: "FP64", Shape: []int{len(golden), len(model.Inputs)}}
	byName := make([]tensor, len(model.Inputs))
	for i := range byName {
		byName[i] = tensor{Name: model.Inputs[i].Name, Datatype: "FP64", Shape: []int{len(golden)}}
	}
	for _, row := range golden {
		matrix.Data = append(matrix.Data, row.Features...)
		for i := range byName {
			byName[i].Data = append(byName[i].Data, row.Features[i])
		}
	}
	for name, inputs := range map[string][]tensor{"one matrix": {matrix}, "a tensor for each feature": byName} {
		var answer struct{ Outputs []struct{ Data []float64 } }
		r := s.call("POST", "/v2/models/churn/infer", map[string]any{"inputs": inputs})
		if r.status != 200 || json.Unmarshal(r.body, &answer) != nil || len(answer.Outputs) != 1 || len(answer.Outputs[0].Data) != len(golden) {
			t.Fatalf("%s: status %d: %.300s", name, r.status, r.body)
		}
		for i, got := range answer.Outputs[0].Data {
			if math.Abs(got-golden[i].Score) > 1e-6 {
				t.Errorf("%s: row %d scores %v, the library says %v", name, i, got, golden[i].Score)
			}
		}
	}
	var refused struct{ Error string }
	r := s.call("POST", "/v2/models/churn/infer", map[string]any{"inputs": []tensor{{Name: model.Inputs[0].Name, Datatype: "FP64", Shape: []int{1}, Data: []*float64{nil}},
		{Name: model.Inputs[1].Name, Datatype: "FP64", Shape: []int{2}, Data: []*float64{nil, nil}}}})
	if r.status != 422 || json.Unmarshal(r.body, &refused) != nil || !strings.Contains(refused.Error, fmt.Sprintf("rows, the first input has %d", 1)) {
		t.Errorf("status %d: %s", r.status, r.body)
	}
	if r := s.call("GET", "/v2/models/none/ready", nil); r.status != 404 || json.Unmarshal(r.body, &refused) != nil || refused.Error == "" {
		t.Errorf("status %d: %s", r.status, r.body)
	}
}
