package api

import (
	"log/slog"
	"time"

	"github.com/arbiterhq/arbiter/runtime/telemetry"
	"github.com/prometheus/client_golang/prometheus"
)

// Options set up the two servers. Start from DefaultOptions.
type Options struct {
	// Logger gets internal errors and panics, each once, with the id of the request.
	Logger *slog.Logger
	// Registry gets the HTTP metrics; nil means they are kept nowhere.
	Registry prometheus.Registerer

	Limits   Limits
	Timeouts Timeouts
}

// Limits bound what one request may hold.
type Limits struct {
	HeaderBytes  int // request line and headers: 431 beyond
	BodyBytes    int // any other body: 413 beyond
	CatalogBytes int // PUT /v1/catalog and POST /v1/catalog/validate
	PluginBytes  int // POST /v1/plugins, on both listeners
	ImportBytes  int // POST /v1/subjects/import on the API port; the admin listener has no bound
	Connections  int // open connections of the API port
	// ImportResults bounds the bad lines that one reply on the API port lists; further ones are
	// counted in the summary alone.
	ImportResults int
}

// Timeouts bound how long one request may take.
type Timeouts struct {
	Read       time.Duration // from the first byte of a request to its last
	UploadRead time.Duration // the same for catalog, plugin and import bodies
	Write      time.Duration // of one response
	Idle       time.Duration // between the requests of a connection

	Decision    time.Duration // deadline of a decision whose caller names none
	MaxDecision time.Duration // the longest deadline a caller may name
	Request     time.Duration // deadline of reads and writes of subjects and responses
	Admin       time.Duration // deadline of catalog, plugin and dictionary changes
	Import      time.Duration // deadline of an import on the API port
	// ImportStall ends an import on the admin listener whose sender is silent for so long.
	ImportStall time.Duration
}

// DefaultOptions are the documented defaults.
func DefaultOptions() Options {
	return Options{
		Logger: telemetry.Discard(),
		Limits: Limits{
			HeaderBytes: 16 << 10, BodyBytes: 1 << 20, CatalogBytes: 4 << 20, PluginBytes: 16 << 20,
			ImportBytes: 32 << 20, Connections: 16384, ImportResults: 100_000,
		},
		Timeouts: Timeouts{
			Read: 5 * time.Second, UploadRead: time.Minute, Write: 10 * time.Second, Idle: time.Minute,
			Decision: time.Second, MaxDecision: 30 * time.Second, Request: 5 * time.Second,
			Admin: time.Minute, Import: 5 * time.Minute, ImportStall: 30 * time.Second,
		},
	}
}
