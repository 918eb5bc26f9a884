package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/spf13/cobra"
)

func (a *app) streamCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "stream", Short: "See how far the Kafka topics that events come from were read"}
	cmd.AddCommand(&cobra.Command{
		Use: "list", Short: "List the streams with their partitions, offsets and lag",
		Long: "Lists the streams of the node's settings (streams: in the file of arbiter server). Next is the offset of the first\n" +
			"message that not all data groups have been shown, end the one after the last message; the difference is the lag.\n" +
			"It moves about once a second for groups that the messages do not concern.",
		Example: "  arbiter stream list\n  arbiter stream list -o json -q '.[].lag'",
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				list, err := c.Streams(ctx)
				if err != nil {
					return err
				}
				return a.print(list, func(w io.Writer, p paint) { renderStreams(w, p, list) })
			})
		},
	})
	return cmd
}

func renderStreams(w io.Writer, p paint, list []nba.StreamStatus) {
	if len(list) == 0 {
		fmt.Fprintln(w, "No streams: name topics under streams: in the settings of the server (docs/kafka.md)")
		return
	}
	t := newTable(p, "Stream", "Topic", "Partition", "Read by", "Next", "End", "Lag", "")
	right(t, 3, 5, 6, 7)
	for i := range list {
		s := &list[i]
		if s.Problem != "" {
			t.AppendRow([]any{p.bold(s.Name), s.Topic, "", "", "", "", "", p.red(s.Problem)})
		}
		for j := range s.Partitions {
			part := &s.Partitions[j]
			node := part.Node
			if node == "" {
				node = p.yellow("nobody yet")
			}
			t.AppendRow([]any{p.bold(s.Name), s.Topic, part.Partition, node, thousands(part.Next), thousands(part.End), thousands(part.Lag), p.red(part.Problem)})
		}
	}
	writeTable(w, t, 0)
}
