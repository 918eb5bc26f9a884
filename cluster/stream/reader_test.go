package stream

import (
	"context"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/kafka"
	"github.com/arbiterhq/arbiter/cluster/kafka/kafkatest"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// groupsOfTest keep cursors and events as data groups do, and fail as they do.
type groupsOfTest struct {
	mu      sync.Mutex
	cursors []map[string]uint64
	applied map[string]int // event id -> times
	order   map[string][]int
	letters map[string]int // fault -> times
	leaders []int          // of each group, a node
	chance  *rand.Rand
	trouble float64 // how often a call fails
	noted   int
	held    chan struct{} // while it is there nothing is accepted
	waiting atomic.Int64
}

func newGroups(count int) *groupsOfTest {
	g := &groupsOfTest{applied: map[string]int{}, order: map[string][]int{}, letters: map[string]int{}, leaders: make([]int, count), chance: rand.New(rand.NewPCG(1, 2))}
	for range count {
		g.cursors = append(g.cursors, map[string]uint64{})
	}
	return g
}

// nodeOfTest is the groups as one node sees them.
type nodeOfTest struct {
	*groupsOfTest
	number int
}

func (n nodeOfTest) EventGroups() int { return len(n.cursors) }

func (n nodeOfTest) EventGroup(e *nba.IncomingEvent) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(e.SubjectName))
	return int(h.Sum32() % uint32(len(n.cursors)))
}

func (n nodeOfTest) LeadsGroup(group int) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.leaders[group] == n.number
}

var errTrouble = nba.Errorf(nba.CodeUnavailable, "no leader")

func (n nodeOfTest) fails() bool { return n.chance.Float64() < n.trouble }

func (n nodeOfTest) StreamCursors(_ context.Context, stream string) ([]uint64, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	cursors := make([]uint64, len(n.cursors))
	for i := range cursors {
		cursors[i] = n.cursors[i][stream]
	}
	if n.fails() {
		return nil, errTrouble
	}
	return cursors, nil
}

func (n nodeOfTest) AcceptStream(ctx context.Context, group int, step command.StreamStep, events []nba.IncomingEvent) ([]nba.EventReceipt, error) {
	if n.held != nil && len(events) > 0 {
		n.waiting.Add(1)
		select {
		case <-n.held:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fails() {
		return nil, errTrouble
	}
	at := n.cursors[group][step.Stream]
	switch {
	case at >= step.Next:
		return nil, nil
	case at != step.From:
		return nil, nba.Errorf(nba.CodeConflict, "at %d", at)
	}
	n.cursors[group][step.Stream] = step.Next
	for _, e := range events {
		if e.Fault != nil {
			n.letters[e.Fault.Error()]++
			continue
		}
		n.applied[e.ID]++
		sequence, _ := strconv.Atoi(string(e.Data))
		n.order[e.SubjectName] = append(n.order[e.SubjectName], sequence)
	}
	if n.fails() {
		return nil, errTrouble // it happened, and nobody was told
	}
	return make([]nba.EventReceipt, len(events)), nil
}

func (n nodeOfTest) NoteStreams(_ context.Context, group int, steps []command.StreamStep) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range steps {
		if n.cursors[group][s.Stream] == s.From {
			n.cursors[group][s.Stream] = s.Next
			n.noted++
		}
	}
	return nil
}

func streamConfig(b *kafkatest.Broker, topic string) Config {
	return Config{Name: "s-" + topic, Kafka: kafka.ConsumerOptions{Settings: kafka.Settings{Brokers: []string{b.Addr}}, Topic: topic},
		OwnEvery: 20 * time.Millisecond, NoteEvery: 50 * time.Millisecond, MaxMessages: 50,
		Metrics: NewMetrics(prometheus.NewRegistry()), Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
}

// valueOf is the sum of a counter.
func valueOf(t *testing.T, c prometheus.Collector) (sum float64) {
	t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(c)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.Metric {
			sum += m.GetCounter().GetValue()
		}
	}
	return sum
}

// run has a reader read until the function it gives is called.
func run(t *testing.T, cfg Config, groups Groups) (stop func()) {
	t.Helper()
	r, err := NewReader(cfg, groups)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Run(ctx)
		r.Close()
	}()
	return sync.OnceFunc(func() {
		cancel()
		<-done
	})
}

// event is the text of a message; its data is its number among those of its subject.
func event(id, subject string, sequence int) string {
	return fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/t","type":"t","subject":%q,"data":%d}`, id, subject, sequence)
}

// fill writes count events to each partition, every seventh message being none.
func fill(t *testing.T, b *kafkatest.Broker, topic string, partitions, count int) (events int) {
	t.Helper()
	var records []*kgo.Record
	for p := range partitions {
		for i := range count {
			value := fmt.Sprintf("no event %d", i)
			if i%7 != 3 {
				value = event(fmt.Sprintf("%d/%d", p, i), fmt.Sprintf("S-%d-%d", p, i%13), i)
				events++
			}
			records = append(records, &kgo.Record{Topic: topic, Partition: int32(p), Value: []byte(value)})
		}
	}
	b.Produce(t, records...)
	return events
}

