package router

import (
	"context"
	"errors"
	"time"

	"github.com/arbiterhq/arbiter/cluster/raftgroup"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// serveSubmit answers MethodSubmit: operations of a group that this node leads.
func (r *Router) serveSubmit(ctx context.Context, _ string, request []byte) ([]byte, error) {
	group, ops, err := parseSubmit(request)
	if err != nil {
		return nil, err
	}
	s, err := r.shard(group)
	if err != nil {
		return nil, err
	}
	if !s.leads() {
		return s.elsewhere(), nil
	}
	answers, err := s.local.SubmitBatch(ctx, ops)
	return s.reply(answers, err)
}

// servePropose answers MethodPropose: a whole entry of a group that this node leads.
func (r *Router) servePropose(ctx context.Context, _ string, request []byte) ([]byte, error) {
	group, entry, err := parsePropose(request)
	if err != nil {
		return nil, err
	}
	s, err := r.shard(group)
	if err != nil {
		return nil, err
	}
	if !s.leads() {
		return s.elsewhere(), nil
	}
	// The request is the caller's: raft may keep the entry.
	results, err := s.local.Propose(ctx, append([]byte(nil), entry...))
	answers := make([]raftgroup.Answer, len(results))
	for i, result := range results {
		answers[i] = raftgroup.Answer{Result: result, Err: result.Err}
	}
	return s.reply(answers, err)
}

// elsewhere is the reply of a node that does not lead the group.
func (s *shard) elsewhere() []byte {
	leader := ""
	if s.local != nil {
		if node, ok := s.local.Leader(); ok && node != s.self() {
			leader = node
		}
	} else if hint := s.hint.Load(); hint != nil {
		leader = *hint // better than to let the other one ask around
	}
	return appendNotLeader(nil, leader)
}

func (s *shard) reply(answers []raftgroup.Answer, err error) ([]byte, error) {
	if moved, ok := errors.AsType[*raftgroup.NotLeader](err); ok {
		return appendNotLeader(nil, moved.Leader), nil
	}
	if err != nil {
		return nil, err
	}
	return appendAnswers(nil, s.applied(), answers), nil
}

// serveBlob answers MethodBlob: a part of a module, and how long the whole is.
func (r *Router) serveBlob(_ context.Context, _ string, request []byte) ([]byte, error) {
	in := scanner{rest: request}
	digest, offset := in.text(), in.number()
	if err := in.err(); err != nil {
		return nil, err
	}
	content, err := r.blobs.Get(digest)
	if err != nil {
		return nil, nba.Errorf(nba.CodeNotFound, "this node does not have the module")
	}
	offset = min(offset, uint64(len(content)))
	part := content[offset:min(offset+blobPart, uint64(len(content)))]
	return appendBlobPart(make([]byte, 0, len(part)+16), uint64(len(content)), part), nil
}

// serveLeaving answers MethodLeaving: the node that asks is about to stop and gives its groups away.
func (r *Router) serveLeaving(_ context.Context, from string, _ []byte) ([]byte, error) {
	r.net.mu.Lock()
	defer r.net.mu.Unlock()
	r.net.leaving[from] = time.Now()
	return nil, nil
}

// serveControl answers MethodControl: it waits until the control state here is as new as the caller's.
func (r *Router) serveControl(ctx context.Context, _ string, request []byte) ([]byte, error) {
	in := scanner{rest: request}
	index := in.number()
	if err := in.err(); err != nil {
		return nil, err
	}
	return nil, r.control.Wait(ctx, index)
}
