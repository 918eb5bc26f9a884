package apitest

import (
	"encoding/json"
	"testing"
)

// campaigns exercises the operations on campaigns, with the first campaign of the active catalog.
func (s *suite) campaigns(t *testing.T) {
	var list struct {
		Items []struct {
			Name string `json:"name"`
		} `json:"items"`
	}
	_, body := s.do(t, call{op: "listCampaigns", path: "/v1/campaigns", want: 200})
	if err := json.Unmarshal(body, &list); err != nil || len(list.Items) == 0 {
		t.Fatalf("the catalog has no campaign: %s", body)
	}
	s.do(t, call{op: "listSegments", path: "/v1/segments?sample=100", want: 200})
	s.do(t, call{op: "listSegments", path: "/v1/segments?sample=few", want: 422, code: "INVALID"})
	s.do(t, call{op: "cutScores", path: "/v1/segments/cuts?model=churn&parts=4&sample=100", want: 200})
	s.do(t, call{op: "cutScores", path: "/v1/segments/cuts?model=none", want: 404, code: "NOT_FOUND"})
	path := "/v1/campaigns/" + list.Items[0].Name
	s.do(t, call{op: "getCampaign", path: path, want: 200})
	s.do(t, call{op: "getCampaign", path: "/v1/campaigns/none", want: 404, code: "NOT_FOUND"})
	s.do(t, call{op: "planCampaign", path: path + "/plan", media: jsonMedia, body: `{"sample":100,"seed":1}`, want: 200})
	s.do(t, call{op: "planCampaign", path: path + "/plan", media: jsonMedia, body: `{"sample":-1}`, want: 422, code: "INVALID", invalid: true})
	s.do(t, call{op: "planCampaign", path: "/v1/campaigns/none/plan", media: jsonMedia, body: `{}`, want: 404, code: "NOT_FOUND"})
	s.do(t, call{op: "startCampaignRun", path: path + "/runs", want: 201})
	s.do(t, call{op: "startCampaignRun", path: "/v1/campaigns/none/runs", want: 404, code: "NOT_FOUND"})
	run := path + "/runs/latest"
	s.do(t, call{op: "getCampaignRun", path: run, want: 200})
	s.do(t, call{op: "getCampaignRun", path: "/v1/campaigns/none/runs/none-1", want: 404, code: "NOT_FOUND"})
	for _, verb := range []string{"pause", "resume", "stop"} {
		s.do(t, call{op: verb + "CampaignRun", path: run + "/" + verb, want: 200}) // the throttle of the campaign keeps it from being over
		s.do(t, call{op: verb + "CampaignRun", path: "/v1/campaigns/none/runs/none-1/" + verb, want: 404, code: "NOT_FOUND"})
	}
	s.do(t, call{op: "getCampaignReport", path: run + "/report", want: 200})
	s.do(t, call{op: "exportCampaignRun", path: run + "/export?limit=2", want: 200})
	s.do(t, call{op: "exportCampaignRun", path: run + "/export?limit=0", want: 422, code: "INVALID"})
}
