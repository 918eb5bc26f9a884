package stream

import (
	"context"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/arbiterhq/arbiter/cluster/kafka"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// askAtOnce bounds the partitions whose cursors are asked for at the same time.
const askAtOnce = 4

// Status tells how far all partitions of the topic were read, on whatever node. leader names the node that leads
// a group, or "".
func (r *Reader) Status(ctx context.Context, leader func(group int) string) nba.StreamStatus {
	status := nba.StreamStatus{Name: r.cfg.Name, Topic: r.cfg.Kafka.Topic, Partitions: []nba.StreamPartition{}}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	count, err := r.consumer.Partitions(ctx)
	if err != nil {
		status.Problem = "the brokers do not tell the partitions of the topic: " + err.Error()
		return status
	}
	numbers := make([]int32, count)
	for i := range numbers {
		numbers[i] = int32(i)
	}
	ranges, err := r.consumer.Ranges(ctx, numbers)
	if err != nil {
		status.Problem = "the brokers do not tell the offsets of the topic: " + err.Error()
	}
	status.Partitions = make([]nba.StreamPartition, count)
	var all errgroup.Group
	all.SetLimit(askAtOnce)
	for _, number := range numbers {
		all.Go(func() error {
			held, known := ranges[number]
			p := r.partitionStatus(ctx, number, held, known)
			p.Node = leader(homeOf(r.cfg.Name, number, r.groups.EventGroups()))
			status.Partitions[number] = p
			return nil
		})
	}
	_ = all.Wait() // the functions return nil
	for i := range status.Partitions {
		status.Lag += status.Partitions[i].Lag
	}
	return status
}

func (r *Reader) partitionStatus(ctx context.Context, number int32, held kafka.Range, known bool) nba.StreamPartition {
	p := nba.StreamPartition{Partition: int(number), Start: held.Start, End: held.End}
	cursors, err := r.groups.StreamCursors(ctx, cursorName(r.cfg.Name, number))
	if err != nil {
		p.Problem = "its cursors cannot be read now: " + err.Error()
		return p
	}
	if least := slices.Min(cursors); least > 0 {
		p.Next = nextOf(least)
	} else if p.Next = held.Start; r.cfg.Latest {
		p.Next = held.End
	}
	switch p.Lag = max(0, held.End-p.Next); {
	case known && p.Next > held.End:
		p.Problem = "it ends before the offset up to which it was read: if the topic was made anew, give the stream another name"
	case known && p.Next < held.Start:
		p.Problem = "the broker has removed messages that were not read"
	}
	return p
}
