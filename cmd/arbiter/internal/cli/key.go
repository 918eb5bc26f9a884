package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/arbiterhq/arbiter/runtime/auth"
	"github.com/spf13/cobra"
)

func (a *app) keyCommand() *cobra.Command {
	return noun("key", "API keys: who may call what",
		`  arbiter key create --first --name "the operator"          the first key, made on the machine of a node
  arbiter key create --name "web shop" --role channel --rate 2000
  arbiter key list
  arbiter key revoke abcdefghijklmnop
  ARBITER_TOKEN=arb_… arbiter key whoami`,
		a.keyCreateCommand(), a.keyListCommand(), a.keyRevokeCommand(), a.whoAmICommand())
}

func (a *app) keyCreateCommand() *cobra.Command {
	var wanted auth.KeyRequest
	var first bool
	var roles []string
	for _, r := range auth.Roles() {
		roles = append(roles, string(r))
	}
	cmd := &cobra.Command{
		Use: "create --name NAME --role ROLE...", Short: "Make a key and show it, once",
		Long: "Makes an API key. What it prints is the only copy: the cluster keeps a hash. Calls carry it as Authorization: Bearer,\n" +
			"this program reads it from ARBITER_TOKEN.\n\n" +
			"Roles: channel decides and responds; analyst changes catalogs; scientist changes plugins; operator runs the cluster and\n" +
			"imports; auditor sees everything; admin may do everything. The first key of a cluster (--first) is an admin's, and is\n" +
			"made through a node on this machine without any key.",
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if wanted.Name == "" {
				return usage(cmd, "--name is missing: say who uses the key")
			}
			if first == (len(wanted.Roles) > 0) {
				return usage(cmd, "give one or more --role, or --first for the first admin's key")
			}
			if first {
				wanted.Roles = []string{string(auth.Admin)}
			}
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				made, err := c.CreateKey(ctx, &wanted, first)
				if err != nil {
					return err
				}
				return a.print(made, func(w io.Writer, p paint) {
					fmt.Fprintf(w, "%s\n\n%s\n", p.bold(made.Token), p.dim("Keep it: it is not shown again. id "+made.ID+", "+rolesText(made.Roles)+", "+expiryText(made)))
				})
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&wanted.Name, "name", "", "who uses the key")
	flags.StringSliceVar(&wanted.Roles, "role", nil, strings.Join(roles, ", ")+"; may be repeated")
	flags.StringVar(&wanted.ExpiresIn, "expires-in", "", "how long it is good for, such as 90d or 12h, or never (default 365d)")
	flags.IntVar(&wanted.Rate, "rate", 0, "requests a second through each node; 0 is any number")
	flags.BoolVar(&first, "first", false, "make the first key of the cluster, an admin's")
	_ = cmd.RegisterFlagCompletionFunc("role", cobra.FixedCompletions(roles, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func rolesText(roles []auth.Role) string {
	names := make([]string, len(roles))
	for i, r := range roles {
		names[i] = string(r)
	}
	return strings.Join(names, ", ")
}

func expiryText(k *auth.View) string {
	if k.ExpiresAt == nil {
		return "never expires"
	}
	return "expires " + k.ExpiresAt.Format(time.DateOnly)
}

func (a *app) keyListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "All keys, without what proves them", Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				keys, err := c.Keys(ctx)
				if err != nil {
					return err
				}
				return a.print(keys, func(w io.Writer, p paint) {
					t := newTable(p, "Id", "Name", "Roles", "Rate", "Made", "Expires")
					right(t, 4)
					for i := range keys {
						k := &keys[i]
						expires, limit := "never", ""
						if k.ExpiresAt != nil {
							if expires = k.ExpiresAt.Format(time.DateOnly); time.Now().After(*k.ExpiresAt) {
								expires = p.red(expires)
							}
						}
						if k.Rate > 0 {
							limit = fmt.Sprintf("%d/s", k.Rate)
						}
						t.AppendRow([]any{k.ID, p.bold(k.Name), rolesText(k.Roles), limit, k.CreatedAt.Format(time.DateOnly), expires})
					}
					writeTable(w, t, 0)
				})
			})
		},
	}
}

func (a *app) keyRevokeCommand() *cobra.Command {
	return &cobra.Command{
		Use: "revoke ID", Short: "Make a key worthless on every node", Args: args("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				if err := c.RevokeKey(ctx, args[0]); err != nil {
					return err
				}
				fmt.Fprintf(a.err, "Revoked %s.\n", args[0])
				return nil
			})
		},
	}
}

func (a *app) whoAmICommand() *cobra.Command {
	return &cobra.Command{
		Use: "whoami", Short: "As whom this program calls", Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				me, err := c.WhoAmI(ctx)
				if err != nil {
					return err
				}
				return a.print(me, func(w io.Writer, p paint) {
					if me.Kind == auth.KindLocal {
						fmt.Fprintln(w, "The node does not ask who calls.")
						return
					}
					fmt.Fprintf(w, "%s (%s %s): %s\n", p.bold(me.Name), me.Kind, me.ID, rolesText(me.Roles))
				})
			})
		},
	}
}
