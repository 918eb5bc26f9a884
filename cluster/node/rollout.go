package node

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/plugins/rollout"
	"github.com/arbiterhq/arbiter/plugins/serving"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// StartRollout begins to roll a pushed version out. The version is loaded here first, so that one that
// cannot work is refused at once. Asking for the rollout that is under way answers with it.
func (n *Node) StartRollout(ctx context.Context, req rollout.Request) (rollout.View, error) {
	if err := n.serving(); err != nil {
		return rollout.View{}, err
	}
	if err := req.Validate(); err != nil {
		return rollout.View{}, err
	}
	known, err := n.Plugin(ctx, req.Plugin, req.Version)
	if err != nil {
		return rollout.View{}, err
	}
	if known.Kind != artifact.KindScorer {
		return rollout.View{}, nba.Errorf(nba.CodeInvalid, "plugin %s is a %s: only scorers are rolled out, since their scores can be compared; activate it directly", known.Name, known.Kind)
	}
	manifest, err := n.fits(ctx, known.Digest)
	if err != nil {
		return rollout.View{}, err
	}
	if err := n.checkNames(manifest); err != nil {
		return rollout.View{}, err
	}
	id, err := n.router.Control().StartRollout(ctx, &command.StartRollout{Plugin: req.Plugin, Version: req.Version, Spec: req.Spec})
	if err != nil {
		return rollout.View{}, err
	}
	return n.Rollout(ctx, id)
}

// fits loads a version and holds its features against the dictionary.
func (n *Node) fits(ctx context.Context, digest string) (*artifact.Manifest, error) {
	if err := n.load(ctx, digest); err != nil {
		return nil, err
	}
	if err := n.acceptStored(digest); err != nil {
		return nil, err
	}
	manifest, ok := n.host.Manifest(digest)
	if !ok {
		return nil, nba.Errorf(nba.CodeOverloaded, "so many versions are being loaded that this one had to go again: retry shortly")
	}
	return manifest, serving.CheckBinding(manifest, n.Dictionary(ctx))
}

// Rollouts lists all rollouts, the newest first.
func (n *Node) Rollouts(ctx context.Context) ([]rollout.View, error) {
	n.catchUp(ctx)
	state := n.router.Control().State()
	views := []rollout.View{}
	for i := range slices.Backward(state.Rollouts.Rollouts) {
		views = append(views, rollout.See(&state.Rollouts.Rollouts[i], state.Features.Members))
	}
	return views, nil
}

// Rollout reads one rollout.
func (n *Node) Rollout(ctx context.Context, id string) (rollout.View, error) {
	n.catchUp(ctx)
	state := n.router.Control().State()
	r, err := state.Rollouts.Find(id)
	if err != nil {
		return rollout.View{}, err
	}
	return rollout.See(r, state.Features.Members), nil
}

// ChangeRollout promotes, pauses, resumes, aborts or undoes a rollout. It returns once the change is
// applied on the nodes that answer, and those that are slow follow. force promotes a staged rollout although
// nodes are missing.
func (n *Node) ChangeRollout(ctx context.Context, id string, verb rollout.Verb, force bool) (rollout.View, error) {
	if err := n.serving(); err != nil {
		return rollout.View{}, err
	}
	n.catchUp(ctx)
	r, err := n.router.Control().State().Rollouts.Find(id)
	if err != nil {
		return rollout.View{}, err
	}
	op := &command.ChangeRollout{Rollout: id, Verb: verb, Request: rand.Text(), Force: force}
	if verb == rollout.Promote {
		op.IfRevision = r.Revision // two who promote at once promote once
	}
	if err := n.changeRollout(ctx, r, op); err != nil {
		return rollout.View{}, err
	}
	n.settle(ctx)
	return n.Rollout(ctx, id)
}

// changeRollout proposes a change of r. What makes a version active has it loaded on every node first, as
// an activation does.
func (n *Node) changeRollout(ctx context.Context, r *rollout.Rollout, op *command.ChangeRollout) error {
	if digest := activates(r, op.Verb); digest != "" {
		if err := n.load(ctx, digest); err != nil {
			return err
		}
		if err := n.prepareOthers(ctx, preparation{digest: digest}); err != nil {
			return err
		}
	}
	if err := n.router.Control().ChangeRollout(ctx, op); err != nil {
		return err
	}
	n.logger.Info("a rollout was changed", "rollout", r.ID, "plugin", r.Plugin, "version", r.Version, "change", op.Verb, "auto", op.Auto)
	return nil
}

// activates is the digest that the change of a rollout would make the active one.
func activates(r *rollout.Rollout, verb rollout.Verb) string {
	switch {
	case verb == rollout.Undo && r.Stage == rollout.Active:
		return r.IncumbentDigest
	case verb != rollout.Promote || !r.Stage.Running():
		return ""
	case r.Stage.Comparing() && r.Step == len(r.Spec.Steps)-1, !r.Stage.Comparing() && len(r.Spec.Steps) == 0:
		return r.Digest
	}
	return ""
}

// breachLine tells a breach in one line, for the log.
func breachLine(checks []rollout.Check) string {
	line := ""
	for i := range checks {
		if i > 0 {
			line += "; "
		}
		line += fmt.Sprintf("%s: %s", checks[i].Guardrail, checks[i].Detail)
	}
	return line
}
