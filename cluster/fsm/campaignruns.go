package fsm

import (
	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/runtime/campaign"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// The operations on runs hand over to runtime/campaign, with the proposer's time.

// startCampaign begins a run, whose number is the index of the entry.
func (c *Control) startCampaign(at At, body []byte) (Result, error) {
	var op command.StartCampaign
	if err := command.DecodeControl(body, &op); err != nil {
		return Result{}, err
	}
	if c.next.Catalog.Document(op.CatalogVersion) == 0 {
		return refuse(nba.Errorf(nba.CodeCatalogUnknown, "the catalog version that the run would decide by is not kept any more"))
	}
	next, err := c.next.Campaigns.Start(campaign.Start{Number: at.Index, Campaign: op.Campaign, CatalogVersion: op.CatalogVersion,
		Groups: op.Groups, Due: op.Due, At: atTime(at)})
	if err != nil {
		return Result{Err: err}, nil
	}
	c.setCampaigns(next, true)
	return Result{Version: at.Index, Created: true}, nil
}

func (c *Control) changeCampaign(at At, body []byte) (Result, error) {
	var op command.ChangeCampaign
	if err := command.DecodeControl(body, &op); err != nil {
		return Result{}, err
	}
	next, changed, err := c.next.Campaigns.Change(op.Run, op.Verb, atTime(at))
	if err != nil {
		return Result{Err: err}, nil
	}
	c.setCampaigns(next, changed)
	return Result{Duplicate: !changed}, nil
}

func (c *Control) finishCampaign(at At, body []byte) (Result, error) {
	var op command.FinishCampaign
	if err := command.DecodeControl(body, &op); err != nil {
		return Result{}, err
	}
	next, changed, err := c.next.Campaigns.Finish(op.Run, op.Group, op.Account, atTime(at))
	if err != nil {
		return Result{Err: err}, nil
	}
	c.setCampaigns(next, changed)
	return Result{Duplicate: !changed}, nil
}

func (c *Control) setCampaigns(next *campaign.State, changed bool) {
	if changed {
		c.next.Campaigns, c.dirty[partCampaigns] = next, true
	}
}
