package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/load"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/spf13/cobra"
)

// Defaults of arbiter bench decide.
const (
	defaultBenchRate     = 500
	defaultBenchDuration = 10 * time.Second
	defaultBenchWarmup   = 2 * time.Second
	closedClients        = 16
	defaultRounds        = 5
)

func (a *app) benchCommand() *cobra.Command {
	return noun("bench", "Measure how a node on this machine answers",
		`  arbiter bench decide --rate 2000 --duration 30s
  arbiter bench decide --closed --clients 32
  arbiter bench decide --closed --baseline
  arbiter bench swap churn.wasm --swaps 200
  arbiter bench admit large.wasm`,
		a.benchDecideCommand(), a.benchSwapCommand(), a.benchAdmitCommand(), a.benchBaselineCommand())
}

// benchFlags are the flags of arbiter bench decide.
type benchFlags struct {
	also             []string
	rate             float64
	duration, warmup time.Duration
	closed, baseline bool
	clients, rounds  int
	subjects         int
	channel          string
	placements       []string
	simulate         bool
	timeout          time.Duration
}

func (a *app) benchDecideCommand() *cobra.Command {
	var f benchFlags
	cmd := &cobra.Command{
		Use: "decide", Short: "Ask for decisions at a steady rate, or as fast as they come",
		Long: "Asks for decisions about S-000001 and on. With --rate the start of every request is planned beforehand and its\n" +
			"latency counts from that moment, so a stall of the node shows in full. With --closed every client sends as soon\n" +
			"as it was answered, which finds the peak. Only nodes on this machine are measured.",
		Example: `  arbiter bench decide --rate 2000 --duration 30s
  arbiter bench decide --closed --clients 32
  arbiter bench decide --closed --baseline --rounds 5 -o json`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.benchDecide(cmd, &f) },
	}
	flags := cmd.Flags()
	flags.Float64Var(&f.rate, "rate", defaultBenchRate, "requests a second")
	flags.DurationVar(&f.duration, "duration", defaultBenchDuration, "how long to measure (with --baseline: each round)")
	flags.DurationVar(&f.warmup, "warmup", defaultBenchWarmup, "how long to send before measuring")
	flags.BoolVar(&f.closed, "closed", false, "find the peak: every client sends as soon as it was answered")
	flags.IntVar(&f.clients, "clients", 0, fmt.Sprintf("most requests in flight (default %d, closed %d)", load.DefaultClients, closedClients))
	flags.IntVar(&f.subjects, "subjects", load.DefaultSubjects, "ask about this many customers: S-000001 and on")
	flags.StringVar(&f.channel, "channel", "web", "channel of the requests")
	flags.StringArrayVar(&f.placements, "placement", nil, "placement of the requests: `NAME[:LIMIT]`; repeatable")
	flags.BoolVar(&f.simulate, "simulate", false, "ask for decisions that are not recorded")
	flags.DurationVar(&f.timeout, "timeout", load.DefaultTimeout, "how long to wait for one answer")
	flags.StringArrayVar(&f.also, "also", nil, "`ADDR` of a further node of the cluster, which gets its share of the clients; repeatable")
	flags.BoolVar(&f.baseline, "baseline", false, "also measure a handler that parses the same request and answers a constant of the same size, in turns")
	flags.IntVar(&f.rounds, "rounds", defaultRounds, "turns with --baseline")
	cmd.MarkFlagsMutuallyExclusive("closed", "rate")
	return cmd
}

