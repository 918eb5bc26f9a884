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
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/spf13/cobra"
)

// latestRun stands for the newest run of a campaign.
const latestRun = "latest"

func (a *app) campaignCommand() *cobra.Command {
	return noun("campaign", "Decide for a whole audience at once: plan, run, watch, export, measure",
		`  arbiter campaign plan device-renewal
  arbiter campaign run device-renewal
  arbiter campaign status device-renewal --watch 1s
  arbiter campaign export device-renewal --dir out --format parquet
  arbiter campaign report device-renewal -o html > report.html`,
		a.campaignListCommand(), a.campaignPlanCommand(), a.campaignRunCommand(), a.campaignStatusCommand(),
		a.campaignChangeCommand("pause", "Hold a run; nobody is contacted from a second on"),
		a.campaignChangeCommand("resume", "Go on after a pause, where the run was"),
		a.campaignChangeCommand("stop", "End a run for good"),
		a.campaignExportCommand(), a.campaignReportCommand())
}

func (a *app) campaignListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the campaigns of the active catalog with their last runs",
		Example: "  arbiter campaign list\n  arbiter campaign list -o json",
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				list, err := c.Campaigns(ctx)
				if err != nil {
					return err
				}
				return a.print(list, func(w io.Writer, p paint) {
					t := newTable(p, "Campaign", "Channels", "Schedule", "Next run", "Last run", "State")
					for i := range list {
						g := &list[i]
						last, state := "-", "-"
						if len(g.Runs) > 0 {
							last, state = stamp(g.Runs[0].StartedAt), g.Runs[0].State
						}
						t.AppendRow([]any{g.Name, strings.Join(g.Channels, ", "), dash(strings.TrimSpace(g.Schedule + " " + g.TimeZone)), stampOf(g.NextRun), last, state})
					}
					writeTable(w, t, 0)
				})
			})
		},
	}
}

func (a *app) campaignPlanCommand() *cobra.Command {
	var req nba.CampaignPlanRequest
	cmd := &cobra.Command{
		Use: "plan CAMPAIGN", Short: "Tell whom a run would reach now, with what, and why not the others",
		Long:    "Decides for a sample of the customers, or with --exact for all of them. Nothing is sent or recorded.",
		Example: "  arbiter campaign plan device-renewal\n  arbiter campaign plan device-renewal --exact -o json",
		Args:    args("CAMPAIGN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				plan, err := c.PlanCampaign(ctx, args[0], &req)
				if err != nil {
					return err
				}
				return a.print(plan, func(w io.Writer, p paint) { renderCampaignPlan(w, p, plan) })
			})
		},
	}
	cmd.Flags().IntVar(&req.Sample, "sample", nba.DefaultCampaignSample, "how many customers to look at")
	cmd.Flags().BoolVar(&req.Exact, "exact", false, "look at all customers")
	cmd.Flags().Uint64Var(&req.Seed, "seed", 0, "chooses the customers of the sample")
	return cmd
}

func (a *app) campaignRunCommand() *cobra.Command {
	var wait bool
	cmd := &cobra.Command{
		Use: "run CAMPAIGN", Short: "Start a run now",
		Example: "  arbiter campaign run device-renewal\n  arbiter campaign run device-renewal --wait",
		Args:    args("CAMPAIGN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				run, err := c.RunCampaign(ctx, args[0])
				for err == nil && wait && run.EndedAt == nil {
					a.campaignProgress(run)
					select {
					case <-ctx.Done():
						return ctx.Err()
					case <-time.After(simulatePoll):
					}
					run, err = c.CampaignRun(ctx, args[0], run.ID)
				}
				if err != nil {
					return err
				}
				if a.errTTY && wait {
					fmt.Fprint(a.err, "\r\x1b[K")
				}
				return a.print(run, func(w io.Writer, p paint) { renderCampaignRun(w, p, run) })
			})
		},
	}
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until it is over; the run goes on without")
	return cmd
}

