package router

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/fsm"
)

// MethodMark asks a node for the newest mark of its replica of a group.
const MethodMark Method = 180

// markTimeout bounds how long the replicas are asked for their marks.
const markTimeout = time.Second

// agree is the digest that the group has at the mark of its leader: the one of most replicas that can be
// asked, so that a leader whose own state is wrong stops instead of the others. ok is false when there is
// no such mark, or when as many say one thing as another.
func (r *Router) agree(ctx context.Context, s *shard, own fsm.Marked) (agreed fsm.Marked, ok bool) {
	if own.Index == 0 {
		return fsm.Marked{}, false
	}
	if s.net == nil {
		return own, true
	}
	ctx, cancel := context.WithTimeout(ctx, markTimeout)
	defer cancel()
	votes := map[command.Digest]int{own.Digest: 1}
	for _, node := range s.keepers() {
		if node == s.net.self || !s.net.reachable(node) {
			continue
		}
		reply, err := s.net.remote.Call(ctx, node, MethodMark, binary.AppendUvarint(nil, s.number))
		if err != nil {
			continue
		}
		if other, err := parseMark(reply); err == nil && other.Index == own.Index {
			votes[other.Digest]++
		}
	}
	return majority(own.Index, votes)
}

// majority is the digest that more replicas have than any other.
func majority(index uint64, votes map[command.Digest]int) (agreed fsm.Marked, ok bool) {
	most := 0
	for digest, n := range votes {
		switch {
		case n > most:
			most, agreed, ok = n, fsm.Marked{Index: index, Digest: digest}, true
		case n == most:
			ok = false
		}
	}
	return agreed, ok
}

func parseMark(reply []byte) (m fsm.Marked, err error) {
	in := scanner{rest: reply}
	m.Index = in.number()
	digest, ok := command.ParseDigest(in.bytes())
	if !ok {
		in.bad = true
	}
	m.Digest = digest
	return m, in.err()
}

// serveMark answers MethodMark.
func (r *Router) serveMark(_ context.Context, _ string, request []byte) ([]byte, error) {
	in := scanner{rest: request}
	number := in.number()
	if err := in.err(); err != nil {
		return nil, err
	}
	s, err := r.shard(number)
	if err != nil {
		return nil, err
	}
	m, ok := s.machine.(marking)
	if !ok {
		return nil, errWire // no replica here
	}
	mark := m.Mark()
	return appendBytes(binary.AppendUvarint(nil, mark.Index), command.AppendDigest(nil, mark.Digest)), nil
}
