package node

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/cluster/router"
	"github.com/arbiterhq/arbiter/plugins/serving"
	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/engine"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/replay"
)

// documentTexts are the texts of catalog documents that records of what a decision read refer to.
type documentTexts struct {
	mu    sync.RWMutex
	known map[uint64]*replay.Texts // by document version; guarded by mu
}

// of are the texts of a document; nil if it is not stored.
func (t *documentTexts) of(n *Node, version uint64) *replay.Texts {
	t.mu.RLock()
	texts, ok := t.known[version]
	t.mu.RUnlock()
	if ok {
		return texts
	}
	document, ok, err := n.router.Control().Document(version)
	if err != nil || !ok {
		return nil
	}
	texts = replay.NewTexts(document)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.known == nil || len(t.known) >= maxCompiledCatalogs {
		t.known = map[uint64]*replay.Texts{}
	}
	t.known[version] = texts
	return texts
}

// documentOf is the version of the document that a catalogVersion stands for: one that activated it, or
// that of a document that a request named though it was never active. 0: it is not stored.
func documentOf(state *fsm.ControlState, catalogVersion uint64) uint64 {
	if document := state.Catalog.Document(catalogVersion); document != 0 {
		return document
	}
	if _, stored := state.Catalog.Version(catalogVersion); stored {
		return catalogVersion
	}
	return 0
}

// noteReads begins to note what a decision reads, if the cluster can keep it.
func (s *decideScratch) noteReads(n *Node, v *view, in *engine.Input) {
	s.kept = s.kept[:0]
	if in.Request.Options.Simulate || v.state.Features.Allows(command.DecisionRecorded, command.SectionedVersion) != nil {
		return
	}
	s.reads.Record()
	in.Reads = &s.reads
	s.texts = s.documentTexts(n, v, in)
}

func (s *decideScratch) documentTexts(n *Node, v *view, in *engine.Input) *replay.Texts {
	if in.Catalog == v.catalog {
		return n.texts.of(n, v.state.Catalog.Active)
	}
	return n.texts.of(n, documentOf(v.state, in.CatalogVersion))
}

// keepReads writes down what the decision read. The subject must still be valid.
func (s *decideScratch) keepReads(in *engine.Input) {
	if in.Reads == nil {
		return
	}
	s.replay = replay.Append(s.replay[:0], in, s.texts)
	s.kept = s.kept.Put(command.SectionReplay, s.replay)
	if stood, asked := in.Reads.Journeys(); asked {
		s.kept = s.kept.Put(command.KeptJourneys, stood)
	}
}

// ReplayDecision makes a past decision again: as it was made, or with catalogVersion, unless that is 0, as
// another catalog would have made it. It is done where the subject's group is led, and records nothing.
func (n *Node) ReplayDecision(ctx context.Context, id string, catalogVersion uint64) (again nba.Replay, err error) {
	if err := n.serving(); err != nil {
		return again, err
	}
	n.catchUp(ctx)
	slot, ok := router.SlotOfDecision(id)
	if !ok {
		return again, nba.Errorf(nba.CodeDecisionUnknown, "no such decision: the id is not one of ours")
	}
	err = n.router.AtReader(ctx, slot, nba.Read{Consistency: nba.ConsistencyLeader}, func() error {
		again, err = n.replayHere(ctx, id, catalogVersion)
		return err
	}, func(node string) (err error) {
		again, err = n.replayAt(ctx, node, id, catalogVersion)
		return err
	})
	return again, err
}

// replayAt has a decision made again by another node.
func (n *Node) replayAt(ctx context.Context, node, id string, catalogVersion uint64) (again nba.Replay, err error) {
	var p packer
	p.uint(n.router.Control().State().Index)
	p.text(id)
	p.uint(catalogVersion)
	u, err := n.ask(ctx, node, methodReplay, p.b)
	if err != nil {
		return again, err
	}
	if err := json.Unmarshal([]byte(u.text()), &again); err != nil || u.bad {
		return again, errWire
	}
	return again, nil
}

// serveReplay makes a decision again for another node.
func (n *Node) serveReplay(ctx context.Context, _ string, request []byte) ([]byte, error) {
	u := unpacker{rest: string(request)}
	index, id, catalogVersion := u.uint(), u.text(), u.uint()
	if err := u.err(); err != nil {
		return nil, err
	}
	if err := n.serving(); err != nil {
		return nil, err
	}
	if err := n.router.Control().Wait(ctx, index); err != nil {
		return nil, err
	}
	again, err := n.replayHere(ctx, id, catalogVersion)
	return answer(err, func(p *packer) error {
		encoded, err := json.Marshal(again)
		p.text(string(encoded))
		return err
	})
}

// past is a decision that is made again.
type past struct {
	stored nba.DecisionRecord
	// origin is what raised it, empty for nothing.
	origin string
	reads  *replay.Record
	models *serving.Set
}

