package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/api"
	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/load"
	"github.com/spf13/cobra"
)

// baselineShutdown bounds how long the baseline server finishes what it is doing.
const baselineShutdown = 2 * time.Second

// benchBaselineCommand serves the baseline. It is a process of its own, as the node is: in the load
// generator's process it would share a scheduler and a garbage collector with it, and the two
// measurements would not compare.
func (a *app) benchBaselineCommand() *cobra.Command {
	return &cobra.Command{
		Use: "serve-baseline", Short: "Serve the baseline that --baseline measures", Hidden: true,
		Long: "Reads the answer, one line, from the standard input, prints the address it listens on, and serves until the\n" +
			"standard input ends.",
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			input := bufio.NewReader(a.in)
			answer, err := input.ReadBytes('\n')
			if err != nil {
				return fmt.Errorf("reading the answer: %w", err)
			}
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return fmt.Errorf("listening: %w", err)
			}
			server := api.NewBaseline(bytes.TrimSpace(answer))
			served := make(chan error, 1)
			go func() { served <- server.Serve(ln) }()
			fmt.Fprintln(a.out, ln.Addr())
			_, readErr := io.Copy(io.Discard, input) // until the parent closes it, or dies
			ctx, cancel := context.WithTimeout(context.WithoutCancel(cmd.Context()), baselineShutdown)
			defer cancel()
			return errors.Join(readErr, server.Shutdown(ctx), <-served)
		},
	}
}

// baselineProcess is the child that serves the baseline.
type baselineProcess struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	addr  string
}

func startBaseline(ctx context.Context, answer []byte) (*baselineProcess, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program: %w", err)
	}
	b := &baselineProcess{cmd: exec.CommandContext(ctx, self, "bench", "serve-baseline")}
	b.cmd.Stderr = os.Stderr
	if b.stdin, err = b.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("starting the baseline: %w", err)
	}
	stdout, err := b.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("starting the baseline: %w", err)
	}
	if err := b.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the baseline: %w", err)
	}
	_, err = b.stdin.Write(append(bytes.TrimSpace(bytes.ReplaceAll(answer, []byte("\n"), nil)), '\n'))
	if err == nil {
		b.addr, err = bufio.NewReader(stdout).ReadString('\n')
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting the baseline: %w", err), b.stop())
	}
	b.addr = strings.TrimSpace(b.addr)
	return b, nil
}

// stop ends the child and waits for it.
func (b *baselineProcess) stop() error {
	err := b.stdin.Close()
	if waitErr := b.cmd.Wait(); waitErr != nil {
		err = errors.Join(err, fmt.Errorf("the baseline: %w", waitErr))
	}
	return err
}

// comparison is what bench decide --baseline prints.
type comparison struct {
	// Rounds are in the order in which they were run: the node, then the baseline.
	Rounds []comparedRound `json:"rounds"`
	// NodeRate and BaselineRate are medians of answers a second; Ratio is the median of each round's
	// node rate over its baseline rate.
	NodeRate     float64 `json:"nodeRate"`
	BaselineRate float64 `json:"baselineRate"`
	Ratio        float64 `json:"ratio"`
}

type comparedRound struct {
	Node     *load.Report `json:"node"`
	Baseline *load.Report `json:"baseline"`
}

// benchAgainstBaseline measures node and baseline in turns, so that a noisy moment of the machine
// hits both.
func (a *app) benchAgainstBaseline(ctx context.Context, plan load.Plan, opts load.DecideOptions, node *load.Decider, rounds int) (err error) {
	answer, err := node.Probe()
	if err != nil {
		return err
	}
	child, err := startBaseline(ctx, answer)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, child.stop()) }()
	opts.Addr = child.addr
	baseline, err := load.NewDecider(opts)
	if err != nil {
		return err
	}
	defer baseline.Close()

	var c comparison
	for round := range rounds {
		if round > 0 {
			plan.Warmup = min(plan.Warmup, time.Second) // connections are open and code is warm
		}
		var r comparedRound
		if r.Node, err = load.Run(ctx, plan, node); err != nil {
			return err
		}
		if r.Baseline, err = load.Run(ctx, plan, baseline); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		c.Rounds = append(c.Rounds, r)
	}
	c.summarize()
	return a.print(c, func(w io.Writer, p paint) { renderComparison(w, p, plan, &c) })
}

func (c *comparison) summarize() {
	pick := func(f func(comparedRound) float64) float64 {
		values := make([]float64, len(c.Rounds))
		for i, r := range c.Rounds {
			values[i] = f(r)
		}
		return median(values)
	}
	c.NodeRate = pick(func(r comparedRound) float64 { return r.Node.Rate })
	c.BaselineRate = pick(func(r comparedRound) float64 { return r.Baseline.Rate })
	c.Ratio = pick(func(r comparedRound) float64 {
		if r.Baseline.Rate == 0 {
			return 0
		}
		return r.Node.Rate / r.Baseline.Rate
	})
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

func renderComparison(w io.Writer, p paint, plan load.Plan, c *comparison) {
	fmt.Fprintf(w, "%s of %s, node and baseline in turns, %s\n\n", plural(len(c.Rounds), "round"), plan.Duration,
		plural(plan.Clients, "client"))
	t := newTable(p, "Round", "Node /s", "p50", "p99", "errors", "Baseline /s", "p50", "p99", "errors", "Ratio")
	right(t, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
	for i, r := range c.Rounds {
		ratio := 0.0
		if r.Baseline.Rate > 0 {
			ratio = r.Node.Rate / r.Baseline.Rate
		}
		t.AppendRow([]any{
			i + 1, thousands(int64(r.Node.Rate)), millis(r.Node.Latency.P50Micros), millis(r.Node.Latency.P99Micros), r.Node.Completed - r.Node.OK,
			thousands(int64(r.Baseline.Rate)), millis(r.Baseline.Latency.P50Micros), millis(r.Baseline.Latency.P99Micros),
			r.Baseline.Completed - r.Baseline.OK, fmt.Sprintf("%.3f", ratio),
		})
	}
	writeTable(w, t, 2)
	fmt.Fprintf(w, "\nmedians: node %s/s, baseline %s/s, ratio %s\n", p.bold(thousands(int64(c.NodeRate))),
		thousands(int64(c.BaselineRate)), p.bold(fmt.Sprintf("%.3f", c.Ratio)))
}
