package node

import (
	"context"
	"math"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/arbiterhq/arbiter/runtime/campaign"
	"github.com/arbiterhq/arbiter/runtime/contact"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// allBelow is Below of a question that looks at every subject.
const allBelow = 1 << 32

// PlanCampaign tells what a run of a campaign of the active catalog would do now: it decides for all subjects,
// or for a sample of them, and records nothing.
func (n *Node) PlanCampaign(ctx context.Context, name string, req nba.CampaignPlanRequest) (plan nba.CampaignPlan, err error) {
	if err := n.serving(); err != nil {
		return plan, err
	}
	if req.Sample < 0 {
		return plan, nba.Invalid("/sample", "a sample is a number of subjects")
	}
	if req.Sample == 0 {
		req.Sample = nba.DefaultCampaignSample
	}
	n.catchUp(ctx)
	v := n.acquire()
	defer v.release()
	g, err := v.campaign(name)
	if err != nil {
		return plan, err
	}
	groups, err := n.everyGroup(ctx, campaignQuestion{What: askProgress})
	if err != nil {
		return plan, err
	}
	plan = nba.CampaignPlan{Campaign: name, CatalogVersion: v.state.Catalog.CatalogVersion, At: n.clock.Now().UTC().Truncate(time.Millisecond), Exact: true}
	for i := range groups {
		plan.Subjects += uint64(groups[i].Subjects)
	}
	q := campaignQuestion{What: askPlan, Campaign: name, Version: plan.CatalogVersion, Below: allBelow, Seed: req.Seed}
	if !req.Exact && uint64(req.Sample) < plan.Subjects {
		plan.Exact = false
		q.Below = uint64(float64(req.Sample) / float64(plan.Subjects) * allBelow)
	}
	answers, err := n.everyGroup(ctx, q)
	if err != nil {
		return plan, err
	}
	var all campaign.Account
	for i := range answers {
		all.Add(&answers[i].Account)
		plan.Seconds = max(plan.Seconds, answers[i].Seconds)
	}
	plan.Sampled = all.Examined
	if !plan.Exact && plan.Sampled > 0 {
		scale := float64(plan.Subjects) / float64(plan.Sampled)
		scaleAccount(&all, scale)
		plan.Seconds *= scale
	}
	n.boundPlan(v, &all, g.Volume, plan.At)
	if g.PerSecond > 0 {
		plan.Seconds = max(plan.Seconds, float64(all.Contacted)/g.PerSecond)
	}
	plan.CampaignAccount = accountOf(&all, g)
	return plan, nil
}

// everyGroup asks the leaders of all groups, and fails where one does not answer.
func (n *Node) everyGroup(ctx context.Context, q campaignQuestion) ([]campaignAnswer, error) {
	q.Groups = n.allGroups()
	answers, missing, err := n.gatherCampaign(ctx, q)
	if err == nil && len(missing) > 0 {
		err = nba.Errorf(nba.CodeUnavailable, "the leaders of %d data groups do not answer: retry shortly", len(missing))
	}
	return answers, err
}

// scaleAccount scales the counts of a sample up, so that they still add up.
func scaleAccount(a *campaign.Account, scale float64) {
	up := func(n uint64) uint64 { return uint64(math.Round(float64(n) * scale)) }
	a.HeldOut, a.Contacted = up(a.HeldOut), 0
	for i := range a.Suppressed {
		a.Suppressed[i].Count = up(a.Suppressed[i].Count)
	}
	for i := range a.Actions {
		p := &a.Actions[i]
		p.Count, p.ExpectedMicros = up(p.Count), int64(math.Round(float64(p.ExpectedMicros)*scale))
		a.Contacted += p.Count
	}
	a.Audience = a.Contacted + a.HeldOut + a.SuppressedAll()
	a.Examined = max(up(a.Examined), a.Audience)
}

// boundPlan takes out of a plan what volumes leave no room for: that of the run, and what is left of those of
// the actions.
func (n *Node) boundPlan(v *view, a *campaign.Account, volume uint64, now time.Time) {
	for i := range a.Actions {
		action, ok := v.catalog.Action(a.Actions[i].Action)
		for j := 0; ok && j < len(action.Volumes); j++ {
			limit := &action.Volumes[j]
			takeOut(a, i, min(a.Actions[i].Count, n.volumeLeft(limit, limit.Period(now))), "volume:"+limit.Code)
		}
	}
	for i := len(a.Actions) - 1; i >= 0 && volume > 0 && a.Contacted > volume; i-- {
		takeOut(a, i, a.Actions[i].Count-min(a.Actions[i].Count, a.Contacted-volume), reasonVolume)
	}
}

// takeOut leaves only so many contacts of an action.
func takeOut(a *campaign.Account, i int, leave uint64, reason string) {
	p := &a.Actions[i]
	if leave >= p.Count {
		return
	}
	gone := p.Count - leave
	p.ExpectedMicros = int64(float64(p.ExpectedMicros) * float64(leave) / float64(p.Count))
	p.Count = leave
	a.Contacted -= gone
	a.Suppress(reason, gone)
}

// volumeLeft is what is left of a volume, as far as the control group knows: parts that groups hold count as
// used.
func (n *Node) volumeLeft(v *contact.Volume, p contact.Period) uint64 {
	budget, ok, err := n.router.Control().Budget(v.Key, p.StartMS)
	if err != nil || !ok {
		return v.Max
	}
	return v.Max - min(v.Max, budget.Out())
}

// planGroup is the part of a plan of one group that this node leads.
func (n *Node) planGroup(ctx context.Context, q *campaignQuestion, group uint64) (a campaignAnswer, err error) {
	w := &campaignWorker{of: groupRun{group: group}}
	w.n, w.group, w.dry = n, group, true
	v := n.acquire()
	compiled, version, err := n.catalogFor(ctx, v, q.Version)
	v.release()
	if err == nil {
		err = w.decideBy(compiled, version, q.Campaign)
	}
	if err != nil {
		return a, err
	}
	begun, worked := time.Now(), time.Duration(0)
	var cursor []byte
	for last := false; !last; {
		if w.keys, last, err = n.router.SubjectKeys(group, cursor, batchSubjects, w.keys[:0]); err != nil {
			return a, err
		}
		started := time.Now()
		if err := w.planKeys(ctx, q); err != nil {
			return a, err
		}
		worked += time.Since(started)
		a.Account.Add(&w.batch.Account)
		if len(w.keys) > 0 {
			cursor = w.keys[len(w.keys)-1]
		}
	}
	a.Seconds = max(worked, time.Since(begun)/2).Seconds()
	return a, nil
}

// planKeys decides for those of the keys that are in the sample. It gives way to channels, and to runs.
func (w *campaignWorker) planKeys(ctx context.Context, q *campaignQuestion) error {
	select {
	case w.n.campaigns.slots <- struct{}{}:
		defer func() { <-w.n.campaigns.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	w.beginBatch(0, nil)
	defer w.endBatch()
	w.resumed = time.Now()
	var hash xxhash.Digest
	for _, key := range w.keys {
		if ctx.Err() != nil {
			return nba.Errorf(nba.CodeTimeout, "the deadline passed while the subjects were looked at: ask for a smaller sample")
		}
		if q.Below < allBelow {
			hash.ResetWithSeed(q.Seed)
			_, _ = hash.Write(key) // never fails
			if hash.Sum64()>>32 >= q.Below {
				continue
			}
		}
		w.giveWay(ctx)
		if err := w.subject(ctx, key); err != nil {
			return err
		}
		w.batch.Held = w.batch.Held[:0]
	}
	return nil
}
