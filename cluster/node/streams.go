package node

import (
	"context"
	"time"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/stream"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

var _ stream.Groups = (*Node)(nil)

// openStreams makes the readers of the configured streams; readStreams has them read.
func (n *Node) openStreams() error {
	if len(n.cfg.Streams) == 0 {
		return nil
	}
	metrics := stream.NewMetrics(n.cfg.Registry)
	for _, cfg := range n.cfg.Streams {
		cfg.Logger, cfg.Metrics = n.logger, metrics
		if cfg.Kafka.ClientID == "" {
			cfg.Kafka.ClientID = "arbiter"
		}
		reader, err := stream.NewReader(cfg, n)
		if err != nil {
			n.closeStreams()
			return err
		}
		n.streams = append(n.streams, reader)
	}
	return nil
}

// readStreams begins to read once the node is ready for the first time: it then has the catalog that tells whom
// events are about.
func (n *Node) readStreams() {
	for _, reader := range n.streams {
		n.followers.Go(func() {
			for n.Ready(n.ctx) != nil {
				select {
				case <-n.ctx.Done():
					return
				case <-time.After(readyPause):
				}
			}
			reader.Run(n.ctx)
		})
	}
}

// readyPause is how often a node that is starting looks whether it can read its streams.
const readyPause = 50 * time.Millisecond

// closeStreams ends the readers after they have stopped reading.
func (n *Node) closeStreams() {
	for _, reader := range n.streams {
		reader.Close()
	}
}

// LeadsGroup tells whether this node leads a data group.
func (n *Node) LeadsGroup(group int) bool { return n.router.LeadsGroup(group) }

// NoteStreams moves the cursors of streams in a data group that had no events of them. Steps that do not fit are
// passed over.
func (n *Node) NoteStreams(ctx context.Context, group int, steps []command.StreamStep) error {
	if err := n.serving(); err != nil {
		return err
	}
	return n.router.NoteStreams(ctx, group, &command.NoteStreams{Steps: steps})
}

// Streams tells how far each configured stream was read, by all nodes together. What cannot be found out now is
// said in the answer.
func (n *Node) Streams(ctx context.Context) ([]nba.StreamStatus, error) {
	if err := n.serving(); err != nil {
		return nil, err
	}
	list := make([]nba.StreamStatus, 0, len(n.streams))
	for _, reader := range n.streams {
		list = append(list, reader.Status(ctx, n.router.LeaderOf))
	}
	return list, nil
}
