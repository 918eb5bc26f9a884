package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/arbiterhq/arbiter/cluster/router"
	"github.com/arbiterhq/arbiter/runtime/campaign"
	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// methodCampaign asks another node about the groups that it leads.
const methodCampaign router.Method = 140

// What is asked about groups.
const (
	askProgress = "progress"
	askPlan     = "plan"
	askReport   = "report"
	askExport   = "export"
	askSegments = "segments"
	askScores   = "scores"
)

// campaignQuestion is a question to the leaders of groups.
type campaignQuestion struct {
	What string `json:"what"`
	// Groups are those asked about, by number.
	Groups []uint64 `json:"groups"`
	Run    uint64   `json:"run,omitempty"`
	// Of a plan: the campaign, the catalogVersion, the subjects that are looked at (by the hash of their keys:
	// those up to Below of 2^32), and the seed of the hash.
	Campaign string `json:"campaign,omitempty"`
	Version  uint64 `json:"version,omitempty"`
	Below    uint64 `json:"below,omitempty"`
	Seed     uint64 `json:"seed,omitempty"`
	// Model is the one whose scores are asked for.
	Model string `json:"model,omitempty"`
	// Of an export: those behind After, at most Limit.
	After []byte `json:"after,omitempty"`
	Limit int    `json:"limit,omitempty"`
}

// campaignAnswer is what the leader of a group tells of it.
type campaignAnswer struct {
	Group    uint64           `json:"group"`
	Subjects int64            `json:"subjects"`
	Done     bool             `json:"done,omitempty"`
	Account  campaign.Account `json:"account"`
	// StartedMS and ChangedMS are the times of the first and of the last batch.
	StartedMS int64 `json:"startedMs,omitempty"`
	ChangedMS int64 `json:"changedMs,omitempty"`
	// Seconds is how long a plan took.
	Seconds float64 `json:"seconds,omitempty"`
	// Outcomes counts contacts by outcome, by position in nba.Outcomes.
	Outcomes        []uint64              `json:"outcomes,omitempty"`
	Contacted, Held campaign.Share        `json:",omitzero"`
	Contacts        []nba.CampaignContact `json:"contacts,omitempty"`
	After           []byte                `json:"after,omitempty"`
	// Members counts the subjects in each segment, in the order of the catalog; Scores are those of a sample.
	Members []uint64  `json:"members,omitempty"`
	Scores  []float64 `json:"scores,omitempty"`
}

// Gathering asks again for groups that have no leader for a moment.
const (
	gatherFor   = 3 * time.Second
	gatherPause = 100 * time.Millisecond
)

// gatherCampaign asks the leaders of groups, and gives their answers by the order of the groups. missing are the
// groups of which nobody told.
func (n *Node) gatherCampaign(ctx context.Context, q campaignQuestion) (answers []campaignAnswer, missing []uint64, err error) {
	left := q.Groups
	for begun := time.Now(); len(left) > 0; {
		found, err := n.askAll(ctx, q, left)
		if err != nil {
			return nil, nil, err
		}
		answers = append(answers, found...)
		left = slices.DeleteFunc(slices.Clone(left), func(group uint64) bool {
			return slices.ContainsFunc(found, func(a campaignAnswer) bool { return a.Group == group })
		})
		if len(left) == 0 || time.Since(begun) > gatherFor || ctx.Err() != nil {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(gatherPause):
		}
	}
	slices.SortFunc(answers, func(a, b campaignAnswer) int { return int(a.Group) - int(b.Group) })
	return answers, left, ctx.Err()
}

// askAll asks this node and the others at the same time about groups; each tells of those it leads.
func (n *Node) askAll(ctx context.Context, q campaignQuestion, groups []uint64) (answers []campaignAnswer, err error) {
	q.Groups = groups
	var mu sync.Mutex
	var asking sync.WaitGroup
	var problems []error
	take := func(found []campaignAnswer, err error) {
		mu.Lock()
		defer mu.Unlock()
		for _, a := range found {
			if !slices.ContainsFunc(answers, func(b campaignAnswer) bool { return a.Group == b.Group }) {
				answers = append(answers, a)
			}
		}
		if err != nil && !isAway(err) && !movedAway(err) && ctx.Err() == nil {
			problems = append(problems, err)
		}
	}
	for _, other := range n.router.Others() {
		asking.Go(func() { take(n.campaignAt(ctx, other, &q)) })
	}
	take(n.campaignHere(ctx, &q))
	asking.Wait()
	return answers, errors.Join(problems...)
}

// campaignAt asks another node.
func (n *Node) campaignAt(ctx context.Context, node string, q *campaignQuestion) (answers []campaignAnswer, err error) {
	encoded, err := json.Marshal(q)
	if err != nil {
		return nil, fmt.Errorf("encoding a question about campaigns: %w", err)
	}
	var p packer
	p.uint(n.router.Control().State().Index)
	p.text(string(encoded))
	u, err := n.ask(ctx, node, methodCampaign, p.b)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal([]byte(u.text()), &answers); err != nil || u.bad {
		return nil, errWire
	}
	return answers, nil
}

