package delivery_test

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/cluster/delivery"
	"github.com/arbiterhq/arbiter/cluster/kafka"
	"github.com/arbiterhq/arbiter/cluster/kafka/kafkatest"
	outcome "github.com/arbiterhq/arbiter/runtime/delivery"
)

// TestKafkaSink writes to a real broker: each delivery once, its id in a header, a subject's in order in one
// partition; and tells what may pass from what will not.
func TestKafkaSink(t *testing.T) {
	b := kafkatest.Start(t, "")
	b.Topic(t, "outbound", 4)
	open := func(topic string, timeout time.Duration) delivery.Sink {
		t.Helper()
		spec := delivery.Spec{Name: "bus", Kind: delivery.KindKafka, Topic: topic, Timeout: timeout, Kafka: kafka.Settings{Brokers: []string{b.Addr}}}.Default()
		sink, err := delivery.Open(spec, slog.Default())
		if err != nil {
			t.Fatal(err)
		}
		return sink
	}
	sink := open("outbound", 20*time.Second)
	var deliveries []delivery.Delivery
	for i := range 30 {
		deliveries = append(deliveries, delivery.Delivery{ID: fmt.Sprintf("D-%02d", i), Attempt: 1,
			Payload: fmt.Appendf(nil, `{"type":"arbiter.delivery","deliveryId":"D-%02d","subject":{"id":"S-%d","type":"subscriber"}}`, i, i%3)})
	}
	deliveries = append(deliveries, delivery.Delivery{ID: "odd", Payload: []byte("no JSON")},
		delivery.Delivery{ID: "huge", Payload: fmt.Appendf(nil, `{"subject":{"id":"S-0"},"content":%q}`, make([]byte, 1<<20))})
	results := sink.Send(t.Context(), deliveries)
	for i, r := range results[:30] {
		if r.Outcome != outcome.Sent {
			t.Errorf("delivery %d: %+v", i, r)
		}
	}
	for i, r := range results[30:] {
		if r.Outcome != outcome.Refused || r.Problem == "" {
			t.Errorf("delivery %d of those that cannot be sent: %+v", i, r)
		}
	}
	last, partition := map[string]string{}, map[string]int32{}
	for _, r := range b.Consume(t, "outbound", 30) {
		headers := map[string]string{}
		for _, h := range r.Headers {
			headers[h.Key] = string(h.Value)
		}
		id, key := headers["ce_id"], string(r.Key)
		if before, seen := last[key]; seen && (before >= id || partition[key] != r.Partition) {
			t.Errorf("subject %s: %s after %s, partition %d after %d", key, id, before, r.Partition, partition[key])
		}
		last[key], partition[key] = id, r.Partition
		if headers["ce_type"] != "arbiter.delivery" || headers["ce_specversion"] != "1.0" || headers["arbiter-attempt"] != "1" || len(key) != 3 {
			t.Errorf("key %s, headers %v", key, headers)
		}
	}
	if err := sink.Close(); err != nil {
		t.Error(err)
	}
	b.Stop()
	away := open("outbound", 500*time.Millisecond)
	defer away.Close()
	if r := away.Send(t.Context(), deliveries[:1])[0]; r.Outcome != outcome.Failed || r.Problem == "" {
		t.Errorf("without a broker: %+v", r)
	}
}
