package config

import (
	"net"
	"os"
	"slices"
	"strings"

	"github.com/arbiterhq/arbiter/cluster/kafka"
)

// Stream is one Kafka topic whose messages are events. Every node of a cluster has the same streams.
type Stream struct {
	Name    string // of the stream, for people and for the stored cursors: a to z, 0 to 9 and -
	Brokers string // host:port, separated by commas
	Topic   string
	Format  string // StreamCloudEvents or StreamJSON
	Start   string // StreamEarliest or StreamLatest: where a stream begins that was never read
	// Mapping tells where a plain JSON message holds what an event needs.
	Mapping Mapping
	TLS     ClientTLS
	SASL    SASL
}

// Mapping names, for each part of an event, a member of a JSON message by its path (a.b.c), or gives a text for
// all messages after a =.
type Mapping struct {
	ID      string // empty: partition and offset
	Source  string // empty: the name of the stream
	Type    string
	Time    string // RFC 3339, or milliseconds since 1970; empty: when the message was written
	Subject string // empty: the event type of the catalog finds it
	Data    string // empty: the whole message
}

// ClientTLS secures connections to others.
type ClientTLS struct {
	On        bool
	CA        string // authorities to trust besides those of the system, PEM
	Cert, Key string // what this client shows, PEM; empty: nothing
}

// SASL proves to a broker who this client is. The password is in a file or in an environment variable.
type SASL struct {
	Mechanism    string // empty: none
	User         string
	PasswordFile string
	PasswordEnv  string
}

// Password reads the password.
func (s *SASL) Password() (string, error) {
	if s.PasswordFile == "" {
		return os.Getenv(s.PasswordEnv), nil
	}
	text, err := readFile(s.PasswordFile)
	return strings.TrimRight(string(text), "\r\n"), err
}

// How the messages of a stream are written, and where a stream begins that was never read.
const (
	StreamCloudEvents = "cloudevents"
	StreamJSON        = "json"
	StreamEarliest    = "earliest"
	StreamLatest      = "latest"
)

func defaultStream() *Stream { return &Stream{Format: StreamCloudEvents, Start: StreamEarliest} }

func (s *Stream) settings() []setting {
	return []setting{
		{"name", "name of the stream", (*textValue)(&s.Name)},
		{"brokers", "host:port of brokers, separated by commas", (*textValue)(&s.Brokers)},
		{"topic", "topic to read", (*textValue)(&s.Topic)},
		{"format", "cloudevents, or json with a mapping", (*textValue)(&s.Format)},
		{"start", "earliest or latest: where a stream begins that was never read", (*textValue)(&s.Start)},
		{"mapping.id", "where the id is", (*textValue)(&s.Mapping.ID)},
		{"mapping.source", "where the source is", (*textValue)(&s.Mapping.Source)},
		{"mapping.type", "where the type is", (*textValue)(&s.Mapping.Type)},
		{"mapping.time", "where the time is", (*textValue)(&s.Mapping.Time)},
		{"mapping.subject", "where the subject is", (*textValue)(&s.Mapping.Subject)},
		{"mapping.data", "where the data is", (*textValue)(&s.Mapping.Data)},
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

func validateStreams(p *problems, streams []*Stream) {
	names := map[string]bool{}
	for i, s := range streams {
		key := entryKey("streams", i)
		s.validate(p, key)
		if names[s.Name] && s.Name != "" {
			p.key(key+".name", "is the name of another stream too")
		}
		names[s.Name] = true
	}
}

// BrokerList are the addresses of brokers in a setting.
func BrokerList(text string) (list []string) {
	for addr := range strings.SplitSeq(text, ",") {
		list = append(list, strings.TrimSpace(addr))
	}
	return list
}

func (s *Stream) validate(p *problems, key string) {
	if !validNodeID(s.Name) {
		p.missing(key, key+".name", s.Name, "must be up to 32 of a-z, 0-9 and -")
	}
	if s.Topic == "" || len(s.Topic) > 249 {
		p.missing(key, key+".topic", s.Topic, "must be a topic of up to 249 characters")
	}
	validateBrokers(p, key, s.Brokers)
	if s.Format != StreamCloudEvents && s.Format != StreamJSON {
		p.key(key+".format", "must be cloudevents or json")
	}
	if s.Start != StreamEarliest && s.Start != StreamLatest {
		p.key(key+".start", "must be earliest or latest")
	}
	switch {
	case s.Format == StreamJSON && s.Mapping.Type == "":
		p.missing(key, key+".mapping.type", "", "is missing: where a JSON message holds its type (a.b), or =TYPE for all messages")
	case s.Format == StreamCloudEvents && s.Mapping != Mapping{}:
		p.missing(key, key+".format", "", "must be json for a mapping to matter")
	}
	s.TLS.validate(p, key)
	s.SASL.validate(p, key)
}

func validateBrokers(p *problems, key, brokers string) {
	for _, addr := range BrokerList(brokers) {
		if host, port, err := net.SplitHostPort(addr); err != nil || host == "" || port == "" {
			p.missing(key, key+".brokers", brokers, "must be host:port of one or more brokers, separated by commas")
			return
		}
	}
}

func (t *ClientTLS) validate(p *problems, key string) {
	switch {
	case !t.On && (t.CA != "" || t.Cert != "" || t.Key != ""):
		p.missing(key, key+".tls.on", "", "must be true for the files of tls to matter")
	case (t.Cert == "") != (t.Key == ""):
		p.missing(key, key+".tls.cert", "", "and tls.key must be given together")
	}
}

func (s *SASL) validate(p *problems, key string) {
	switch {
	case *s == SASL{}:
	case !slices.Contains(kafka.Mechanisms(), s.Mechanism):
		p.missing(key, key+".sasl.mechanism", s.Mechanism, "must be one of "+strings.Join(kafka.Mechanisms(), ", "))
	case s.User == "":
		p.missing(key, key+".sasl.user", "", "is missing")
	case (s.PasswordFile == "") == (s.PasswordEnv == ""):
		p.missing(key, key+".sasl.passwordFile", s.PasswordFile, "or sasl.passwordEnv must say where the password is, one of them")
	default:
		if password, err := s.Password(); err != nil || password == "" {
			p.missing(key, key+".sasl", "", "gives no password: the file cannot be read, or what is named is empty")
		}
	}
}

// missing records a problem of a setting of an entry: at the setting, or where the entry begins if it was not set.
func (p *problems) missing(entry, key, value, what string) {
	if _, set := p.places[key]; !set && value == "" && p.places != nil {
		p.places[key] = p.places[entry]
	}
	p.key(key, what)
}
