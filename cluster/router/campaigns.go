package router

import (
	"context"
	"slices"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/runtime/campaign"
	"github.com/arbiterhq/arbiter/runtime/contact"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// GroupOf is the number of the data group of a slot.
func (r *Router) GroupOf(slot int) uint64 { return uint64(groupOf(slot, len(r.groups()))) + 1 }

// Led are the numbers of the data groups that this node leads now.
func (r *Router) Led() (groups []uint64) {
	for _, d := range r.groups() {
		if d.machine != nil && d.leads() && d.readable() == nil {
			groups = append(groups, d.number)
		}
	}
	return groups
}

// led is a data group by its number, which this node must lead.
func (r *Router) led(group uint64) (*dataGroup, error) {
	groups := r.groups()
	if group == 0 || group > uint64(len(groups)) {
		return nil, errWire
	}
	d := groups[group-1]
	if d.machine == nil {
		return nil, d.readable()
	}
	return d, d.readable()
}

// SubjectKeys appends to dst the keys of the next subjects of a group that this node leads, behind a key, at
// most limit of them. done tells that there are no more.
func (r *Router) SubjectKeys(group uint64, after []byte, limit int, dst [][]byte) (keys [][]byte, done bool, err error) {
	d, err := r.led(group)
	if err != nil {
		return dst, false, err
	}
	reader, err := d.machine.Store().Acquire()
	if err != nil {
		return dst, false, storeError(err)
	}
	defer reader.Release()
	from := slices.Clone(after)
	if len(from) > 0 {
		from = append(from, 0)
	}
	read := 0
	reader.ScanBetween(store.Subjects, from, []byte{0xff}, func(key, _ []byte) bool {
		if read == limit {
			return false
		}
		dst = append(dst, slices.Clone(key))
		read++
		return true
	})
	return dst, read < limit, nil
}

// AcquireKey lends the subject of a key of a group that this node leads; see Acquire.
func (r *Router) AcquireKey(group uint64, key []byte) (*Reading, error) {
	d, err := r.led(group)
	if err != nil {
		return nil, err
	}
	ref, ok := command.ParseSubjectKey(key)
	if !ok {
		return nil, errWire
	}
	return r.lend(d, ref)
}

// GroupSubjects is the number of subjects of a group that this node leads.
func (r *Router) GroupSubjects(group uint64) (int64, error) {
	d, err := r.led(group)
	if err != nil {
		return 0, err
	}
	return d.machine.Subjects(), nil
}

// CampaignProgress is how far a run is in a group that this node leads. A run that did not begin there is at
// the beginning.
func (r *Router) CampaignProgress(group, run uint64) (fsm.Progress, error) {
	d, err := r.led(group)
	if err != nil {
		return fsm.Progress{}, err
	}
	p, _, err := d.machine.CampaignProgress(run)
	if err != nil {
		err = storeError(err)
	}
	return p, err
}

// SubmitCampaign applies a batch of a run. The error has CodeConflict if the group is elsewhere than where the
// batch begins, such as when it was applied before, and CodeContactLimit if a volume is used up.
func (r *Router) SubmitCampaign(ctx context.Context, group uint64, batch *command.Batch) error {
	d, err := r.led(group)
	if err != nil {
		return err
	}
	if err := r.control.State().Features.Allows(command.CampaignBatch, 1); err != nil {
		return err
	}
	_, err = d.submit(ctx, batch, false)
	return err
}

// ForgetCampaigns removes what a group that this node leads keeps of runs that are not remembered any more, a
// bounded number of entries. It tells whether there may be more.
func (r *Router) ForgetCampaigns(ctx context.Context, group uint64) (more bool, err error) {
	d, err := r.led(group)
	if err != nil {
		return false, err
	}
	runs, err := d.machine.CampaignRuns()
	if err != nil {
		return false, storeError(err)
	}
	for _, run := range runs {
		if _, known := r.control.State().Campaigns.Find(run); known {
			continue
		}
		result, err := d.submit(ctx, &command.ForgetCampaign{Run: run, Limit: expireAtOnce}, true)
		return result.Version > 0, err
	}
	return false, nil
}

// CampaignMember is a subject that a run contacted or held out.
type CampaignMember struct {
	Ref nba.SubjectRef
	fsm.CampaignMember
	reader *store.Reader
}

// Entry is the stored decision of a member that was contacted, with its responses; ok is false where it is
// not kept any more.
func (m *CampaignMember) Entry() (entry fsm.DecisionEntry, ok bool) {
	stored := m.reader.Get(store.Decisions, m.CampaignMember.Decision[:])
	if stored == nil {
		return entry, false
	}
	entry, err := fsm.OpenDecisionEntry(stored)
	return entry, err == nil
}

// Responded tells whether the history of a member has one of the outcomes, as a set of positions in
// nba.Outcomes, for one of the actions (none: any), since TimeMS.
func (m *CampaignMember) Responded(outcomes uint16, actions []string) bool {
	found := false
	m.reader.ScanBack(store.History, m.Key, nil, func(key, _ []byte) bool {
		h, ok := fsm.ParseHistoryKey(key, len(m.Key))
		if !ok {
			return true
		}
		if h.TimeMS < m.TimeMS {
			return false
		}
		found = h.Kind == fsm.HistoryResponse && outcomes&(1<<h.Outcome) != 0 && m.about(&h, actions)
		return !found
	})
	return found
}

// about tells whether a response is for one of the actions.
func (m *CampaignMember) about(h *fsm.HistoryKey, actions []string) bool {
	if len(actions) == 0 {
		return true
	}
	entry, err := fsm.OpenDecisionEntry(m.reader.Get(store.Decisions, h.Decision[:]))
	if err != nil {
		return false
	}
	decision, err := command.OpenDecision(entry.Record)
	if err != nil {
		return false
	}
	for position := 0; ; position++ {
		p, ok := decision.Next()
		if !ok || position == int(h.Position) {
			return ok && slices.Contains(actions, p.Action)
		}
	}
}

// CampaignMembers calls fn with those that a run contacted, or held out, in a group that this node leads, in
// the order of their keys, behind a key, until fn returns false. fn must not keep the member.
func (r *Router) CampaignMembers(group, run uint64, heldOut bool, after []byte, fn func(m *CampaignMember) bool) error {
	d, err := r.led(group)
	if err != nil {
		return err
	}
	err = d.machine.CampaignMembers(run, heldOut, after, func(reader *store.Reader, m fsm.CampaignMember) bool {
		ref, ok := command.ParseSubjectKey(m.Key)
		return !ok || fn(&CampaignMember{Ref: ref, CampaignMember: m, reader: reader})
	})
	if err != nil {
		err = storeError(err)
	}
	return err
}

// Budget is what the control group knows of a volume in a period; ok is false for one that nobody asked for.
func (c *Control) Budget(volume string, startMS int64) (b contact.Budget, ok bool, err error) {
	return c.machine.Budget(volume, startMS)
}

// StartCampaign begins a run and returns its number.
func (c *Control) StartCampaign(ctx context.Context, op *command.StartCampaign) (run uint64, err error) {
	if err := c.State().Features.Allows(command.CampaignStarted, 1); err != nil {
		return 0, err
	}
	result, err := c.submit(ctx, op, false)
	return result.Version, err
}

// ChangeCampaign pauses, resumes or stops a run.
func (c *Control) ChangeCampaign(ctx context.Context, run uint64, verb campaign.Verb) error {
	_, err := c.submit(ctx, &command.ChangeCampaign{Run: run, Verb: verb}, true)
	return err
}

// FinishCampaign tells that a group is through with a run.
func (c *Control) FinishCampaign(ctx context.Context, op *command.FinishCampaign) error {
	_, err := c.submit(ctx, op, true)
	return err
}
