package cli

import (
	"fmt"
	"io"

	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/client"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// renderHistory prints a page of interactions: what was proposed, and what came of it.
func renderHistory(w io.Writer, p paint, page *client.HistoryPage) {
	if len(page.Items) == 0 {
		fmt.Fprintln(w, "Nothing was proposed yet.")
		return
	}
	t := newTable(p, "When", "What", "Action", "Channel", "Placement", "Decision")
	for i := range page.Items {
		item := &page.Items[i]
		what := p.dim("proposed")
		if item.Outcome != "" {
			what = outcomeColour(p, item.Outcome)
		}
		t.AppendRow([]any{stamp(item.Time), what, p.bold(item.Action), dash(item.Channel), dash(item.Placement), item.DecisionID})
	}
	writeTable(w, t, 0)
	if page.NextCursor != "" {
		fmt.Fprintf(w, "\n%s --cursor %s\n", p.dim("There is more:"), page.NextCursor)
	}
}

func outcomeColour(p paint, o nba.Outcome) string {
	switch o {
	case nba.Accepted, nba.Converted, nba.Clicked:
		return p.green(string(o))
	case nba.Rejected, nba.Dismissed, nba.Ignored:
		return p.yellow(string(o))
	default:
		return string(o)
	}
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
