package node

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/runtime/campaign"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// A run of a campaign is worked through where its subjects are: the leader of each data group takes the next
// subjects behind the group's cursor, decides for them, and proposes one batch that holds the decisions of
// those who are contacted and moves the cursor. Nothing of a run is remembered here: another leader goes on
// from the cursor. The leader of the control group starts the runs that are due.

// How campaigns are kept going.
const (
	campaignRound   = 200 * time.Millisecond
	forgetRunsEvery = 2 * time.Second
	campaignPause   = 100 * time.Millisecond // after something failed
	campaignSubmit  = 10 * time.Second       // bounds one proposal
	// campaignTrouble is the pause after something that is not likely to pass.
	campaignTrouble = 10 * time.Second
)

// campaigning is what a node does for the runs under way.
type campaigning struct {
	news    chan struct{}
	slots   chan struct{} // taken while a run computes: bounds the processors it uses
	workers sync.WaitGroup
	active  map[groupRun]bool // guarded by mu
	mu      sync.Mutex
	// tried is when a run that is due could not begin; used by the loop alone.
	tried time.Time

	// live counts the calls of channels under way, and calls all of them since the start.
	live, calls atomic.Int64
}

// groupRun is a run in one data group.
type groupRun struct{ run, group uint64 }

func newCampaigning() *campaigning {
	return &campaigning{news: make(chan struct{}, 1), slots: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)), active: map[groupRun]bool{}}
}

// wake tells of a new control state.
func (c *campaigning) wake() {
	select {
	case c.news <- struct{}{}:
	default:
	}
}

// enter counts a call of a channel; runs give way to it. Call what it returns at its end.
func (c *campaigning) enter() (leave func()) {
	c.live.Add(1)
	c.calls.Add(1)
	return c.leave
}

func (c *campaigning) leave() { c.live.Add(-1) }

// campaign keeps the runs going until the node is closed.
func (n *Node) campaign() {
	defer n.followers.Done()
	defer n.campaigns.workers.Wait()
	ticker := time.NewTicker(campaignRound)
	defer ticker.Stop()
	var forgot time.Time
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-n.campaigns.news:
		case <-ticker.C:
		}
		n.workOnCampaigns()
		if n.router.Control().Leads() {
			n.startDue()
		}
		if time.Since(forgot) > forgetRunsEvery {
			forgot = time.Now()
			n.forgetCampaigns()
		}
	}
}

// workOnCampaigns has somebody work on every run that is running, in every group that this node leads.
func (n *Node) workOnCampaigns() {
	state := n.router.Control().State().Campaigns
	var led []uint64
	for i := range state.Runs {
		run := &state.Runs[i]
		if run.State != campaign.Running {
			continue
		}
		if led == nil {
			led = n.router.Led()
		}
		for _, group := range led {
			if !run.FinishedBy(group) {
				n.workOn(groupRun{run.Number, group})
			}
		}
	}
}

// workOn begins to work on a run in a group, unless that is done already.
func (n *Node) workOn(of groupRun) {
	c := n.campaigns
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.active[of] {
		return
	}
	c.active[of] = true
	c.workers.Go(func() {
		err := n.workThrough(n.ctx, of)
		if err != nil && n.ctx.Err() == nil {
			pause := campaignPause
			if again := n.logCampaign(of, err); !again {
				pause = campaignTrouble
			}
			select {
			case <-n.ctx.Done():
			case <-time.After(pause):
			}
		}
		c.mu.Lock()
		delete(c.active, of)
		c.mu.Unlock()
		c.wake()
	})
}

// logCampaign logs what keeps a run from going on, and tells whether it only has to be tried again.
func (n *Node) logCampaign(of groupRun, err error) (again bool) {
	switch nba.CodeOf(err) {
	case nba.CodeUnavailable, nba.CodeTimeout, nba.CodeOverloaded, nba.CodeConflict:
		n.logger.Debug("a run of a campaign goes on later", "run", of.run, "group", of.group, "error", err)
		return true
	}
	if movedAway(err) {
		return true
	}
	n.logger.Error("a run of a campaign does not go on", "run", of.run, "group", of.group, "error", err)
	return false
}

// startDue starts the runs that the schedules of the active catalog have begin now.
func (n *Node) startDue() {
	v := n.acquire()
	defer v.release()
	if v.catalog == nil {
		return
	}
	now := n.clock.Now().UTC()
	for i := range v.catalog.Campaigns {
		g := &v.catalog.Campaigns[i]
		if g.Schedule == nil || !g.Valid(now) {
			continue
		}
		if n.campaigns.tried.Add(campaignTrouble).After(time.Now()) || underWay(v.state.Campaigns, g.Name) {
			continue // what is due while a run is under way begins when that is over, if it is not too late by then
		}
		last := v.state.Campaigns.LastDue(g.Name)
		due, at := false, now.Truncate(time.Millisecond)
		if g.Schedule.Once {
			due = last.IsZero() && len(v.state.Campaigns.Of(g.Name)) == 0
		} else {
			at, due = g.Schedule.Due(later(last, n.activated(v)), now)
		}
		if !due {
			continue
		}
		ctx, cancel := context.WithTimeout(n.ctx, proposeTimeout)
		run, err := n.startRun(ctx, v, g.Name, &at)
		cancel()
		switch {
		case err == nil:
			n.logger.Info("a run of a campaign began", "campaign", g.Name, "run", run, "due", at)
		case nba.CodeOf(err) != nba.CodeConflict: // else another leader was quicker
			n.campaigns.tried = time.Now()
			n.logger.Warn("a run of a campaign that is due could not begin", "campaign", g.Name, "due", at, "error", err)
		}
	}
}

// underWay tells whether a campaign has a run that is not over.
func underWay(state *campaign.State, name string) bool {
	return slices.ContainsFunc(state.Of(name), func(r *campaign.Run) bool { return !r.State.Over() })
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// activated is when the active catalog became so; what was due before is not made up for.
func (n *Node) activated(v *view) time.Time {
	for _, a := range v.state.Catalog.Activations {
		if a.CatalogVersion == v.state.Catalog.CatalogVersion && !a.At.IsZero() {
			return a.At
		}
	}
	return n.opened
}

func (n *Node) startRun(ctx context.Context, v *view, name string, due *time.Time) (run uint64, err error) {
	return n.router.Control().StartCampaign(ctx, &command.StartCampaign{Campaign: name, CatalogVersion: v.state.Catalog.CatalogVersion,
		Groups: n.router.Groups(), Due: due})
}

// forgetCampaigns removes what the groups led here keep of runs that are not remembered any more.
func (n *Node) forgetCampaigns() {
	ctx, cancel := context.WithTimeout(n.ctx, proposeTimeout)
	defer cancel()
	for _, group := range n.router.Led() {
		for more, rounds := true, 0; more && rounds < 16; rounds++ {
			var err error
			if more, err = n.router.ForgetCampaigns(ctx, group); err != nil {
				n.logCampaign(groupRun{group: group}, err)
				break
			}
		}
	}
}
