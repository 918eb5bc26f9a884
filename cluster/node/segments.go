package node

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/arbiterhq/arbiter/cluster/router"
	"github.com/arbiterhq/arbiter/runtime/consent"
	"github.com/arbiterhq/arbiter/runtime/engine"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Segments are those of the active catalog, with how many subjects are in each, from a sample.
func (n *Node) Segments(ctx context.Context, req nba.SegmentRequest) (out nba.Segments, err error) {
	v, q, err := n.sampleQuestion(ctx, req, &out.Subjects)
	if err != nil {
		return out, err
	}
	defer v.release()
	out.CatalogVersion, out.Segments = v.state.Catalog.CatalogVersion, []nba.Segment{}
	if v.catalog == nil || len(v.catalog.Segments) == 0 {
		return out, nil
	}
	q.What, q.Version = askSegments, out.CatalogVersion
	answers, err := n.everyGroup(ctx, q)
	if err != nil {
		return out, err
	}
	counts := make([]uint64, len(v.catalog.Segments))
	for i := range answers {
		out.Sampled += answers[i].Account.Examined
		for j := range min(len(counts), len(answers[i].Members)) {
			counts[j] += answers[i].Members[j]
		}
	}
	for i := range v.catalog.Segments {
		s := &v.catalog.Segments[i]
		shown := nba.Segment{Name: s.Name, Label: s.Label, When: s.When.Source(), Sampled: counts[i]}
		if out.Sampled > 0 {
			shown.Share = float64(counts[i]) / float64(out.Sampled)
			shown.Subjects = uint64(math.Round(shown.Share * float64(out.Subjects)))
		}
		out.Segments = append(out.Segments, shown)
	}
	return out, nil
}

// maxScores bounds the scores that cuts are made of.
const maxScores = 100_000

// ScoreCuts are the scores that part the subjects into equal parts, as a model of the active catalog scores them now.
func (n *Node) ScoreCuts(ctx context.Context, req nba.SegmentRequest) (out nba.ScoreCuts, err error) {
	if req.Parts == 0 {
		req.Parts = nba.DefaultParts
	}
	if req.Parts < 2 || req.Parts > nba.MaxParts {
		return out, nba.Invalid("/parts", "the number of parts is between 2 and 100")
	}
	req.Sample = min(req.Sample, maxScores)
	v, q, err := n.sampleQuestion(ctx, req, &out.Subjects)
	if err != nil {
		return out, err
	}
	defer v.release()
	active, err := v.activeCatalog()
	if err != nil {
		return out, err
	}
	if _, ok := active.ModelPlugin(req.Model); !ok {
		return out, nba.Errorf(nba.CodeNotFound, "the active catalog has no model of this name")
	}
	q.What, q.Version, q.Model = askScores, v.state.Catalog.CatalogVersion, req.Model
	answers, err := n.everyGroup(ctx, q)
	if err != nil {
		return out, err
	}
	var scores []float64
	for i := range answers {
		scores = append(scores, answers[i].Scores...)
	}
	slices.Sort(scores)
	out.Model, out.Parts, out.Sampled, out.Cuts = req.Model, req.Parts, uint64(len(scores)), []float64{}
	for i := 1; i < req.Parts && len(scores) > 0; i++ {
		out.Cuts = append(out.Cuts, scores[i*len(scores)/req.Parts])
	}
	return out, nil
}

// sampleQuestion is a question about a sample. The caller releases the view.
func (n *Node) sampleQuestion(ctx context.Context, req nba.SegmentRequest, subjects *uint64) (v *view, q campaignQuestion, err error) {
	if err := n.serving(); err != nil {
		return nil, q, err
	}
	if req.Sample < 0 {
		return nil, q, nba.Invalid("/sample", "a sample is a number of subjects")
	}
	if req.Sample == 0 {
		req.Sample = nba.DefaultCampaignSample
	}
	n.catchUp(ctx)
	groups, err := n.everyGroup(ctx, campaignQuestion{What: askProgress})
	if err != nil {
		return nil, q, err
	}
	for i := range groups {
		*subjects += uint64(groups[i].Subjects)
	}
	q = campaignQuestion{Below: allBelow, Seed: req.Seed}
	if uint64(req.Sample) < *subjects {
		q.Below = uint64(float64(req.Sample) / float64(*subjects) * allBelow)
	}
	return n.acquire(), q, nil
}

