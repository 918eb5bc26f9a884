package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ConsumerOptions describe a Consumer.
type ConsumerOptions struct {
	Settings
	Topic string
	// MaxBytes bounds what is fetched ahead from one broker, as it travels, which may be compressed; 0 is 4 MiB.
	// Times the brokers it bounds what was fetched and not polled yet. A larger message is still read, alone.
	MaxBytes int
	// MaxWait is how long a broker waits for messages before it answers that there are none; 0 is 250 ms.
	MaxWait time.Duration
}

const (
	defaultMaxBytes = 4 << 20
	defaultMaxWait  = 250 * time.Millisecond
	// longestMessage bounds one answer of a broker.
	longestMessage = 128 << 20
)

// Consumer reads partitions of one topic. Assign, Release and Poll are for one goroutine; the others may be
// called at any time.
type Consumer struct {
	topic  string
	client *kgo.Client
}

// Message is one message. Its bytes belong to the batch it came with and are not changed later.
type Message struct {
	Offset     int64
	Time       time.Time // as the producer or the broker stamped it
	Key, Value []byte
	Headers    []Header
}

// Batch is what Poll read of one partition, in the order of the offsets. Offsets may have gaps.
type Batch struct {
	Partition int32
	Messages  []Message
	// End is the offset after the last message that can be read now, Start that of the first.
	End, Start int64
}

// Next is the offset after the last message.
func (b *Batch) Next() int64 { return b.Messages[len(b.Messages)-1].Offset + 1 }

// ErrOutOfRange is returned by Poll, in a *PartitionError, when a partition does not hold the offset it was
// assigned at: older messages were removed there, or the topic is another one of the same name.
var ErrOutOfRange = errors.New("the partition does not hold the offset to read from")

// PartitionError is what failed with one partition.
type PartitionError struct {
	Partition int32
	Err       error
}

// Error names the partition.
func (e *PartitionError) Error() string { return fmt.Sprintf("partition %d: %v", e.Partition, e.Err) }

// Unwrap gives what failed.
func (e *PartitionError) Unwrap() error { return e.Err }

// NewConsumer makes a consumer that reads nothing yet. It does not wait for the brokers. Close ends it.
func NewConsumer(o ConsumerOptions) (*Consumer, error) {
	options, err := o.options()
	if err != nil {
		return nil, err
	}
	if o.Topic == "" {
		return nil, errors.New("no topic to read")
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = defaultMaxBytes
	}
	if o.MaxWait == 0 {
		o.MaxWait = defaultMaxWait
	}
	client, err := kgo.NewClient(append(options,
		kgo.FetchMaxBytes(int32(o.MaxBytes)), kgo.FetchMaxPartitionBytes(int32(o.MaxBytes)), kgo.BrokerMaxReadBytes(longestMessage),
		kgo.FetchMaxWait(o.MaxWait), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()), kgo.KeepRetryableFetchErrors(), kgo.DisableFetchSessions(),
	)...)
	if err != nil {
		return nil, fmt.Errorf("making a Kafka consumer: %w", err)
	}
	return &Consumer{topic: o.Topic, client: client}, nil
}

// Close ends the consumer and waits until it has ended.
func (c *Consumer) Close() { c.client.Close() }

// Partitions asks the brokers how many partitions the topic has.
func (c *Consumer) Partitions(ctx context.Context) (int, error) {
	req := kmsg.NewPtrMetadataRequest()
	topic := kmsg.NewMetadataRequestTopic()
	topic.Topic = kmsg.StringPtr(c.topic)
	req.Topics = append(req.Topics, topic)
	resp, err := req.RequestWith(ctx, c.client)
	if err != nil {
		return 0, fmt.Errorf("asking for the partitions of the topic: %w", err)
	}
	if len(resp.Topics) != 1 {
		return 0, errors.New("the broker did not answer which partitions the topic has")
	}
	if err := kerr.ErrorForCode(resp.Topics[0].ErrorCode); err != nil {
		return 0, fmt.Errorf("asking for the partitions of the topic: %w", err)
	}
	return len(resp.Topics[0].Partitions), nil
}

// Assign has a partition read from an offset on. One that is read already is read from there.
func (c *Consumer) Assign(partition int32, offset int64) {
	c.Release(partition)
	c.client.AddConsumePartitions(map[string]map[int32]kgo.Offset{c.topic: {partition: kgo.NewOffset().At(offset)}})
}

