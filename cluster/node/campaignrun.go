package node

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/runtime/campaign"
	"github.com/arbiterhq/arbiter/runtime/contact"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Limits of one batch. One that is applied keeps the group from answering for as long, so that batches are
// small while channels call.
const (
	batchSubjects     = 1024
	batchContacts     = 256
	batchContactsLive = 32
	batchBytes        = 256 << 10
	batchFor          = 50 * time.Millisecond
	// calmAfter is how long ago the last call of a channel must be for a run to take what it can get. Until then it
	// rests, after each stretch of work, several times as long as it worked, and longer while calls are under way: once
	// for each callsPerRest calls a second, at most mostRests times. So it gets a forty-eighth of a processor on a node
	// that is called a hundred times a second (with a twelfth, the p99 of calls was three times that without a run,
	// mostly since more was written and collected), and a third on one that is called five times.
	calmAfter    = time.Second
	liveStretch  = 150 * time.Microsecond
	callsPerRest = 2
	mostRests    = 47
	leastRest    = 100 * time.Microsecond
	// lookEvery is how many subjects there are between two looks at the state of the run.
	lookEvery = 16
)

// campaignWorker works through one group's part of a run.
type campaignWorker struct {
	campaignDecider
	of    groupRun
	state *campaign.State // that goes on was judged by
	goes  bool
	run   campaign.Run

	keys     [][]byte
	tokens   float64 // of the throttle
	filled   time.Time
	resumed  time.Time
	calls    int64 // of channels, when somebody looked last
	lastCall time.Time
	// callRate is how often channels call, in a second: of the time before countedAt, when countedCalls were counted.
	callRate     float64
	countedAt    time.Time
	countedCalls int64
}

// workThrough works on a run in a group until the group is through, the run does not run any more, or this
// node does not lead the group any more.
func (n *Node) workThrough(ctx context.Context, of groupRun) error {
	w := &campaignWorker{of: of}
	w.n, w.group, w.goOn = n, of.group, w.goesOn
	if !w.goesOn() {
		return nil
	}
	if missing := n.missing(); len(missing) > 0 {
		return nba.Errorf(nba.CodeUnavailable, "this node is loading active models: %s", strings.Join(missing, ", "))
	}
	if err := w.prepare(ctx); err != nil {
		return err
	}
	for w.goesOn() && ctx.Err() == nil {
		progress, err := n.router.CampaignProgress(of.group, of.run)
		if err != nil {
			return err
		}
		if progress.Done {
			return n.router.Control().FinishCampaign(ctx, &command.FinishCampaign{Run: of.run, Group: of.group, Account: progress.Account})
		}
		if err := w.next(ctx, &progress); err != nil {
			return err
		}
	}
	return nil
}

// goesOn tells whether the run is running.
func (w *campaignWorker) goesOn() bool {
	state := w.n.router.Control().State().Campaigns
	if state != w.state {
		w.state = state
		run, ok := state.Find(w.of.run)
		if w.goes = ok && run.State == campaign.Running && !run.FinishedBy(w.of.group); w.goes {
			w.run = *run
		}
	}
	return w.goes
}

// prepare reads the catalog that the run decides by.
func (w *campaignWorker) prepare(ctx context.Context) error {
	v := w.n.acquire()
	defer v.release()
	compiled, version, err := w.n.catalogFor(ctx, v, w.run.CatalogVersion)
	if err != nil {
		return err
	}
	w.number = w.run.Number
	if err := w.decideBy(compiled, version, w.run.Campaign); err != nil {
		return err
	}
	if w.spec.Volume > 0 {
		w.volume = &contact.Volume{Key: "campaign/" + w.spec.Name, Max: w.spec.Volume, Code: codeCampaignVolume}
		w.period = contact.Period{StartMS: w.run.Started.UnixMilli(), EndMS: w.run.Started.Add(campaign.RunFor).UnixMilli()}
	}
	w.filled = time.Now()
	return nil
}

// next decides for the subjects behind the cursor and proposes what came of it.
func (w *campaignWorker) next(ctx context.Context, progress *fsm.Progress) error {
	if !w.awaitToken(ctx) {
		return nil
	}
	if err := w.fill(ctx, progress); err != nil || !w.batch.Done && string(w.batch.Next) == string(w.batch.From) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, campaignSubmit)
	defer cancel()
	switch err := w.n.router.SubmitCampaign(ctx, w.of.group, &w.batch); nba.CodeOf(err) {
	case nba.CodeConflict, nba.CodeContactLimit:
		return nil // it was applied, or others took of a volume: go on from where the group is
	default:
		return err
	}
}

