package kafka_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/arbiterhq/arbiter/cluster/kafka"
	"github.com/arbiterhq/arbiter/cluster/kafka/kafkatest"
)

// TestWithABroker runs everything against one real broker, since starting one takes seconds.
func TestWithABroker(t *testing.T) {
	roots, pemFile := certificate(t)
	b := kafkatest.Start(t, securedToo(pemFile))
	t.Run("asks for TLS and a password", func(t *testing.T) { secured(t, b, roots) })
	t.Run("reads from given offsets", func(t *testing.T) { readsFromOffsets(t, b) })
	t.Run("says where an offset is gone", func(t *testing.T) { offsetGone(t, b) })
	t.Run("fetches ahead within its bound", func(t *testing.T) { boundedAhead(t, b) })
	t.Run("writes in order of keys", func(t *testing.T) { writes(t, b) })
	t.Run("says what cannot be written", func(t *testing.T) { refused(t, b) })
	t.Run("goes on after the broker", func(t *testing.T) { brokerRestarts(t, b) })
}

func consumer(t *testing.T, o kafka.ConsumerOptions) *kafka.Consumer {
	t.Helper()
	c, err := kafka.NewConsumer(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func settings(b *kafkatest.Broker) kafka.Settings {
	return kafka.Settings{Brokers: []string{b.Addr}, ClientID: "test"}
}

// fill writes texts p/0, p/1 … to every partition.
func fill(t *testing.T, b *kafkatest.Broker, topic string, partitions, count int) {
	t.Helper()
	b.Topic(t, topic, partitions)
	var records []*kgo.Record
	for p := range partitions {
		for i := range count {
			records = append(records, &kgo.Record{Topic: topic, Partition: int32(p), Value: fmt.Appendf(nil, "%d/%d", p, i),
				Headers: []kgo.RecordHeader{{Key: "n", Value: fmt.Append(nil, i)}}})
		}
	}
	b.Produce(t, records...)
}

// poll reads until count messages are there, as partition -> values.
func poll(t *testing.T, c *kafka.Consumer, count, atOnce int) map[int32][]string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	read := map[int32][]string{}
	for got := 0; got < count; {
		batches, err := c.Poll(ctx, atOnce)
		if err != nil {
			t.Fatal(err)
		}
		if ctx.Err() != nil {
			t.Fatalf("%d of %d messages came", got, count)
		}
		here := 0
		for _, b := range batches {
			for _, m := range b.Messages {
				read[b.Partition] = append(read[b.Partition], string(m.Value))
			}
			if next := b.Messages[len(b.Messages)-1].Offset + 1; b.Next() != next || b.End < next {
				t.Fatalf("partition %d: next %d and end %d after offset %d", b.Partition, b.Next(), b.End, next-1)
			}
			here += len(b.Messages)
		}
		if here > atOnce {
			t.Fatalf("%d messages at once, want at most %d", here, atOnce)
		}
		got += here
	}
	return read
}

func readsFromOffsets(t *testing.T, b *kafkatest.Broker) {
	fill(t, b, "offsets", 3, 50)
	c := consumer(t, kafka.ConsumerOptions{Settings: settings(b), Topic: "offsets"})
	if n, err := c.Partitions(t.Context()); err != nil || n != 3 {
		t.Fatalf("%d partitions, %v", n, err)
	}
	ranges, err := c.Ranges(t.Context(), []int32{0, 1, 2})
	if err != nil || ranges[1] != (kafka.Range{Start: 0, End: 50}) {
		t.Fatalf("ranges %v, %v", ranges, err)
	}
	c.Assign(0, 45)
	c.Assign(2, 48)
	read := poll(t, c, 7, 4)
	if want := []string{"0/45", "0/46", "0/47", "0/48", "0/49"}; !slices.Equal(read[0], want) {
		t.Errorf("partition 0 gave %v, want %v", read[0], want)
	}
	if want := []string{"2/48", "2/49"}; !slices.Equal(read[2], want) || len(read[1]) > 0 {
		t.Errorf("partitions 1 and 2 gave %v and %v, want nothing and %v", read[1], read[2], want)
	}
	c.Release(2)
	c.Assign(0, 49)
	c.Assign(1, 49)
	read = poll(t, c, 2, 100)
	if !slices.Equal(read[0], []string{"0/49"}) || !slices.Equal(read[1], []string{"1/49"}) {
		t.Errorf("after another assignment: %v", read)
	}
	if _, err := consumer(t, kafka.ConsumerOptions{Settings: settings(b), Topic: "nowhere"}).Partitions(t.Context()); err == nil {
		t.Error("a topic that is not there has partitions")
	}
}

func offsetGone(t *testing.T, b *kafkatest.Broker) {
	fill(t, b, "gone", 2, 20)
	b.Trim(t, "gone", 0, 15)
	c := consumer(t, kafka.ConsumerOptions{Settings: settings(b), Topic: "gone"})
	c.Assign(0, 3)
	c.Assign(1, 18)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var gone *kafka.PartitionError
	for others := 0; gone == nil || others < 2; {
		batches, err := c.Poll(ctx, 10)
		for _, batch := range batches {
			others += len(batch.Messages)
		}
		if err != nil && !errors.As(err, &gone) {
			t.Fatal(err)
		}
		if ctx.Err() != nil {
			t.Fatal("the error, or the other partition, did not come")
		}
	}
	if gone.Partition != 0 || !errors.Is(gone, kafka.ErrOutOfRange) {
		t.Fatalf("got %v", gone)
	}
	ranges, err := c.Ranges(t.Context(), []int32{0})
	if err != nil || ranges[0] != (kafka.Range{Start: 15, End: 20}) {
		t.Fatalf("ranges %v, %v", ranges, err)
	}
	c.Assign(0, ranges[0].Start)
	if read := poll(t, c, 5, 10); len(read[0]) != 5 {
		t.Errorf("from the start of what is left: %v", read)
	}
}

// boundedAhead: without a poll not more than the bound is fetched, and polls in small steps lose nothing.
func boundedAhead(t *testing.T, b *kafkatest.Broker) {
	b.Topic(t, "large", 1)
	value := make([]byte, 64<<10)
	if _, err := rand.Read(value); err != nil { // what travels compressed would count for less
		t.Fatal(err)
	}
	for range 8 {
		records := make([]*kgo.Record, 8)
		for i := range records {
			records[i] = &kgo.Record{Topic: "large", Value: value}
		}
		b.Produce(t, records...)
	}
	c := consumer(t, kafka.ConsumerOptions{Settings: settings(b), Topic: "large", MaxBytes: 256 << 10})
	c.Assign(0, 0)
	time.Sleep(300 * time.Millisecond)
	batches, err := c.Poll(t.Context(), 1000)
	if err != nil || len(batches) != 1 {
		t.Fatalf("%d batches, %v", len(batches), err)
	}
	// A broker gives whole batches of the producer, so the bound is met to within one.
	if n := len(batches[0].Messages); n > 16 {
		t.Errorf("%d messages of 64 KiB were fetched ahead of a bound of 256 KiB", n)
	}
	if read := poll(t, c, 64-len(batches[0].Messages), 3); len(read[0]) != 64-len(batches[0].Messages) {
		t.Errorf("%d further messages", len(read[0]))
	}
}

func producer(t *testing.T, o kafka.ProducerOptions) *kafka.Producer {
	t.Helper()
	p, err := kafka.NewProducer(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func writes(t *testing.T, b *kafkatest.Broker) {
	b.Topic(t, "out", 4)
	p := producer(t, kafka.ProducerOptions{Settings: settings(b)})
	var messages []kafka.Outgoing
	for i := range 40 {
		messages = append(messages, kafka.Outgoing{Topic: "out", Key: fmt.Appendf(nil, "k%d", i%5), Value: fmt.Append(nil, i),
			Headers: []kafka.Header{{Key: "id", Value: fmt.Append(nil, i)}}})
	}
	for i, err := range p.Send(t.Context(), messages) {
		if err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
	}
	last, partition := map[string]int{}, map[string]int32{}
	for _, r := range b.Consume(t, "out", 40) {
		var i int
		if _, err := fmt.Sscan(string(r.Value), &i); err != nil {
			t.Fatal(err)
		}
		key := string(r.Key)
		if before, seen := last[key]; seen && (before >= i || partition[key] != r.Partition) {
			t.Errorf("key %s: %d after %d, partition %d after %d", key, i, before, r.Partition, partition[key])
		}
		last[key], partition[key] = i, r.Partition
		if len(r.Headers) != 1 || string(r.Headers[0].Value) != string(r.Value) {
			t.Errorf("message %d has headers %v", i, r.Headers)
		}
	}
}

func refused(t *testing.T, b *kafkatest.Broker) {
	b.Topic(t, "narrow", 1)
	p := producer(t, kafka.ProducerOptions{Settings: settings(b), Timeout: 3 * time.Second})
	failed := p.Send(t.Context(), []kafka.Outgoing{{Topic: "narrow", Value: make([]byte, 2<<20)}, {Topic: "narrow", Value: []byte("small")},
		{Topic: "missing", Value: []byte("small")}})
	if !kafka.Refused(failed[0]) || failed[1] != nil || failed[2] == nil || kafka.Refused(failed[2]) {
		t.Errorf("got %v; want a refusal, nothing, and an error that may pass", failed)
	}
}

// brokerRestarts: the broker is killed while messages are written and read; each is there once, in order.
func brokerRestarts(t *testing.T, b *kafkatest.Broker) {
	b.Topic(t, "again", 1)
	p := producer(t, kafka.ProducerOptions{Settings: settings(b), Timeout: 60 * time.Second})
	c := consumer(t, kafka.ConsumerOptions{Settings: settings(b), Topic: "again"})
	c.Assign(0, 0)
	const count = 300
	sent := make(chan error, 1)
	go func() {
		for i := range count {
			if err := p.Send(context.Background(), []kafka.Outgoing{{Topic: "again", Value: fmt.Append(nil, i)}})[0]; err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	restarted := false
	for next := 0; next < count; {
		batches, _ := c.Poll(ctx, 50) // while the broker is away there are errors
		for _, batch := range batches {
			for _, m := range batch.Messages {
				if string(m.Value) != fmt.Sprint(next) {
					t.Fatalf("message %s, want %d", m.Value, next)
				}
				next++
			}
		}
		if ctx.Err() != nil {
			t.Fatalf("%d of %d messages came", next, count)
		}
		if next > 20 && !restarted {
			b.Stop()
			b.Launch(t)
			restarted = true
		}
	}
	if err := <-sent; err != nil || !restarted {
		t.Fatalf("sending: %v; restarted %v", err, restarted)
	}
}

// securedToo gives a broker a second listener that asks for TLS and a password, on the port two further.
func securedToo(pemFile string) string {
	return strings.Join([]string{
		"listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller},SASL_SSL://127.0.0.1:{third}",
		"advertised.listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller},SASL_SSL://127.0.0.1:{third}",
		"listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL",
		"sasl.enabled.mechanisms=PLAIN",
		"ssl.keystore.type=PEM", "ssl.keystore.location=" + pemFile, "ssl.truststore.type=PEM", "ssl.truststore.location=" + pemFile,
		`listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_arbiter="secret";`,
	}, "\n")
}

func secured(t *testing.T, b *kafkatest.Broker, roots *x509.CertPool) {
	fill(t, b, "secured", 1, 3)

	with := kafka.Settings{Brokers: []string{b.Third}, ClientID: "test", TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		SASL: &kafka.SASL{Mechanism: kafka.MechanismPlain, User: "arbiter", Password: "secret"}}
	c := consumer(t, kafka.ConsumerOptions{Settings: with, Topic: "secured"})
	c.Assign(0, 0)
	if read := poll(t, c, 3, 10); len(read[0]) != 3 {
		t.Errorf("read %v", read)
	}
	if err := producer(t, kafka.ProducerOptions{Settings: with}).Send(t.Context(), []kafka.Outgoing{{Topic: "secured", Value: []byte("x")}})[0]; err != nil {
		t.Errorf("writing: %v", err)
	}
	for name, change := range map[string]func(*kafka.Settings){
		"another password": func(s *kafka.Settings) {
			s.SASL = &kafka.SASL{Mechanism: kafka.MechanismPlain, User: "arbiter", Password: "wrong"}
		},
		"no password": func(s *kafka.Settings) { s.SASL = nil },
		"no TLS":      func(s *kafka.Settings) { s.TLS = nil },
		"another authority": func(s *kafka.Settings) {
			s.TLS = &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
		},
	} {
		wrong := with
		change(&wrong)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		if n, err := consumer(t, kafka.ConsumerOptions{Settings: wrong, Topic: "secured"}).Partitions(ctx); err == nil {
			t.Errorf("%s: the broker told of %d partitions", name, n)
		} else if strings.Contains(err.Error(), "wrong") {
			t.Errorf("%s: the error shows the password: %v", name, err)
		}
		cancel()
	}
}

// certificate makes an authority that is a broker's certificate too, and the file that the broker reads.
func certificate(t *testing.T) (*x509.CertPool, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "broker"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "broker.pem")
	text := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	return roots, path
}

func TestSettingsAreChecked(t *testing.T) {
	for name, s := range map[string]kafka.Settings{
		"no broker":      {},
		"no port":        {Brokers: []string{"kafka"}},
		"no password":    {Brokers: []string{"kafka:9092"}, SASL: &kafka.SASL{Mechanism: kafka.MechanismPlain, User: "u"}},
		"odd mechanism":  {Brokers: []string{"kafka:9092"}, SASL: &kafka.SASL{Mechanism: "GSSAPI", User: "u", Password: "p"}},
		"far too many":   {Brokers: slices.Repeat([]string{"kafka:9092"}, 65)},
		"an empty entry": {Brokers: []string{"kafka:9092", ""}},
	} {
		if s.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
		if _, err := kafka.NewProducer(kafka.ProducerOptions{Settings: s}); err == nil {
			t.Errorf("%s: a producer was made", name)
		}
	}
	if _, err := kafka.NewConsumer(kafka.ConsumerOptions{Settings: kafka.Settings{Brokers: []string{"k:1"}}}); err == nil {
		t.Error("a consumer without a topic was made")
	}
}