func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited for %s in vain", what)
		}
	}
}

func (g *groupsOfTest) count() (events, letters int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.applied), len(g.letters)
}

// once checks that everything was applied once and in the order of each subject.
func (g *groupsOfTest) once(t *testing.T) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	for id, times := range g.applied {
		if times != 1 {
			t.Errorf("event %s was applied %d times", id, times)
		}
	}
	for fault, times := range g.letters {
		if times != 1 {
			t.Errorf("%d letters: %s", times, fault)
		}
	}
	for subject, order := range g.order {
		if !slices.IsSorted(order) {
			t.Errorf("the events of %s came in the order %v", subject, order)
		}
	}
}

func TestReaders(t *testing.T) {
	b := kafkatest.Start(t, "")
	t.Run("apply each event once, whatever happens", func(t *testing.T) { appliesOnce(t, b) })
	t.Run("move the cursors of groups without events", func(t *testing.T) { notes(t, b) })
	t.Run("begin at the end if told to", func(t *testing.T) { beginsAtTheEnd(t, b) })
	t.Run("fetch nothing while events cannot go on", func(t *testing.T) { holdsBack(t, b) })
	t.Run("tell of removed messages and of another topic", func(t *testing.T) { removed(t, b) })
	t.Run("take up new partitions and await the topic", func(t *testing.T) { awaitsTopic(t, b) })
}

// appliesOnce: two nodes read while their leads change hands, calls fail before and after they happened, and
// readers are ended and begun anew at any moment.
func appliesOnce(t *testing.T, b *kafkatest.Broker) {
	b.Topic(t, "once", 5)
	const each = 1200
	want := fill(t, b, "once", 5, each)
	g := newGroups(8)
	g.trouble = 0.05
	chance := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	begin := func(node int) func() {
		cfg := streamConfig(b, "once")
		cfg.MaxMessages = 13 + chance.IntN(60) // so that what is read again is divided otherwise
		return run(t, cfg, nodeOfTest{g, node})
	}
	stops := []func(){begin(0), begin(1)}
	deadline := time.Now().Add(60 * time.Second)
	for {
		if events, letters := g.count(); events == want && letters == 5*each-want {
			break
		}
		if time.Now().After(deadline) {
			events, letters := g.count()
			t.Fatalf("%d of %d events and %d of %d letters came", events, want, letters, 5*each-want)
		}
		g.mu.Lock()
		g.leaders[chance.IntN(8)] = chance.IntN(2)
		g.mu.Unlock()
		if chance.IntN(12) == 0 {
			node := chance.IntN(2)
			stops[node]()
			stops[node] = begin(node)
		}
		time.Sleep(20 * time.Millisecond)
	}
	time.Sleep(100 * time.Millisecond) // what would come twice comes now
	for _, stop := range stops {
		stop()
	}
	g.once(t)
	for fault := range g.letters {
		if !strings.HasPrefix(fault, "malformed: topic once, partition ") && !strings.HasPrefix(fault, "topic once, partition ") || !strings.Contains(fault, ", offset ") {
			t.Fatalf("a letter says %q", fault)
		}
	}
}

func notes(t *testing.T, b *kafkatest.Broker) {
	b.Topic(t, "notes", 1)
	var records []*kgo.Record
	for i := range 40 {
		records = append(records, &kgo.Record{Topic: "notes", Value: []byte(event(strconv.Itoa(i), "S-1", i))})
	}
	b.Produce(t, records...)
	g := newGroups(6)
	stop := run(t, streamConfig(b, "notes"), nodeOfTest{g, 0})
	defer stop()
	await(t, "all cursors at the end", func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return !slices.ContainsFunc(g.cursors, func(c map[string]uint64) bool { return c["s-notes/0"] != cursorOf(40) })
	})
	if g.noted != 5 {
		t.Errorf("%d cursors were noted, want those of the 5 groups without events", g.noted)
	}
	r, err := NewReader(streamConfig(b, "notes"), nodeOfTest{g, 1})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	status := r.Status(t.Context(), func(int) string { return "n1" })
	want := nba.StreamPartition{Node: "n1", Next: 40, End: 40}
	if status.Problem != "" || len(status.Partitions) != 1 || status.Partitions[0] != want {
		t.Errorf("the status is %+v", status)
	}
}

