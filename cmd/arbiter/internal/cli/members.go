package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/spf13/cobra"
)

// memberCommands show and change who belongs to the cluster and keeps what.
func (a *app) memberCommands() []*cobra.Command {
	return []*cobra.Command{
		a.clusterStatusCommand(), a.membersCommand(), a.joinCommand(), a.drainCommand(), a.removeMemberCommand(),
		a.transferCommand(), a.rebalanceCommand(),
	}
}

func (a *app) membersCommand() *cobra.Command {
	return &cobra.Command{
		Use: "members", Short: "List the nodes: where they are, and how much each keeps and leads",
		Example: "  arbiter cluster members\n  arbiter cluster members -o json",
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				members, err := c.Members(ctx)
				return a.printMembers(members, err)
			})
		},
	}
}

func (a *app) printMembers(members []nba.ClusterMember, err error) error {
	if err != nil {
		return err
	}
	return a.print(members, func(w io.Writer, p paint) { renderMembers(w, p, members) })
}

func renderMembers(w io.Writer, p paint, members []nba.ClusterMember) {
	t := newTable(p, "Node", "", "Address", "Zone", "Votes", "Keeps", "Leads", "Release")
	right(t, 6, 7)
	for i := range members {
		m := &members[i]
		state := p.green("up")
		switch {
		case !m.Up:
			state = p.red("down")
		case m.Draining && m.Has == 0:
			state = p.yellow("empty")
		case m.Draining:
			state = p.yellow("draining")
		}
		votes := ""
		if m.Votes {
			votes = "yes"
		}
		keeps := fmt.Sprint(m.Has)
		if m.Has != m.Keeps {
			keeps = p.yellow(fmt.Sprintf("%d, soon %d", m.Has, m.Keeps))
		}
		t.AppendRow([]any{p.bold(m.ID), state, m.Addr, m.Zone, votes, keeps, m.Leads, m.Release})
	}
	writeTable(w, t, 0)
}

func (a *app) joinCommand() *cobra.Command {
	var zone string
	cmd := &cobra.Command{
		Use: "join NODE HOST:PORT", Short: "Make a node a member ahead of its start, or take a draining one back in",
		Long: "Makes a node a member before it runs. A node that is started with --join becomes one by itself; this is for\n" +
			"checking its name and address first, and for ending the draining of a member.",
		Example: "  arbiter cluster join n4 10.0.0.4:7001 --zone east",
		Args:    args("NODE", "HOST:PORT"),
		RunE: func(cmd *cobra.Command, given []string) error {
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				members, err := c.JoinMember(ctx, given[0], given[1], zone)
				return a.printMembers(members, err)
			})
		},
	}
	cmd.Flags().StringVar(&zone, "zone", "", "where the node stands")
	return cmd
}

func (a *app) drainCommand() *cobra.Command {
	var cancel, wait bool
	cmd := &cobra.Command{
		Use: "drain NODE", Short: "Have a node give away what it keeps and leads",
		Long: "Has a node give its groups to others, one replica after the other, each of which has caught up before the old one\n" +
			"goes. Calls go on through every node, this one too. A node that keeps nothing can be removed. Where there are no\n" +
			"others to take the replicas, only the leads go.",
		Example: "  arbiter cluster drain n3 --wait\n  arbiter cluster drain n3 --cancel",
		Args:    args("NODE"),
		RunE: func(cmd *cobra.Command, given []string) error {
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				members, err := c.DrainMember(ctx, given[0], cancel)
				for err == nil && wait && !cancel && !drained(members, given[0]) {
					select {
					case <-ctx.Done():
						return ctx.Err()
					case <-time.After(time.Second):
					}
					members, err = c.Members(ctx)
				}
				return a.printMembers(members, err)
			})
		},
	}
	cmd.Flags().BoolVar(&cancel, "cancel", false, "take its share again")
	cmd.Flags().BoolVar(&wait, "wait", false, "return once it keeps and leads nothing")
	return cmd
}

