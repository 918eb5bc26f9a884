package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// ProducerOptions describe a Producer.
type ProducerOptions struct {
	Settings
	// Timeout bounds the whole way of one message, repetitions included; 0 is 10 s, and 1 s is the least.
	Timeout time.Duration
	// MaxBytes bounds one message and one batch of them; 0 is 1 MiB, the limit of brokers that were told none.
	MaxBytes int
}

const (
	defaultProduceTimeout = 10 * time.Second
	defaultProduceBytes   = 1 << 20
	shortestTimeout       = time.Second // that the client takes
)

// Producer writes messages. It waits for all in-sync replicas and is idempotent: as long as the process lives,
// a message that it sends again because an answer was lost is stored once. It is safe for concurrent use.
type Producer struct {
	client *kgo.Client
}

// Outgoing is a message to write. Messages of one topic and key keep their order.
type Outgoing struct {
	Topic      string
	Key, Value []byte
	Headers    []Header
}

// NewProducer makes a producer. It does not wait for the brokers. Close ends it.
func NewProducer(o ProducerOptions) (*Producer, error) {
	options, err := o.options()
	if err != nil {
		return nil, err
	}
	if o.Timeout == 0 {
		o.Timeout = defaultProduceTimeout
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = defaultProduceBytes
	}
	client, err := kgo.NewClient(append(options,
		kgo.RequiredAcks(kgo.AllISRAcks()), kgo.RecordDeliveryTimeout(max(o.Timeout, shortestTimeout)), kgo.ProducerLinger(0),
		kgo.ProducerBatchMaxBytes(int32(o.MaxBytes)), kgo.UnknownTopicRetries(3),
	)...)
	if err != nil {
		return nil, fmt.Errorf("making a Kafka producer: %w", err)
	}
	return &Producer{client: client}, nil
}

// Send writes messages and waits until each is stored or failed. The answer has an error, or nil, for each
// message. Whether a message with an error was stored is not known.
func (p *Producer) Send(ctx context.Context, messages []Outgoing) []error {
	failed := make([]error, len(messages))
	records := make([]*kgo.Record, len(messages))
	at := make(map[*kgo.Record]int, len(messages))
	for i := range messages {
		records[i] = recordOf(&messages[i])
		at[records[i]] = i
	}
	for _, result := range p.client.ProduceSync(ctx, records...) {
		failed[at[result.Record]] = result.Err
	}
	return failed
}

func recordOf(m *Outgoing) *kgo.Record {
	r := &kgo.Record{Topic: m.Topic, Key: m.Key, Value: m.Value}
	for _, h := range m.Headers {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	return r
}

// Close waits a moment for what is under way, then ends the producer.
func (p *Producer) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = p.client.Flush(ctx) // each Send tells of its own messages
	p.client.Close()
}

// Refused tells that repeating the message will not help: the broker or the client refused it for what it is.
func Refused(err error) bool {
	for _, refusal := range []*kerr.Error{kerr.MessageTooLarge, kerr.RecordListTooLarge, kerr.InvalidRecord, kerr.InvalidTopicException,
		kerr.UnsupportedForMessageFormat, kerr.InvalidTimestamp, kerr.PolicyViolation} {
		if errors.Is(err, refusal) {
			return true
		}
	}
	return false
}
