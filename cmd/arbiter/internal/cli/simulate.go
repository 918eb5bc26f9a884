package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/report"
	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/spf13/cobra"
)

// simulateFlags are the flags of arbiter simulate.
type simulateFlags struct {
	from, to string
	plugins  []string
	sample   int
	seed     uint64
	channels []string
	at       string
}

func (a *app) simulateCommand() *cobra.Command {
	var f simulateFlags
	cmd := &cobra.Command{
		Use:   "simulate --to CATALOG",
		Short: "Tell what another catalog or plugin version would propose, to whom, and what it is worth",
		Long: "Decide for a sample of the customers with two catalogs or plugin versions, and compare: actions, expected value,\n" +
			"what is suppressed and why, and who gets something else. Nothing is recorded or reserved. A catalog is a\n" +
			"catalogVersion or a file; without --from it is the active one.",
		Example: `  arbiter simulate --to catalog.yaml
  arbiter simulate --from 57 --to 61 --sample 50000 --channel web --channel app
  arbiter simulate --plugin churn=1.2.0 -o html > report.html`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			req, err := f.request(cmd, a)
			if err != nil {
				return err
			}
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error { return a.simulate(ctx, c, req) })
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.from, "from", "", "`CATALOG` to compare with: a catalogVersion or a file (default the active one)")
	flags.StringVar(&f.to, "to", "", "`CATALOG` to try: a catalogVersion or a file (default that of --from)")
	flags.StringArrayVar(&f.plugins, "plugin", nil, "`NAME=VERSION` that scores on the side of --to; repeatable")
	flags.IntVar(&f.sample, "sample", nba.DefaultSimulationSample, "how many customers to look at")
	flags.Uint64Var(&f.seed, "seed", 0, "chooses the customers, and feeds what is drawn by chance")
	flags.StringArrayVar(&f.channels, "channel", nil, "`CHANNEL` that asks (default all); repeatable")
	flags.StringVar(&f.at, "at", "", "decide as of this `TIME`, RFC 3339 (default now)")
	flags.VarP(&reportFormat{to: &a.format}, "output", "o", "how to print: text, json, yaml or html")
	return cmd
}

// reportFormat is --output of a command that also writes a page.
type reportFormat struct{ to *format }

// String implements pflag.Value.
func (f *reportFormat) String() string {
	if f.to == nil || *f.to == "" {
		return "text"
	}
	return string(*f.to)
}

// Set implements pflag.Value.
func (f *reportFormat) Set(text string) error {
	switch text {
	case "text":
		*f.to = formatTable
	case string(formatHTML):
		*f.to = formatHTML
	default:
		if f.to.Set(text) != nil {
			return fmt.Errorf("use text, json, yaml or html")
		}
	}
	return nil
}

// Type implements pflag.Value.
func (f *reportFormat) Type() string { return "format" }

// formatHTML is a page, of the commands that have one.
const formatHTML format = "html"

func (f *simulateFlags) request(cmd *cobra.Command, a *app) (*nba.SimulationRequest, error) {
	if f.to == "" && len(f.plugins) == 0 {
		return nil, usage(cmd, "--to or --plugin is missing: there is nothing to compare")
	}
	req := &nba.SimulationRequest{Sample: f.sample, Seed: f.seed, Channels: f.channels}
	var err error
	if req.From, err = a.simulationSide(f.from); err != nil {
		return nil, err
	}
	if req.To = req.From; f.to != "" {
		if req.To, err = a.simulationSide(f.to); err != nil {
			return nil, err
		}
	}
	for _, given := range f.plugins {
		name, version, ok := strings.Cut(given, "=")
		if !ok || name == "" || version == "" {
			return nil, usage(cmd, "--plugin %s: use NAME=VERSION", given)
		}
		if req.To.Plugins == nil {
			req.To.Plugins = map[string]string{}
		}
		req.To.Plugins[name] = version
	}
	if f.at != "" {
		at, err := time.Parse(time.RFC3339, f.at)
		if err != nil {
			return nil, usage(cmd, "--at is no time: use RFC 3339, such as 2026-11-22T09:30:00Z")
		}
		req.At = &at
	}
	return req, nil
}

// simulationSide is a catalogVersion if it is a number, else a file.
func (a *app) simulationSide(given string) (side nba.SimulationSide, err error) {
	if given == "" {
		return side, nil
	}
	if side.CatalogVersion, err = strconv.ParseUint(given, 10, 64); err == nil {
		return side, nil
	}
	document, err := a.readFile(given, catalog.MaxDocumentBytes)
	side.Document = string(document)
	return side, err
}

// simulatePoll is the time between two looks at how far a simulation is.
const simulatePoll = 200 * time.Millisecond

