package demo

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/client"
	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/load"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// TrafficOptions say how customers behave.
type TrafficOptions struct {
	// PerSecond is how many decisions are asked for.
	PerSecond float64
	// Subscribers is the number of subjects, S-000001 and on.
	Subscribers int
	Seed        uint64
	Log         *slog.Logger
}

// visits are where the customers of the demo catalog turn up, with how many of a hundred do.
var visits = [...]struct {
	share      int
	channel    string
	placements []string
}{
	{45, "web", []string{"hero", "banner"}},
	{35, "app", []string{"home", "inbox"}},
	{12, "callcentre", []string{"agent-screen"}},
	{8, "store", []string{"tablet"}},
}

// Traffic plays customers until ctx ends: they turn up on a channel, are shown what was decided, and
// sometimes answer; and things happen to them, which are sent as events. Who does what is drawn from Seed. Failures are logged and forgotten: a demo must
// not stop because a node is restarted under it.
func Traffic(ctx context.Context, c *client.Client, opts TrafficOptions) {
	if opts.PerSecond <= 0 || opts.Subscribers < 1 {
		return
	}
	chance := rand.New(rand.NewPCG(opts.Seed, opts.Seed))
	world, turns := newWorld(opts.Seed, opts.Subscribers), 0
	ticker := time.NewTicker(time.Duration(float64(time.Second) / opts.PerSecond))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := visit(ctx, c, chance, opts.Subscribers); err != nil && ctx.Err() == nil {
			opts.Log.Debug("simulated customer", "error", err)
		}
		if turns++; turns%visitsPerHappening != 1 {
			continue
		}
		if err := world.happen(ctx, c); err != nil && ctx.Err() == nil {
			opts.Log.Debug("simulated event", "error", err)
		}
	}
}

// visit is one customer on one channel.
func visit(ctx context.Context, c *client.Client, chance *rand.Rand, subscribers int) error {
	req := &nba.DecisionRequest{Subject: nba.SubjectRef{ID: load.SubjectID(1 + chance.Int64N(int64(subscribers)))}}
	at := chance.IntN(100)
	for _, v := range visits {
		if at -= v.share; at < 0 {
			req.Channel = v.channel
			for _, placement := range v.placements {
				req.Placements = append(req.Placements, nba.PlacementRequest{ID: placement, Limit: 1})
			}
			break
		}
	}
	d, err := c.Decide(ctx, req)
	if err != nil {
		return err
	}
	var responses []nba.Response
	for _, placement := range d.Propositions {
		for i := range placement.Items {
			responses = append(responses, answers(chance, d.DecisionID, &placement.Items[i])...)
		}
	}
	if len(responses) == 0 {
		return nil
	}
	_, err = c.Respond(ctx, responses)
	return err
}

// answers is what a customer does about a proposition: sees it, perhaps looks closer, and accepts
// about as often as the propensity says.
func answers(chance *rand.Rand, decision string, item *nba.Proposition) []nba.Response {
	say := func(o nba.Outcome) nba.Response {
		return nba.Response{DecisionID: decision, Action: item.Action, Treatment: item.Treatment, Outcome: o}
	}
	out := []nba.Response{say(nba.Impression)}
	switch p := chance.Float64(); {
	case p < item.Propensity:
		out = append(out, say(nba.Clicked), say(nba.Accepted))
	case p < item.Propensity+0.10:
		out = append(out, say(nba.Clicked))
	case p < item.Propensity+0.25:
		out = append(out, say(nba.Rejected))
	}
	return out
}
