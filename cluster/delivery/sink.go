package delivery

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/arbiterhq/arbiter/cluster/kafka"
	"github.com/arbiterhq/arbiter/runtime/delivery"
)

// Delivery is one message on its way.
type Delivery struct {
	// ID is the same at every attempt.
	ID string
	// Key is the same for all deliveries of a subject, and tells nothing of it.
	Key uint64
	// Attempt is 1 for the first.
	Attempt         int
	Channel, Action string
	Origin          string
	// Payload is the JSON of an nba.DeliveryMessage.
	Payload []byte
	// Expires is when it is of no use any more; zero: never.
	Expires time.Time
}

// Result is how one attempt ended.
type Result struct {
	Outcome delivery.Outcome
	// After is how long the receiver asks to wait before the next attempt.
	After time.Duration
	// Problem is why it was not taken. It has nothing of the message, and of the answer only its status.
	Problem string
}

// Sink takes deliveries. Send is called from several goroutines at once, as many as the sink's Concurrency; it
// returns one Result for each delivery, in their order, and must end when ctx does. Close is called once, when
// no Send is under way.
type Sink interface {
	Send(ctx context.Context, deliveries []Delivery) []Result
	Close() error
}

// The kinds of sinks.
const (
	KindWebhook = "webhook"
	KindTMF681  = "tmf681"
	KindKafka   = "kafka"
	KindLog     = "log"
)

// LogSink is the name of the sink that is there without a setting: it writes deliveries to the log.
const LogSink = "log"

// Spec describes a sink.
type Spec struct {
	Name string
	Kind string
	// URL is where a webhook or TMF681 request goes.
	URL string
	// Topic is that of Kafka, and Kafka how its brokers are reached.
	Topic string
	Kafka kafka.Settings
	// Secret signs what a webhook is sent, and proves who asks to TMF681; empty: nothing does. Several, one a
	// line, all sign, so that one can replace another.
	Secret string
	// TLS is what a webhook or TMF681 is reached with; nil: what the system trusts.
	TLS *tls.Config
	// Concurrency bounds the Sends under way, Batch the deliveries of one, Timeout how long one takes.
	Concurrency, Batch int
	Timeout            time.Duration
	// Policy is how often and for how long is tried.
	Policy delivery.Policy
	// After BreakAfter failures in a row the sink is left alone for BreakPause, longer each time.
	BreakAfter int
	BreakPause time.Duration
}

// Limits of a Spec.
const (
	MaxSinks       = 64
	MaxConcurrency = 256
	MaxBatch       = 1024
	maxTimeout     = time.Minute
	minTimeout     = 10 * time.Millisecond
)

// Default fills in what is zero.
func (s Spec) Default() Spec {
	if s.Concurrency == 0 {
		s.Concurrency = 16
	}
	if s.Batch == 0 {
		if s.Batch = 1; s.Kind == KindKafka || s.Kind == KindLog {
			s.Batch = 256
		}
	}
	if s.Timeout == 0 {
		s.Timeout = 10 * time.Second
	}
	standard := delivery.DefaultPolicy()
	if s.Policy.First == 0 {
		s.Policy.First = standard.First
	}
	if s.Policy.Longest == 0 {
		s.Policy.Longest = max(standard.Longest, s.Policy.First)
	}
	if s.Policy.Attempts == 0 {
		s.Policy.Attempts = standard.Attempts
	}
	if s.BreakAfter == 0 {
		s.BreakAfter = 10
	}
	if s.BreakPause == 0 {
		s.BreakPause = 5 * time.Second
	}
	return s
}

// Validate reports every setting that cannot work. Call it on what Default returned. It never tells the secret
// or the URL.
func (s Spec) Validate() error {
	var problems []error
	fail := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if s.Name == "" || len(s.Name) > 64 {
		fail("a sink needs a name of 1 to 64 bytes")
	}
	switch s.Kind {
	case KindWebhook, KindTMF681:
		at, err := url.Parse(s.URL)
		if err != nil || at.Host == "" || at.Scheme != "http" && at.Scheme != "https" || at.User != nil {
			fail("the url must be one of http or https, without a user and a password in it")
		}
	case KindKafka:
		if s.Topic == "" {
			fail("a sink of kind kafka needs a topic")
		}
		if err := s.Kafka.Validate(); err != nil {
			problems = append(problems, err)
		}
	case KindLog:
	default:
		fail("the kind must be %s, %s, %s or %s", KindWebhook, KindTMF681, KindKafka, KindLog)
	}
	if s.Kind == KindWebhook && s.Secret != "" {
		if _, err := signingKeys(s.Secret); err != nil {
			problems = append(problems, err)
		}
	}
	if s.Concurrency < 1 || s.Concurrency > MaxConcurrency || s.Batch < 1 || s.Batch > MaxBatch {
		fail("the concurrency is between 1 and %d, the batch between 1 and %d", MaxConcurrency, MaxBatch)
	}
	if s.Timeout < minTimeout || s.Timeout > maxTimeout {
		fail("the timeout is between %s and %s", minTimeout, maxTimeout)
	}
	if s.BreakAfter < 1 || s.BreakPause <= 0 {
		fail("the breaker needs at least one failure and a pause")
	}
	if err := s.Policy.Validate(); err != nil {
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

// Open makes the sink of a spec, which Default has filled in.
func Open(s Spec, logger *slog.Logger) (Sink, error) {
	if err := s.Validate(); err != nil {
		return nil, fmt.Errorf("sink %s: %w", s.Name, err)
	}
	switch s.Kind {
	case KindWebhook:
		return newWebhook(&s)
	case KindTMF681:
		return newTMF681(&s), nil
	case KindKafka:
		return newKafka(&s)
	case KindLog:
		return &logSink{logger: logger}, nil
	}
	return nil, fmt.Errorf("sink %s: this node cannot open sinks of kind %s", s.Name, s.Kind)
}

// logSink writes deliveries to the log, without whom they are for and what they say.
type logSink struct{ logger *slog.Logger }

// Send implements Sink.
func (l *logSink) Send(_ context.Context, deliveries []Delivery) []Result {
	for i := range deliveries {
		d := &deliveries[i]
		l.logger.Info("delivery", "delivery", d.ID, "channel", d.Channel, "action", d.Action, "origin", d.Origin, "attempt", d.Attempt)
	}
	return make([]Result, len(deliveries))
}

// Close implements Sink.
func (l *logSink) Close() error { return nil }
