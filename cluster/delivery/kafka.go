package delivery

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/arbiterhq/arbiter/cluster/kafka"
	"github.com/arbiterhq/arbiter/runtime/delivery"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// The headers of a message: it is a CloudEvent in binary mode, and says which attempt it is.
const (
	kafkaID      = "ce_id" // the id of the delivery, the same at every attempt
	kafkaSource  = "arbiter"
	kafkaAttempt = "arbiter-attempt"
)

// kafkaSink writes deliveries to a topic. Those of a subject have its id for a key, so they keep their order in
// one partition.
type kafkaSink struct {
	topic    string
	timeout  time.Duration
	producer *kafka.Producer
}

func newKafka(s *Spec) (*kafkaSink, error) {
	producer, err := kafka.NewProducer(kafka.ProducerOptions{Settings: s.Kafka, Timeout: s.Timeout})
	if err != nil {
		return nil, fmt.Errorf("sink %s: %w", s.Name, err)
	}
	return &kafkaSink{topic: s.Topic, timeout: s.Timeout, producer: producer}, nil
}

// Send implements Sink.
func (k *kafkaSink) Send(ctx context.Context, deliveries []Delivery) []Result {
	ctx, cancel := context.WithTimeout(ctx, k.timeout)
	defer cancel()
	results := make([]Result, len(deliveries))
	messages, at := make([]kafka.Outgoing, 0, len(deliveries)), make([]int, 0, len(deliveries))
	for i := range deliveries {
		m, err := k.message(&deliveries[i])
		if err != nil {
			results[i] = Result{Outcome: delivery.Refused, Problem: "the message cannot be read"}
			continue
		}
		messages, at = append(messages, m), append(at, i)
	}
	for i, err := range k.producer.Send(ctx, messages) {
		switch {
		case err == nil:
		case kafka.Refused(err):
			results[at[i]] = Result{Outcome: delivery.Refused, Problem: "the broker refused the message for what it is"}
		default:
			results[at[i]] = Result{Outcome: delivery.Failed, Problem: "the brokers did not store the message in time"}
		}
	}
	return results
}

func (k *kafkaSink) message(d *Delivery) (kafka.Outgoing, error) {
	var about struct {
		Subject nba.SubjectRef `json:"subject"`
	}
	if err := json.Unmarshal(d.Payload, &about); err != nil {
		return kafka.Outgoing{}, err
	}
	header := func(key, value string) kafka.Header { return kafka.Header{Key: key, Value: []byte(value)} }
	return kafka.Outgoing{Topic: k.topic, Key: []byte(about.Subject.ID), Value: d.Payload, Headers: []kafka.Header{
		header("ce_specversion", "1.0"), header(kafkaID, d.ID), header("ce_source", kafkaSource), header("ce_type", nba.DeliveryMessageType),
		header("content-type", "application/json"), header(kafkaAttempt, strconv.Itoa(d.Attempt)),
	}}, nil
}

// Close implements Sink.
func (k *kafkaSink) Close() error {
	k.producer.Close()
	return nil
}
