package router

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/arbiterhq/arbiter/cluster/backup"
	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/cluster/store"
)

// Backup streams the state of all groups and the artifacts of all plugins, but for what the receiver has. A
// stream that has begun ends with what went wrong, if something does.
func (r *Router) Backup(ctx context.Context, req backup.Request, to io.Writer) error {
	cut, err := r.Cut(ctx)
	if err != nil {
		return err
	}
	defer cut.Close()
	codec, err := backup.NewCodec()
	if err != nil {
		return err
	}
	defer codec.Close()
	s := &sender{router: r, codec: codec, to: backup.NewWriter(to, cut.Head), known: map[backup.ID]bool{}}
	for ids := req.Chunks; len(ids) >= len(backup.ID{}); ids = ids[len(backup.ID{}):] {
		s.known[backup.ID(ids[:len(backup.ID{})])] = true
	}
	for _, g := range cut.groups {
		at := g.at
		at.Same = req.Cluster == cut.Head.Cluster && at.Digest != "" && slices.ContainsFunc(req.Groups, func(last backup.Group) bool {
			return last.Name == at.Name && last.Number == at.Number && last.Index == at.Index && last.Base == at.Base && last.Digest == at.Digest
		})
		if err := s.group(ctx, g, at); err != nil {
			return fmt.Errorf("backing up group %s: %w", g.name, err)
		}
	}
	if err := s.blobs(ctx); err != nil {
		return err
	}
	return s.to.End()
}

// sender writes one backup.
type sender struct {
	router *Router
	codec  *backup.Codec
	to     *backup.Writer
	known  map[backup.ID]bool
}

// packed is a chunk on its way: ready is closed when id and, if it is new, compressed are there.
type packed struct {
	raw, compressed []byte
	id              backup.ID
	ready           chan struct{}
}

// How many chunks are named and compressed at once, and wait to be.
const (
	packers  = 2
	packWait = 16
)

// group sends a group: one goroutine reads it, others name and compress chunks, this one writes them.
func (s *sender) group(ctx context.Context, g *groupCut, at backup.Group) error {
	if err := s.to.Group(at); err != nil {
		return err
	}
	if at.Same {
		return s.to.Done(at)
	}
	work, ctx := errgroup.WithContext(ctx)
	waiting, order := make(chan *packed, packWait), make(chan *packed, packWait)
	var read tally
	chunks := int64(0)
	work.Go(func() error {
		defer close(waiting)
		defer close(order)
		return read.group(ctx, g, waiting, order)
	})
	for range packers {
		work.Go(func() error {
			for p := range waiting {
				if p.id = backup.IDOf(p.raw); !s.known[p.id] {
					p.compressed = s.codec.Compress(p.raw)
				}
				p.raw = nil
				close(p.ready)
			}
			return nil
		})
	}
	written := map[backup.ID]bool{}
	work.Go(func() error {
		for p := range order {
			select {
			case <-p.ready:
			case <-ctx.Done():
				return ctx.Err()
			}
			chunks++
			if err := s.chunk(p, written); err != nil {
				return err
			}
		}
		return nil
	})
	if err := work.Wait(); err != nil {
		return err
	}
	for id := range written {
		s.known[id] = true
	}
	if digest := hex.EncodeToString(command.AppendDigest(nil, read.sum.Sum())); at.Digest == "" {
		at.Digest = digest
	} else if digest != at.Digest {
		return fmt.Errorf("%w: what was read has another digest than the state", fsm.ErrDiverged)
	}
	at.Pairs, at.Bytes, at.Chunks = read.pairs, read.bytes, chunks
	return s.to.Done(at)
}

// tally is what was read of a group.
type tally struct {
	sum          fsm.Summer
	pairs, bytes int64
}

// group reads a group in chunks, and hands each to all channels.
func (r *tally) group(ctx context.Context, g *groupCut, to ...chan<- *packed) error {
	cutter := backup.Cutter{Done: func(chunk []byte) error {
		p := &packed{raw: chunk, ready: make(chan struct{})}
		for _, ch := range to {
			select {
			case ch <- p:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	}}
	err := g.each(ctx, func(b store.Bucket, key, value []byte) error {
		r.pairs, r.bytes = r.pairs+1, r.bytes+int64(len(key)+len(value))
		r.sum.Add(b, key, value)
		return cutter.Add(uint8(b), key, value)
	})
	if err != nil {
		return err
	}
	return cutter.Flush()
}

// chunk writes a chunk, or that the receiver has it.
func (s *sender) chunk(p *packed, written map[backup.ID]bool) error {
	if p.compressed == nil || written[p.id] {
		return s.to.Ref(p.id)
	}
	written[p.id] = true
	return s.to.Chunk(p.id, p.compressed)
}

// blobs sends the artifacts of the plugins that there are.
func (s *sender) blobs(ctx context.Context) error {
	sent := map[string]bool{}
	for _, v := range s.router.control.State().Plugins.Versions() {
		if sent[v.Digest] {
			continue
		}
		sent[v.Digest] = true
		if err := s.router.Fetch(ctx, v.Digest, ""); err != nil {
			return err
		}
		content, err := s.router.blobs.Get(v.Digest)
		if err != nil {
			return err
		}
		b := backup.Blob{Digest: v.Digest, Bytes: int64(len(content))}
		if err := s.to.Blob(b); err != nil {
			return err
		}
		for part := range slices.Chunk(content, blobChunk) {
			p := &packed{id: backup.IDOf(part)}
			if !s.known[p.id] {
				p.compressed = s.codec.Compress(part)
				s.known[p.id] = true
			}
			if err := s.chunk(p, map[backup.ID]bool{}); err != nil {
				return err
			}
		}
		if err := s.to.Done(b); err != nil {
			return err
		}
	}
	return nil
}
