package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/spf13/cobra"
)

func (a *app) clusterCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "cluster", Short: "Show the nodes, the groups and who leads them",
		Long: "Shows the nodes and the groups as the node that is asked sees them. Role, index and age are those of the replicas\n" +
			"on that node; ask another one with --addr to compare.",
		Example: "  arbiter cluster\n  arbiter cluster --addr 127.0.0.1:8090 -o json",
		Args:    args(),
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.showCluster(cmd) },
	}
	cmd.AddCommand(a.memberCommands()...)
	cmd.AddCommand(a.backupCommand(), a.restoreCommand())
	return cmd
}

func (a *app) clusterStatusCommand() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show the nodes, the groups and who leads them: arbiter cluster alone does the same",
		Example: "  arbiter cluster status",
		Args:    args(),
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.showCluster(cmd) },
	}
}

func (a *app) showCluster(cmd *cobra.Command) error {
	return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
		cluster, err := c.Cluster(ctx)
		if err != nil {
			return err
		}
		return a.print(cluster, func(w io.Writer, p paint) { renderCluster(w, p, cluster) })
	})
}

func renderCluster(w io.Writer, p paint, c *nba.Cluster) {
	if c.Node == "" {
		fmt.Fprintf(w, "A node that stands alone, %s\n\n", c.ID)
	} else {
		fmt.Fprintf(w, "%s, seen by %s\n\n", c.ID, p.bold(c.Node))
		t := newTable(p, "Node", "", "Leads")
		right(t, 3)
		for _, n := range c.Nodes {
			state := p.green("up")
			if !n.Up {
				state = p.red("down")
			}
			t.AppendRow([]any{p.bold(n.ID), state, n.Leads})
		}
		writeTable(w, t, 0)
		fmt.Fprintln(w)
	}
	t := newTable(p, "Group", "Leader", "Kept by", "Here", "Applied", "Age")
	right(t, 5, 6)
	for i := range c.Groups {
		g := &c.Groups[i]
		leader, age, here := g.Leader, "", g.Role
		switch {
		case leader == "":
			leader = p.red("none")
		case g.Preferred != "" && leader != g.Preferred:
			leader = p.yellow(leader) + p.dim(" for "+g.Preferred)
		}
		if g.AgeMS != nil {
			age = fmt.Sprintf("%d ms", *g.AgeMS)
		}
		if g.Failure != "" {
			here = p.red(here)
		}
		t.AppendRow([]any{p.bold(g.Name), leader, strings.Join(g.Nodes, " "), here, thousands(int64(g.Applied)), age})
	}
	writeTable(w, t, 0)
	for i := range c.Groups {
		if g := &c.Groups[i]; g.Failure != "" {
			fmt.Fprintf(w, "\n%s %s: %s\n", p.red("Stopped"), g.Name, g.Failure)
		}
	}
}