// plan and options turn the flags into what the load generator needs.
func (f *benchFlags) plan(cmd *cobra.Command, addr string) (load.Plan, load.DecideOptions, error) {
	plan := load.Plan{Rate: f.rate, Duration: f.duration, Warmup: f.warmup, Clients: f.clients}
	if f.closed {
		plan.Rate = 0
	} else if f.rate <= 0 {
		return plan, load.DecideOptions{}, usage(cmd, "--rate is more than 0")
	}
	if plan.Clients == 0 {
		plan.Clients = load.DefaultClients
		if f.closed {
			plan.Clients = closedClients
		}
	}
	if f.rounds < 1 || f.rounds > 100 {
		return plan, load.DecideOptions{}, usage(cmd, "--rounds is between 1 and 100")
	}
	opts := load.DecideOptions{Addr: addr, Also: f.also, Subjects: f.subjects, Channel: f.channel, Simulate: f.simulate,
		Timeout: f.timeout, Clients: plan.Clients}
	for _, text := range f.placements {
		p, ok := parsePlacement(text)
		if !ok {
			return plan, opts, usage(cmd, "--placement %s: use NAME or NAME:LIMIT with a limit from 1 to %d", text, nba.MaxPlacementLimit)
		}
		opts.Placements = append(opts.Placements, p)
	}
	if err := plan.Validate(); err != nil {
		return plan, opts, usage(cmd, "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return plan, opts, nil
}

func (a *app) benchDecide(cmd *cobra.Command, f *benchFlags) error {
	addr, err := load.Loopback(a.addrOrDefault())
	if err != nil {
		return usage(cmd, "--addr: %s", err)
	}
	plan, opts, err := f.plan(cmd, addr)
	if err != nil {
		return err
	}
	return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
		// One decision through the ordinary client: its problem says what is missing.
		if _, err := c.Decide(ctx, &nba.DecisionRequest{Subject: nba.SubjectRef{ID: load.SubjectID(1)},
			Channel: opts.Channel, Placements: opts.Placements, Options: nba.DecisionOptions{Simulate: opts.Simulate}}); err != nil {
			return err
		}
		decider, err := load.NewDecider(opts)
		if err != nil {
			return usage(cmd, "%s", err)
		}
		defer decider.Close()
		if f.baseline {
			return a.benchAgainstBaseline(ctx, plan, opts, decider, f.rounds)
		}
		report, err := load.Run(ctx, plan, decider)
		if err != nil {
			return err
		}
		if err := a.print(report, func(w io.Writer, p paint) { renderReport(w, p, plan, report) }); err != nil {
			return err
		}
		if report.OK == 0 {
			return fmt.Errorf("no request was answered")
		}
		return ctx.Err()
	})
}

// renderReport prints one run for people.
func renderReport(w io.Writer, p paint, plan load.Plan, r *load.Report) {
	if r.Mode == "open" {
		fmt.Fprintf(w, "Open loop: %s requests/s for %s after %s of warmup, at most %d in flight\n\n",
			thousands(int64(plan.Rate)), plan.Duration, plan.Warmup, plan.Clients)
	} else {
		fmt.Fprintf(w, "Closed loop: %s for %s after %s of warmup\n\n", plural(plan.Clients, "client"), plan.Duration, plan.Warmup)
	}
	line := func(name, format string, args ...any) {
		fmt.Fprintf(w, "  %s  %s\n", p.dim(pad(name, 8)), fmt.Sprintf(format, args...))
	}
	line("rate", "%s answers/s", p.bold(thousands(int64(r.Rate+0.5))))
	l := r.Latency
	line("latency", "p50 %s   p90 %s   p99 %s   p99.9 %s   max %s", p.bold(millis(l.P50Micros)), millis(l.P90Micros),
		p.bold(millis(l.P99Micros)), millis(l.P999Micros), millis(l.MaxMicros))
	sent := fmt.Sprintf("%s sent, %s", thousands(r.Completed), p.green(thousands(r.OK)+" ok"))
	if failed := r.Completed - r.OK; failed > 0 {
		sent += ", " + p.red(thousands(failed)+" failed")
	}
	if r.Mode == "open" {
		sent = fmt.Sprintf("%s planned, %s, %s late, %s never sent", thousands(r.Scheduled), sent, thousands(r.Late), thousands(r.Unsent))
	}
	line("requests", "%s", sent)
	if len(r.Errors) > 0 {
		var codes []string
		for _, code := range slices.Sorted(maps.Keys(r.Errors)) {
			codes = append(codes, fmt.Sprintf("%s × %s", code, thousands(r.Errors[code])))
		}
		line("errors", "%s", p.red(strings.Join(codes, ", ")))
	}
	line("answers", "%s degraded, %s with a fallback, %s without a proposition, %.0f bytes each",
		thousands(r.Degraded), thousands(r.Fallback), thousands(r.NoProposition), r.ResponseBytes)
}

// millis prints microseconds as milliseconds, with as many digits as are worth reading.
func millis(micros int64) string {
	ms := float64(micros) / 1000
	switch {
	case ms < 10:
		return fmt.Sprintf("%.2f ms", ms)
	case ms < 100:
		return fmt.Sprintf("%.1f ms", ms)
	default:
		return fmt.Sprintf("%.0f ms", ms)
	}
}
