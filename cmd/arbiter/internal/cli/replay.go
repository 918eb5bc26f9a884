package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"

	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/spf13/cobra"
)

func (a *app) replayCommand() *cobra.Command {
	var version uint64
	cmd := &cobra.Command{
		Use:   "replay DECISION",
		Short: "Make a past decision again, or as another catalog would have made it",
		Long: "Make a past decision again with what it read then: the same bytes come out, whatever changed since.\n" +
			"With --catalog-version: what another catalog would have said, and what it says otherwise.",
		Example: `  arbiter replay 01KB3V8Q5M9T1Z7X4C6W2R0YHD
  arbiter replay 01KB3V8Q5M9T1Z7X4C6W2R0YHD --catalog-version 57
  arbiter replay 01KB3V8Q5M9T1Z7X4C6W2R0YHD -o json`,
		Args: args("DECISION"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				again, err := c.Replay(ctx, args[0], version)
				if err != nil {
					return err
				}
				return a.print(again, func(w io.Writer, p paint) { renderReplay(w, p, again, version) })
			})
		},
	}
	cmd.Flags().Uint64Var(&version, "catalog-version", 0, "what this catalogVersion would have said")
	return cmd
}

// renderReplay prints what is otherwise, and the decision.
func renderReplay(w io.Writer, p paint, again *nba.Replay, version uint64) {
	d := &again.Decision
	fmt.Fprintf(w, "Decision %s, made again as of %s", p.bold(d.DecisionID), stamp(d.DecidedAt))
	if version != 0 {
		fmt.Fprintf(w, " with catalog version %s", p.bold(strconv.FormatUint(d.CatalogVersion, 10)))
	}
	fmt.Fprintln(w)
	switch {
	case again.Identical:
		fmt.Fprintln(w, p.green("It is the same."))
	case len(again.Differences) == 0:
		fmt.Fprintln(w, p.green("It would have said the same."))
	default:
		renderDifferences(w, p, again.Differences)
	}
	if len(again.Assumed) > 0 {
		fmt.Fprintf(w, "\n%s ", p.yellow("As it is now, since the decision did not read it then:"))
		fmt.Fprintln(w, wrap(joined(again.Assumed), lineWidth-55, 2))
	}
	models := &modelList{}
	widths := columnWidths{action: len("Action"), model: len("Model")}
	for i := range d.Propositions {
		widths.fit(&d.Propositions[i])
	}
	for i := range d.Propositions {
		renderPlacement(w, p, &d.Propositions[i], models, widths)
	}
	models.render(w, p)
	if d.Explanation != nil {
		renderExplanation(w, p, d.Explanation)
	}
}

func joined(list []string) string {
	text := ""
	for i, item := range list {
		if i > 0 {
			text += ", "
		}
		text += item
	}
	return text
}

// renderDifferences prints a table of what two decisions do not say alike.
func renderDifferences(w io.Writer, p paint, list []nba.Difference) {
	fmt.Fprintf(w, "%s\n\n", p.yellow(plural(len(list), "difference")+":"))
	t := newTable(p, "Placement", "#", "What", "Then", "Now")
	for i := range list {
		d := &list[i]
		rank := ""
		if d.Rank > 0 {
			rank = strconv.Itoa(d.Rank)
		}
		t.AppendRow([]any{dash(d.Placement), rank, d.Field, p.dim(wrap(shown(d.Was), 28, 0)), p.bold(wrap(shown(d.Now), 28, 0))})
	}
	writeTable(w, t, 2)
}

// shown is a value of a decision for people.
func shown(value any) string {
	switch v := value.(type) {
	case nil:
		return "nothing"
	case string:
		return dash(v)
	case float64:
		return strconv.FormatFloat(v, 'g', 6, 64)
	case map[string]any:
		if label, ok := v["label"].(string); ok {
			return label
		}
		if name, ok := v["name"].(string); ok {
			version, _ := v["version"].(string)
			return dash(name + " " + version)
		}
	}
	encoded, err := json.Marshal(value)
	if err != nil {
		return "?"
	}
	return string(encoded)
}
