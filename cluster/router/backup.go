package router

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
	"golang.org/x/sync/errgroup"

	"github.com/arbiterhq/arbiter/cluster/backup"
	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// What one node asks of another for a backup of a group that it does not keep itself.
const (
	// MethodCutOpen takes a snapshot of a group: group -> number of the cut, index, base, digest.
	MethodCutOpen Method = 190
	// MethodCutRead reads on: number of the cut, bucket, key to begin at -> more (1), pairs.
	MethodCutRead Method = 191
	// MethodCutClose ends it: number of the cut.
	MethodCutClose Method = 192
)

// Limits of what is held for backups.
const (
	cutPage    = 4 << 20          // bytes of one answer to MethodCutRead
	cutIdle    = 30 * time.Second // a cut for another node that is not read for so long is closed
	maxCuts    = 256              // for other nodes at once
	cutTimeout = 30 * time.Second // to take the cuts of all groups
	blobChunk  = 1 << 20          // bytes of one chunk of an artifact
)

// Cut is the state of all groups, held for a backup until Close. It is used by one goroutine.
type Cut struct {
	Head   backup.Head
	groups []*groupCut // data groups by their numbers, the control group last
	router *Router
}

// groupCut is the state of one group, here or on another node.
type groupCut struct {
	name  string
	at    backup.Group
	here  *store.Snapshot
	node  string // where it is if not here
	id    uint64 // there
	calls interface {
		Call(ctx context.Context, node string, method Method, request []byte) ([]byte, error)
	}
}