// Release ends the reading of a partition; what was fetched of it and not polled is dropped.
func (c *Consumer) Release(partition int32) {
	c.client.RemoveConsumePartitions(map[string][]int32{c.topic: {partition}})
}

// Poll waits for messages of the assigned partitions and gives at most max of them. What is not polled is not
// fetched either, beyond the bound of the options: a caller that polls late reads late. Errors of partitions
// are *PartitionError; the other partitions go on, and so does this one unless the error is ErrOutOfRange.
func (c *Consumer) Poll(ctx context.Context, max int) ([]Batch, error) {
	fetches := c.client.PollRecords(ctx, max)
	if fetches.IsClientClosed() {
		return nil, errors.New("the consumer is closed")
	}
	var batches []Batch
	var problems []error
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		if len(p.Records) > 0 {
			batches = append(batches, batchOf(p))
		}
		if p.Err == nil || errors.Is(p.Err, context.Canceled) || errors.Is(p.Err, context.DeadlineExceeded) {
			return
		}
		err := p.Err
		if errors.Is(err, kerr.OffsetOutOfRange) {
			err = ErrOutOfRange
		}
		problems = append(problems, &PartitionError{Partition: p.Partition, Err: err})
	})
	return batches, errors.Join(problems...)
}

func batchOf(p kgo.FetchTopicPartition) Batch {
	b := Batch{Partition: p.Partition, End: p.LastStableOffset, Start: p.LogStartOffset, Messages: make([]Message, len(p.Records))}
	if b.End < 0 {
		b.End = p.HighWatermark
	}
	for i, r := range p.Records {
		m := &b.Messages[i]
		m.Offset, m.Time, m.Key, m.Value = r.Offset, r.Timestamp, r.Key, r.Value
		if len(r.Headers) > 0 {
			m.Headers = make([]Header, len(r.Headers))
			for j, h := range r.Headers {
				m.Headers[j] = Header{Key: h.Key, Value: h.Value}
			}
		}
	}
	return b
}

// Range is where the messages of a partition begin and end: the offsets of the first that it still holds and
// after the last that can be read.
type Range struct{ Start, End int64 }

// What a broker is asked for where a time could stand.
const (
	offsetLatest   = -1
	offsetEarliest = -2
)

// Ranges asks the brokers for the ranges of partitions.
func (c *Consumer) Ranges(ctx context.Context, partitions []int32) (map[int32]Range, error) {
	starts, err := c.offsets(ctx, partitions, offsetEarliest)
	if err != nil {
		return nil, err
	}
	ends, err := c.offsets(ctx, partitions, offsetLatest)
	if err != nil {
		return nil, err
	}
	ranges := make(map[int32]Range, len(partitions))
	for _, p := range partitions {
		ranges[p] = Range{Start: starts[p], End: ends[p]}
	}
	return ranges, nil
}

func (c *Consumer) offsets(ctx context.Context, partitions []int32, of int64) (map[int32]int64, error) {
	req := kmsg.NewPtrListOffsetsRequest()
	req.IsolationLevel = 1 // read committed
	topic := kmsg.NewListOffsetsRequestTopic()
	topic.Topic = c.topic
	for _, p := range partitions {
		asked := kmsg.NewListOffsetsRequestTopicPartition()
		asked.Partition, asked.Timestamp = p, of
		topic.Partitions = append(topic.Partitions, asked)
	}
	req.Topics = append(req.Topics, topic)
	found := map[int32]int64{}
	for _, shard := range c.client.RequestSharded(ctx, req) { // one for each broker that leads some
		if shard.Err != nil {
			return nil, fmt.Errorf("asking for offsets: %w", shard.Err)
		}
		for _, t := range shard.Resp.(*kmsg.ListOffsetsResponse).Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					return nil, fmt.Errorf("asking for offsets: %w", &PartitionError{Partition: p.Partition, Err: err})
				}
				found[p.Partition] = p.Offset
			}
		}
	}
	if i := slices.IndexFunc(partitions, func(p int32) bool { _, ok := found[p]; return !ok }); i >= 0 {
		return nil, &PartitionError{Partition: partitions[i], Err: errors.New("no broker told its offsets")}
	}
	return found, nil
}
