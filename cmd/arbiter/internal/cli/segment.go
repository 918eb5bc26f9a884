package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/spf13/cobra"
)

func (a *app) segmentCommand() *cobra.Command {
	return noun("segment", "Named conditions on customers: how many are in each, and where to cut the scores of a model",
		`  arbiter segment list
  arbiter segment cuts churn --parts 10`,
		a.segmentListCommand(), a.segmentCutsCommand())
}

func (a *app) segmentListCommand() *cobra.Command {
	var req nba.SegmentRequest
	cmd := &cobra.Command{
		Use: "list", Short: "List the segments of the active catalog, with how many customers are in each",
		Example: "  arbiter segment list\n  arbiter segment list --sample 100000 -o json",
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				list, err := c.Segments(ctx, &req)
				if err != nil {
					return err
				}
				return a.print(list, func(w io.Writer, p paint) {
					t := newTable(p, "Segment", "Customers", "Share", "Label", "Condition")
					right(t, 2, 3)
					for i := range list.Segments {
						s := &list.Segments[i]
						t.AppendRow([]any{s.Name, s.Subjects, percentOf(s.Share), s.Label, s.When})
					}
					writeTable(w, t, 0)
					fmt.Fprintf(w, "\n%s\n", p.dim(fmt.Sprintf("from %d of %d customers, catalog v%d", list.Sampled, list.Subjects, list.CatalogVersion)))
				})
			})
		},
	}
	cmd.Flags().IntVar(&req.Sample, "sample", nba.DefaultCampaignSample, "how many customers to look at")
	cmd.Flags().Uint64Var(&req.Seed, "seed", 0, "chooses the customers")
	return cmd
}

func (a *app) segmentCutsCommand() *cobra.Command {
	var req nba.SegmentRequest
	cmd := &cobra.Command{
		Use: "cuts MODEL", Short: "Tell which scores part the customers into equal parts, such as deciles",
		Long: "Scores a sample of the customers with a model of the active catalog. The last cut is where the highest part begins:\n" +
			"a segment with score: {model: MODEL, from: CUT} holds it.",
		Example: "  arbiter segment cuts churn\n  arbiter segment cuts churn --parts 4 -o json",
		Args:    args("MODEL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Model = args[0]
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				cuts, err := c.ScoreCuts(ctx, &req)
				if err != nil {
					return err
				}
				return a.print(cuts, func(w io.Writer, p paint) {
					t := newTable(p, "Part", "From", "Below")
					right(t, 1, 2, 3)
					for part := range len(cuts.Cuts) + 1 {
						from, below := "", ""
						if part > 0 {
							from = strconv.FormatFloat(cuts.Cuts[part-1], 'g', 6, 64)
						}
						if part < len(cuts.Cuts) {
							below = strconv.FormatFloat(cuts.Cuts[part], 'g', 6, 64)
						}
						t.AppendRow([]any{part + 1, from, below})
					}
					writeTable(w, t, 0)
					fmt.Fprintf(w, "\n%s\n", p.dim(fmt.Sprintf("from %d of %d customers", cuts.Sampled, cuts.Subjects)))
				})
			})
		},
	}
	cmd.Flags().IntVar(&req.Parts, "parts", nba.DefaultParts, "into how many parts")
	cmd.Flags().IntVar(&req.Sample, "sample", nba.DefaultCampaignSample, "how many customers to look at")
	cmd.Flags().Uint64Var(&req.Seed, "seed", 0, "chooses the customers")
	return cmd
}