func (a *app) campaignProgress(run *nba.CampaignRun) {
	if a.errTTY && run.Progress.Subjects > 0 {
		fmt.Fprintf(a.err, "\r\x1b[K%3d %%  %d contacted", 100*run.Examined/max(1, run.Progress.Subjects), run.Contacted)
	}
}

// runFlag is --run of the commands about a run.
func runFlag(cmd *cobra.Command, to *string) {
	cmd.Flags().StringVar(to, "run", latestRun, "`RUN` of the campaign, by its id")
}

func (a *app) campaignStatusCommand() *cobra.Command {
	var watch time.Duration
	var id string
	cmd := &cobra.Command{
		Use: "status CAMPAIGN", Short: "Show how far a run is, and account for everybody",
		Example: "  arbiter campaign status device-renewal\n  arbiter campaign status device-renewal --run device-renewal-42 -o json",
		Args:    args("CAMPAIGN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				for {
					run, err := c.CampaignRun(ctx, args[0], id)
					if err != nil {
						return err
					}
					if err := a.print(run, func(w io.Writer, p paint) { renderCampaignRun(w, p, run) }); err != nil || watch <= 0 || run.EndedAt != nil {
						return err
					}
					select {
					case <-ctx.Done():
						return nil
					case <-time.After(watch):
						fmt.Fprintln(a.out)
					}
				}
			})
		},
	}
	cmd.Flags().DurationVar(&watch, "watch", 0, "show it again and again until it is over")
	runFlag(cmd, &id)
	return cmd
}

func (a *app) campaignChangeCommand(verb, short string) *cobra.Command {
	var id string
	cmd := &cobra.Command{
		Use: verb + " CAMPAIGN", Short: short,
		Example: "  arbiter campaign " + verb + " device-renewal",
		Args:    args("CAMPAIGN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				run, err := c.ChangeCampaign(ctx, args[0], id, verb)
				if err != nil {
					return err
				}
				return a.print(run, func(w io.Writer, p paint) { renderCampaignRun(w, p, run) })
			})
		},
	}
	runFlag(cmd, &id)
	return cmd
}

func (a *app) campaignReportCommand() *cobra.Command {
	var id string
	cmd := &cobra.Command{
		Use: "report CAMPAIGN", Short: "Tell what came of a run, and its lift against those held out",
		Example: "  arbiter campaign report device-renewal\n  arbiter campaign report device-renewal -o html > report.html",
		Args:    args("CAMPAIGN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				result, err := c.CampaignReport(ctx, args[0], id)
				if err != nil {
					return err
				}
				if a.format == formatHTML {
					var page bytes.Buffer
					if err := report.WriteCampaign(&page, result); err != nil {
						return err
					}
					_, err := a.out.Write(page.Bytes())
					return err
				}
				return a.print(result, func(w io.Writer, p paint) { renderCampaignReport(w, p, result) })
			})
		},
	}
	runFlag(cmd, &id)
	cmd.Flags().VarP(&reportFormat{to: &a.format}, "output", "o", "how to print: text, json, yaml or html")
	return cmd
}

func renderCampaignPlan(w io.Writer, p paint, plan *nba.CampaignPlan) {
	fmt.Fprintf(w, "A run of %s would contact %s of %d customers.\n", p.bold(plan.Campaign), p.bold(strconv.FormatUint(plan.Contacted, 10)), plan.Subjects)
	basis := "all customers were looked at"
	if !plan.Exact {
		basis = fmt.Sprintf("from a sample of %d customers, scaled up", plan.Sampled)
	}
	fmt.Fprintf(w, "%s\n\n", p.dim(fmt.Sprintf("catalog v%d, as of %s; %s; nothing was sent or recorded", plan.CatalogVersion, stamp(plan.At), basis)))
	renderCampaignAccount(w, p, &plan.CampaignAccount)
	fmt.Fprintf(w, "\nIt takes about %s.\n", time.Duration(plan.Seconds*float64(time.Second)).Round(100*time.Millisecond))
}

