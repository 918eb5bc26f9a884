package api

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Campaigns is what the HTTP layer needs of a node for campaigns. An unknown campaign or run has CodeNotFound,
// without an active catalog CodeCatalogUnknown, and what cannot be done now CodeConflict. The id of a run may be
// "latest".
type Campaigns interface {
	// Campaigns are those of the active catalog.
	Campaigns(ctx context.Context) ([]nba.Campaign, error)
	// PlanCampaign tells what a run would do now. Nothing is recorded.
	PlanCampaign(ctx context.Context, name string, req nba.CampaignPlanRequest) (nba.CampaignPlan, error)
	// RunCampaign starts a run.
	RunCampaign(ctx context.Context, name string) (nba.CampaignRun, error)
	// CampaignRun is a run with what became of its subjects so far.
	CampaignRun(ctx context.Context, name, id string) (nba.CampaignRun, error)
	// ChangeCampaign does pause, resume or stop.
	ChangeCampaign(ctx context.Context, name, id, verb string) (nba.CampaignRun, error)
	// CampaignReport is a run with what came of it.
	CampaignReport(ctx context.Context, name, id string) (nba.CampaignReport, error)
	// CampaignContacts are those that a run contacted, a page of at most limit (0: a default) behind the cursor.
	CampaignContacts(ctx context.Context, name, id string, limit int, cursor string) (contacts []nba.CampaignContact, next string, err error)
}

func listCampaigns(ctx context.Context, core Core, _ *request) (reply, error) {
	list, err := core.Campaigns(ctx)
	if err != nil {
		return reply{}, err
	}
	return pageReply(list, "")
}

func getCampaign(ctx context.Context, core Core, in *request) (reply, error) {
	name, err := in.param("name")
	if err != nil {
		return reply{}, err
	}
	list, err := core.Campaigns(ctx)
	if err != nil {
		return reply{}, err
	}
	for i := range list {
		if list[i].Name == name {
			return jsonReply(http.StatusOK, list[i])
		}
	}
	return reply{}, nba.Errorf(nba.CodeNotFound, "the active catalog has no campaign of this name: GET /v1/campaigns lists those it has")
}

func planCampaign(ctx context.Context, core Core, in *request) (reply, error) {
	name, err := in.param("name")
	if err != nil {
		return reply{}, err
	}
	var req nba.CampaignPlanRequest
	if len(bytes.TrimSpace(in.body)) > 0 {
		decoder := json.NewDecoder(bytes.NewReader(in.body))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&req); err != nil {
			return reply{}, featuresError(err)
		}
		if decoder.More() {
			return reply{}, nba.Errorf(nba.CodeMalformed, "the body holds more than one JSON value; send one object")
		}
	}
	plan, err := core.PlanCampaign(ctx, name, req)
	if err != nil {
		return reply{}, err
	}
	return jsonReply(http.StatusOK, plan)
}

func startCampaignRun(ctx context.Context, core Core, in *request) (reply, error) {
	name, err := in.param("name")
	if err != nil {
		return reply{}, err
	}
	run, err := core.RunCampaign(ctx, name)
	if err != nil {
		return reply{}, err
	}
	out, err := jsonReply(http.StatusCreated, run)
	out.location = locate("/v1/campaigns/%s/runs/%s", run.Campaign, run.ID)
	return out, err
}

// ofRun serves an operation on one run.
func ofRun[T any](call func(core Core) func(ctx context.Context, name, id string) (T, error)) handler {
	return func(ctx context.Context, core Core, in *request) (reply, error) {
		name, err := in.param("name")
		if err != nil {
			return reply{}, err
		}
		id, err := in.param("id")
		if err != nil {
			return reply{}, err
		}
		out, err := call(core)(ctx, name, id)
		if err != nil {
			return reply{}, err
		}
		return jsonReply(http.StatusOK, out)
	}
}

// changeRun serves POST /v1/campaigns/{name}/runs/{id}/VERB.
func changeRun(verb string) handler {
	return ofRun(func(core Core) func(context.Context, string, string) (nba.CampaignRun, error) {
		return func(ctx context.Context, name, id string) (nba.CampaignRun, error) {
			return core.ChangeCampaign(ctx, name, id, verb)
		}
	})
}

func exportCampaignRun(ctx context.Context, core Core, in *request) (reply, error) {
	name, err := in.param("name")
	if err != nil {
		return reply{}, err
	}
	id, err := in.param("id")
	if err != nil {
		return reply{}, err
	}
	limit := 0
	if text := in.query.Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > nba.MaxCampaignExport {
			return reply{}, nba.Errorf(nba.CodeInvalid, "the query parameter limit must be between 1 and %d", nba.MaxCampaignExport)
		}
	}
	contacts, next, err := core.CampaignContacts(ctx, name, id, limit, in.query.Get("cursor"))
	if err != nil {
		return reply{}, err
	}
	return pageReply(contacts, next)
}

// campaignOperations are the operations on campaigns.
func campaignOperations() []operation {
	const run = "/v1/campaigns/{name}/runs/{id}"
	table := []operation{
		{id: "listCampaigns", method: http.MethodGet, path: "/v1/campaigns", handle: listCampaigns},
		{id: "getCampaign", method: http.MethodGet, path: "/v1/campaigns/{name}", handle: getCampaign},
		{id: "planCampaign", method: http.MethodPost, path: "/v1/campaigns/{name}/plan", consumes: []string{contentTypeJSON}, handle: planCampaign,
			budget: budgetImport, untyped: true},
		{id: "startCampaignRun", method: http.MethodPost, path: "/v1/campaigns/{name}/runs", handle: startCampaignRun, budget: budgetAdmin},
		{id: "getCampaignRun", method: http.MethodGet, path: run, handle: ofRun(func(core Core) func(context.Context, string, string) (nba.CampaignRun, error) {
			return core.CampaignRun
		})},
		{id: "getCampaignReport", method: http.MethodGet, path: run + "/report", budget: budgetImport,
			handle: ofRun(func(core Core) func(context.Context, string, string) (nba.CampaignReport, error) {
				return core.CampaignReport
			})},
		{id: "exportCampaignRun", method: http.MethodGet, path: run + "/export", query: []string{"limit", "cursor"}, handle: exportCampaignRun, budget: budgetAdmin},
	}
	for verb, id := range map[string]string{"pause": "pauseCampaignRun", "resume": "resumeCampaignRun", "stop": "stopCampaignRun"} {
		table = append(table, operation{id: id, method: http.MethodPost, path: run + "/" + verb, handle: changeRun(verb), budget: budgetAdmin})
	}
	return table
}