// simulate begins a simulation, waits for it, and prints its result. When it is interrupted the simulation
// is cancelled too.
func (a *app) simulate(ctx context.Context, c apiClient, req *nba.SimulationRequest) error {
	job, err := c.Simulate(ctx, req)
	if err != nil {
		return err
	}
	for job.State == nba.SimulationRunning {
		a.simulationProgress(job)
		select {
		case <-ctx.Done():
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			_, _ = c.CancelSimulation(end, job.ID) // it is bounded there anyway
			return ctx.Err()
		case <-time.After(simulatePoll):
		}
		if job, err = c.Simulation(ctx, job.ID); err != nil {
			return err
		}
	}
	if a.errTTY {
		fmt.Fprint(a.err, "\r\x1b[K")
	}
	if job.State != nba.SimulationDone || job.Result == nil {
		return fmt.Errorf("the simulation is %s: %s", job.State, dash(job.Problem))
	}
	if a.format == formatHTML {
		var page bytes.Buffer
		if err := report.WriteSimulation(&page, job.Result); err != nil {
			return err
		}
		_, err := a.out.Write(page.Bytes())
		return err
	}
	return a.print(job.Result, func(w io.Writer, p paint) { renderSimulation(w, p, job.Result) })
}

func (a *app) simulationProgress(job *nba.Simulation) {
	if !a.errTTY {
		return
	}
	if job.Progress.Of == 0 {
		fmt.Fprint(a.err, "\r\x1b[KChoosing customers…")
		return
	}
	fmt.Fprintf(a.err, "\r\x1b[K%3d %%  %d of %d customers", 100*job.Progress.Done/job.Progress.Of, job.Progress.Done, job.Progress.Of)
}

// renderSimulation prints a result for people.
func renderSimulation(w io.Writer, p paint, r *nba.SimulationResult) {
	fmt.Fprintf(w, "%s of %d decisions propose something else.\n", p.bold(strconv.Itoa(r.Changed)), r.From.Decisions)
	fmt.Fprintf(w, "%s\n\n", p.dim(fmt.Sprintf("%d customers of %d, %d of %d groups, %s; as of %s, seed %d", r.Subjects, r.Population, r.Groups, r.AllGroups,
		joined(r.Channels), stamp(r.At), r.Seed)))
	t := newTable(p, "", "From", "To", "Change")
	right(t, 2, 3, 4)
	count := func(name string, from, to int) { t.AppendRow([]any{name, from, to, fmt.Sprintf("%+d", to-from)}) }
	t.AppendRow([]any{"Catalog", side(&r.From), side(&r.To), ""})
	t.AppendRow([]any{"Expected value", report.Number(r.From.ExpectedValue), report.Number(r.To.ExpectedValue), report.Percent(r.From.ExpectedValue, r.To.ExpectedValue)})
	count("Propositions", r.From.Propositions, r.To.Propositions)
	count("Decisions that propose nothing", r.From.Nothing, r.To.Nothing)
	count("Degraded decisions", r.From.Degraded, r.To.Degraded)
	count("In control groups", r.From.InControl, r.To.InControl)
	writeTable(w, t, 0)
	renderSimulatedActions(w, p, r)
	renderSuppressions(w, p, r)
	if len(r.Changes) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s\n\n", p.bold("Who changes"))
	t = newTable(p, "Channel", "Placement", "Was", "Becomes", "Customers")
	right(t, 5)
	for _, c := range r.Changes[:min(len(r.Changes), 15)] {
		t.AppendRow([]any{c.Channel, c.Placement, orNothing(c.From), orNothing(c.To), c.Count})
	}
	writeTable(w, t, 2)
}

func side(c *nba.SimulationCounts) string {
	if c.CatalogVersion == 0 {
		return c.Catalog
	}
	return fmt.Sprintf("%s v%d", c.Catalog, c.CatalogVersion)
}

func orNothing(action string) string {
	if action == "" {
		return "nothing"
	}
	return action
}

func renderSimulatedActions(w io.Writer, p paint, r *nba.SimulationResult) {
	fmt.Fprintf(w, "\n%s\n\n", p.bold("Actions"))
	t := newTable(p, "Action", "From", "To", "Change", "Value from", "Value to")
	right(t, 2, 3, 4, 5, 6)
	for _, pair := range report.Actions(r) {
		t.AppendRow([]any{pair.Action, pair.From.Propositions, pair.To.Propositions, fmt.Sprintf("%+d", pair.To.Propositions-pair.From.Propositions),
			report.Number(pair.From.ExpectedValue), report.Number(pair.To.ExpectedValue)})
	}
	writeTable(w, t, 2)
}

func renderSuppressions(w io.Writer, p paint, r *nba.SimulationResult) {
	fmt.Fprintf(w, "\n%s\n\n", p.bold("What left, and why"))
	t := newTable(p, "Stage", "Reason", "From", "To", "Change")
	right(t, 3, 4, 5)
	for _, pair := range report.Suppressions(r) {
		t.AppendRow([]any{pair.Stage, pair.Code, pair.From, pair.To, fmt.Sprintf("%+d", pair.To-pair.From)})
	}
	writeTable(w, t, 2)
}