// fill decides for subjects until the batch is large enough.
func (w *campaignWorker) fill(ctx context.Context, progress *fsm.Progress) error {
	select {
	case w.n.campaigns.slots <- struct{}{}:
		defer func() { <-w.n.campaigns.slots }()
	case <-ctx.Done():
		return nil
	}
	w.beginBatch(w.of.run, progress.Cursor)
	defer w.endBatch()
	keys, last, err := w.n.router.SubjectKeys(w.of.group, progress.Cursor, batchSubjects, w.keys[:0])
	if w.keys = keys; err != nil {
		return err
	}
	begun := time.Now()
	w.resumed = begun
	for i, key := range keys {
		if w.full(begun) || w.spec.PerSecond > 0 && w.tokens < 1 || i%lookEvery == lookEvery-1 && !w.goesOn() {
			return nil
		}
		w.giveWay(ctx)
		before := len(w.batch.Contacts)
		if err := w.subject(ctx, key); errors.Is(err, errHeld) || errors.Is(err, errFlush) {
			return nil
		} else if err != nil {
			return err
		}
		if len(w.batch.Contacts) > before {
			w.tokens--
		}
		w.batch.Next = key
	}
	w.batch.Done = last
	return nil
}

// full tells whether the batch is large enough to be proposed.
func (w *campaignWorker) full(begun time.Time) bool {
	most := batchContacts
	if w.called() {
		most = batchContactsLive
	}
	return len(w.batch.Contacts) >= most || w.size >= batchBytes || time.Since(begun) > batchFor
}

// called tells whether a channel called a moment ago.
func (w *campaignWorker) called() bool {
	if calls := w.n.campaigns.calls.Load(); calls != w.calls {
		w.calls, w.lastCall = calls, time.Now()
		return true
	}
	return !w.lastCall.IsZero() && time.Since(w.lastCall) < calmAfter
}

// rests is how many times as long as it worked a run rests, by how often channels called lately.
func (w *campaignWorker) rests(now time.Time) time.Duration {
	if passed := now.Sub(w.countedAt); w.countedAt.IsZero() || passed >= calmAfter {
		if w.callRate = mostRests * callsPerRest; !w.countedAt.IsZero() {
			w.callRate = float64(w.calls-w.countedCalls) / passed.Seconds()
		}
		w.countedAt, w.countedCalls = now, w.calls
	}
	return time.Duration(min(max(w.callRate/callsPerRest, 1), mostRests))
}

// giveWay rests while channels call.
func (w *campaignWorker) giveWay(ctx context.Context) {
	if !w.called() {
		return
	}
	live := &w.n.campaigns.live
	stopped := time.Now()
	worked := stopped.Sub(w.resumed)
	if live.Load() == 0 && worked < liveStretch {
		return
	}
	rest := w.rests(stopped) * max(worked, leastRest)
	time.Sleep(rest)
	for live.Load() > 0 && time.Since(stopped) < 2*rest && ctx.Err() == nil {
		time.Sleep(leastRest)
	}
	w.resumed = time.Now()
}

// awaitToken waits until the throttle lets somebody be contacted; false means that the run does not go on.
// The groups that are not through share what it allows.
func (w *campaignWorker) awaitToken(ctx context.Context) bool {
	for w.spec.PerSecond > 0 {
		share := w.spec.PerSecond / float64(max(1, w.run.Groups-len(w.run.Finished)))
		now := time.Now()
		// What gathers is bounded, so that a run that was held up does not make up for it at once.
		w.tokens = min(w.tokens+share*now.Sub(w.filled).Seconds(), max(1, share/10))
		w.filled = now
		if w.tokens >= 1 {
			return true
		}
		wait := min(time.Duration((1-w.tokens)/share*float64(time.Second))+time.Millisecond, campaignPause)
		select {
		case <-ctx.Done():
			return false
		case <-time.After(wait):
		}
		if !w.goesOn() {
			return false
		}
	}
	return true
}
