package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/client"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/oklog/ulid/v2"
	"github.com/spf13/cobra"
)

const (
	maxEventFile = 32 << 20
	// eventPage is how many events are read at once, and eventPoll how often more are asked for.
	eventPage = 500
	eventPoll = 500 * time.Millisecond
	// importEvents and importBytes bound one request of an import.
	importEvents = 2000
	importBytes  = 4 << 20
	// firstEventPause and longEventPause are between two tries.
	firstEventPause = 100 * time.Millisecond
	longEventPause  = 2 * time.Second
)

func (a *app) eventCommand() *cobra.Command {
	return noun("event", "Tell what happened to customers, and see what came",
		`  arbiter event send --type roaming.started --subject S-000123 --data '{"country":"US"}'
  arbiter event import events.ndjson
  arbiter event tail --follow
  arbiter event letters`,
		a.eventSendCommand(), a.eventImportCommand(), a.eventTailCommand(), a.eventLettersCommand())
}

// sentEvent is an event as the flags tell it.
type sentEvent struct {
	SpecVersion string          `json:"specversion"`
	ID          string          `json:"id"`
	Source      string          `json:"source"`
	Type        string          `json:"type"`
	Subject     string          `json:"subject,omitempty"`
	Time        string          `json:"time,omitempty"`
	Data        json.RawMessage `json:"data,omitempty"`
}

