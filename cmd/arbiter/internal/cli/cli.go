// Package cli is the command line of Arbiter.
//
// One file holds one noun: decide.go, subject.go, catalog.go, model.go, plugin.go, bench.go; serve.go
// and dev.go start a node. Commands that work on a node go through package client, that is the public
// API; the model commands work offline. Read root.go first for what all commands share, errors.go for
// exit codes, render.go for tables.
package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/client"
	"github.com/arbiterhq/arbiter/runtime/telemetry"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// defaultAddr is where a node listens unless told otherwise.
const defaultAddr = "127.0.0.1:8080"

// app is what all commands share.
type app struct {
	in       io.Reader
	out, err io.Writer
	getenv   func(string) string
	// outTTY and errTTY tell whether a person reads along.
	outTTY, errTTY bool

	addr   string
	caCert string
	format format
}

// Main runs the program with args, which do not include its name, and returns its exit code.
func Main(args []string) int {
	a := &app{
		in: os.Stdin, out: os.Stdout, err: os.Stderr, getenv: os.Getenv,
		outTTY: term.IsTerminal(int(os.Stdout.Fd())), errTTY: term.IsTerminal(int(os.Stderr.Fd())),
	}
	ctx, stop := notifyContext()
	defer stop()
	return a.run(ctx, args)
}

// run is Main without the process around it.
func (a *app) run(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(args)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	ran, err := root.ExecuteContextC(ctx)
	if err != nil {
		a.report(ran, err)
	}
	return exitCode(err)
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "arbiter",
		Short: "Arbiter decides what to say or do next for a customer",
		Long: "Arbiter decides, for one customer at one moment, what a telecom operator should say or do next.\n" +
			"This program is the server and the operator's command line in one.",
		Example: `  arbiter dev                                             a node with demo data on this machine
  arbiter decide S-000123 --channel web --explain         what to propose to a customer, and why
  arbiter respond DECISION --action A --outcome Accepted  what came of it
  arbiter catalog apply catalog.yaml                      change what may be proposed
  arbiter plugin push churn.wasm --activate               change the model that scores`,
		SilenceErrors: true, SilenceUsage: true,
		Args: cobra.ArbitraryArgs,
		RunE: group,
	}
	root.CompletionOptions.HiddenDefaultCmd = false
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usage(cmd, "%s", err) })
	root.SetHelpTemplate(helpTemplate)
	root.SetUsageTemplate(usageTemplate)
	flags := root.PersistentFlags()
	flags.StringVar(&a.addr, "addr", "", "API address of the node (default http://"+defaultAddr+"; env ARBITER_ADDR)")
	flags.StringVar(&a.caCert, "ca-cert", "", "authorities to trust besides those of the system, a PEM `FILE` (env ARBITER_CA_CERT)")
	flags.VarP(&a.format, "output", "o", "how to print: table, json or yaml")
	root.AddCommand(
		a.devCommand(), a.serverCommand(),
		a.decideCommand(), a.respondCommand(), a.decisionCommand(), a.replayCommand(), a.whyNotCommand(), a.simulateCommand(), a.campaignCommand(), a.segmentCommand(), a.subjectCommand(), a.catalogCommand(), a.retentionCommand(),
		a.modelCommand(), a.pluginCommand(), a.rolloutCommand(), a.clusterCommand(), a.eventCommand(), a.deliveryCommand(), a.streamCommand(), a.tlsCommand(), a.keyCommand(), a.auditCommand(), a.benchCommand(), a.versionCommand(), a.compileChildCommand(),
	)
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formatNames(), cobra.ShellCompDirectiveNoFileComp))
	return root
}

// group runs a command that only holds other commands.
func group(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	return unknownCommand(cmd, args[0])
}

// noun makes a command that only holds other commands.
func noun(use, short, example string, children ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Example: example, Args: cobra.ArbitraryArgs, RunE: group}
	cmd.AddCommand(children...)
	return cmd
}

// addrOrDefault is the address of --addr, else of the environment, else the default.
func (a *app) addrOrDefault() string {
	if a.addr != "" {
		return a.addr
	}
	if env := a.getenv("ARBITER_ADDR"); env != "" {
		return env
	}
	return defaultAddr
}

// client connects to the node the user means. The caller closes it.
func (a *app) client(cmd *cobra.Command) (*client.Client, error) {
	c, err := client.New(a.addrOrDefault(), "arbiter/"+telemetry.Build().Version)
	if err != nil {
		return nil, usage(cmd, "--addr: %s", err)
	}
	return c, a.secure(c)
}

// secure gives a new client what it needs where the API is guarded.
func (a *app) secure(c *client.Client) error {
	ca := a.caCert
	if ca == "" {
		ca = a.getenv("ARBITER_CA_CERT")
	}
	if err := c.With(client.Secrets{CAFile: ca, Token: strings.TrimSpace(a.getenv("ARBITER_TOKEN"))}); err != nil {
		return withHint(err, "the API key is read from ARBITER_TOKEN, trusted authorities from --ca-cert or ARBITER_CA_CERT")
	}
	return nil
}

// readFile reads a file of at most limit bytes; "-" is the standard input.
func (a *app) readFile(name string, limit int64) ([]byte, error) {
	in := a.in
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	body, err := io.ReadAll(io.LimitReader(in, limit+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	if int64(len(body)) > limit {
		return nil, fmt.Errorf("%s is larger than %d MiB", name, limit>>20)
	}
	return body, nil
}

// args checks the number of positional arguments against their names, such as "SUBJECT".
func args(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, given []string) error {
		switch {
		case len(given) < len(names):
			return usage(cmd, "%s is missing", strings.Join(names[len(given):], " and "))
		case len(given) > len(names):
			return usage(cmd, "there are %d arguments too many", len(given)-len(names))
		}
		return nil
	}
}
