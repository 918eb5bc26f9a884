package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/load"
	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/spf13/cobra"
)

// disturbance is what a node does while it is measured, and what came of it.
type disturbance struct {
	// Times is how often it was done in all rounds, and P50Millis and MaxMillis how long once took.
	Times     int     `json:"times"`
	P50Millis float64 `json:"p50Millis"`
	MaxMillis float64 `json:"maxMillis"`
	// Bytes is the size of the artifact.
	Bytes int `json:"bytes"`
	// Ratios are p99 with it by p99 without it, one for each round, and Ratio their median.
	Ratio  float64   `json:"ratio"`
	Ratios []float64 `json:"ratios"`
	// Failed and Degraded are answers of all rounds.
	Failed   int64          `json:"failed"`
	Degraded int64          `json:"degraded"`
	Steady   []*load.Report `json:"steady"`
	During   []*load.Report `json:"during"`

	took []time.Duration
}

func (a *app) benchSwapCommand() *cobra.Command {
	var f benchFlags
	swaps := 200
	cmd := a.benchDisturbed(&f, "swap FILE", "Swap between two versions of a model while decisions run",
		"Pushes the artifact as two versions and makes them active in turns while decisions are asked for, in rounds with and\n"+
			"without swaps. What was active before is active afterwards. Only nodes on this machine are measured.",
		"  arbiter bench swap churn.wasm --rate 500 --swaps 200",
		func(ctx context.Context, c apiClient, plan load.Plan, sender load.Sender, module []byte) (*disturbance, error) {
			return benchSwaps(ctx, c, plan, sender, module, f.rounds, swaps)
		})
	cmd.Flags().IntVar(&swaps, "swaps", swaps, "how many swaps in all rounds together")
	return cmd
}

func (a *app) benchAdmitCommand() *cobra.Command {
	var f benchFlags
	return a.benchDisturbed(&f, "admit FILE", "Push an artifact again and again while decisions run",
		"Pushes the artifact as a version of its own in each round, which the node admits, compiles and stages, and measures\n"+
			"decisions meanwhile and before. Only nodes on this machine are measured.",
		"  arbiter bench admit large.wasm --rate 500 --rounds 5",
		func(ctx context.Context, c apiClient, plan load.Plan, sender load.Sender, module []byte) (*disturbance, error) {
			return benchAdmissions(ctx, c, plan, sender, module, f.rounds)
		})
}

// benchDisturbed makes a command that measures decisions with and without something.
func (a *app) benchDisturbed(f *benchFlags, use, short, long, example string,
	measure func(context.Context, apiClient, load.Plan, load.Sender, []byte) (*disturbance, error)) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long, Example: example, Args: args("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			addr, err := load.Loopback(a.addrOrDefault())
			if err != nil {
				return usage(cmd, "--addr: %s", err)
			}
			module, err := a.readFile(args[0], maxModuleBytes)
			if err != nil {
				return err
			}
			plan, opts, err := f.plan(cmd, addr)
			if err != nil {
				return err
			}
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				sender, err := load.NewDecider(opts)
				if err != nil {
					return usage(cmd, "%s", err)
				}
				defer sender.Close()
				found, err := measure(ctx, c, plan, sender, module)
				if err != nil {
					return err
				}
				return a.print(found, func(w io.Writer, p paint) { renderDisturbance(w, p, found) })
			})
		},
	}
	flags := cmd.Flags()
	flags.Float64Var(&f.rate, "rate", defaultBenchRate, "requests a second")
	flags.DurationVar(&f.duration, "duration", 5*time.Second, "how long each half of a round takes")
	flags.DurationVar(&f.warmup, "warmup", defaultBenchWarmup, "how long to send before each measurement")
	flags.IntVar(&f.clients, "clients", 0, fmt.Sprintf("most requests in flight (default %d)", load.DefaultClients))
	flags.IntVar(&f.rounds, "rounds", defaultRounds, "how often to measure both")
	flags.IntVar(&f.subjects, "subjects", load.DefaultSubjects, "ask about this many customers: S-000001 and on")
	flags.StringVar(&f.channel, "channel", "callcentre", "channel of the requests")
	flags.BoolVar(&f.simulate, "simulate", false, "ask for decisions that are not recorded")
	flags.DurationVar(&f.timeout, "timeout", load.DefaultTimeout, "how long to wait for one answer")
	return cmd
}

// versionOf is the module as another version of its plugin, so that a node has to do all work for it again.
func versionOf(module []byte, suffix string) (again []byte, version string, err error) {
	m, err := artifact.Parse(module)
	if err != nil {
		return nil, "", err
	}
	m.Version = "0.0.1-bench." + suffix
	again, err = artifact.Embed(module, m)
	return again, m.Version, err
}

