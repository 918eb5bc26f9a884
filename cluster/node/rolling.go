package node

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/cluster/router"
	"github.com/arbiterhq/arbiter/plugins/rollout"
	"github.com/arbiterhq/arbiter/plugins/serving"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// A rollout moves on three legs besides the log: every node loads the candidate and says so (getReady),
// every node counts what both versions do and reports it (report), and the one that leads the control
// group judges the counters (judge). None of it is done where nothing is rolled out.

// rolling is what a node does for the rollouts under way.
type rolling struct {
	news     chan struct{} // of the control state, for the loop
	awake    chan struct{} // of the control state, for getReady
	accepted chan nba.Response

	mu      sync.Mutex
	watched map[string]*watched // by rollout; guarded by mu

	// Used by the loop alone.
	pending  *pendingReport
	sequence uint64
	synced   bool
}

// watched is a rollout that is counted here.
type watched struct {
	tally    *rollout.Tally
	own      func(nba.SubjectRef) bool
	reported [2]rollout.Counts // used by the loop alone
}

// pendingReport is a report whose fate is not known yet. It is sent again as it was.
type pendingReport struct {
	report rollout.Report
	counts map[*watched][2]rollout.Counts
}

// maxAccepted bounds the accepted propositions that wait to be attributed to a version.
const maxAccepted = 1024

func newRolling() *rolling {
	return &rolling{news: make(chan struct{}, 1), awake: make(chan struct{}, 1), accepted: make(chan nba.Response, maxAccepted), watched: map[string]*watched{}}
}

// wake tells of a new control state.
func (r *rolling) wake() {
	for _, c := range [...]chan struct{}{r.news, r.awake} {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// watch is the tally of a rollout at its present revision. Counters of an earlier one would be refused.
func (n *Node) watch(r *rollout.Rollout) *watched {
	n.rolling.mu.Lock()
	defer n.rolling.mu.Unlock()
	w := n.rolling.watched[r.ID]
	if w == nil || w.tally.Revision != r.Revision {
		w = &watched{tally: rollout.NewTally(r.ID, r.Revision), own: n.owns}
		if n.current.Load() == nil {
			// The step began before this process: whom it has seen is not known any more, and a subject must
			// not count twice in the split.
			w.own = func(nba.SubjectRef) bool { return false }
		}
		n.rolling.watched[r.ID] = w
	}
	return w
}

// owns tells whether this node counts a subject, so that no two do.
func (n *Node) owns(ref nba.SubjectRef) bool { return n.router.Prefers(router.Slot(ref)) }

// unwatch forgets the rollouts that are not compared any more.
func (n *Node) unwatch(state *rollout.State) {
	n.rolling.mu.Lock()
	defer n.rolling.mu.Unlock()
	maps.DeleteFunc(n.rolling.watched, func(id string, _ *watched) bool {
		r, err := state.Find(id)
		return err != nil || !r.Stage.Comparing()
	})
}

// planOf is what a control state wants this node to serve.
func (n *Node) planOf(state *fsm.ControlState) serving.Plan {
	plan := serving.Plan{Active: state.Plugins.Active(), LastGood: n.lastGood(state)}
	plan.Warm = slices.DeleteFunc(state.Rollouts.Warm(), func(digest string) bool { return !n.host.Prepared(digest) })
	for _, r := range state.Rollouts.Running() {
		if !r.Stage.Comparing() || plan.Active[r.Plugin] != r.IncumbentDigest {
			continue
		}
		w := n.watch(r)
		trial := serving.Trial{Plugin: r.Plugin, Salt: r.Spec.Salt, Permille: r.Permille(), Tally: w.tally, Own: w.own}
		if r.Stage == rollout.Shadow {
			trial.ShadowPermille = r.Spec.ShadowPermille
		}
		if slices.Contains(plan.Warm, r.Digest) {
			trial.Digest = r.Digest
		}
		plan.Trials = append(plan.Trials, trial)
	}
	return plan
}

// viewTrial counts the decisions of a view.
type viewTrial struct {
	plugin, incumbent, candidate string
	salt                         rollout.Salt
	permille                     int
	tally                        *rollout.Tally
}

func trialsOf(plan *serving.Plan) (trials []viewTrial) {
	for i := range plan.Trials {
		t := &plan.Trials[i]
		trials = append(trials, viewTrial{plugin: t.Plugin, incumbent: plan.Active[t.Plugin], candidate: t.Digest,
			salt: rollout.NewSalt(t.Salt), permille: t.Permille, tally: t.Tally})
	}
	return trials
}

// count tells the rollouts of a decision that was answered.
func (v *view) count(ref nba.SubjectRef, d *nba.Decision) {
	if len(v.trials) == 0 {
		return
	}
	ref, err := ref.Normalize()
	if err != nil {
		return // the decision would have been refused
	}
	for i := range v.trials {
		t := &v.trials[i]
		var propositions [2]int
		for j := range d.Propositions {
			for k := range d.Propositions[j].Items {
				switch m := d.Propositions[j].Items[k].Model; {
				case m == nil || m.Name != t.plugin:
				case m.Digest == t.candidate:
					propositions[rollout.ArmCandidate]++
				case m.Digest == t.incumbent:
					propositions[rollout.ArmIncumbent]++
				}
			}
		}
		t.tally.Decided(rollout.Assign(t.salt.Hash(ref), t.permille), d.Degraded, propositions)
	}
}

// rollOut reports and judges until the node is closed.
func (n *Node) rollOut() {
	defer n.followers.Done()
	ticker := time.NewTicker(n.cfg.RolloutEvery)
	defer ticker.Stop()
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-n.rolling.news: // new counters may be judged at once
		case <-ticker.C:
			n.report()
		case response := <-n.rolling.accepted:
			n.attribute(&response)
			continue
		}
		state := n.router.Control().State()
		n.unwatch(state.Rollouts)
		n.metrics.rollouts.show(state.Rollouts)
		if len(state.Rollouts.Running()) > 0 && n.router.Control().Leads() {
			n.judge(state.Rollouts)
		}
	}
}

