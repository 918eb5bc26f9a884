package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// subjectContactsCommand shows where a subject stands with each contact policy.
func (a *app) subjectContactsCommand() *cobra.Command {
	var f subjectFlags
	cmd := &cobra.Command{
		Use: "contacts SUBJECT", Short: "Show where a customer stands with each contact limit, and when there is room again",
		Long: "Show where a customer stands with each contact policy of the active catalog: how many contacts count, how many of\n" +
			"them are only reserved, and when there is room again if nothing else happens. Then the contacts that are remembered.",
		Example: "  arbiter subject contacts S-000123\n  arbiter subject contacts S-000123 -o json",
		Args:    args("SUBJECT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := subjectRef(cmd, args[0], f.typ)
			if err != nil {
				return err
			}
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				contacts, err := c.Contacts(ctx, ref)
				if err != nil {
					return err
				}
				return a.print(contacts, func(w io.Writer, p paint) { renderContacts(w, p, contacts) })
			})
		},
	}
	f.register(cmd, false)
	return cmd
}

// renderContacts prints the policies, then the contacts.
func renderContacts(w io.Writer, p paint, c *nba.SubjectContacts) {
	if len(c.Policies) == 0 {
		fmt.Fprintln(w, "No contact policy of the active catalog is about this customer yet.")
	} else {
		t := newTable(p, "Policy", "Kind", "Counts", "Used", "Now", "Room again")
		for i := range c.Policies {
			s := &c.Policies[i]
			used, now, free := "-", p.green("room"), "-"
			if s.Kind != "quietHours" {
				used = fmt.Sprintf("%d of %d", s.Used, s.Max)
			}
			if s.Reserved > 0 {
				used += fmt.Sprintf(" (%d reserved)", s.Reserved)
			}
			if s.Reached {
				now = p.yellow(s.Code)
			}
			if s.FreeAt != nil {
				free = stamp(*s.FreeAt)
			}
			t.AppendRow([]any{p.bold(s.Policy), s.Kind, scopeWords(s), used, now, free})
		}
		writeTable(w, t, 0)
	}
	if len(c.Contacts) == 0 {
		return
	}
	fmt.Fprintln(w)
	t := newTable(p, "When", "Action", "Channel", "Came of it", "May be shown until")
	for i := range c.Contacts {
		item := &c.Contacts[i]
		var outcomes []string
		for _, o := range item.Outcomes {
			outcomes = append(outcomes, outcomeColour(p, o))
		}
		until := "-"
		if item.ReservedUntil != nil {
			until = stamp(*item.ReservedUntil)
		}
		t.AppendRow([]any{stamp(item.Time), p.bold(dash(item.Action)), dash(item.Channel), dash(strings.Join(outcomes, ", ")), until})
	}
	writeTable(w, t, 0)
}

// scopeWords tells which contacts a policy counts.
func scopeWords(s *nba.ContactStanding) string {
	var words []string
	for _, word := range [...]string{s.Action, s.Group, s.Issue, s.Channel, string(s.Direction)} {
		if word != "" {
			words = append(words, word)
		}
	}
	if len(words) == 0 {
		words = append(words, "all contacts")
	}
	if s.On != nil {
		words = append(words, "of "+string(s.On.Type)+" "+s.On.ID)
	}
	return strings.Join(words, ", ")
}
