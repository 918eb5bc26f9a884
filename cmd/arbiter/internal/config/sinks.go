package config

import (
	"cmp"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/arbiterhq/arbiter/cluster/delivery"
)

// Delivery is how what was decided is sent.
type Delivery struct {
	// DefaultSink is the sink of channels of the catalog that name none; empty: nothing is decided for those.
	DefaultSink string
}

// Sink is one place where deliveries go. Every node of a cluster has the same sinks.
type Sink struct {
	Name string // a to z, 0 to 9 and -; channels of the catalog name it
	Kind string // one of the kinds of delivery.Spec
	URL  string // of a webhook or TMF681
	// SecretFile or SecretEnv say where the secret is that signs what a webhook is sent, or the token for
	// TMF681.
	SecretFile, SecretEnv string
	Concurrency           int
	Timeout               time.Duration
	Attempts              int
	FirstRetry            time.Duration
	LongestRetry          time.Duration
	BreakAfter            int
	BreakPause            time.Duration
	// Brokers, Topic and SASL are those of Kafka.
	Brokers, Topic string
	SASL           SASL
	TLS            ClientTLS
}

// Spec is what a sink is without what its files hold.
func (s *Sink) Spec() delivery.Spec {
	spec := delivery.Spec{Name: s.Name, Kind: s.Kind, URL: s.URL, Topic: s.Topic, Concurrency: s.Concurrency, Timeout: s.Timeout,
		BreakAfter: s.BreakAfter, BreakPause: s.BreakPause}
	spec.Policy.First, spec.Policy.Longest, spec.Policy.Attempts = s.FirstRetry, s.LongestRetry, s.Attempts
	return spec
}

// Secret reads the secret; empty for none.
func (s *Sink) Secret() (string, error) {
	if s.SecretFile == "" {
		if s.SecretEnv == "" {
			return "", nil
		}
		return os.Getenv(s.SecretEnv), nil
	}
	text, err := readFile(s.SecretFile)
	return strings.TrimSpace(string(text)), err
}

func defaultSink() *Sink {
	standard := delivery.Spec{Kind: delivery.KindWebhook}.Default()
	return &Sink{Kind: delivery.KindWebhook, Concurrency: standard.Concurrency, Timeout: standard.Timeout, Attempts: standard.Policy.Attempts,
		FirstRetry: standard.Policy.First, LongestRetry: standard.Policy.Longest, BreakAfter: standard.BreakAfter, BreakPause: standard.BreakPause}
}

func (s *Sink) settings() []setting {
	return []setting{
		{"name", "name of the sink, which channels of the catalog name", (*textValue)(&s.Name)},
		{"kind", "webhook, tmf681, kafka or log", (*textValue)(&s.Kind)},
		{"url", "where a webhook or tmf681 posts to", (*textValue)(&s.URL)},
		{"secretFile", "file with the secret that signs, or the token of tmf681", (*textValue)(&s.SecretFile)},
		{"secretEnv", "environment variable with the secret", (*textValue)(&s.SecretEnv)},
		{"concurrency", "requests under way at once", (*intValue)(&s.Concurrency)},
		{"timeout", "deadline of one attempt", (*durationValue)(&s.Timeout)},
		{"attempts", "attempts before a delivery is given up", (*intValue)(&s.Attempts)},
		{"firstRetry", "wait after the first attempt that fails; it doubles", (*durationValue)(&s.FirstRetry)},
		{"longestRetry", "longest wait between attempts", (*durationValue)(&s.LongestRetry)},
		{"breakAfter", "failures in a row after which the sink is left alone for a while", (*intValue)(&s.BreakAfter)},
		{"breakPause", "how long, at first", (*durationValue)(&s.BreakPause)},
		{"brokers", "host:port of Kafka brokers, separated by commas", (*textValue)(&s.Brokers)},
		{"topic", "Kafka topic to write to", (*textValue)(&s.Topic)},
		{"tls.on", "true: the brokers are reached over TLS", (*boolValue)(&s.TLS.On)},
		{"tls.ca", "authorities to trust besides those of the system", (*textValue)(&s.TLS.CA)},
		{"tls.cert", "certificate to show", (*textValue)(&s.TLS.Cert)},
		{"tls.key", "its key", (*textValue)(&s.TLS.Key)},
		{"sasl.mechanism", "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512", (*textValue)(&s.SASL.Mechanism)},
		{"sasl.user", "user to be", (*textValue)(&s.SASL.User)},
		{"sasl.passwordFile", "file with the password", (*textValue)(&s.SASL.PasswordFile)},
		{"sasl.passwordEnv", "environment variable with the password", (*textValue)(&s.SASL.PasswordEnv)},
	}
}

func validateSinks(p *problems, sinks []*Sink, fallback string) {
	names := map[string]bool{delivery.LogSink: true}
	for i, s := range sinks {
		key := entryKey("sinks", i)
		s.validate(p, key)
		if names[s.Name] && s.Name != "" {
			p.key(key+".name", "is the name of another sink too")
		}
		names[s.Name] = true
	}
	if fallback != "" && !names[fallback] {
		p.key("delivery.defaultSink", "must be the name of one of the sinks, or log")
	}
}

func (s *Sink) validate(p *problems, key string) {
	if !validNodeID(s.Name) {
		p.missing(key, key+".name", s.Name, "must be up to 32 of a-z, 0-9 and -")
	}
	post := s.Kind == delivery.KindWebhook || s.Kind == delivery.KindTMF681
	switch {
	case s.SecretFile != "" && s.SecretEnv != "":
		p.key(key+".secretFile", "and secretEnv are both given: the secret is in one of them")
		return
	case post:
		at, err := url.Parse(s.URL)
		if err != nil || at.Host == "" || at.Scheme != "http" && at.Scheme != "https" || at.User != nil {
			p.missing(key, key+".url", s.URL, "must be a URL of http or https, without a password in it")
			return
		}
	case s.Kind == delivery.KindKafka:
		if s.Topic == "" {
			p.missing(key, key+".topic", s.Topic, "is missing")
		}
		validateBrokers(p, key, s.Brokers)
		s.SASL.validate(p, key)
		s.TLS.validate(p, key)
		return
	case s.Kind != delivery.KindLog:
		p.key(key+".kind", "must be webhook, tmf681, kafka or log")
		return
	}
	secret, err := s.Secret()
	if err != nil || secret == "" && cmp.Or(s.SecretFile, s.SecretEnv) != "" {
		p.missing(key, key+".secretFile", cmp.Or(s.SecretFile, s.SecretEnv), "gives no secret: the file cannot be read, or what is named is empty")
		return
	}
	spec := s.Spec()
	spec.Name, spec.Secret = cmp.Or(s.Name, "sink"), secret
	if err := spec.Default().Validate(); err != nil {
		p.missing(key, key, "", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
}