// proposeTimeout bounds one proposal; the next tick tries again.
const proposeTimeout = 5 * time.Second

// report sends what was counted since the last report.
func (n *Node) report() {
	ctx, cancel := context.WithTimeout(n.ctx, proposeTimeout)
	defer cancel()
	l := n.rolling
	if l.pending == nil {
		l.pending = n.gather(ctx)
	}
	if l.pending == nil {
		return
	}
	err := n.router.Control().CountRollout(ctx, &l.pending.report)
	switch code := nba.CodeOf(err); {
	case err == nil:
		for w, counts := range l.pending.counts {
			w.reported = counts
		}
	case code == nba.CodeInvalid || code == nba.CodeConflict:
		n.logger.Error("what was counted of rollouts is refused", "error", err)
	default:
		n.logger.Debug("what was counted of rollouts is reported later", "error", err)
		return
	}
	l.pending = nil
}

// gather makes the next report, nil when nothing was counted. Its sequence follows the last one that was
// counted for this node, which a process that has just begun asks for first.
func (n *Node) gather(ctx context.Context) *pendingReport {
	l := n.rolling
	pending := &pendingReport{report: rollout.Report{Node: n.router.Member()}, counts: map[*watched][2]rollout.Counts{}}
	l.mu.Lock()
	for _, id := range slices.Sorted(maps.Keys(l.watched)) {
		w := l.watched[id]
		counts := w.tally.Counts()
		entry := rollout.Entry{Rollout: id, Revision: w.tally.Revision}
		for arm := range entry.Arms {
			entry.Arms[arm] = counts[arm].Sub(w.reported[arm])
		}
		if !entry.Arms[0].Zero() || !entry.Arms[1].Zero() {
			pending.report.Entries = append(pending.report.Entries, entry)
			pending.counts[w] = counts
		}
	}
	l.mu.Unlock()
	if len(pending.report.Entries) == 0 {
		return nil
	}
	if !l.synced {
		if n.router.Control().Sync(ctx) != nil {
			return nil
		}
		l.synced = true
	}
	for _, r := range n.router.Control().State().Rollouts.Reports {
		if r.Node == pending.report.Node {
			l.sequence = max(l.sequence, r.Sequence)
		}
	}
	l.sequence++
	pending.report.Sequence = l.sequence
	return pending
}