func (a *app) eventSendCommand() *cobra.Command {
	e := sentEvent{SpecVersion: "1.0"}
	var data string
	cmd := &cobra.Command{
		Use: "send [FILE]", Short: "Send one event, or those of a file",
		Long: "Sends one event made of the flags, or a file with one CloudEvent or an array of them in JSON; - is the\n" +
			"standard input. It returns when the event is applied and durable.",
		Example: `  arbiter event send --type roaming.started --subject S-000123 --data '{"country":"US"}'
  arbiter event send notification.json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := a.eventBody(cmd, args, &e, data)
			if err != nil {
				return err
			}
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				receipts, err := c.SendEvents(ctx, body)
				if err != nil {
					return err
				}
				if err := a.print(receipts, func(w io.Writer, p paint) { renderReceipts(w, p, &receipts) }); err != nil {
					return err
				}
				return deadLetters(receipts.DeadLettered)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&e.Type, "type", "", "what happened, such as roaming.started")
	flags.StringVar(&e.Subject, "subject", "", "to whom: an id, or type:id")
	flags.StringVar(&e.ID, "id", "", "its id; the same source and id again is the same event (default a new one)")
	flags.StringVar(&e.Source, "source", "arbiter-cli", "where it happened")
	flags.StringVar(&e.Time, "time", "", "when, such as 2026-01-31T09:30:00Z (default now)")
	flags.StringVar(&data, "data", "", "more about it, `JSON`")
	return cmd
}

// deadLetters is the error of a command whose events were not all applied.
func deadLetters(n int) error {
	if n == 0 {
		return nil
	}
	return withHint(fmt.Errorf("%d of the events could not be applied", n), "arbiter event letters shows them with the reason, and replays them")
}

func (a *app) eventBody(cmd *cobra.Command, args []string, e *sentEvent, data string) ([]byte, error) {
	if len(args) == 1 {
		return a.readFile(args[0], maxEventFile)
	}
	if e.Type == "" {
		return nil, usage(cmd, "--type is missing, or a FILE with the event")
	}
	if data != "" {
		if !json.Valid([]byte(data)) {
			return nil, usage(cmd, "--data is not JSON")
		}
		e.Data = json.RawMessage(data)
	}
	if e.ID == "" {
		e.ID = ulid.Make().String()
	}
	return json.Marshal(e)
}

func renderReceipts(w io.Writer, p paint, r *client.EventReceipts) {
	if len(r.Receipts) > 1 {
		fmt.Fprintf(w, "%s accepted, %d duplicates, %d dead letters\n", p.bold(fmt.Sprint(r.Accepted)), r.Duplicates, r.DeadLettered)
	}
	for i := range r.Receipts {
		receipt := &r.Receipts[i]
		switch {
		case receipt.Status == nba.EventDead:
			fmt.Fprintf(w, "%s %s: %s\n", p.red("dead letter "+receipt.Letter), receipt.Code, receipt.Detail)
		case len(r.Receipts) == 1:
			fmt.Fprintln(w, p.green(string(receipt.Status)))
		}
	}
}

// eventImport is what an import of events came to.
type eventImport struct {
	client.EventSummary
	Seconds float64 `json:"seconds"`
	Rate    float64 `json:"rate"`
}

func (a *app) eventImportCommand() *cobra.Command {
	var retryFor time.Duration
	cmd := &cobra.Command{
		Use: "import FILE", Short: "Bring events in from a file with one a line",
		Long: "Brings events in from a file with one CloudEvent in JSON a line; - is the standard input. Lines that cannot be\n" +
			"applied become dead letters and never stop the others. After an interruption send the file again: what was\n" +
			"applied is recognized by its source and id.",
		Example: `  arbiter event import events.ndjson
  zcat events.ndjson.gz | arbiter event import -`,
		Args: args("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			in := a.in
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer f.Close()
				in = f
			}
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				start := time.Now()
				total, err := a.sendLines(ctx, c, in, retryFor)
				out := eventImport{EventSummary: total, Seconds: time.Since(start).Seconds()}
				out.Rate = float64(out.Lines) / max(out.Seconds, 0.001)
				if err != nil {
					return err
				}
				if err := a.print(out, func(w io.Writer, p paint) {
					fmt.Fprintf(w, "%s events accepted, %d duplicates, %d dead letters, in %.1f s (%.0f/s)\n", p.bold(fmt.Sprint(out.Accepted)), out.Duplicates, out.DeadLettered, out.Seconds, out.Rate)
				}); err != nil {
					return err
				}
				return deadLetters(out.DeadLettered)
			})
		},
	}
	cmd.Flags().DurationVar(&retryFor, "retry-for", 30*time.Second, "how long to try while the node cannot be reached or has too much to do")
	return cmd
}

// sendLines sends lines in parts, each again until it was answered.
func (a *app) sendLines(ctx context.Context, c apiClient, in io.Reader, retryFor time.Duration) (total client.EventSummary, err error) {
	lines := bufio.NewReaderSize(in, 1<<20)
	var part []byte
	for first, count, end := 1, 0, false; !end; {
		line, err := lines.ReadBytes('\n')
		if end = errors.Is(err, io.EOF); err != nil && !end {
			return total, fmt.Errorf("reading line %d: %w", first+count, err)
		}
		if len(line) > 0 {
			part = append(part, line...)
			count++
		}
		if count == 0 || !end && count < importEvents && len(part) < importBytes {
			continue
		}
		summary, results, err := sendPart(ctx, c, part, retryFor)
		if err != nil {
			return total, fmt.Errorf("from line %d on: %w", first, err)
		}
		for _, r := range results {
			fmt.Fprintf(a.err, "line %d: %s: %s (letter %s)\n", first+r.Line-1, r.Code, r.Detail, r.Letter)
		}
		total.Lines += summary.Lines
		total.Accepted += summary.Accepted
		total.Duplicates += summary.Duplicates
		total.DeadLettered += summary.DeadLettered
		first, count, part = first+count, 0, part[:0]
	}
	return total, nil
}

func sendPart(ctx context.Context, c apiClient, part []byte, retryFor time.Duration) (client.EventSummary, []client.EventLine, error) {
	until := time.Now().Add(retryFor)
	for pause := firstEventPause; ; pause = min(2*pause, longEventPause) {
		summary, results, err := c.ImportEvents(ctx, part)
		if err == nil || time.Now().After(until) || !again(err) {
			return summary, results, err
		}
		select {
		case <-ctx.Done():
			return summary, results, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// again tells whether the same events may be sent once more: what was applied is a duplicate then.
func again(err error) bool {
	if _, ok := errors.AsType[*client.Unreachable](err); ok {
		return true
	}
	p, ok := errors.AsType[*client.Problem](err)
	return ok && (p.Code == nba.CodeUnavailable || p.Code == nba.CodeOverloaded || p.Code == nba.CodeTimeout || p.Code == nba.CodeInternal)
}

func (a *app) eventTailCommand() *cobra.Command {
	var subject, kind string
	var follow, all bool
	cmd := &cobra.Command{
		Use: "tail", Short: "Show the events that are kept, and those that come", Args: args(),
		Example: `  arbiter event tail --follow            those that come
  arbiter event tail --all               all that are kept, oldest first
  arbiter event tail --subject S-000123  those of a customer`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var of *nba.SubjectRef
			if subject != "" {
				of = &nba.SubjectRef{ID: subject, Type: nba.SubjectType(kind)}
			}
			cursor := "now"
			if all || of != nil || !follow {
				cursor = ""
			}
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error { return a.tailEvents(ctx, c, of, cursor, follow) })
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&subject, "subject", "", "the `ID` of a customer, for the events of one")
	flags.StringVar(&kind, "subject-type", "", "the type of that customer: subscriber, account or device")
	flags.BoolVarP(&follow, "follow", "f", false, "go on with events as they come, and begin with them")
	flags.BoolVar(&all, "all", false, "with --follow, begin with the oldest that is kept")
	return cmd
}

func (a *app) tailEvents(ctx context.Context, c apiClient, of *nba.SubjectRef, cursor string, follow bool) error {
	for {
		events, next, err := c.Events(ctx, of, eventPage, cursor)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		if len(events) > 0 || !follow && cursor == "" {
			if err := a.print(events, func(w io.Writer, p paint) { renderEvents(w, p, events) }); err != nil {
				return err
			}
		}
		cursor = next
		if len(events) > 0 {
			continue
		}
		if !follow {
			return nil
		}
		select {
		case <-time.After(eventPoll):
		case <-ctx.Done():
			return nil
		}
	}
}

func renderEvents(w io.Writer, p paint, events []client.StoredEvent) {
	for i := range events {
		var e sentEvent
		_ = json.Unmarshal(events[i].Event, &e) // what cannot be read is shown empty
		fmt.Fprintf(w, "%s  %s  %s  %s\n", stamp(events[i].ReceivedAt), p.bold(e.Type), events[i].Subject.ID, p.dim(string(e.Data)))
	}
}

func (a *app) eventLettersCommand() *cobra.Command {
	list := &cobra.Command{
		Use: "letters", Short: "The events that could not be applied, with the reason",
		Example: `  arbiter event letters
  arbiter event letters show 0-17
  arbiter event letters replay 0-17
  arbiter event letters replay --all      after the reason is gone
  arbiter event letters remove 0-17`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				letters, _, err := c.Letters(ctx, eventPage, "")
				if err != nil {
					return err
				}
				return a.print(letters, func(w io.Writer, p paint) { renderLetters(w, p, letters) })
			})
		},
	}
	show := &cobra.Command{
		Use: "show LETTER", Short: "Show one with what came", Args: args("LETTER"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				letter, err := c.Letter(ctx, args[0])
				if err != nil {
					return err
				}
				return a.print(letter, func(w io.Writer, p paint) {
					fmt.Fprintf(w, "%s  %s  %s\n%s\n", stamp(letter.ReceivedAt), p.red(string(letter.Code)), letter.Detail, string(letter.Event)+letter.Raw)
				})
			})
		},
	}
	remove := &cobra.Command{
		Use: "remove LETTER", Short: "Remove one", Args: args("LETTER"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error { return c.RemoveLetter(ctx, args[0]) })
		},
	}
	list.AddCommand(show, a.letterReplayCommand(), remove)
	return list
}

func renderLetters(w io.Writer, p paint, letters []client.DeadLetter) {
	if len(letters) == 0 {
		fmt.Fprintln(w, "There are no dead letters.")
		return
	}
	t := newTable(p, "Letter", "When", "Why", "")
	for i := range letters {
		l := &letters[i]
		t.AppendRow([]any{l.ID, stamp(l.ReceivedAt), p.red(string(l.Code)), l.Detail})
	}
	writeTable(w, t, 0)
}

func (a *app) letterReplayCommand() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: "replay [LETTER]", Short: "Apply one now, or all of them", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if all == (len(args) == 1) {
				return usage(cmd, "name a LETTER, or --all")
			}
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				ids := args
				if all {
					for cursor := ""; ; {
						letters, next, err := c.Letters(ctx, eventPage, cursor)
						if err != nil {
							return err
						}
						for i := range letters {
							ids = append(ids, letters[i].ID)
						}
						if cursor = next; len(letters) == 0 {
							break
						}
					}
				}
				return a.replayLetters(ctx, c, ids)
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "all that there are")
	return cmd
}

func (a *app) replayLetters(ctx context.Context, c apiClient, ids []string) error {
	out := client.EventReceipts{}
	for _, id := range ids {
		receipt, err := c.ReplayLetter(ctx, id)
		if err != nil {
			return fmt.Errorf("letter %s: %w", id, err)
		}
		switch receipt.Status {
		case nba.EventAccepted:
			out.Accepted++
		case nba.EventDuplicate:
			out.Duplicates++
		default:
			out.DeadLettered++
		}
		out.Receipts = append(out.Receipts, receipt)
	}
	if err := a.print(out, func(w io.Writer, p paint) { renderReceipts(w, p, &out) }); err != nil {
		return err
	}
	return deadLetters(out.DeadLettered)
}
