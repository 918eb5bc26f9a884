package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// subjectAggregatesCommand shows what event strategies know of a subject.
func (a *app) subjectAggregatesCommand() *cobra.Command {
	var f subjectFlags
	cmd := &cobra.Command{
		Use: "aggregates SUBJECT", Short: "Show what event strategies count of a customer",
		Long: "Show the aggregates of the event strategies of the active catalog as of now: what they counted in their windows,\n" +
			"and when one acts although no event comes, since a window ends or something that should follow did not.",
		Example: "  arbiter subject aggregates S-000123",
		Args:    args("SUBJECT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := subjectRef(cmd, args[0], f.typ)
			if err != nil {
				return err
			}
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				aggregates, err := c.Aggregates(ctx, ref)
				if err != nil {
					return err
				}
				return a.print(aggregates, func(w io.Writer, p paint) { renderAggregates(w, p, aggregates) })
			})
		},
	}
	f.register(cmd, false)
	return cmd
}

func renderAggregates(w io.Writer, p paint, s *nba.SubjectAggregates) {
	if len(s.Aggregates) == 0 {
		fmt.Fprintln(w, "The active catalog has no event strategies that count.")
		return
	}
	t := newTable(p, "Strategy", "Aggregate", "Window", "Value", "Acts at")
	for i := range s.Aggregates {
		one := &s.Aggregates[i]
		value, due := "-", "-"
		if one.Value != nil {
			value = valueText(*one.Value)
		}
		if one.DueAt != nil {
			due = stamp(*one.DueAt)
		}
		t.AppendRow([]any{p.bold(one.Strategy), one.Aggregate, dash(one.Window), value, due})
	}
	writeTable(w, t, 0)
}