func benchSwaps(ctx context.Context, c apiClient, plan load.Plan, sender load.Sender, module []byte, rounds, swaps int) (*disturbance, error) {
	d := &disturbance{Bytes: len(module)}
	manifest, err := artifact.Parse(module)
	if err != nil {
		return nil, err
	}
	known, err := c.Plugins(ctx)
	if err != nil {
		return nil, err
	}
	before := slices.IndexFunc(known, func(v nba.PluginVersion) bool { return v.Name == manifest.Name && v.State == nba.StateActive })
	stamp := time.Now().Unix()
	var versions [2]string
	for i := range versions {
		again, version, err := versionOf(module, fmt.Sprintf("%d.%d", stamp, i))
		if err != nil {
			return nil, err
		}
		if _, err := c.PushPlugin(ctx, again, false); err != nil {
			return nil, err
		}
		versions[i] = version
	}
	if before >= 0 {
		defer func() {
			_, _ = c.ActivatePlugin(context.WithoutCancel(ctx), known[before].Name, known[before].Version)
		}()
	}
	each := max(1, (swaps+rounds-1)/rounds)
	for range rounds {
		if err := d.round(ctx, plan, sender, func(ctx context.Context) error {
			return d.repeat(ctx, each, plan.Duration/time.Duration(each+1), func(i int) error {
				_, err := c.ActivatePlugin(ctx, manifest.Name, versions[i%2])
				return err
			})
		}, false); err != nil {
			return nil, err
		}
	}
	return d.finish(), nil
}

func benchAdmissions(ctx context.Context, c apiClient, plan load.Plan, sender load.Sender, module []byte, rounds int) (*disturbance, error) {
	d := &disturbance{Bytes: len(module)}
	stamp := time.Now().Unix()
	for i := range rounds {
		again, _, err := versionOf(module, fmt.Sprintf("%d.%d", stamp, i))
		if err != nil {
			return nil, err
		}
		if err := d.round(ctx, plan, sender, func(ctx context.Context) error {
			return d.repeat(ctx, 1, 0, func(int) error {
				_, err := c.PushPlugin(ctx, again, false)
				return err
			})
		}, true); err != nil {
			return nil, err
		}
	}
	return d.finish(), nil
}

// round measures decisions without and then with what do does; short ends the second half with it.
func (d *disturbance) round(ctx context.Context, plan load.Plan, sender load.Sender, do func(context.Context) error, short bool) error {
	steady, err := load.Run(ctx, plan, sender)
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 1)
	go func() {
		err := do(ctx)
		if err != nil || short {
			stop()
		}
		done <- err
	}()
	plan.Warmup = 0
	if short {
		plan.Duration = max(plan.Duration, time.Minute)
	}
	during, err := load.Run(running, plan, sender)
	if doErr := <-done; err != nil || doErr != nil || ctx.Err() != nil {
		return firstError(doErr, err, ctx.Err())
	}
	d.Steady, d.During = append(d.Steady, steady), append(d.During, during)
	if steady.Latency.P99Micros > 0 {
		d.Ratios = append(d.Ratios, float64(during.Latency.P99Micros)/float64(steady.Latency.P99Micros))
	}
	for _, r := range [...]*load.Report{steady, during} {
		d.Failed += r.Completed - r.OK
		d.Degraded += r.Degraded
	}
	return nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// repeat does something a number of times, evenly spread, and notes how long each took.
func (d *disturbance) repeat(ctx context.Context, times int, every time.Duration, do func(i int) error) error {
	for i := range times {
		select {
		case <-time.After(every):
		case <-ctx.Done():
			return ctx.Err()
		}
		began := time.Now()
		if err := do(i); err != nil {
			return err
		}
		d.took = append(d.took, time.Since(began))
	}
	return nil
}

func (d *disturbance) finish() *disturbance {
	slices.Sort(d.took)
	d.Times = len(d.took)
	if d.Times > 0 {
		d.P50Millis, d.MaxMillis = d.took[d.Times/2].Seconds()*1000, d.took[d.Times-1].Seconds()*1000
	}
	if sorted := slices.Sorted(slices.Values(d.Ratios)); len(sorted) > 0 {
		d.Ratio = sorted[len(sorted)/2]
	}
	return d
}

func renderDisturbance(w io.Writer, p paint, d *disturbance) {
	fmt.Fprintf(w, "%s times an artifact of %s bytes: %.0f ms half of the time, %.0f ms at most\n", thousands(int64(d.Times)), thousands(int64(d.Bytes)), d.P50Millis, d.MaxMillis)
	t := newTable(p, "Round", "p99 without", "p99 with", "Ratio", "Answers/s without", "with")
	right(t, 2, 3, 4, 5, 6)
	for i := range d.Ratios {
		t.AppendRow([]any{i + 1, millis(d.Steady[i].Latency.P99Micros), millis(d.During[i].Latency.P99Micros), fmt.Sprintf("%.2f", d.Ratios[i]),
			thousands(int64(d.Steady[i].Rate)), thousands(int64(d.During[i].Rate))})
	}
	writeTable(w, t, 0)
	failed := p.green("none failed")
	if d.Failed > 0 {
		failed = p.red(thousands(d.Failed) + " failed")
	}
	fmt.Fprintf(w, "%s, %s degraded; median ratio of p99 %s\n", failed, thousands(d.Degraded), p.bold(fmt.Sprintf("%.2f", d.Ratio)))
}
