package cli

import (
	"context"
	"net"
	"os"
	"strings"
	"time"

	"github.com/arbiterhq/arbiter/cluster/backup"
	"github.com/arbiterhq/arbiter/cluster/node"
	"github.com/arbiterhq/arbiter/cluster/router"
	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/api"
	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/config"
	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/oidc"
	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/pki"
	"github.com/arbiterhq/arbiter/runtime/telemetry"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// serverFlags are the flags of arbiter server that are no setting of a node.
type serverFlags struct {
	config string
	drain  time.Duration
}

// settingFlags are shorter names for settings, by flag.
func settingFlags() map[string]string {
	return map[string]string{"addr": "api.addr", "data": "data.dir", "node-id": "cluster.nodeId", "nodes": "cluster.nodes", "join": "cluster.join", "zone": "cluster.zone"}
}

func (a *app) serverCommand() *cobra.Command {
	var f serverFlags
	cmd := &cobra.Command{
		Use: "server [--config FILE] [--data FOLDER]", Short: "Run a node",
		Long: "Runs a node over a data folder. Settings come from the file, then from the environment (ARBITER_DATA_DIR for\n" +
			"--data-dir, and so on), then from flags, the later winning. SIGTERM or Ctrl-C lets the requests under way\n" +
			"finish; a second one ends it at once, which loses nothing that was acknowledged.\n\n" +
			"Several nodes form a cluster: start each with a name of its own, a folder of its own, and the same list of all\n" +
			"nodes. Every node takes every call. Each data group is kept by three nodes (--cluster-replicas) and goes on while\n" +
			"most of them are up; a node that is told to stop gives what it leads to the others first. Further nodes join a\n" +
			"running cluster with --join, an empty folder and --cluster-addr, and are given their share of the groups.\n\n" +
			"The lists streams: (Kafka topics that events come from) and sinks: (where deliveries go) are in the file alone;\n" +
			"docs/kafka.md has both.",
		Example: `  arbiter server --data /var/lib/arbiter
  arbiter server --config /etc/arbiter.yaml --drain 5s
  arbiter server --data ./data --addr 127.0.0.1:9080 --admin-addr 127.0.0.1:9081
  arbiter server --data ./n1 --node-id n1 --nodes n1=127.0.0.1:7001,n2=127.0.0.1:7002,n3=127.0.0.1:7003
  arbiter server --data ./n4 --node-id n4 --cluster-addr 127.0.0.1:7004 --join 127.0.0.1:7001,127.0.0.1:7002`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.server(cmd, &f) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.config, "config", "", "settings, a YAML `FILE`")
	flags.String("data", "", "short for --data-dir")
	flags.String("addr", "", "short for --api-addr")
	flags.String("node-id", "", "short for --cluster-node-id")
	flags.String("nodes", "", "short for --cluster-nodes")
	flags.String("join", "", "short for --cluster-join")
	flags.String("zone", "", "short for --cluster-zone")
	flags.DurationVar(&f.drain, "drain", 0, "how long /readyz says no before connections are refused")
	for _, s := range config.Settings() {
		usage := s.Usage
		if s.Default != "" {
			usage += " (default " + s.Default + ")"
		}
		flags.String(s.Flag, "", usage)
	}
	return cmd
}

// settings reads all sources of the node's settings.
func (a *app) settings(cmd *cobra.Command, file string) (config.Config, []string, error) {
	overrides := map[string]string{}
	byFlag := settingFlags()
	for _, s := range config.Settings() {
		byFlag[s.Flag] = s.Key
	}
	var twice error
	cmd.Flags().Visit(func(given *pflag.Flag) {
		key, ok := byFlag[given.Name]
		if !ok {
			return
		}
		if _, set := overrides[key]; set {
			twice = usage(cmd, "--%s is given twice, once by its short name", given.Name)
		}
		overrides[key] = given.Value.String()
	})
	if twice != nil {
		return config.Config{}, nil, twice
	}
	if addr, ok := overrides["api.addr"]; ok {
		overrides["api.addr"] = strings.TrimPrefix(addr, "http://")
	}
	c, warnings, err := config.Load(config.Sources{File: file, Environ: os.Environ(),
		OtherEnv: []string{"ARBITER_ADDR", "ARBITER_ADMIN_ADDR", "ARBITER_DATA", "ARBITER_CA_CERT", "ARBITER_TOKEN"}, Overrides: overrides})
	return c, warnings, err
}

func (a *app) server(cmd *cobra.Command, f *serverFlags) error {
	c, warnings, err := a.settings(cmd, f.config)
	if err != nil {
		return withHint(err, "see %s --help", cmd.CommandPath())
	}
	// Load has checked both.
	level, _ := telemetry.ParseLevel(c.Log.Level)
	format, _ := telemetry.ParseFormat(c.Log.Format)
	log := telemetry.NewLogger(a.err, level, format)
	for _, warning := range warnings {
		log.Warn(warning)
	}
	opts := serveOptions{apiAddr: c.API.Addr, adminAddr: c.Admin.Addr, node: node.DefaultConfig(), api: api.OptionsFrom(c),
		log: log, drain: f.drain, shutdown: c.Timeouts.Shutdown}
	if c.TLS.On() {
		if opts.tls, err = pki.Open(c.TLS.Cert, c.TLS.Key, c.TLS.CA, log); err != nil {
			return withHint(err, "see %s --help and arbiter tls --help", cmd.CommandPath())
		}
	}
	opts.node.AllowUnsigned, opts.node.Capabilities = c.Plugins.Unsigned == config.UnsignedAllow, c.Plugins.Granted()
	opts.node.DataDir, opts.node.DataGroups, opts.node.MaxModuleBytes = c.Data.Dir, c.DataGroups(), c.Limits.PluginBytes
	if opts.node.Streams, err = streamsOf(c.Streams); err != nil {
		return withHint(err, "see docs/kafka.md")
	}
	if opts.node.Sinks, err = sinksOf(c.Sinks); err != nil {
		return withHint(err, "see docs/delivery.md")
	}
	opts.node.DefaultSink = c.Delivery.DefaultSink
	opts.node.Backups = node.ScheduledBackups{Dir: c.Backup.Dir, Interval: c.Backup.Interval, Keep: c.Backup.Keep}
	if opts.node.Backups.Key, err = backup.ReadKey(c.Backup.KeyFile); err != nil {
		return err
	}
	if opts.api.Tokens, err = tokensOf(cmd.Context(), &c.Auth.OIDC); err != nil {
		return withHint(err, "see auth.oidc in %s --help", cmd.CommandPath())
	}
	opts.guarded = opts.tls != nil && c.Auth.Required
	if c.Cluster.NodeID != "" {
		if opts.node.Cluster, err = placeOf(&c.Cluster); err != nil {
			return err // Load has checked it
		}
		opts.clusterAddr = c.Cluster.Listen()
		if opts.tls != nil {
			opts.node.Cluster.TLS = opts.tls.Mutual
		}
	}
	return a.serve(cmd.Context(), opts, func(_ context.Context, at endpoints, ready func()) error {
		ready()
		log.Info("serving", "api", opts.scheme()+at.api, "admin", opts.scheme()+at.admin, "data", c.Data.Dir)
		return nil
	})
}

// placeOf is the node's place in its cluster.
func placeOf(c *config.Cluster) (*router.Cluster, error) {
	place := &router.Cluster{NodeID: c.NodeID, ID: c.ID, Replicas: c.Replicas, Addr: c.Addr, Zone: c.Zone, ReplaceAfter: c.ReplaceAfter}
	if c.ReplaceAfter == 0 {
		place.ReplaceAfter = -1
	}
	if c.Joins() {
		place.Join = func(ctx context.Context) ([]string, error) { return c.Seeds(ctx, net.DefaultResolver) }
		return place, nil
	}
	var err error
	place.Nodes, err = c.Members()
	return place, err
}

// tokensOf is who checks the tokens of the provider, or nil if there is none.
func tokensOf(ctx context.Context, c *config.OIDC) (api.TokenVerifier, error) {
	if c.Issuer == "" {
		return nil, nil
	}
	verifier, err := oidc.New(ctx, oidc.Config{Issuer: c.Issuer, Audience: c.Audience, RolesClaim: c.RolesClaim, CAFile: c.CA})
	if err != nil {
		return nil, err
	}
	return verifier, nil
}
