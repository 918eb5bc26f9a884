package config

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestStreams(t *testing.T) {
	got, _, err := Load(Sources{File: "testdata/streams.good.yaml", Environ: []string{"ARBITER_STREAMS_0_TOPIC=landings"}})
	if err != nil {
		t.Fatal(err)
	}
	want := []*Stream{
		{Name: "roaming", Brokers: "127.0.0.1:9092", Topic: "landings", Format: StreamCloudEvents, Start: StreamEarliest},
		{Name: "usage", Brokers: "k1:9093, k2:9093", Topic: "network.usage", Format: StreamJSON, Start: StreamLatest,
			Mapping: Mapping{ID: "record.id", Source: "=mediation", Type: "kind", Time: "at", Subject: "msisdn", Data: "record"},
			TLS:     ClientTLS{On: true, CA: "/etc/kafka/ca.pem", Cert: "/etc/kafka/me.pem", Key: "/etc/kafka/me.key"},
			SASL:    SASL{Mechanism: "SCRAM-SHA-512", User: "arbiter", PasswordFile: "testdata/streams.good.yaml"}},
	}
	if diff := cmp.Diff(want, got.Streams); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if password, err := got.Streams[1].SASL.Password(); err != nil || len(password) < 100 || password[len(password)-1] == '\n' {
		t.Errorf("the password is %q, %v; want the file without the end of its last line", password, err)
	}
}

func TestPasswordsOfTheEnvironment(t *testing.T) {
	t.Setenv("KAFKA_PASSWORD", "secret")
	s := SASL{Mechanism: "PLAIN", User: "u", PasswordEnv: "KAFKA_PASSWORD"}
	p := &problems{}
	if s.validate(p, "streams.0"); p.err() != nil {
		t.Error(p.err())
	}
	s.PasswordEnv = "KAFKA_PASSWORD_NONE"
	if s.validate(p, "streams.0"); p.err() == nil {
		t.Error("an empty password was accepted")
	}
}
