package cli

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	"github.com/arbiterhq/arbiter/cluster/kafka"
	"github.com/arbiterhq/arbiter/cluster/stream"
	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/config"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// streamsOf are the streams of the settings, with what their files hold.
func streamsOf(settings []*config.Stream) ([]stream.Config, error) {
	var streams []stream.Config
	for _, s := range settings {
		to, err := kafkaSettings(s.Brokers, &s.TLS, &s.SASL)
		if err != nil {
			return nil, nba.Errorf(nba.CodeInvalid, "stream %s: %w", s.Name, err)
		}
		c := stream.Config{Name: s.Name, Kafka: kafka.ConsumerOptions{Settings: to, Topic: s.Topic}, Latest: s.Start == config.StreamLatest}
		if s.Format == config.StreamJSON {
			c.Format, c.Mapping = stream.FormatJSON, stream.Mapping(s.Mapping)
		}
		streams = append(streams, c)
	}
	return streams, nil
}

// kafkaSettings tell how brokers are reached.
func kafkaSettings(brokers string, secure *config.ClientTLS, who *config.SASL) (s kafka.Settings, err error) {
	s = kafka.Settings{Brokers: config.BrokerList(brokers), ClientID: "arbiter"}
	if secure.On {
		if s.TLS, err = clientTLS(secure); err != nil {
			return s, err
		}
	}
	if who.Mechanism != "" {
		password, err := who.Password()
		if err != nil {
			return s, err
		}
		s.SASL = &kafka.SASL{Mechanism: who.Mechanism, User: who.User, Password: password}
	}
	return s, s.Validate()
}

// clientTLS is what a client shows and trusts.
func clientTLS(c *config.ClientTLS) (*tls.Config, error) {
	out := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CA != "" {
		text, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, fmt.Errorf("reading tls.ca: %w", err)
		}
		if out.RootCAs, err = x509.SystemCertPool(); err != nil {
			out.RootCAs = x509.NewCertPool()
		}
		if !out.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("tls.ca %s holds no certificate in PEM", c.CA)
		}
	}
	if c.Cert != "" {
		pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
		if err != nil {
			return nil, fmt.Errorf("reading tls.cert and tls.key: %w", err)
		}
		out.Certificates = []tls.Certificate{pair}
	}
	return out, nil
}
