package cli

import (
	"github.com/arbiterhq/arbiter/cluster/delivery"
	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/config"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// sinksOf are the sinks of the settings, with what their files hold.
func sinksOf(settings []*config.Sink) ([]delivery.Spec, error) {
	var sinks []delivery.Spec
	for _, s := range settings {
		spec := s.Spec()
		var err error
		if spec.Secret, err = s.Secret(); err != nil {
			return nil, nba.Errorf(nba.CodeInvalid, "sink %s: its secret cannot be read", s.Name)
		}
		if s.Kind == delivery.KindKafka {
			spec.Kafka, err = kafkaSettings(s.Brokers, &s.TLS, &s.SASL)
		} else if s.TLS.CA != "" || s.TLS.Cert != "" {
			spec.TLS, err = clientTLS(&s.TLS)
		}
		if err != nil {
			return nil, nba.Errorf(nba.CodeInvalid, "sink %s: %w", s.Name, err)
		}
		sinks = append(sinks, spec)
	}
	return sinks, nil
}
