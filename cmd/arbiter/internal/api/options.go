package api

import (
	"log/slog"

	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/config"
	"github.com/arbiterhq/arbiter/runtime/telemetry"
	"github.com/prometheus/client_golang/prometheus"
)

// Options set up the two servers. Start from DefaultOptions or OptionsFrom.
type Options struct {
	// Logger gets internal errors and panics, each once, with the id of the request.
	Logger *slog.Logger
	// Registry gets the HTTP metrics; nil means they are kept nowhere.
	Registry prometheus.Registerer

	Limits   config.Limits
	Timeouts config.Timeouts

	// AuthRequired makes every caller prove who it is, with an API key or a token that Tokens knows.
	AuthRequired bool
	Tokens       TokenVerifier // nil: API keys alone
}

// DefaultOptions are the documented defaults, with a logger that writes nothing.
func DefaultOptions() Options { return OptionsFrom(config.Default()) }

// OptionsFrom takes limits and timeouts of a configuration.
func OptionsFrom(c config.Config) Options {
	return Options{Logger: telemetry.Discard(), Limits: c.Limits, Timeouts: c.Timeouts, AuthRequired: c.Auth.Required}
}
