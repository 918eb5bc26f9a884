package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/spf13/cobra"
)

func (a *app) whyNotCommand() *cobra.Command {
	f := decideFlags{explain: string(nba.ExplainNone)}
	cmd := &cobra.Command{
		Use:   "why-not SUBJECT ACTION --channel CHANNEL",
		Short: "Tell why an action is not proposed to a customer, and what would have to change",
		Example: `  arbiter why-not S-000123 family-plan --channel web
  arbiter why-not S-000123 roaming-pass --channel app --context location=abroad
  arbiter why-not S-000123 price-lock --channel web --placement hero -o json`,
		Args: args("SUBJECT", "ACTION"),
		RunE: func(cmd *cobra.Command, args []string) error {
			req, err := f.request(cmd, args[0])
			if err != nil {
				return err
			}
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				why, err := c.WhyNot(ctx, req, args[1])
				if err != nil {
					return err
				}
				return a.print(why, func(w io.Writer, p paint) { renderWhyNot(w, p, why) })
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.channel, "channel", "", "the channel that asks: one of the catalog's")
	flags.StringVar(&f.subjectType, "type", "", "subject type: subscriber, account or device (default subscriber)")
	flags.StringVar(&f.direction, "direction", "", "inbound or outbound (default that of the channel)")
	flags.StringArrayVar(&f.placements, "placement", nil, "`PLACEMENT` to look at (default all of the channel); repeatable")
	flags.StringArrayVar(&f.contexts, "context", nil, "situational value: `KEY=VALUE`; repeatable")
	flags.Uint64Var(&f.catalog, "catalog-version", 0, "ask this catalogVersion in place of the active one")
	return cmd
}

// renderWhyNot prints the answer as text.
func renderWhyNot(w io.Writer, p paint, why *nba.WhyNot) {
	name := p.bold(why.Action)
	if why.Proposed {
		fmt.Fprintf(w, "%s %s on %s: %s, position %d (%s).\n", name, p.green("is proposed"), why.Channel, why.Placement, why.Rank, why.Label)
		renderRank(w, p, why)
		return
	}
	stage := why.Stage
	if stage == "" {
		stage = "decision"
	}
	fmt.Fprintf(w, "%s %s on %s. It leaves at %s: %s\n", name, p.yellow("is not proposed"), why.Channel, p.cyan(stage), p.yellow(why.Code))
	if why.Label != "" {
		fmt.Fprintf(w, "  %s\n", wrap(why.Label, lineWidth-2, 2))
	}
	if why.Clause != "" {
		fmt.Fprintf(w, "\n  %s %s\n", p.dim("Condition:"), wrap(why.Clause, lineWidth-13, 13))
	}
	if len(why.Parts) > 0 {
		fmt.Fprintln(w)
		t := newTable(p, "What", "Is", "Would have to be")
		for _, part := range why.Parts {
			t.AppendRow([]any{wrap(part.Clause, 44, 0), p.bold(wrap(dash(part.Actual), 20, 0)), wrap(part.Required, 26, 0)})
		}
		writeTable(w, t, 2)
	}
	if len(why.Changes) > 0 {
		fmt.Fprintf(w, "\n  %s\n", p.dim("The nearest change that would take it past "+stage+":"))
		for _, change := range why.Changes {
			fmt.Fprintf(w, "    - %s\n", wrap(change, lineWidth-6, 6))
		}
	}
	renderRank(w, p, why)
}

// renderRank prints how the action compared.
func renderRank(w io.Writer, p paint, why *nba.WhyNot) {
	r := why.Ranking
	if r == nil {
		return
	}
	fmt.Fprintf(w, "\n  Rank %s of %d: priority %s = P %s × C %s × V %s × L %s\n", p.bold(strconv.Itoa(r.Rank)), r.Of, p.bold(amount(r.Priority)),
		number(r.Propensity), number(r.ContextWeight), amount(r.Value), number(r.Lever))
	if len(r.BeatenBy) == 0 {
		return
	}
	fmt.Fprintln(w)
	t := newTable(p, "Placement", "#", "Proposed", "Priority")
	right(t, 4)
	for _, rival := range r.BeatenBy {
		t.AppendRow([]any{rival.Placement, rival.Rank, rival.Action, amount(rival.Priority)})
	}
	writeTable(w, t, 2)
}