func renderCampaignRun(w io.Writer, p paint, run *nba.CampaignRun) {
	fmt.Fprintf(w, "Run %s is %s.\n", p.bold(run.ID), p.bold(run.State))
	line := fmt.Sprintf("catalog v%d, began %s", run.CatalogVersion, stamp(run.StartedAt))
	if run.EndedAt != nil {
		line += ", ended " + stamp(*run.EndedAt)
	}
	line += fmt.Sprintf("; %d of %d customers, %.0f a second", run.Examined, run.Progress.Subjects, run.Progress.PerSecond)
	if run.Progress.Remaining != nil {
		line += fmt.Sprintf(", %s left", time.Duration(*run.Progress.Remaining*float64(time.Second)).Round(time.Second))
	}
	fmt.Fprintf(w, "%s\n", p.dim(line))
	if len(run.Progress.Missing) > 0 {
		fmt.Fprintf(w, "%s\n", p.yellow(fmt.Sprintf("%d groups did not answer: their customers are not counted", len(run.Progress.Missing))))
	}
	fmt.Fprintln(w)
	renderCampaignAccount(w, p, &run.CampaignAccount)
}

func renderCampaignAccount(w io.Writer, p paint, a *nba.CampaignAccount) {
	t := newTable(p, "", "Customers")
	right(t, 2)
	t.AppendRow([]any{"Audience", a.Audience})
	t.AppendRow([]any{"Contacted", a.Contacted})
	t.AppendRow([]any{"Held out", a.HeldOut})
	t.AppendRow([]any{"Suppressed", a.SuppressedAll()})
	for i := range a.Suppressed {
		t.AppendRow([]any{"  " + a.Suppressed[i].Stage + " " + a.Suppressed[i].Code, a.Suppressed[i].Count})
	}
	writeTable(w, t, 0)
	if len(a.Actions) == 0 {
		return
	}
	fmt.Fprintln(w)
	t = newTable(p, "Action", "Channel", "Contacts", "Expected value", "Cost")
	right(t, 3, 4, 5)
	for i := range a.Actions {
		line := &a.Actions[i]
		t.AppendRow([]any{line.Action, line.Channel, line.Count, report.Number(line.ExpectedValue), report.Number(line.Cost)})
	}
	t.AppendFooter([]any{"", "", a.Contacted, report.Number(a.ExpectedValue), report.Number(a.Cost)})
	writeTable(w, t, 0)
}

func renderCampaignReport(w io.Writer, p paint, r *nba.CampaignReport) {
	renderCampaignRun(w, p, &r.Run)
	fmt.Fprintf(w, "\n%s\n\n", p.bold("Responses"))
	t := newTable(p, "Outcome", "Contacts", "Share")
	right(t, 2, 3)
	for i := range r.Responses {
		t.AppendRow([]any{r.Responses[i].Outcome, r.Responses[i].Count, percentOf(float64(r.Responses[i].Count) / float64(max(1, r.Run.Contacted)))})
	}
	writeTable(w, t, 2)
	fmt.Fprintf(w, "\n%s\n\n", p.bold("Lift"))
	t = newTable(p, "", "Customers", "Accepted or converted", "Rate")
	right(t, 2, 3, 4)
	t.AppendRow([]any{"Contacted", r.ContactedGroup.Subjects, r.ContactedGroup.Responded, percentOf(r.ContactedGroup.Rate)})
	t.AppendRow([]any{"Held out", r.HeldOutGroup.Subjects, r.HeldOutGroup.Responded, percentOf(r.HeldOutGroup.Rate)})
	writeTable(w, t, 2)
	fmt.Fprintf(w, "\n%s\n", liftLine(r))
}

func liftLine(r *nba.CampaignReport) string {
	if r.Lift == nil {
		return "Nobody was held out, or nobody contacted: there is no lift to tell."
	}
	return fmt.Sprintf("%+.2f percentage points, between %+.2f and %+.2f: %s.", 100*r.Lift.Difference, 100*r.Lift.Low, 100*r.Lift.High, r.Method)
}

func percentOf(share float64) string { return fmt.Sprintf("%.2f %%", 100*share) }
