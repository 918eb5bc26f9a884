package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func TestRedactedNeverShowsTheText(t *testing.T) {
	secret := "447700900123"
	r := Redact(secret)
	asJSON, err := json.Marshal(map[string]any{"id": r})
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range []string{
		r.String(), fmt.Sprint(r), fmt.Sprintf("%v %+v %s %q", r, r, r, r), string(asJSON),
	} {
		if strings.Contains(got, secret) || !strings.Contains(got, "[redacted]") {
			t.Errorf("got %q, want [redacted] without the text", got)
		}
	}
}

func TestLoggerRedactsByKey(t *testing.T) {
	const secret = "447700900123"
	for _, format := range []Format{FormatText, FormatJSON} {
		var out bytes.Buffer
		log := NewLogger(&out, slog.LevelDebug, format)
		log.With("subjectId", secret).WithGroup("request").Info("served",
			"subject", secret, "Subject-ID", secret, "authorization", "Bearer "+secret, "route", "/v1/decisions",
			slog.Group("attributes", "plan", secret), slog.Group("inner", "api_key", secret), "ref", Redact(secret))
		got := out.String()
		if strings.Contains(got, secret) {
			t.Errorf("%s: the log line holds customer data: %s", format, got)
		}
		if !strings.Contains(got, "/v1/decisions") || strings.Count(got, "[redacted]") != 7 {
			t.Errorf("%s: got %s, want the route and 7 redactions", format, got)
		}
	}
}

func TestSensitive(t *testing.T) {
	for key, want := range map[string]bool{
		"subject": true, "subject_id": true, "SubjectID": true, "subject.type": false, "X-Api-Key": true,
		"responseToken": true, "route": false, "requestId": false, "code": false, "attribute": false, "body": true, "nobody": false,
	} {
		if got := Sensitive(key); got != want {
			t.Errorf("Sensitive(%q) = %v, want %v", key, got, want)
		}
	}
}

func TestParseLevelAndFormat(t *testing.T) {
	for name, want := range map[string]slog.Level{"debug": -4, "info": 0, "warn": 4, "error": 8} {
		if got, err := ParseLevel(name); err != nil || got != want {
			t.Errorf("ParseLevel(%q) = %v, %v, want %v", name, got, err, want)
		}
	}
	for _, bad := range []string{"", "INFO", "trace"} {
		if _, err := ParseLevel(bad); err == nil {
			t.Errorf("ParseLevel(%q) succeeded", bad)
		}
		if _, err := ParseFormat(bad); err == nil {
			t.Errorf("ParseFormat(%q) succeeded", bad)
		}
	}
	if Discard().Enabled(context.Background(), slog.LevelError) {
		t.Error("Discard is enabled")
	}
}

func TestRegistryHoldsBuildInfo(t *testing.T) {
	families, err := NewRegistry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, f := range families {
		names[f.GetName()] = true
	}
	for _, want := range []string{"arbiter_build_info", "go_goroutines", "process_open_fds"} {
		if !names[want] {
			t.Errorf("%s is missing", want)
		}
	}
}

func TestRegisterSharesTheSameCollector(t *testing.T) {
	registry := prometheus.NewRegistry()
	newCounter := func() *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "x_total", Help: "x"}, []string{"l"})
	}
	first, second := Register(registry, newCounter()), Register(registry, newCounter())
	if first != second {
		t.Error("the second registration did not return the first collector")
	}
	defer func() {
		if recover() == nil {
			t.Error("a metric of the same name and other labels was accepted")
		}
	}()
	Register(registry, prometheus.NewCounter(prometheus.CounterOpts{Name: "x_total", Help: "other"}))
}

func TestBuildFrom(t *testing.T) {
	info := &debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}, Settings: []debug.BuildSetting{
		{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.modified", Value: "true"}, {Key: "vcs.time", Value: "2026-11-22T00:00:00Z"},
	}}
	if got := buildFrom(info); got.Version != "v1.2.3" || got.Revision != "abc-dirty" || got.Time == "" {
		t.Errorf("got %+v", got)
	}
	if got := buildFrom(nil); got.Version != "devel" || got.Revision != "unknown" || got.GoVersion == "" {
		t.Errorf("got %+v", got)
	}
}