// Cut takes the state of all groups: of the data groups at the same time, and of the control group once
// all of those are taken, so that it knows every version that they speak of. Each is as new as anything
// that was acknowledged before the call.
func (r *Router) Cut(ctx context.Context) (_ *Cut, err error) {
	ctx, cancel := context.WithTimeout(ctx, cutTimeout)
	defer cancel()
	groups := r.groups()
	c := &Cut{router: r, groups: make([]*groupCut, len(groups)+1)}
	c.Head = backup.Head{ID: ulid.Make().String(), Cluster: r.ClusterID(), Release: r.options.Release,
		Level: uint32(r.control.State().Features.Level), From: time.Now().UTC(), DataGroups: len(groups)}
	var cuts errgroup.Group
	for i, d := range groups {
		cuts.Go(func() (err error) {
			c.groups[i], err = r.cut(ctx, &d.shard)
			return err
		})
	}
	err = cuts.Wait()
	if err == nil {
		c.groups[len(groups)], err = r.cut(ctx, &r.control.shard)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	c.Head.To = time.Now().UTC()
	for _, g := range c.groups[:len(groups)] {
		c.Head.DataBase = max(c.Head.DataBase, g.at.Index+g.at.Base)
	}
	c.Head.ControlBase = c.groups[len(groups)].at.Index + c.groups[len(groups)].at.Base
	return c, nil
}

// cut takes the state of a group here, or through a node that keeps it.
func (r *Router) cut(ctx context.Context, s *shard) (g *groupCut, err error) {
	err = s.atKeepers(ctx, func() error {
		g, err = s.cutHere(ctx)
		return err
	}, func(node string) error {
		g, err = s.cutAt(ctx, node)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("the state of group %s: %w", s.name, err)
	}
	return g, nil
}

// atKeepers asks the replica here, if there is one, and then those of other nodes until one answers.
func (s *shard) atKeepers(ctx context.Context, here func() error, there func(node string) error) error {
	err := s.errLeaderless()
	if s.local != nil {
		if err = here(); err == nil || s.net == nil {
			return err
		}
	}
	for _, node := range s.keepers() {
		if node == s.net.self || !s.net.reachable(node) {
			continue
		}
		if err = there(node); err == nil || ctx.Err() != nil {
			return err
		}
	}
	return err
}

// cutHere takes the state of the replica here, once it has all that was acknowledged before.
func (s *shard) cutHere(ctx context.Context) (*groupCut, error) {
	if s.net != nil {
		if err := s.local.Confirm(ctx); err != nil {
			return nil, err
		}
	} else if err := s.local.Ready(); err != nil {
		return nil, err
	}
	snapshot, err := s.machine.Store().Snapshot()
	if err != nil {
		return nil, storeError(err)
	}
	position, err := fsm.ReadPosition(snapshot.Get)
	if err != nil {
		snapshot.Release()
		return nil, err
	}
	marked, ok := fsm.ReadMarked(snapshot.Get)
	g := &groupCut{name: s.name, here: snapshot}
	g.at = backup.Group{Name: s.name, Number: int(s.number), Index: position.Index, Base: fsm.ReadBase(snapshot.Get)}
	if ok && marked.Index == position.Index {
		g.at.Digest = hex.EncodeToString(command.AppendDigest(nil, marked.Digest))
	}
	return g, nil
}

func (s *shard) cutAt(ctx context.Context, node string) (*groupCut, error) {
	reply, err := s.net.remote.Call(ctx, node, MethodCutOpen, binary.AppendUvarint(nil, s.number))
	if err != nil {
		return nil, err
	}
	in := scanner{rest: reply}
	g := &groupCut{name: s.name, node: node, id: in.number(), calls: s.net.remote}
	g.at = backup.Group{Name: s.name, Number: int(s.number), Index: in.number(), Base: in.number(), Digest: in.text()}
	return g, in.err()
}

// Close lets go of the state.
func (c *Cut) Close() {
	for _, g := range c.groups {
		if g != nil {
			g.close()
		}
	}
}

func (g *groupCut) close() {
	if g.here != nil {
		g.here.Release()
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_, _ = g.calls.Call(ctx, g.node, MethodCutClose, binary.AppendUvarint(nil, g.id)) // else it is closed when it is idle
}

// each calls fn for every pair of the group but those of store.Meta.
func (g *groupCut) each(ctx context.Context, fn func(b store.Bucket, key, value []byte) error) (err error) {
	for b := range store.Bucket(store.Buckets) {
		if b == store.Meta {
			continue
		}
		if g.here != nil {
			n := 0
			g.here.Scan(b, nil, func(key, value []byte) bool {
				if n++; n%4096 == 0 {
					err = errors.Join(ctx.Err(), g.here.Grown())
				}
				if err == nil {
					err = fn(b, key, value)
				}
				return err == nil
			})
		} else {
			err = g.eachThere(ctx, b, fn)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (g *groupCut) eachThere(ctx context.Context, b store.Bucket, fn func(b store.Bucket, key, value []byte) error) error {
	var from []byte
	for {
		request := binary.AppendUvarint(nil, g.id)
		request = append(binary.AppendUvarint(request, uint64(b)), from...)
		reply, err := g.calls.Call(ctx, g.node, MethodCutRead, request)
		if err != nil {
			return err
		}
		if len(reply) == 0 {
			return errWire
		}
		var last []byte
		err = backup.Pairs(reply[1:], func(bucket uint8, key, value []byte) error {
			last = key
			return fn(store.Bucket(bucket), key, value)
		})
		if err != nil {
			return err
		}
		if reply[0] == 0 {
			return nil
		}
		if last == nil {
			return errWire
		}
		from = append(append([]byte(nil), last...), 0)
	}
}

// cuts are those that other nodes read.
type cuts struct {
	mu   sync.Mutex
	next uint64
	held map[uint64]*heldCut
}

type heldCut struct {
	mu     sync.Mutex // held while it is read
	cut    *groupCut
	timer  *time.Timer
	closed bool
}

// serveCutOpen answers MethodCutOpen.
func (r *Router) serveCutOpen(ctx context.Context, _ string, request []byte) ([]byte, error) {
	in := scanner{rest: request}
	number := in.number()
	if err := in.err(); err != nil {
		return nil, err
	}
	s, err := r.shard(number)
	if err != nil {
		return nil, err
	}
	if s.local == nil {
		return nil, s.errLeaderless()
	}
	cut, err := s.cutHere(ctx)
	if err != nil {
		return nil, err
	}
	r.cuts.mu.Lock()
	defer r.cuts.mu.Unlock()
	if len(r.cuts.held) >= maxCuts || r.cuts.held == nil {
		cut.close()
		return nil, nba.Errorf(nba.CodeOverloaded, "too many backups are being made: wait for one to end")
	}
	r.cuts.next++
	id := r.cuts.next
	held := &heldCut{cut: cut}
	held.timer = time.AfterFunc(cutIdle, func() { r.cuts.drop(id) })
	r.cuts.held[id] = held
	reply := binary.AppendUvarint(nil, id)
	reply = binary.AppendUvarint(reply, cut.at.Index)
	reply = binary.AppendUvarint(reply, cut.at.Base)
	return appendBytes(reply, cut.at.Digest), nil
}

// serveCutRead answers MethodCutRead.
func (r *Router) serveCutRead(_ context.Context, _ string, request []byte) ([]byte, error) {
	in := scanner{rest: request}
	id, bucket := in.number(), in.number()
	if in.bad || bucket >= uint64(store.Buckets) {
		return nil, errWire
	}
	r.cuts.mu.Lock()
	held := r.cuts.held[id]
	r.cuts.mu.Unlock()
	if held == nil {
		return nil, nba.Errorf(nba.CodeUnavailable, "the backup was given up: begin it again")
	}
	held.mu.Lock()
	defer held.mu.Unlock()
	if held.closed {
		return nil, nba.Errorf(nba.CodeUnavailable, "the backup was given up: begin it again")
	}
	held.timer.Reset(cutIdle)
	if err := held.cut.here.Grown(); err != nil {
		return nil, err
	}
	reply := append(make([]byte, 0, cutPage+64<<10), 0)
	held.cut.here.Scan(store.Bucket(bucket), in.rest, func(key, value []byte) bool {
		if len(reply) > cutPage {
			reply[0] = 1
			return false
		}
		reply = command.AppendPair(reply, uint8(bucket), key, value)
		return true
	})
	return reply, nil
}

// serveCutClose answers MethodCutClose.
func (r *Router) serveCutClose(_ context.Context, _ string, request []byte) ([]byte, error) {
	in := scanner{rest: request}
	id := in.number()
	if err := in.err(); err != nil {
		return nil, err
	}
	r.cuts.drop(id)
	return nil, nil
}

func (c *cuts) drop(id uint64) {
	c.mu.Lock()
	held := c.held[id]
	delete(c.held, id)
	c.mu.Unlock()
	if held == nil {
		return
	}
	held.timer.Stop()
	held.mu.Lock()
	defer held.mu.Unlock()
	if !held.closed {
		held.closed = true
		held.cut.close()
	}
}

// end drops all and takes no more.
func (c *cuts) end() {
	c.mu.Lock()
	held := c.held
	c.held = nil
	c.mu.Unlock()
	for _, h := range held {
		h.timer.Stop()
		h.mu.Lock()
		if !h.closed {
			h.closed = true
			h.cut.close()
		}
		h.mu.Unlock()
	}
}
