package node

import (
	"context"
	"io"
	"time"

	"github.com/arbiterhq/arbiter/cluster/backup"
	"github.com/arbiterhq/arbiter/cluster/router"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// restoreReport is how often a restore says how far it is.
const restoreReport = time.Second

// Backup streams the state of the cluster, but for what the receiver has. What it gives as an error before it
// wrote anything is shown to the caller; afterwards the stream is cut off, which its reader notices.
func (n *Node) Backup(ctx context.Context, req backup.Request, to io.Writer) error {
	if err := n.serving(); err != nil {
		return err
	}
	if err := n.router.Restoring(); err != nil {
		return err
	}
	ctx, cancel := n.bounded(ctx)
	defer cancel()
	return n.router.Backup(ctx, req, to)
}

// bounded is ctx, ended with the node.
func (n *Node) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(n.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}

// Restore fills the cluster, which holds nothing yet, with the backup of a stream. report is told how far it
// is, once a second, by one goroutine at a time. It returns once this node serves what was restored.
func (n *Node) Restore(ctx context.Context, from io.Reader, withoutEvents bool, report func(nba.Restored) error) (nba.Restored, error) {
	if n.closing.Load() {
		return nba.Restored{}, nba.Errorf(nba.CodeUnavailable, "the node is shutting down")
	}
	ctx, cancel := n.bounded(ctx)
	defer cancel()
	var done router.Restored
	options := router.RestoreOptions{WithoutEvents: withoutEvents, Keep: func(ctx context.Context, digest string, content []byte) error {
		if err := n.router.Blobs().Put(digest, content); err != nil {
			return err
		}
		return n.spread(ctx, digest)
	}}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(restoreReport)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				if report(restoredOf(&done, "")) != nil {
					cancel() // whoever asked for it is gone
					return
				}
			case <-stop:
				return
			}
		}
	}()
	head, err := n.router.Restore(ctx, from, options, &done)
	if err == nil {
		err = n.settleRestored(ctx)
	}
	close(stop)
	<-stopped
	out := restoredOf(&done, head.ID)
	out.Done = err == nil
	return out, err
}

func restoredOf(done *router.Restored, id string) nba.Restored {
	return nba.Restored{Backup: id, Groups: done.Groups.Load(), Pairs: done.Pairs.Load(), Bytes: done.Bytes.Load(),
		Plugins: done.Blobs.Load(), LeftOut: done.Left.Load()}
}

// settleRestored loads the plugins that the restored catalog names and waits until the node is ready.
func (n *Node) settleRestored(ctx context.Context) error {
	n.loadActive(ctx)
	n.refresh()
	n.settle(ctx)
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := n.Ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return err
		}
	}
}
