// Package kafka reads topics of Apache Kafka from offsets that the caller keeps, and writes to topics.
//
// It is the only package that knows the Kafka client. A Consumer belongs to no consumer group: which
// partitions are read, and from where, is said by the caller, whose store holds the offsets together with the
// effects of what was read. A Producer is idempotent: a message it repeats after a lost answer is stored once.
package kafka

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// The mechanisms by which a client proves who it is (Settings.SASL).
const (
	MechanismPlain    = "PLAIN"
	MechanismScram256 = "SCRAM-SHA-256"
	MechanismScram512 = "SCRAM-SHA-512"
)

// Mechanisms are the names that SASL.Mechanism takes.
func Mechanisms() []string { return []string{MechanismPlain, MechanismScram256, MechanismScram512} }

// Settings are how the brokers are reached.
type Settings struct {
	// Brokers are the addresses to begin with, host:port each.
	Brokers []string
	// ClientID names this client in the logs and quotas of the brokers.
	ClientID string
	// TLS, if it is not nil, secures the connections.
	TLS *tls.Config
	// SASL proves who the client is; nil for brokers that do not ask.
	SASL *SASL
	// DialTimeout bounds one connection attempt; 0 is 5 s.
	DialTimeout time.Duration
}

// SASL is a name and a password. Over connections without TLS the password of MechanismPlain can be read by
// whoever sees the network.
type SASL struct {
	Mechanism      string
	User, Password string
}

const (
	defaultDialTimeout = 5 * time.Second
	maxBrokers         = 64
)

// Validate reports everything that cannot work.
func (s *Settings) Validate() error {
	var problems []error
	if len(s.Brokers) == 0 || len(s.Brokers) > maxBrokers {
		problems = append(problems, fmt.Errorf("%d brokers: name 1 to %d, host:port each", len(s.Brokers), maxBrokers))
	}
	for _, addr := range s.Brokers {
		if _, port, err := net.SplitHostPort(addr); err != nil || port == "" {
			problems = append(problems, errors.New("a broker is not given as host:port"))
		}
	}
	if s.SASL != nil {
		if _, err := s.SASL.option(); err != nil {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}

func (s *SASL) option() (kgo.Opt, error) {
	if s.User == "" || s.Password == "" {
		return nil, errors.New("SASL needs a user and a password")
	}
	switch s.Mechanism {
	case MechanismPlain:
		return kgo.SASL(plain.Auth{User: s.User, Pass: s.Password}.AsMechanism()), nil
	case MechanismScram256:
		return kgo.SASL(scram.Auth{User: s.User, Pass: s.Password}.AsSha256Mechanism()), nil
	case MechanismScram512:
		return kgo.SASL(scram.Auth{User: s.User, Pass: s.Password}.AsSha512Mechanism()), nil
	}
	return nil, fmt.Errorf("the SASL mechanism must be %s, %s or %s", MechanismPlain, MechanismScram256, MechanismScram512)
}

// options are those that every client has.
func (s *Settings) options() ([]kgo.Opt, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	timeout := s.DialTimeout
	if timeout == 0 {
		timeout = defaultDialTimeout
	}
	options := []kgo.Opt{
		kgo.SeedBrokers(s.Brokers...), kgo.ClientID(s.ClientID), kgo.DialTimeout(timeout),
		kgo.MetadataMinAge(250 * time.Millisecond), kgo.MetadataMaxAge(time.Minute),
	}
	if s.TLS != nil {
		options = append(options, kgo.DialTLSConfig(s.TLS))
	}
	if s.SASL != nil {
		mechanism, err := s.SASL.option()
		if err != nil {
			return nil, err
		}
		options = append(options, mechanism)
	}
	return options, nil
}

// Header is one header of a message.
type Header struct {
	Key   string
	Value []byte
}