// drained tells whether a node keeps and leads nothing.
func drained(members []nba.ClusterMember, node string) bool {
	for i := range members {
		if m := &members[i]; m.ID == node {
			return m.Keeps == 0 && m.Has == 0 && m.Leads == 0
		}
	}
	return true
}

func (a *app) removeMemberCommand() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use: "remove NODE", Short: "Remove a node that keeps nothing, or one that is lost",
		Long: "Removes a node from the cluster. It must have been drained; with --force it must not answer, and what it kept is\n" +
			"made anew on others from the remaining replicas. A node that was removed comes back with an empty folder only.",
		Example: "  arbiter cluster remove n3\n  arbiter cluster remove n3 --force",
		Args:    args("NODE"),
		RunE: func(cmd *cobra.Command, given []string) error {
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				if err := c.RemoveMember(ctx, given[0], force); err != nil {
					return err
				}
				members, err := c.Members(ctx)
				return a.printMembers(members, err)
			})
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "the node is lost: make what it kept anew on others")
	return cmd
}

func (a *app) transferCommand() *cobra.Command {
	var from string
	cmd := &cobra.Command{
		Use: "transfer-leader [GROUP [NODE]]", Short: "Give the lead of a group, or all of a node's leads, to others",
		Example: "  arbiter cluster transfer-leader data-03 n2\n  arbiter cluster transfer-leader --from n1",
		Args:    cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, given []string) error {
			if (from == "") == (len(given) == 0) {
				return usage(cmd, "name a group, or a node with --from")
			}
			given = append(given, "", "")
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				groups, err := c.TransferLead(ctx, given[0], given[1], from)
				if err != nil {
					return err
				}
				return a.print(map[string]int{"groups": groups}, func(w io.Writer, _ paint) { fmt.Fprintf(w, "Groups whose lead was given away: %d\n", groups) })
			})
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "the `NODE` that gives away all that it leads")
	return cmd
}

func (a *app) rebalanceCommand() *cobra.Command {
	var show bool
	cmd := &cobra.Command{
		Use: "rebalance", Short: "Give leads back at once, and show which replicas are to move",
		Long: "The leader of the control group moves replicas by itself, a few at a time, when nodes come, go, drain or die, and\n" +
			"each group's lead goes back to the node that should have it. This gives all leads back now.",
		Example: "  arbiter cluster rebalance\n  arbiter cluster rebalance --dry-run -o json",
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				balance, err := c.Balance(ctx, !show)
				if err != nil {
					return err
				}
				return a.print(balance, func(w io.Writer, p paint) { renderBalance(w, p, balance) })
			})
		},
	}
	cmd.Flags().BoolVar(&show, "dry-run", false, "only show what is uneven and what would move")
	return cmd
}

func renderBalance(w io.Writer, p paint, b *nba.ClusterBalance) {
	fmt.Fprintf(w, "Replicas of a node %d to %d, leads %d to %d; moving %d", b.MinReplicas, b.MaxReplicas, b.MinLeads, b.MaxLeads, b.Moving)
	for _, problem := range []struct {
		what  string
		count int
	}{{"misplaced", b.Misplaced}, {"missing", b.Missing}, {"groups that share a zone", b.SharedZones}, {"without a leader", b.Lost}} {
		if problem.count > 0 {
			fmt.Fprintf(w, ", %s %s", problem.what, p.yellow(fmt.Sprint(problem.count)))
		}
	}
	fmt.Fprintln(w)
	if len(b.Next) == 0 {
		return
	}
	fmt.Fprintln(w)
	t := newTable(p, "Group", "Comes to", "Goes from", "Led by", "Because of")
	for _, m := range b.Next {
		t.AppendRow([]any{p.bold(m.Group), m.Add, m.Remove, m.Leader, m.Reason})
	}
	writeTable(w, t, 0)
}