// judge proposes what follows from the counters.
func (n *Node) judge(state *rollout.State) {
	for _, r := range state.Running() {
		verdict := rollout.Judge(r, n.clock.Now())
		if verdict.Verb == "" {
			continue
		}
		ctx, cancel := context.WithTimeout(n.ctx, prepareTimeout)
		err := n.changeRollout(ctx, r, &command.ChangeRollout{Rollout: r.ID, Verb: verdict.Verb, Request: fmt.Sprintf("%s-%d", verdict.Verb, r.Revision),
			IfRevision: r.Revision, Auto: true, Checks: verdict.Checks})
		cancel()
		switch {
		case err != nil:
			n.logger.Warn("a rollout could not be changed; it is tried again", "rollout", r.ID, "change", verdict.Verb, "error", err)
		case verdict.Verb == rollout.TakeBack:
			n.metrics.rollouts.takenBack(r.Plugin, verdict.Checks)
			n.logger.Error("a version misbehaved and was taken back", "rollout", r.ID, "plugin", r.Plugin, "version", r.Version,
				"incumbent", r.Incumbent, "breach", breachLine(verdict.Checks))
		}
	}
}

// acceptedOne notes a response that may count for a rollout; what there is no room for is left out, of
// either version alike.
func (n *Node) acceptedOne(response *nba.Response, receipt *nba.ResponseReceipt) {
	if receipt.Duplicate || receipt.Outcome != nba.Accepted {
		return
	}
	v := n.acquire()
	counted := slices.ContainsFunc(v.trials, func(t viewTrial) bool { return t.permille > 0 })
	v.release()
	if !counted {
		return
	}
	select {
	case n.rolling.accepted <- nba.Response{DecisionID: receipt.DecisionID, Action: receipt.Action, Treatment: response.Treatment}:
	default:
	}
}

// attribute counts an accepted proposition for the version that scored it, if that was at this step.
func (n *Node) attribute(response *nba.Response) {
	ctx, cancel := context.WithTimeout(n.ctx, proposeTimeout)
	defer cancel()
	d, err := n.Decision(ctx, response.DecisionID, nil)
	if err != nil {
		return
	}
	v := n.acquire()
	defer v.release()
	for i := range v.trials {
		t := &v.trials[i]
		r, err := v.state.Rollouts.Find(t.tally.Rollout)
		if err != nil || r.Stage != rollout.Canary || d.DecidedAt.Before(r.Since) {
			continue
		}
		if arm, ok := t.armOf(&d.Decision, response.Action); ok {
			t.tally.Accepted(arm)
		}
	}
}

// armOf is the version that scored an action of a decision.
func (t *viewTrial) armOf(d *nba.Decision, action string) (arm rollout.Arm, ok bool) {
	for i := range d.Propositions {
		for j := range d.Propositions[i].Items {
			item := &d.Propositions[i].Items[j]
			if item.Action != action || item.Model == nil {
				continue
			}
			switch item.Model.Digest {
			case t.candidate:
				return rollout.ArmCandidate, true
			case t.incumbent:
				return rollout.ArmIncumbent, true
			}
		}
	}
	return 0, false
}

// getReady loads the candidates of the rollouts under way and tells the others, until the node is closed.
func (n *Node) getReady() {
	defer n.followers.Done()
	pause := firstRetry
	for {
		var retry <-chan time.Time
		if n.acknowledge() {
			retry = time.After(pause)
			pause = min(2*pause, lastRetry)
		} else {
			pause = firstRetry
		}
		select {
		case <-n.ctx.Done():
			return
		case <-n.rolling.awake:
		case <-retry:
		}
	}
}

// acknowledge tells whether something is left to try again.
func (n *Node) acknowledge() (again bool) {
	ctx, cancel := context.WithTimeout(n.ctx, prepareTimeout)
	defer cancel()
	state := n.router.Control().State()
	for _, r := range state.Rollouts.Running() {
		ready := rollout.NodeReady{Node: n.router.Member()}
		loaded := n.host.Prepared(r.Digest)
		if loaded && slices.Contains(r.Nodes, ready) {
			continue
		}
		if _, err := n.fits(ctx, r.Digest); err != nil {
			again, ready.Failure = true, err.Error()
		} else if !loaded {
			n.refresh()
		}
		if known := slices.Contains(r.Nodes, ready); known || n.ctx.Err() != nil {
			continue
		}
		if err := n.router.Control().AcknowledgeRollout(ctx, r.ID, ready); err != nil {
			again = true
		}
	}
	return again
}
