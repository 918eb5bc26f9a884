package node

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/arbiterhq/arbiter/cluster/delivery"
	"github.com/arbiterhq/arbiter/cluster/router"
	"github.com/arbiterhq/arbiter/cluster/stream"
	"github.com/arbiterhq/arbiter/runtime/clock"
)

// Config describes a Node. DefaultConfig gives all but DataDir.
type Config struct {
	// DataDir is the data folder; it is created if it does not exist.
	DataDir string
	// DataGroups is the number of data groups of a new data folder. An existing folder keeps its own.
	DataGroups int
	// Cluster is the node's place among others, without Handlers; nil for a node that stands alone.
	Cluster *router.Cluster
	// MaxModuleBytes bounds a plugin artifact.
	MaxModuleBytes int
	// AllowUnsigned takes artifacts that no trusted key signed.
	AllowUnsigned bool
	// Capabilities are the host functions that plugins are granted; nil means all.
	Capabilities []string
	// Instances is how many sandboxes a plugin version has; 0 means one for each processor. It never changes
	// a decision.
	Instances int
	// CompileWith is the program, with its arguments, that compiles plugins in a process of its own (see
	// admission.Isolation). Empty: they are compiled in this process, which admits smaller modules only.
	CompileWith []string
	// MaxResponses bounds the responses of one call.
	MaxResponses int
	// HistoryPage is the number of interactions in a page when the caller names none, and
	// MaxHistoryPage the most it may name.
	HistoryPage, MaxHistoryPage int
	// StartTimeout bounds how long Open waits for the groups.
	StartTimeout time.Duration

	// Streams are Kafka topics whose messages are events, the same on every node; their Logger and Metrics are
	// set by Open.
	Streams []stream.Config

	// Backups are made now and then if they have a folder.
	Backups ScheduledBackups

	Logger   *slog.Logger
	Registry *prometheus.Registry
	Clock    clock.Clock

	// Sinks are where deliveries go, the same on every node. One of the name log is always there.
	Sinks []delivery.Spec
	// DefaultSink is that of channels of the catalog that name none; empty: nothing is decided for those.
	DefaultSink string

	// RolloutEvery is how often a node reports and judges the counters of rollouts.
	RolloutEvery time.Duration

	// Router tunes the replicated state; its Dir, DataGroups, OnControl, Metrics and Logger are set
	// by Open.
	Router router.Options
}

// DefaultConfig is the configuration of a node of moderate size, without a DataDir.
func DefaultConfig() Config {
	return Config{
		DataGroups: 2, AllowUnsigned: true, MaxModuleBytes: 16 << 20, MaxResponses: 1000, HistoryPage: 50, MaxHistoryPage: 1000,
		StartTimeout: 30 * time.Second, RolloutEvery: time.Second,
		Logger: slog.Default(), Registry: prometheus.NewRegistry(), Clock: clock.System{},
	}
}

// Validate reports every setting that cannot work.
func (c Config) Validate() error {
	var problems []error
	if c.DataDir == "" {
		problems = append(problems, errors.New("no data folder: name one with --data"))
	}
	for _, limit := range []struct {
		name  string
		value int
	}{{"DataGroups", c.DataGroups}, {"MaxModuleBytes", c.MaxModuleBytes}, {"MaxResponses", c.MaxResponses},
		{"HistoryPage", c.HistoryPage}, {"MaxHistoryPage", c.MaxHistoryPage}} {
		if limit.value < 1 {
			problems = append(problems, fmt.Errorf("%s is %d: it must be at least 1", limit.name, limit.value))
		}
	}
	if b := c.Backups; b.Dir != "" && (b.Interval < time.Minute || b.Keep < 1) {
		problems = append(problems, errors.New("backups are made every minute at most, and one of them is kept at least"))
	}
	problems = append(problems, c.validateSinks())
	if c.RolloutEvery <= 0 {
		problems = append(problems, fmt.Errorf("RolloutEvery is %s: it must be more than 0", c.RolloutEvery))
	}
	if c.Logger == nil || c.Registry == nil || c.Clock == nil {
		problems = append(problems, errors.New("logger, registry and clock are needed: start from DefaultConfig"))
	}
	return errors.Join(problems...)
}
