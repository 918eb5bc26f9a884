package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"github.com/arbiterhq/arbiter/cluster/delivery"
	"github.com/arbiterhq/arbiter/cluster/node"
	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/api"
	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/client"
	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/config"
	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/demo"
	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/load"
	"github.com/arbiterhq/arbiter/runtime/telemetry"
	"github.com/spf13/cobra"
)

// Defaults of arbiter dev.
const (
	defaultAdminAddr   = "127.0.0.1:8081"
	defaultSubscribers = 10_000
	defaultSeed        = 42
	// trafficRate is modest: a demo must not make a laptop's fan turn.
	trafficRate = 5
	// exampleSubject is the customer of the command that the banner suggests.
	exampleSubject = 123
)

// devFlags are the flags of arbiter dev.
type devFlags struct {
	data, adminAddr, logLevel string
	subscribers               int
	seed                      uint64
	noDemo                    bool
	nodes, groups             int
	webhook                   string
}

func (a *app) devCommand() *cobra.Command {
	var f devFlags
	cmd := &cobra.Command{
		Use: "dev", Short: "Run a node, or a cluster of them, with demo data on this machine",
		Long: "Runs one node on loopback with a demo operator: generated subscribers, a catalog, a churn model, and\n" +
			"simulated customers. Without --data everything is gone at the end.\n\n" +
			"With --nodes 3 it runs three processes that form a cluster, on ports ten apart from each other, with a folder and\n" +
			"a log file each in the data folder. All of them end together.",
		Example: `  arbiter dev
  arbiter dev --nodes 3
  arbiter dev --webhook http://127.0.0.1:9000/deliveries
  arbiter dev --data ./arbiter-data --no-demo
  arbiter dev --subscribers 100000 --addr 127.0.0.1:9080 --admin-addr 127.0.0.1:9081`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.dev(cmd, &f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&a.addr, "addr", "", "where the API listens (default "+defaultAddr+")")
	flags.StringVar(&f.adminAddr, "admin-addr", defaultAdminAddr, "where health, metrics and profiles listen")
	flags.StringVar(&f.data, "data", "", "data `FOLDER` to keep (default a temporary one)")
	flags.IntVar(&f.subscribers, "subscribers", defaultSubscribers, "generated subscribers of a new data folder")
	flags.Uint64Var(&f.seed, "seed", defaultSeed, "seed of subscribers and simulated customers")
	flags.IntVar(&f.nodes, "nodes", 1, "how many nodes, each a process of its own")
	flags.IntVar(&f.groups, "data-groups", 0, "data groups (shards) of a new data folder (default 2, with several nodes 16)")
	flags.BoolVar(&f.noDemo, "no-demo", false, "no simulated customers; the demo data is there all the same")
	flags.StringVar(&f.webhook, "webhook", "", "`URL` to post every delivery of the demo to (default: they are written to the log)")
	flags.StringVar(&f.logLevel, "log-level", "warn", "debug, info, warn or error")
	cmd.AddCommand(a.devFaultCommands()...)
	return cmd
}

func (a *app) dev(cmd *cobra.Command, f *devFlags) (err error) {
	began := time.Now()
	level, err := telemetry.ParseLevel(f.logLevel)
	if err != nil {
		return usage(cmd, "--log-level: %s", err)
	}
	switch {
	case f.subscribers < 0:
		return usage(cmd, "--subscribers is not negative")
	case f.nodes < 1 || f.nodes > config.MaxNodes:
		return usage(cmd, "--nodes is from 1 to %d", config.MaxNodes)
	case f.groups < 0 || f.groups > 64:
		return usage(cmd, "--data-groups is from 1 to 64")
	}
	if err := f.sink().Validate(); err != nil {
		return usage(cmd, "--webhook: %s", err)
	}
	log := telemetry.NewLogger(a.err, level, telemetry.FormatText)
	folder, temporary := f.data, f.data == ""
	if temporary {
		if folder, err = os.MkdirTemp("", "arbiter-dev-"); err != nil {
			return fmt.Errorf("making a temporary data folder: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	}
	if f.nodes > 1 {
		return a.devCluster(cmd.Context(), f, folder, temporary, began)
	}
	opts := serveOptions{apiAddr: listenAddr(a.addr), adminAddr: f.adminAddr, node: node.DefaultConfig(), api: api.DefaultOptions(),
		log: log, shutdown: config.Default().Timeouts.Shutdown}
	opts.node.DataDir, opts.node.DefaultSink = folder, f.sink().Name
	if f.webhook != "" {
		opts.node.Sinks = []delivery.Spec{f.sink()}
	}
	if f.groups > 0 {
		opts.node.DataGroups = f.groups
	}
	return a.serve(cmd.Context(), opts, func(ctx context.Context, at endpoints, ready func()) error {
		return a.runDemo(ctx, f, at, ready, folder, temporary, log, began)
	})
}

// listenAddr is where the API listens: --addr without a scheme, or the default. ARBITER_ADDR names the
// node that the other commands talk to, which need not be this one.
func listenAddr(addr string) string {
	if addr == "" {
		return defaultAddr
	}
	return strings.TrimPrefix(addr, "http://")
}

// runDemo loads the demo, says so, and plays customers until ctx ends.
func (a *app) runDemo(ctx context.Context, f *devFlags, at endpoints, ready func(), folder string, temporary bool, log *slog.Logger, began time.Time) error {
	c, err := client.New(at.api, "arbiter-dev/"+telemetry.Build().Version)
	if err != nil {
		return fmt.Errorf("connecting to the node: %w", err)
	}
	defer c.Close()
	loaded, err := demo.Load(ctx, c, demo.Options{Subscribers: f.subscribers, Seed: f.seed})
	if err != nil {
		return err
	}
	ready()
	a.banner(f, at, folder, temporary, loaded, time.Since(began))
	if !f.noDemo {
		demo.Traffic(ctx, c, demo.TrafficOptions{PerSecond: trafficRate, Subscribers: f.subscribers, Seed: f.seed, Log: log})
	}
	return nil
}

// banner tells what runs where, and what to type next.
func (a *app) banner(f *devFlags, at endpoints, folder string, temporary bool, loaded *demo.Loaded, took time.Duration) {
	p := a.paint(a.outTTY)
	what := "the data of an earlier run"
	if loaded.Fresh {
		what = fmt.Sprintf("%s subscribers, catalog %s, model %s", thousands(loaded.Subscribers), loaded.Catalog, loaded.Plugin)
	}
	kept := ""
	if temporary {
		kept = p.dim("  (removed at the end; --data DIR keeps it)")
	}
	traffic := fmt.Sprintf("%d simulated customers a second%s", trafficRate, p.dim("  (--no-demo turns them off)"))
	if f.noDemo {
		traffic = "no simulated customers"
	}
	var b strings.Builder // written at once: whoever waits for the first line finds the others
	fmt.Fprintf(&b, "%s in %.1f s with %s\n\n", p.green("Arbiter is ready"), took.Seconds(), what)
	for _, line := range [][2]string{
		{"API", "http://" + at.api}, {"Metrics", "http://" + at.admin + "/metrics"}, {"Data", folder + kept}, {"Traffic", traffic}, {"Sends", f.sendsTo(p)},
	} {
		fmt.Fprintf(&b, "  %s  %s\n", p.dim(pad(line[0], 7)), line[1])
	}
	if f.subscribers > 0 {
		fmt.Fprintf(&b, "\nIn another terminal:\n\n  %s\n", p.bold(fmt.Sprintf("%s decide %s --channel web --explain%s",
			a.programName(), load.SubjectID(int64(min(exampleSubject, f.subscribers))), a.addrFlag(at.api))))
	}
	b.WriteString("\nCtrl-C ends it.\n")
	fmt.Fprint(a.out, b.String())
}

// programName is how the user started this program.
func (a *app) programName() string {
	if strings.ContainsRune(os.Args[0], os.PathSeparator) && len(os.Args[0]) < 40 {
		return os.Args[0]
	}
	return "arbiter"
}

// addrFlag is the flag that other commands need to find the node at addr.
func (a *app) addrFlag(addr string) string {
	other := a.getenv("ARBITER_ADDR")
	if addr == defaultAddr && other == "" {
		return ""
	}
	if _, port, err := net.SplitHostPort(addr); err == nil && other != "" && strings.HasSuffix(other, ":"+port) {
		return ""
	}
	return " --addr " + addr
}