// serveCampaign answers another node.
func (n *Node) serveCampaign(ctx context.Context, _ string, request []byte) ([]byte, error) {
	u := unpacker{rest: string(request)}
	index, text := u.uint(), u.text()
	var q campaignQuestion
	if err := u.err(); err != nil {
		return nil, err
	}
	if err := json.Unmarshal([]byte(text), &q); err != nil {
		return nil, errWire
	}
	if err := n.serving(); err != nil {
		return nil, err
	}
	if err := n.router.Control().Wait(ctx, index); err != nil {
		return nil, err
	}
	answers, err := n.campaignHere(ctx, &q)
	return answer(err, func(p *packer) error {
		encoded, err := json.Marshal(answers)
		p.text(string(encoded))
		return err
	})
}

// campaignHere tells of the groups that this node leads.
func (n *Node) campaignHere(ctx context.Context, q *campaignQuestion) (answers []campaignAnswer, err error) {
	for _, group := range n.router.Led() {
		if !slices.Contains(q.Groups, group) {
			continue
		}
		var a campaignAnswer
		switch q.What {
		case askProgress:
			a, err = n.progressOf(q.Run, group)
		case askPlan:
			a, err = n.planGroup(ctx, q, group)
		case askReport:
			a, err = n.reportGroup(q, group)
		case askSegments:
			a, err = n.segmentsGroup(ctx, q, group)
		case askScores:
			a, err = n.scoresGroup(ctx, q, group)
		case askExport:
			a, err = n.exportGroup(q, group)
		default:
			err = errWire
		}
		if err != nil {
			return answers, err
		}
		a.Group = group
		answers = append(answers, a)
	}
	return answers, nil
}

func (n *Node) progressOf(run, group uint64) (a campaignAnswer, err error) {
	p, err := n.router.CampaignProgress(group, run)
	if err != nil {
		return a, err
	}
	a = campaignAnswer{Done: p.Done, Account: p.Account, StartedMS: p.StartedMS, ChangedMS: p.ChangedMS}
	a.Subjects, err = n.router.GroupSubjects(group)
	return a, err
}

// allGroups are the numbers of all data groups.
func (n *Node) allGroups() []uint64 {
	groups := make([]uint64, n.router.Groups())
	for i := range groups {
		groups[i] = uint64(i) + 1
	}
	return groups
}

// Campaigns are those of the active catalog, with the runs that are remembered.
func (n *Node) Campaigns(ctx context.Context) ([]nba.Campaign, error) {
	if err := n.serving(); err != nil {
		return nil, err
	}
	n.catchUp(ctx)
	v := n.acquire()
	defer v.release()
	list := []nba.Campaign{}
	if v.catalog == nil {
		return list, nil
	}
	for i := range v.catalog.Campaigns {
		list = append(list, n.campaignOf(v, &v.catalog.Campaigns[i]))
	}
	return list, nil
}

// campaignOf is a campaign as it is shown.
func (n *Node) campaignOf(v *view, g *catalog.Campaign) nba.Campaign {
	c := nba.Campaign{Name: g.Name, Label: g.Label, CatalogVersion: v.state.Catalog.CatalogVersion, Actions: g.Actions, Volume: g.Volume,
		PerSecond: g.PerSecond, Holdout: g.Holdout(), Sink: g.Sink, Runs: []nba.CampaignRun{}}
	if c.Actions == nil {
		c.Actions = []string{}
	}
	if g.Audience != nil {
		c.Audience = g.Audience.Source()
	}
	for i := range g.Channels {
		c.Channels = append(c.Channels, g.Channels[i].Channel.Name)
	}
	switch s := g.Schedule; {
	case s == nil:
	case s.Once:
		c.Schedule = "now"
	default:
		c.Schedule, c.TimeZone = s.Expression, s.Zone.String()
		if next := s.Next(n.clock.Now()); !next.IsZero() && (g.To == nil || next.Before(*g.To)) {
			c.NextRun = &next
		}
	}
	for _, run := range v.state.Campaigns.Of(g.Name) {
		c.Runs = append(c.Runs, runOf(run))
	}
	return c
}

// runOf is a run without what became of its subjects.
func runOf(r *campaign.Run) nba.CampaignRun {
	shown := nba.CampaignRun{ID: r.ID(), Campaign: r.Campaign, State: string(r.State), CatalogVersion: r.CatalogVersion, DueAt: r.Due,
		StartedAt: r.Started, ChangedAt: r.Changed, EndedAt: r.Ended, Progress: nba.CampaignProgress{Groups: r.Groups, GroupsDone: len(r.Finished)}}
	var all campaign.Account
	for i := range r.Finished {
		all.Add(&r.Finished[i].Account)
	}
	shown.CampaignAccount = accountOf(&all, nil)
	return shown
}

