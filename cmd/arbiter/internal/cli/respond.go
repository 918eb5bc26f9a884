package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/client"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/spf13/cobra"
)

// apiClient is the client that commands work with.
type apiClient = *client.Client

// withClient runs fn with a client of the node the user means.
func (a *app) withClient(cmd *cobra.Command, fn func(context.Context, apiClient) error) error {
	c, err := a.client(cmd)
	if err != nil {
		return err
	}
	defer c.Close()
	return fn(cmd.Context(), c)
}

func outcomeNames() []string {
	names := make([]string, len(nba.ReportedOutcomes))
	for i, o := range nba.ReportedOutcomes {
		names[i] = string(o)
	}
	return names
}

func (a *app) respondCommand() *cobra.Command {
	var r nba.Response
	var outcome, at string
	cmd := &cobra.Command{
		Use:   "respond [DECISION] --outcome OUTCOME",
		Short: "Report what came of a proposition",
		Example: `  arbiter respond 01KB3V8Q5M9T1Z7X4C6W2R0YHD --action family-plan --outcome Accepted
  arbiter respond 01KB3V8Q5M9T1Z7X4C6W2R0YHD --action family-plan --outcome Rejected --behaviour too-dear
  arbiter respond --token TOKEN --outcome Clicked`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := fillResponse(cmd, &r, args, outcome, at); err != nil {
				return err
			}
			return a.respond(cmd, r)
		},
	}
	cmd.AddCommand(a.respondImportCommand())
	flags := cmd.Flags()
	flags.StringVar(&r.Action, "action", "", "the action that was proposed")
	flags.StringVar(&r.ResponseToken, "token", "", "the proposition's responseToken, in place of DECISION and --action")
	flags.StringVar(&r.Treatment, "treatment", "", "the treatment that was shown")
	flags.StringVar(&outcome, "outcome", "", strings.Join(outcomeNames(), ", "))
	flags.StringVar(&r.Behaviour, "behaviour", "", "what the customer did, in the channel's own words")
	flags.Float64Var(&r.Value, "value", 0, "what it was worth, such as a price paid")
	flags.StringVar(&at, "time", "", "when it happened, RFC 3339 (default now)")
	_ = cmd.RegisterFlagCompletionFunc("outcome", cobra.FixedCompletions(outcomeNames(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func fillResponse(cmd *cobra.Command, r *nba.Response, args []string, outcome, at string) error {
	switch {
	case len(args) > 1:
		return usage(cmd, "there are %d arguments too many", len(args)-1)
	case len(args) == 0 && r.ResponseToken == "":
		return usage(cmd, "DECISION is missing; --token can stand in for it")
	case len(args) == 1 && r.ResponseToken != "":
		return usage(cmd, "use either DECISION or --token")
	case len(args) == 1 && r.Action == "":
		return usage(cmd, "--action is missing: a decision may have proposed several")
	case outcome == "":
		return usage(cmd, "--outcome is missing: one of %s", strings.Join(outcomeNames(), ", "))
	}
	if len(args) == 1 {
		r.DecisionID = args[0]
	}
	for _, known := range nba.ReportedOutcomes {
		if strings.EqualFold(string(known), outcome) {
			r.Outcome = known
		}
	}
	if r.Outcome == "" {
		return usage(cmd, "--outcome is one of %s", strings.Join(outcomeNames(), ", "))
	}
	if at != "" {
		t, err := time.Parse(time.RFC3339, at)
		if err != nil {
			return usage(cmd, "--time is RFC 3339, like 2026-11-22T10:00:00Z")
		}
		r.OutcomeTime = t
	}
	return nil
}

func (a *app) respond(cmd *cobra.Command, r nba.Response) error {
	return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
		receipts, err := c.Respond(ctx, []nba.Response{r})
		if err != nil {
			return err
		}
		return a.print(receipts, func(w io.Writer, p paint) {
			for _, receipt := range receipts {
				state := p.green("recorded")
				if receipt.Duplicate {
					state = p.yellow("was recorded before")
				}
				fmt.Fprintf(w, "%s of %s in decision %s %s\n", receipt.Outcome, p.bold(receipt.Action), receipt.DecisionID, state)
			}
		})
	})
}