// sampleGroup calls fn with the subjects of a sample in one group that this node leads.
func (n *Node) sampleGroup(ctx context.Context, q *campaignQuestion, group uint64, fn func(reading *router.Reading) error) (seen uint64, err error) {
	var cursor []byte
	var keys [][]byte
	var hash xxhash.Digest
	for last := false; !last; {
		if keys, last, err = n.router.SubjectKeys(group, cursor, batchSubjects, keys[:0]); err != nil {
			return seen, err
		}
		for _, key := range keys {
			hash.ResetWithSeed(q.Seed)
			_, _ = hash.Write(key) // never fails
			if cursor = key; hash.Sum64()>>32 >= q.Below {
				continue
			}
			if ctx.Err() != nil {
				return seen, nba.Errorf(nba.CodeTimeout, "the deadline passed while the subjects were looked at: ask for a smaller sample")
			}
			reading, err := n.router.AcquireKey(group, key)
			if nba.CodeOf(err) == nba.CodeSubjectUnknown {
				continue
			} else if err != nil {
				return seen, err
			}
			err = fn(reading)
			reading.Release()
			if err != nil {
				return seen, err
			}
			seen++
		}
	}
	return seen, nil
}

// segmentsGroup counts the members of the segments in a group.
func (n *Node) segmentsGroup(ctx context.Context, q *campaignQuestion, group uint64) (a campaignAnswer, err error) {
	v := n.acquire()
	defer v.release()
	compiled, version, err := n.catalogFor(ctx, v, q.Version)
	if err != nil {
		return a, err
	}
	purpose, _ := v.state.Dictionary.Purpose(nba.PurposeMarketing)
	a.Members = make([]uint64, len(compiled.Segments))
	in := engine.Input{Dictionary: v.state.Dictionary, Catalog: compiled, CatalogVersion: version, Scorer: v.models}
	req := nba.DecisionRequest{Subject: nba.SubjectRef{ID: "-"}, Channel: compiled.Channels[0].Name}
	if err := engine.ValidateRequest(&req, compiled); err != nil {
		return a, err
	}
	in.Request = &req
	a.Account.Examined, err = n.sampleGroup(ctx, q, group, func(reading *router.Reading) error {
		in.Subject, in.Now, req.Subject = reading, n.clock.Now().UTC(), reading.Ref()
		for i := range compiled.Segments {
			member, err := n.engine.Holds(ctx, in, compiled.Segments[i].When, purpose.ID)
			if err != nil {
				return err
			}
			if member {
				a.Members[i]++
			}
		}
		return nil
	})
	return a, err
}

// alone is the candidate of a score that is of the subject alone.
type alone struct{}

// Property implements engine.Candidate.
func (alone) Property(string) (float64, bool) { return 0, false }

// scoresGroup scores the subjects of a sample in a group.
func (n *Node) scoresGroup(ctx context.Context, q *campaignQuestion, group uint64) (a campaignAnswer, err error) {
	v := n.acquire()
	defer v.release()
	compiled, _, err := n.catalogFor(ctx, v, q.Version)
	if err != nil {
		return a, err
	}
	plugin, ok := compiled.ModelPlugin(q.Model)
	if !ok {
		return a, errWire
	}
	out := make([]float64, 1)
	call := engine.ScoreCall{Candidates: []engine.Candidate{alone{}}}
	a.Account.Examined, err = n.sampleGroup(ctx, q, group, func(reading *router.Reading) error {
		now := n.clock.Now().UTC().Truncate(time.Millisecond)
		call = engine.ScoreCall{Model: plugin, Subject: reading, Now: now, Candidates: call.Candidates, Out: out, Parameters: compiled.Parameters[plugin],
			Mask: consent.MaskAt(v.state.Dictionary, reading, now, compiled.Consent.AllowPurposes)}
		if _, err := v.models.Score(ctx, &call); err != nil {
			return err
		}
		if !math.IsNaN(out[0]) && !math.IsInf(out[0], 0) {
			a.Scores = append(a.Scores, out[0])
		}
		return nil
	})
	return a, err
}

var _ engine.Candidate = alone{}
