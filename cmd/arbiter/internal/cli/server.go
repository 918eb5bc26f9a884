package cli

import (
	"context"
	"time"

	"github.com/arbiterhq/arbiter/cluster/node"
	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/api"
	"github.com/arbiterhq/arbiter/runtime/telemetry"
	"github.com/spf13/cobra"
)

// serverFlags are the flags of arbiter server.
type serverFlags struct {
	data, adminAddr, logLevel, logFormat string
	dataGroups                           int
	drain                                time.Duration
}

func (a *app) serverCommand() *cobra.Command {
	var f serverFlags
	cmd := &cobra.Command{
		Use: "server --data FOLDER", Short: "Run a node",
		Long: "Runs a node over a data folder. SIGTERM or Ctrl-C lets the requests under way finish; a second one ends it at\n" +
			"once, which loses nothing that was acknowledged.",
		Example: `  arbiter server --data /var/lib/arbiter
  arbiter server --data /var/lib/arbiter --addr 127.0.0.1:9080 --admin-addr 127.0.0.1:9081 --drain 5s`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.server(cmd, &f) },
	}
	flags := cmd.Flags()
	defaults := node.DefaultConfig()
	flags.StringVar(&a.addr, "addr", "", "where the API listens (default "+defaultAddr+")")
	flags.StringVar(&f.adminAddr, "admin-addr", defaultAdminAddr, "where health, metrics and profiles listen")
	flags.StringVar(&f.data, "data", "", "data `FOLDER`; it is made if it does not exist")
	flags.IntVar(&f.dataGroups, "data-groups", defaults.DataGroups, "data groups of a new data folder")
	flags.DurationVar(&f.drain, "drain", 0, "how long /readyz says no before connections are refused")
	flags.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	flags.StringVar(&f.logFormat, "log-format", "text", "text or json")
	return cmd
}

func (a *app) server(cmd *cobra.Command, f *serverFlags) error {
	level, err := telemetry.ParseLevel(f.logLevel)
	if err != nil {
		return usage(cmd, "--log-level: %s", err)
	}
	format, err := telemetry.ParseFormat(f.logFormat)
	if err != nil {
		return usage(cmd, "--log-format: %s", err)
	}
	if f.data == "" {
		return usage(cmd, "--data is missing: name the data folder")
	}
	log := telemetry.NewLogger(a.err, level, format)
	opts := serveOptions{apiAddr: listenAddr(a.addr), adminAddr: f.adminAddr, node: node.DefaultConfig(),
		api: api.DefaultOptions(), log: log, drain: f.drain}
	opts.node.DataDir, opts.node.DataGroups = f.data, f.dataGroups
	return a.serve(cmd.Context(), opts, func(_ context.Context, at endpoints, ready func()) error {
		ready()
		log.Info("ready", "api", "http://"+at.api, "admin", "http://"+at.admin, "data", f.data)
		return nil
	})
}
