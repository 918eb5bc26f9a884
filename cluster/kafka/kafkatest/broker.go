// Package kafkatest gives tests a real Kafka broker on this machine: KRaft, one node, on loopback. The script
// scripts/kafka/broker.sh installs it, from Maven, once.
package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// How long things may take on a busy machine.
const (
	installTimeout = 5 * time.Minute
	startTimeout   = 90 * time.Second
	callTimeout    = 30 * time.Second
)

// exitNone is the exit code of the script where no broker can be had.
const exitNone = 3

// Broker is a running broker. It ends with the test.
type Broker struct {
	// Addr is where it listens, host:port. Third is a port for another listener, if the configuration has one.
	Addr, Third string

	folder string
	port   int
	config string
	cmd    *exec.Cmd
	exited chan struct{}
	client *kgo.Client
}

// Start runs a broker over a folder of its own and waits until it answers. More lines of its configuration may
// be given, where {port}, {controller}, {third} and {folder} stand for what was chosen. The test is skipped,
// loudly, where no broker can be had.
func Start(tb testing.TB, config string) *Broker {
	tb.Helper()
	Install(tb)
	b := &Broker{folder: tb.TempDir(), port: freePair(tb), config: config}
	b.Addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(b.port))
	b.Third = net.JoinHostPort("127.0.0.1", strconv.Itoa(b.port+2))
	b.config = strings.NewReplacer("{third}", strconv.Itoa(b.port+2), "{port}", strconv.Itoa(b.port), "{controller}", strconv.Itoa(b.port+1), "{folder}", b.folder).Replace(config)
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Addr), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.MaxBufferedRecords(1<<17), kgo.MetadataMinAge(100*time.Millisecond))
	if err != nil {
		tb.Fatal(err)
	}
	b.client = client
	tb.Cleanup(func() {
		client.Close()
		b.Stop()
	})
	b.Launch(tb)
	return b
}

// Install has the broker's files where Start finds them. Start does it too; a program whose tests have no
// network calls it before.
func Install(tb testing.TB) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), installTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, script(tb), "install").CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == exitNone {
		tb.Skipf("NOT TESTED AGAINST KAFKA: %s", out)
	}
	if err != nil {
		tb.Fatalf("installing the Kafka broker: %v\n%s", err, out)
	}
}

// Launch starts the process, after Stop again over the same folder, and waits until it answers.
func (b *Broker) Launch(tb testing.TB) {
	tb.Helper()
	log, err := os.Create(filepath.Join(b.folder, "output.log"))
	if err != nil {
		tb.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(script(tb), "run", b.folder, strconv.Itoa(b.port))
	cmd.Env = append(os.Environ(), "KAFKA_PROPERTIES="+b.config)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // the script becomes the broker
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	b.cmd, b.exited = cmd, exited
	for deadline := time.Now().Add(startTimeout); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		select {
		case <-exited:
			tb.Fatalf("the Kafka broker ended by itself:\n%s", b.output())
		default:
		}
		ctx, cancel := context.WithTimeout(tb.Context(), time.Second)
		err := b.client.Ping(ctx)
		cancel()
		if err == nil {
			return
		}
	}
	tb.Fatalf("the Kafka broker does not answer after %v:\n%s", startTimeout, b.output())
}

// Stop ends the process at once, as a crash does; nothing it acknowledged is lost.
func (b *Broker) Stop() {
	if b.cmd != nil {
		_ = b.cmd.Process.Kill()
		<-b.exited
	}
}

func (b *Broker) output() string {
	out, err := os.ReadFile(filepath.Join(b.folder, "output.log"))
	if err != nil {
		return err.Error()
	}
	return string(out)
}

// Topic creates a topic.
func (b *Broker) Topic(tb testing.TB, name string, partitions int) {
	tb.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, int32(partitions), 1
	req.Topics, req.TimeoutMillis = append(req.Topics, topic), int32(callTimeout.Milliseconds())
	ctx, cancel := context.WithTimeout(tb.Context(), callTimeout)
	defer cancel()
	resp, err := req.RequestWith(ctx, b.client)
	if err == nil {
		err = kerr.ErrorForCode(resp.Topics[0].ErrorCode)
	}
	if err != nil {
		tb.Fatalf("creating the topic %s: %v", name, err)
	}
}

// Trim removes the messages of a partition before an offset, as the retention of a topic does.
func (b *Broker) Trim(tb testing.TB, topic string, partition int32, before int64) {
	tb.Helper()
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.TimeoutMillis = int32(callTimeout.Milliseconds())
	of, at := kmsg.NewDeleteRecordsRequestTopic(), kmsg.NewDeleteRecordsRequestTopicPartition()
	at.Partition, at.Offset = partition, before
	of.Topic, of.Partitions = topic, append(of.Partitions, at)
	req.Topics = append(req.Topics, of)
	ctx, cancel := context.WithTimeout(tb.Context(), callTimeout)
	defer cancel()
	resp, err := req.RequestWith(ctx, b.client)
	if err == nil {
		err = kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode)
	}
	if err != nil {
		tb.Fatalf("trimming %s: %v", topic, err)
	}
}

// Produce writes messages, each to the partition it names, and waits until all are stored.
func (b *Broker) Produce(tb testing.TB, records ...*kgo.Record) {
	tb.Helper()
	if err := b.TryProduce(tb.Context(), records...); err != nil {
		tb.Fatalf("producing: %v", err)
	}
}

// TryProduce is Produce for goroutines other than the test's.
func (b *Broker) TryProduce(ctx context.Context, records ...*kgo.Record) error {
	return b.client.ProduceSync(ctx, records...).FirstErr()
}

// Consume reads a topic from its beginning until it has read count messages.
func (b *Broker) Consume(tb testing.TB, topic string, count int) []*kgo.Record {
	tb.Helper()
	client, err := kgo.NewClient(append(b.client.Opts(), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		tb.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(tb.Context(), callTimeout)
	defer cancel()
	var records []*kgo.Record
	for len(records) < count {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			tb.Fatalf("consuming %s: %v after %d of %d messages", topic, err, len(records), count)
		}
		records = append(records, fetches.Records()...)
	}
	return records
}

// script is the path of the script that installs and runs the broker.
func script(tb testing.TB) string {
	tb.Helper()
	dir, err := os.Getwd()
	if err != nil {
		tb.Fatal(err)
	}
	for {
		path := filepath.Join(dir, "scripts", "kafka", "broker.sh")
		if _, err := os.Stat(path); err == nil {
			return path
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			tb.Fatal("scripts/kafka/broker.sh is in no folder above the test")
		}
		dir = parent
	}
}

// freePair is a port that nobody listens on, nor on the next. It is below those that the kernel gives to
// connections, and processes that test at the same time begin at different ones.
func freePair(tb testing.TB) int {
	tb.Helper()
	const first, apart, count = 12_000, 8, 900
	for i := range count {
		port := first + apart*((os.Getpid()*37+i)%count)
		if free(port) && free(port+1) && free(port+2) {
			return port
		}
	}
	tb.Fatal("no free port for a Kafka broker")
	return 0
}

func free(port int) bool {
	ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return false
	}
	return ln.Close() == nil
}
