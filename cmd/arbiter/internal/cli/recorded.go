package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/spf13/cobra"
)

// keyFlag is --idempotency-key of a command that changes something.
type keyFlag struct{ key string }

func (k *keyFlag) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&k.key, "idempotency-key", "", "`KEY` that makes a repetition give the first answer instead of taking effect again")
}

// with is ctx with the key, if there is one.
func (k *keyFlag) with(cmd *cobra.Command, ctx context.Context) (context.Context, error) {
	if k.key == "" {
		return ctx, nil
	}
	if err := nba.CheckIdempotencyKey(k.key); err != nil {
		return nil, usage(cmd, "--idempotency-key: %s", err)
	}
	return nba.WithIdempotency(ctx, nba.NewIdempotency(k.key, [16]byte{})), nil
}

// replayed tells people that an answer is an earlier one.
func replayed(ctx context.Context, w io.Writer, p paint) {
	if key := nba.IdempotencyOf(ctx); key != nil && key.Replayed() {
		fmt.Fprintln(w, p.yellow("This is the answer to an earlier request with the same key."))
	}
}

func (a *app) decisionCommand() *cobra.Command {
	show := &cobra.Command{
		Use:   "show DECISION",
		Short: "Show a decision as it was answered, with what came of it",
		Example: `  arbiter decision show 01KB3V8Q5M9T1Z7X4C6W2R0YHD
  arbiter decision show 01KB3V8Q5M9T1Z7X4C6W2R0YHD -o json`,
		Args: args("DECISION"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				rec, err := c.Decision(ctx, args[0])
				if err != nil {
					return err
				}
				return a.print(rec, func(w io.Writer, p paint) { renderRecorded(w, p, rec) })
			})
		},
	}
	return noun("decision", "Look at decisions that were made", "  arbiter decision show 01KB3V8Q5M9T1Z7X4C6W2R0YHD", show)
}

func renderRecorded(w io.Writer, p paint, rec *nba.DecisionRecord) {
	req := &nba.DecisionRequest{Subject: rec.Subject, Channel: rec.Channel, Options: nba.DecisionOptions{Explain: nba.ExplainFull}}
	renderDecision(w, p, req, &rec.Decision)
	if len(rec.Responses) == 0 {
		fmt.Fprintln(w, p.dim("No response was reported."))
		return
	}
	t := newTable(p, "When", "What", "Action", "Placement", "Behaviour", "Value")
	for i := range rec.Responses {
		r := &rec.Responses[i]
		t.AppendRow([]any{stamp(r.Time), outcomeColour(p, r.Outcome), p.bold(r.Action), dash(r.Placement), dash(r.Behaviour), r.Value})
	}
	writeTable(w, t, 0)
}

func (a *app) retentionCommand() *cobra.Command {
	const example = `  arbiter retention
  arbiter retention --max-age-days 90 --max-per-subject 500`
	var wanted nba.Retention
	var wantedEvents nba.EventRetention
	cmd := &cobra.Command{
		Use:     "retention",
		Short:   "Show or set how long decisions, idempotency keys and events are kept",
		Example: example,
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				now, err := c.Retention(ctx)
				if err != nil {
					return err
				}
				next := now
				for name, set := range map[string]func(){
					"max-age-days":      func() { next.MaxAgeDays = wanted.MaxAgeDays },
					"max-per-subject":   func() { next.MaxPerSubject = wanted.MaxPerSubject },
					"idempotency-hours": func() { next.IdempotencyHours = wanted.IdempotencyHours },
				} {
					if cmd.Flags().Changed(name) {
						set()
					}
				}
				if events := now.OfEvents(); setEvents(cmd, &events, &wantedEvents) {
					next.Events = &events
				}
				if next != now {
					if err := next.Validate(); err != nil {
						return usage(cmd, "%s", err)
					}
					if now, err = c.SetRetention(ctx, next); err != nil {
						return err
					}
				}
				return a.print(now, func(w io.Writer, p paint) { renderRetention(w, p, now) })
			})
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&wanted.MaxAgeDays, "max-age-days", 0, "how old decisions and responses may become; 0: for ever")
	flags.IntVar(&wanted.MaxPerSubject, "max-per-subject", 0, "how many decisions of one customer are kept; 0: any number")
	flags.IntVar(&wanted.IdempotencyHours, "idempotency-hours", 0, "how long the answer to an idempotency key is kept")
	flags.IntVar(&wantedEvents.DuplicateDays, "duplicate-days", 0, "how long an event is recognized when it comes again")
	flags.IntVar(&wantedEvents.MaxAgeDays, "event-days", 0, "how long events can be read, at most --duplicate-days")
	flags.IntVar(&wantedEvents.MaxEvents, "max-events", 0, "how many events can be read; 0: any number")
	flags.IntVar(&wantedEvents.LetterDays, "letter-days", 0, "how long events that could not be applied are kept")
	flags.IntVar(&wantedEvents.MaxLetters, "max-letters", 0, "how many of them are kept; 0: any number")
	return cmd
}

// setEvents sets what the flags say of events, and tells whether they say anything.
func setEvents(cmd *cobra.Command, now, wanted *nba.EventRetention) (set bool) {
	for _, f := range [...]struct {
		name     string
		to, from *int
	}{
		{"duplicate-days", &now.DuplicateDays, &wanted.DuplicateDays}, {"event-days", &now.MaxAgeDays, &wanted.MaxAgeDays},
		{"max-events", &now.MaxEvents, &wanted.MaxEvents}, {"letter-days", &now.LetterDays, &wanted.LetterDays}, {"max-letters", &now.MaxLetters, &wanted.MaxLetters},
	} {
		if cmd.Flags().Changed(f.name) {
			*f.to, set = *f.from, true
		}
	}
	return set
}

func renderRetention(w io.Writer, p paint, r nba.Retention) {
	bound := func(n int, of, without string) string {
		if n == 0 {
			return without
		}
		return fmt.Sprintf("%s %s", p.bold(fmt.Sprint(n)), of)
	}
	fmt.Fprintf(w, "Decisions are kept %s, %s.\n", bound(r.MaxAgeDays, "days", "for ever"), bound(r.MaxPerSubject, "of each customer at most", "any number of each customer"))
	fmt.Fprintf(w, "Answers to idempotency keys are kept %s.\n", bound(r.IdempotencyHours, "hours", "not at all"))
	e := r.OfEvents()
	fmt.Fprintf(w, "Events are recognized for %s and can be read for %s, %s.\n", bound(e.DuplicateDays, "days", ""), bound(e.MaxAgeDays, "days", "no time"), bound(e.MaxEvents, "of them at most", "any number of them"))
	fmt.Fprintf(w, "Events that could not be applied are kept %s, %s.\n", bound(e.LetterDays, "days", ""), bound(e.MaxLetters, "at most", "any number"))
}