// findRun is a run by its id; the campaign must be the one of the id, and "" or "latest" is its newest run.
func (n *Node) findRun(v *view, name, id string) (*campaign.Run, error) {
	runs := v.state.Campaigns.Of(name)
	if id == "" || id == "latest" {
		if len(runs) == 0 {
			return nil, nba.Errorf(nba.CodeNotFound, "the campaign has no run yet: start one with POST /v1/campaigns/{name}/runs")
		}
		return runs[0], nil
	}
	at := strings.LastIndexByte(id, '-')
	number, err := strconv.ParseUint(id[at+1:], 10, 64)
	if run, ok := v.state.Campaigns.Find(number); ok && err == nil && run.ID() == id && run.Campaign == name {
		return run, nil
	}
	return nil, nba.Errorf(nba.CodeNotFound, "the campaign has no such run, or it is forgotten: GET /v1/campaigns lists those that are kept")
}

// RunCampaign starts a run of a campaign of the active catalog.
func (n *Node) RunCampaign(ctx context.Context, name string) (run nba.CampaignRun, err error) {
	if err := n.serving(); err != nil {
		return run, err
	}
	n.catchUp(ctx)
	v := n.acquire()
	defer v.release()
	g, err := v.campaign(name)
	if err != nil {
		return run, err
	}
	if !g.Valid(n.clock.Now()) {
		return run, nba.Errorf(nba.CodeConflict, "the campaign is not valid now: see its validity in the catalog")
	}
	number, err := n.startRun(ctx, v, name, nil)
	if err != nil {
		return run, err
	}
	if err := n.router.Control().Sync(ctx); err != nil {
		return run, err
	}
	started, ok := n.router.Control().State().Campaigns.Find(number)
	if !ok {
		return run, fmt.Errorf("run %d is forgotten already", number)
	}
	return runOf(started), nil
}

// campaign is a campaign of the active catalog.
func (v *view) campaign(name string) (*catalog.Campaign, error) {
	active, err := v.activeCatalog()
	if err != nil {
		return nil, err
	}
	g, ok := active.Campaign(name)
	if !ok {
		return nil, nba.Errorf(nba.CodeNotFound, "the active catalog has no campaign of this name: it has %s", listed(active.CampaignNames()))
	}
	return g, nil
}

func listed(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// ChangeCampaign pauses, resumes or stops a run. Of all nodes that are reached none works on a run that is
// paused or stopped any more within a second.
func (n *Node) ChangeCampaign(ctx context.Context, name, id, verb string) (run nba.CampaignRun, err error) {
	if err := n.serving(); err != nil {
		return run, err
	}
	n.catchUp(ctx)
	v := n.acquire()
	defer v.release()
	r, err := n.findRun(v, name, id)
	if err != nil {
		return run, err
	}
	if err := n.router.Control().ChangeCampaign(ctx, r.Number, campaign.Verb(verb)); err != nil {
		return run, err
	}
	if err := n.router.Control().Sync(ctx); err != nil {
		return run, err
	}
	return n.CampaignRun(ctx, name, r.ID())
}

// CampaignRun is a run with what became of its subjects so far.
func (n *Node) CampaignRun(ctx context.Context, name, id string) (shown nba.CampaignRun, err error) {
	if err := n.serving(); err != nil {
		return shown, err
	}
	n.catchUp(ctx)
	v := n.acquire()
	defer v.release()
	r, err := n.findRun(v, name, id)
	if err != nil {
		return shown, err
	}
	shown = runOf(r)
	answers, missing, err := n.gatherCampaign(ctx, campaignQuestion{What: askProgress, Run: r.Number, Groups: n.allGroups()})
	if err != nil {
		return shown, err
	}
	var all campaign.Account
	first, last := int64(0), int64(0)
	for i := range r.Finished { // what is final does not depend on who answers
		all.Add(&r.Finished[i].Account)
	}
	for i := range answers {
		a := &answers[i]
		shown.Progress.Subjects += uint64(a.Subjects)
		if !r.FinishedBy(a.Group) {
			all.Add(&a.Account)
		}
		if a.StartedMS > 0 && (first == 0 || a.StartedMS < first) {
			first = a.StartedMS
		}
		last = max(last, a.ChangedMS)
	}
	shown.CampaignAccount = accountOf(&all, n.specOf(ctx, v, r))
	for _, group := range missing {
		if !r.FinishedBy(group) {
			shown.Progress.Missing = append(shown.Progress.Missing, group)
		}
	}
	n.pace(&shown, r, first, last)
	return shown, nil
}

// specOf is the campaign as the run decides by it, nil where that is not known any more.
func (n *Node) specOf(ctx context.Context, v *view, r *campaign.Run) *catalog.Campaign {
	c, _, err := n.catalogFor(ctx, v, r.CatalogVersion)
	if err != nil {
		return nil
	}
	g, _ := c.Campaign(r.Campaign)
	return g
}

// pace tells how fast a run is, and how long the rest takes.
func (n *Node) pace(shown *nba.CampaignRun, r *campaign.Run, first, last int64) {
	if first == 0 || shown.Examined == 0 {
		return
	}
	begun := min(first, r.Started.UnixMilli())
	seconds := max(float64(last-begun)/1000, 0.001)
	shown.Progress.PerSecond = float64(shown.Examined) / seconds
	if r.State == campaign.Running && shown.Progress.Subjects >= shown.Examined {
		rest := float64(shown.Progress.Subjects-shown.Examined) / shown.Progress.PerSecond
		shown.Progress.Remaining = &rest
	}
}
