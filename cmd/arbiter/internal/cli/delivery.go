package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/spf13/cobra"
)

// deliveryFlags are the flags of arbiter delivery list.
type deliveryFlags struct {
	subject, kind string
	states        []string
	closed        bool
	limit         int
}

func (a *app) deliveryCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "delivery", Short: "See what was decided to be sent, and what became of it",
		Long: "Event strategies, journeys and campaigns decide by themselves what to send to whom. Each proposition is a delivery, which\n" +
			"is attempted until its receiver takes it, it expires, or it is given up. docs/delivery.md explains the rest.",
	}
	cmd.AddCommand(a.deliveryListCommand(),
		a.oneDelivery("show", "Show a delivery with what it carries", "  arbiter delivery show 01M0000000000000000000000D", apiClient.Delivery),
		a.oneDelivery("replay", "Send dead deliveries again, under the same ids", "  arbiter delivery replay 01M0000000000000000000000D\n"+
			"  arbiter delivery list --state dead -o json -q '.[].deliveryId' | xargs arbiter delivery replay", apiClient.ReplayDelivery),
		a.oneDelivery("cancel", "Take back deliveries that were not sent", "  arbiter delivery cancel 01M0000000000000000000000D", apiClient.CancelDelivery))
	return cmd
}

func (a *app) deliveryListCommand() *cobra.Command {
	var f deliveryFlags
	cmd := &cobra.Command{
		Use: "list", Short: "List deliveries, or what led to none, the newest first",
		Example: "  arbiter delivery list\n  arbiter delivery list --state pending,dead\n  arbiter delivery list --subject S-000123\n  arbiter delivery list --closed",
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			q := nba.DeliveryQuery{States: f.states, Closed: f.closed, Limit: f.limit}
			if f.subject != "" {
				q.Subject = &nba.SubjectRef{ID: f.subject, Type: nba.SubjectType(f.kind)}
			}
			if f.closed && len(f.states) > 0 {
				return usage(cmd, "--state is about deliveries, --closed about what led to none")
			}
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				if f.closed {
					list, err := c.ClosedTriggers(ctx, q)
					if err != nil {
						return err
					}
					return a.print(list, func(w io.Writer, p paint) { renderClosed(w, p, list) })
				}
				list, err := c.Deliveries(ctx, q)
				if err != nil {
					return err
				}
				return a.print(list, func(w io.Writer, p paint) { renderDeliveries(w, p, list) })
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.subject, "subject", "", "those of the subject with this `ID`")
	flags.StringVar(&f.kind, "type", "", "the type of the subject: subscriber, account or device")
	flags.StringSliceVar(&f.states, "state", nil, "pending, sent, dead, expired or cancelled; several with commas")
	flags.BoolVar(&f.closed, "closed", false, "what asked for a decision and led to no delivery, with the reason")
	flags.IntVar(&f.limit, "limit", nba.DefaultDeliveries, "how many at most")
	return cmd
}

// oneDelivery is a command about deliveries by their ids.
func (a *app) oneDelivery(name, short, example string, call func(apiClient, context.Context, string) (*nba.Delivery, error)) *cobra.Command {
	return &cobra.Command{
		Use: name + " ID...", Short: short, Example: example, Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, ids []string) error {
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				for _, id := range ids {
					d, err := call(c, ctx, id)
					if err != nil {
						return err
					}
					if err := a.print(d, func(w io.Writer, p paint) { renderDelivery(w, p, d) }); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}

func deliveryState(p paint, state string) string {
	switch state {
	case "sent":
		return p.green(state)
	case "dead":
		return p.red(state)
	case "pending":
		return p.yellow(state)
	}
	return p.dim(state)
}

func renderDeliveries(w io.Writer, p paint, list []nba.Delivery) {
	if len(list) == 0 {
		fmt.Fprintln(w, "No deliveries: event strategies, journeys and campaigns of the catalog make them (arbiter delivery list --closed shows what led to none)")
		return
	}
	t := newTable(p, "Delivery", "Decided", "State", "Subject", "Channel", "Action", "Because of", "Attempts", "")
	right(t, 8)
	for i := range list {
		d := &list[i]
		t.AppendRow([]any{p.bold(d.DeliveryID), d.DecidedAt.Format(time.RFC3339), deliveryState(p, d.State), d.Subject.ID, d.Channel, d.Action, d.Origin, d.Attempts, p.red(d.Problem)})
	}
	writeTable(w, t, 0)
}

func renderClosed(w io.Writer, p paint, list []nba.ClosedTrigger) {
	if len(list) == 0 {
		fmt.Fprintln(w, "Nothing that asked for a decision led to no delivery")
		return
	}
	t := newTable(p, "Closed", "Subject", "Because of", "Event", "Reason", "Detail")
	for i := range list {
		c := &list[i]
		t.AppendRow([]any{c.ClosedAt.Format(time.RFC3339), c.Subject.ID, c.Origin, c.EventType, p.bold(c.Reason), c.Detail})
	}
	writeTable(w, t, 0)
}

func renderDelivery(w io.Writer, p paint, d *nba.Delivery) {
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%s  %s\n", p.dim(pad(name, 11)), value)
		}
	}
	fmt.Fprintf(w, "%s  %s\n\n", p.bold(d.DeliveryID), deliveryState(p, d.State))
	line("Subject", d.Subject.ID+" ("+string(d.Subject.Type)+")")
	line("Proposes", d.Action+", "+d.Treatment)
	line("On", d.Channel+" through sink "+d.Sink)
	line("Because of", d.Origin+" "+d.EventType)
	line("Decision", d.DecisionID)
	line("Decided", d.DecidedAt.Format(time.RFC3339Nano))
	if d.State == "pending" {
		line("Due", d.DueAt.Format(time.RFC3339Nano))
	}
	if d.ExpiresAt != nil {
		line("Expires", d.ExpiresAt.Format(time.RFC3339Nano))
	}
	line("Attempts", fmt.Sprint(d.Attempts))
	line("Problem", d.Problem)
	if d.Message != nil {
		if encoded, err := json.MarshalIndent(d.Message, "", "  "); err == nil {
			fmt.Fprintf(w, "\n%s\n", encoded)
		}
	}
}