func beginsAtTheEnd(t *testing.T, b *kafkatest.Broker) {
	b.Topic(t, "latest", 2)
	fill(t, b, "latest", 1, 20) // the other partition is empty
	g := newGroups(3)
	cfg := streamConfig(b, "latest")
	cfg.Latest = true
	stop := run(t, cfg, nodeOfTest{g, 0})
	await(t, "cursors", func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return !slices.ContainsFunc(g.cursors, func(c map[string]uint64) bool { return c["s-latest/0"] == 0 || c["s-latest/1"] == 0 })
	})
	stop()
	// What comes while nobody reads is read later: the stream has begun.
	b.Produce(t, &kgo.Record{Topic: "latest", Partition: 0, Value: []byte(event("new", "S", 1))}, &kgo.Record{Topic: "latest", Partition: 1, Value: []byte(event("first", "S", 1))})
	stop = run(t, cfg, nodeOfTest{g, 0})
	defer stop()
	await(t, "the new events", func() bool { events, _ := g.count(); return events == 2 })
	if events, letters := g.count(); events != 2 || letters != 0 || g.applied["new"] != 1 || g.applied["first"] != 1 {
		t.Errorf("%v and %d letters", g.applied, letters)
	}
}

// holdsBack: while nothing is accepted one batch is under way, and the consumer fetches no more than its bound.
func holdsBack(t *testing.T, b *kafkatest.Broker) {
	b.Topic(t, "held", 1)
	var records []*kgo.Record
	for i := range 400 {
		records = append(records, &kgo.Record{Topic: "held", Value: []byte(event(strconv.Itoa(i), "S-1", i))})
	}
	b.Produce(t, records...)
	g := newGroups(2)
	g.held = make(chan struct{})
	stop := run(t, streamConfig(b, "held"), nodeOfTest{g, 0})
	defer stop()
	await(t, "the first batch", func() bool { return g.waiting.Load() > 0 })
	time.Sleep(300 * time.Millisecond)
	if n := g.waiting.Load(); n != 1 {
		t.Errorf("%d batches of one partition are under way at the same time", n)
	}
	close(g.held)
	await(t, "the rest", func() bool { events, _ := g.count(); return events == 400 })
	g.once(t)
}

func removed(t *testing.T, b *kafkatest.Broker) {
	b.Topic(t, "trimmed", 1)
	fill(t, b, "trimmed", 1, 30)
	b.Trim(t, "trimmed", 0, 20)
	g := newGroups(2)
	for _, cursors := range g.cursors {
		cursors["s-trimmed/0"] = cursorOf(5)
	}
	cfg := streamConfig(b, "trimmed")
	stop := run(t, cfg, nodeOfTest{g, 0})
	await(t, "what is left", func() bool { events, letters := g.count(); return events+letters == 10 })
	stop()
	if lost := valueOf(t, cfg.Metrics.lost); lost != 15 {
		t.Errorf("%v messages are counted as lost, want 15", lost)
	}
	for _, cursors := range g.cursors {
		cursors["s-trimmed/0"] = cursorOf(1000)
	}
	r, err := NewReader(streamConfig(b, "trimmed"), nodeOfTest{g, 0})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.position(t.Context(), &partition{name: "s-trimmed/0"}); err == nil || !strings.Contains(err.Error(), "another name") {
		t.Errorf("beyond the end of the topic: %v", err)
	}
	if p := r.Status(t.Context(), func(int) string { return "" }).Partitions[0]; !strings.Contains(p.Problem, "another name") {
		t.Errorf("the status does not tell: %+v", p)
	}
}

func awaitsTopic(t *testing.T, b *kafkatest.Broker) {
	g := newGroups(2)
	cfg := streamConfig(b, "later")
	stop := run(t, cfg, nodeOfTest{g, 0})
	defer stop()
	await(t, "an error", func() bool { return valueOf(t, cfg.Metrics.errors) > 0 })
	b.Topic(t, "later", 2)
	want := fill(t, b, "later", 2, 10)
	await(t, "the events", func() bool { events, _ := g.count(); return events == want })
}

func TestConfigsAreChecked(t *testing.T) {
	good := Config{Name: "s", Kafka: kafka.ConsumerOptions{Settings: kafka.Settings{Brokers: []string{"k:1"}}, Topic: "t"}, Metrics: NewMetrics(prometheus.NewRegistry())}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"no name": func(c *Config) { c.Name = "" }, "a long name": func(c *Config) { c.Name = strings.Repeat("n", 65) },
		"no topic": func(c *Config) { c.Kafka.Topic = "" }, "no brokers": func(c *Config) { c.Kafka.Brokers = nil },
		"no metrics": func(c *Config) { c.Metrics = nil }, "too many": func(c *Config) { c.MaxMessages = command.MaxEvents + 1 },
		"no mapping": func(c *Config) { c.Format = FormatJSON },
	} {
		c := good
		change(&c)
		if c.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
		if r, err := NewReader(c, nodeOfTest{newGroups(1), 0}); err == nil {
			r.Close()
			t.Errorf("%s: a reader was made", name)
		}
	}
}

func TestHomesGoRound(t *testing.T) {
	seen := map[int]int{}
	for p := range int32(16) {
		seen[homeOf("roaming", p, 8)]++
	}
	for g := range 8 {
		if seen[g] != 2 {
			t.Errorf("group %d is home to %d of 16 partitions, want 2", g, seen[g])
		}
	}
}
