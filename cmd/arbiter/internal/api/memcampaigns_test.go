package api

import (
	"context"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

func memAccount() nba.CampaignAccount {
	return nba.CampaignAccount{Examined: 10, Audience: 6, Contacted: 4, HeldOut: 1, Suppressed: []nba.CampaignSuppressed{{Stage: "contact", Code: "CONTACT_LIMIT", Count: 1}},
		Actions: []nba.CampaignAction{{Action: "family-plan", Channel: "sms", Count: 4, ExpectedValue: 2.5, Cost: 0.2}}, ExpectedValue: 2.5, Cost: 0.2}
}

func memRun() nba.CampaignRun {
	rest := 1.5
	return nba.CampaignRun{ID: "renewal-42", Campaign: "renewal", State: "running", CatalogVersion: 42, DueAt: &memTime, StartedAt: memTime, ChangedAt: memTime,
		CampaignAccount: memAccount(), Progress: nba.CampaignProgress{Subjects: 20, Groups: 4, GroupsDone: 1, Missing: []uint64{2}, PerSecond: 100, Remaining: &rest}}
}

func memCampaignError(name string) error {
	switch name {
	case "renewal":
		return nil
	case "busy":
		return nba.Errorf(nba.CodeConflict, "run busy-1 of the campaign is running: wait for it, or stop it")
	default:
		return nba.Errorf(nba.CodeNotFound, "the active catalog has no campaign of this name")
	}
}

func (m *memCore) Segments(context.Context, nba.SegmentRequest) (nba.Segments, error) {
	return nba.Segments{CatalogVersion: 42, Subjects: 20, Sampled: 10, Segments: []nba.Segment{{Name: "young", Label: "Young", When: "true", Sampled: 5, Share: 0.5, Subjects: 10}}}, nil
}

func (m *memCore) ScoreCuts(_ context.Context, req nba.SegmentRequest) (nba.ScoreCuts, error) {
	if req.Model == "none" {
		return nba.ScoreCuts{}, nba.Errorf(nba.CodeNotFound, "the active catalog has no model of this name")
	}
	return nba.ScoreCuts{Model: req.Model, Parts: 2, Subjects: 20, Sampled: 10, Cuts: []float64{0.5}}, nil
}

func (m *memCore) Campaigns(context.Context) ([]nba.Campaign, error) {
	return []nba.Campaign{{Name: "renewal", Label: "Renewal", CatalogVersion: 42, Audience: "true", Actions: []string{"family-plan"}, Channels: []string{"sms"},
		Schedule: "0 9 * * 1", TimeZone: "UTC", NextRun: &memTime, Volume: 10, PerSecond: 5, Holdout: 0.1, Sink: "log", Runs: []nba.CampaignRun{memRun()}}}, nil
}

func (m *memCore) PlanCampaign(_ context.Context, name string, req nba.CampaignPlanRequest) (nba.CampaignPlan, error) {
	if req.Sample < 0 {
		return nba.CampaignPlan{}, nba.Invalid("/sample", "a sample is a number of subjects")
	}
	return nba.CampaignPlan{Campaign: name, CatalogVersion: 42, At: memTime, Exact: req.Exact, Subjects: 20, Sampled: 10, CampaignAccount: memAccount(), Seconds: 1}, memCampaignError(name)
}

func (m *memCore) RunCampaign(_ context.Context, name string) (nba.CampaignRun, error) {
	return memRun(), memCampaignError(name)
}

func (m *memCore) CampaignRun(_ context.Context, name, _ string) (nba.CampaignRun, error) {
	return memRun(), memCampaignError(name)
}

func (m *memCore) ChangeCampaign(_ context.Context, name, _, verb string) (nba.CampaignRun, error) {
	run := memRun()
	run.State = map[string]string{"pause": "paused", "resume": "running", "stop": "stopped"}[verb]
	return run, memCampaignError(name)
}

func (m *memCore) CampaignReport(_ context.Context, name, _ string) (nba.CampaignReport, error) {
	relative := 0.5
	return nba.CampaignReport{Run: memRun(), Responses: []nba.CampaignOutcome{{Outcome: nba.Accepted, Count: 2}},
		ContactedGroup: nba.CampaignShare{Subjects: 4, Responded: 2, Rate: 0.5}, HeldOutGroup: nba.CampaignShare{Subjects: 1},
		Lift: &nba.CampaignLift{Difference: 0.5, Low: -0.2, High: 0.8, Relative: &relative}, Method: "Newcombe"}, memCampaignError(name)
}

func (m *memCore) CampaignContacts(_ context.Context, name, _ string, _ int, cursor string) ([]nba.CampaignContact, string, error) {
	line := nba.CampaignContact{Subject: "S-1", Type: "subscriber", DecisionID: "01KAN3Z1X2QK8Z0T5N4B7C9D0E", DecidedAt: memTime, Channel: "sms", Action: "family-plan",
		Treatment: "t", Propensity: 0.5, Value: 1, Priority: 0.5, Content: map[string]string{"text": "hello"}, ResponseToken: "token"}
	if cursor == "" {
		return []nba.CampaignContact{line}, "next", memCampaignError(name)
	}
	return nil, "", memCampaignError(name)
}
