package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// subjectJourneysCommand shows where a subject stands, or moves it.
func (a *app) subjectJourneysCommand() *cobra.Command {
	var f subjectFlags
	var req nba.JourneyRequest
	cmd := &cobra.Command{
		Use: "journeys SUBJECT [--move JOURNEY --to STAGE]", Short: "Show where a customer stands in its journeys, or move it",
		Long: "Show the journeys that are open for a customer: the stage, since when, when it times out, and what is carried\n" +
			"along; then the last moves. With --move the customer is brought into a stage first; a final stage ends the journey,\n" +
			"and takes back what was due because of it. Asked for again, nothing changes.",
		Example: "  arbiter subject journeys S-000123\n  arbiter subject journeys S-000123 --move cart --to bought --reason \"paid at the counter\"",
		Args:    args("SUBJECT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := subjectRef(cmd, args[0], f.typ)
			if err != nil {
				return err
			}
			if (req.Journey == "") != (req.Stage == "") {
				return &usageError{message: "--move and --to go together"}
			}
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				if req.Journey != "" {
					if _, err := c.MoveJourney(ctx, ref, req); err != nil {
						return err
					}
				}
				journeys, err := c.Journeys(ctx, ref)
				if err != nil {
					return err
				}
				return a.print(journeys, func(w io.Writer, p paint) { renderJourneys(w, p, journeys) })
			})
		},
	}
	f.register(cmd, false)
	flags := cmd.Flags()
	flags.StringVar(&req.Journey, "move", "", "bring the customer into another stage of this `JOURNEY`")
	flags.StringVar(&req.Stage, "to", "", "the `STAGE` that --move leads to")
	flags.StringVar(&req.From, "from", "", "only if the customer is in this `STAGE`")
	flags.StringVar(&req.Key, "key", "", "the `KEY` of the instance, where instances have keys")
	flags.StringVar(&req.Reason, "reason", "", "why, for those who look at the moves later")
	return cmd
}

// renderJourneys prints what is open, then the last moves.
func renderJourneys(w io.Writer, p paint, j *nba.SubjectJourneys) {
	if len(j.Journeys) == 0 {
		fmt.Fprintln(w, "No journey is open.")
	} else {
		t := newTable(p, "Journey", "Stage", "Since", "Then")
		for i := range j.Journeys {
			in := &j.Journeys[i]
			then := "-"
			if in.Due != nil {
				then = fmt.Sprintf("%s %s", dash(in.Due.Stage), stamp(in.Due.At))
			}
			t.AppendRow([]any{p.bold(journeyName(in.Journey, in.Key)), in.Stage, stamp(in.Since), then})
		}
		writeTable(w, t, 0)
		for i := range j.Journeys {
			if in := &j.Journeys[i]; len(in.Data) > 0 {
				fmt.Fprintf(w, "\n%s carries %s\n", journeyName(in.Journey, in.Key), wrap(carriedText(in.Data), lineWidth-2, 2))
			}
		}
	}
	if len(j.Moves) == 0 {
		return
	}
	fmt.Fprintln(w)
	t := newTable(p, "When", "Journey", "From", "To", "Because of")
	for i := range j.Moves {
		m := &j.Moves[i]
		t.AppendRow([]any{stamp(m.Time), journeyName(m.Journey, m.Key), dash(m.From), dash(m.To), wrap(strings.TrimSpace(m.Cause+" "+m.Detail), 30, 0)})
	}
	writeTable(w, t, 0)
}

func journeyName(name, key string) string {
	if key == "" {
		return name
	}
	return name + " " + key
}

func carriedText(data map[string]any) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(data)) {
		parts = append(parts, name+"="+valueText(data[name]))
	}
	return strings.Join(parts, ", ")
}