// replayHere makes a decision again on this node, which leads the group of its subject.
func (n *Node) replayHere(ctx context.Context, id string, catalogVersion uint64) (again nba.Replay, err error) {
	stored, sections, err := n.router.DecisionReads(ctx, id)
	if err != nil {
		return again, err
	}
	v := n.acquire()
	defer v.release()
	document := documentOf(v.state, stored.CatalogVersion)
	made, err := n.compiled(v.state, document)
	if nba.CodeOf(err) == nba.CodeCatalogUnknown {
		return again, nba.Errorf(nba.CodeReplayUnavailable, "the decision was made with catalog version %d, which was removed", stored.CatalogVersion)
	} else if err != nil {
		return again, err
	}
	p := past{stored: stored, origin: originOf(sections)}
	if p.reads, err = readsOf(sections, n.texts.of(n, document)); err != nil {
		return again, err
	}
	if p.models, err = n.modelsOfThen(ctx, v, &p); err != nil {
		return again, err
	}
	defer p.models.Release()
	n.complete(v, &p.stored)
	if catalogVersion == 0 {
		err = n.asThen(ctx, v, &p, made, &again)
	} else {
		err = n.asOther(ctx, v, &p, catalogVersion, &again)
	}
	if err != nil {
		return nba.Replay{}, err
	}
	var tokens tokenWriter
	addTokens(&tokens, &again.Decision)
	again.Differences = nba.Differences(&p.stored.Decision, &again.Decision)
	again.Identical = len(again.Differences) == 0 && again.Decision.CatalogVersion == stored.CatalogVersion
	return again, nil
}

func readsOf(sections command.Sections, texts *replay.Texts) (*replay.Record, error) {
	body := sections.Get(command.SectionReplay)
	if body == nil {
		return nil, nba.Errorf(nba.CodeReplayUnavailable, "the decision was recorded by an earlier release, without what it read: only newer ones can be made again")
	}
	reads, err := replay.Open(body, texts)
	if err != nil {
		return nil, err
	}
	reads.Journeys = sections.Get(command.KeptJourneys)
	reads.Stood = reads.Journeys != nil
	return reads, nil
}

// originOf is what raised the decision that sections are kept of; empty for one that was asked for.
func originOf(sections command.Sections) string {
	if body := sections.Get(command.KeptCampaign); body != nil {
		if _, name, err := command.DecodeCampaign(body); err == nil {
			return campaignPrefix + name
		}
	}
	var by command.RaisedBy
	if body := sections.Get(command.KeptTrigger); body == nil || by.Decode(body) != nil {
		return ""
	}
	return by.Origin
}

// input is what the decision was made of, without its reads.
func (p *past) input(v *view, made *catalog.Catalog, version uint64) engine.Input {
	placements := make([]string, len(p.stored.Propositions))
	for i := range p.stored.Propositions {
		placements[i] = p.stored.Propositions[i].Placement
	}
	req := p.reads.Request(p.stored.Subject, p.stored.Channel, p.stored.Direction, placements)
	req.DecisionRequestID = p.stored.DecisionRequestID
	var among []bool
	if emit, ok := emitOf(made, p.origin); ok {
		among = amongOf(made, emit)
	} else if name, ok := strings.CutPrefix(p.origin, campaignPrefix); ok {
		if g, ok := made.Campaign(name); ok {
			among = g.Among
		}
	}
	return engine.Input{
		Among:   among,
		Subject: p.reads.Subject(p.stored.Subject), Dictionary: v.state.Dictionary, Catalog: made, CatalogVersion: version,
		Scorer: p.models, Strategy: p.models, Request: req, DecisionID: p.stored.DecisionID, Now: p.stored.DecidedAt, Seed: replay.Seed(p.stored.DecisionID),
	}
}

// asThen makes the decision as it was made.
func (n *Node) asThen(ctx context.Context, v *view, p *past, made *catalog.Catalog, again *nba.Replay) error {
	in := p.input(v, made, p.stored.CatalogVersion)
	in.Reads = new(engine.Reads)
	in.Reads.Play(p.reads.Answers)
	if err := n.engine.Decide(ctx, in, &again.Decision); err != nil {
		return err
	}
	if err := in.Reads.Strayed(); err != nil {
		return fmt.Errorf("making a decision again: %w", err)
	}
	return nil
}

// modelsOfThen are the plugin versions that scored then, with those that are active for what did not. The
// caller releases them.
func (n *Node) modelsOfThen(ctx context.Context, v *view, p *past) (*serving.Set, error) {
	digests := v.state.Plugins.Active()
	known := v.state.Plugins.Versions()
	for _, plugin := range p.reads.Plugins {
		at := slices.IndexFunc(known, func(version nba.PluginVersion) bool { return replay.PluginOf(version.Digest) == plugin })
		if at < 0 {
			return nil, p.removed(plugin)
		}
		digests[known[at].Name] = known[at].Digest
	}
	for name, digest := range digests {
		if err := n.load(ctx, digest); err != nil {
			if !slices.Contains(p.reads.Plugins, replay.PluginOf(digest)) {
				delete(digests, name) // it did not score then
				continue
			}
			return nil, nba.Errorf(nba.CodeReplayUnavailable, "the module of plugin %s, digest %s, that scored then cannot be loaded: %w", name, digest, err)
		}
	}
	return n.host.NewSetAside(digests, v.state.Dictionary)
}

// removed tells which plugin version is not there any more.
func (p *past) removed(plugin replay.Plugin) error {
	for i := range p.stored.Propositions {
		for _, item := range p.stored.Propositions[i].Items {
			if m := item.Model; m != nil && replay.PluginOf(m.Digest) == plugin {
				return nba.Errorf(nba.CodeReplayUnavailable, "version %s of plugin %s, digest %s, that scored then was removed: push it again", m.Version, m.Name, m.Digest)
			}
		}
	}
	return nba.Errorf(nba.CodeReplayUnavailable, "the plugin version that scored then was removed, whose digest begins with sha256:%016x: push it again", uint64(plugin))
}
