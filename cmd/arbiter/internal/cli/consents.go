package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// consentFlags are the changes of arbiter subject consents.
type consentFlags struct {
	typ, from, until                 string
	grant, refuse, withdraw, forgets []string
}

// channelMark goes before the name of a channel, so that purposes and channels can share flags.
const channelMark = "channel:"

func (a *app) subjectConsentsCommand() *cobra.Command {
	var f consentFlags
	cmd := &cobra.Command{
		Use: "consents SUBJECT", Short: "Show or change what a customer consented to: purposes and channels",
		Long: "Show what a customer said to purposes and channels and what is allowed now, or change it first. An\n" +
			"answer names a purpose, such as marketing, or a channel, such as channel:sms. --from and --until hold for\n" +
			"all answers of the call; a consent outside of its period is none.",
		Example: `  arbiter subject consents S-000123
  arbiter subject consents S-000123 --grant marketing --until 2027-01-01 --refuse channel:sms
  arbiter subject consents S-000123 --withdraw profiling`,
		Args: args("SUBJECT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := subjectRef(cmd, args[0], f.typ)
			if err != nil {
				return err
			}
			period, err := f.period(cmd)
			if err != nil {
				return err
			}
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				doc, err := c.Consents(ctx, ref)
				if err != nil {
					return err
				}
				if f.changes() {
					f.apply(doc, period)
					if err := c.PutConsents(ctx, doc, fmt.Sprintf("v%d", doc.Version)); err != nil {
						return err
					}
					if doc, err = c.Consents(ctx, ref); err != nil {
						return err
					}
				}
				return a.print(doc, func(w io.Writer, p paint) { renderConsents(w, p, doc) })
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.typ, "type", "", "subject type: subscriber, account or device (default subscriber)")
	_ = cmd.RegisterFlagCompletionFunc("type", cobra.FixedCompletions(subjectTypeNames(), cobra.ShellCompDirectiveNoFileComp))
	flags.StringSliceVar(&f.grant, "grant", nil, "`PURPOSE` or channel:NAME the customer consents to; repeatable")
	flags.StringSliceVar(&f.refuse, "refuse", nil, "`PURPOSE` or channel:NAME the customer does not consent to; repeatable")
	flags.StringSliceVar(&f.withdraw, "withdraw", nil, "`PURPOSE` or channel:NAME the customer took the consent back for; repeatable")
	flags.StringSliceVar(&f.forgets, "forget", nil, "`PURPOSE` or channel:NAME the customer has said nothing about; repeatable")
	flags.StringVar(&f.from, "from", "", "the answers count from this `TIME` on: RFC 3339, or a date in UTC")
	flags.StringVar(&f.until, "until", "", "the answers count until this `TIME`")
	return cmd
}

func (f *consentFlags) changes() bool {
	return len(f.grant)+len(f.refuse)+len(f.withdraw)+len(f.forgets) > 0
}

// period is that of the answers of the call; nil for none.
func (f *consentFlags) period(cmd *cobra.Command) (*nba.TimePeriod, error) {
	if f.from == "" && f.until == "" {
		return nil, nil
	}
	if len(f.grant)+len(f.refuse)+len(f.withdraw) == 0 {
		return nil, usage(cmd, "--from and --until belong to --grant, --refuse or --withdraw")
	}
	p := &nba.TimePeriod{}
	for _, bound := range []struct {
		flag, text string
		to         **time.Time
	}{{"from", f.from, &p.StartDateTime}, {"until", f.until, &p.EndDateTime}} {
		if bound.text == "" {
			continue
		}
		at, err := time.Parse(time.RFC3339, bound.text)
		if err != nil {
			if at, err = time.Parse(time.DateOnly, bound.text); err != nil {
				return nil, usage(cmd, "--%s is a time such as 2026-11-30T18:00:00Z, or a date such as 2026-11-30", bound.flag)
			}
		}
		at = at.UTC()
		*bound.to = &at
	}
	return p, nil
}

// apply makes the changes in doc.
func (f *consentFlags) apply(doc *nba.ConsentDocument, period *nba.TimePeriod) {
	for _, name := range f.forgets {
		setConsent(doc, name, nba.Unanswered, nil)
	}
	for state, names := range map[nba.ConsentState][]string{nba.Granted: f.grant, nba.Refused: f.refuse, nba.Withdrawn: f.withdraw} {
		for _, name := range names {
			setConsent(doc, name, state, period)
		}
	}
	doc.Effective = nil
}

// setConsent replaces the answer to a purpose or channel; Unanswered removes it.
func setConsent(doc *nba.ConsentDocument, name string, state nba.ConsentState, period *nba.TimePeriod) {
	if channel, ok := strings.CutPrefix(name, channelMark); ok {
		doc.Channels = slices.DeleteFunc(doc.Channels, func(c nba.ChannelConsent) bool { return c.Channel == channel })
		if state != nba.Unanswered {
			doc.Channels = append(doc.Channels, nba.ChannelConsent{Channel: channel, Status: state, ValidFor: period})
		}
		return
	}
	doc.Purposes = slices.DeleteFunc(doc.Purposes, func(c nba.PurposeConsent) bool { return c.PrivacyUsagePurpose == name })
	if state != nba.Unanswered {
		doc.Purposes = append(doc.Purposes, nba.PurposeConsent{PrivacyUsagePurpose: name, Status: state, ValidFor: period})
	}
}

// renderConsents prints every purpose and channel with what was said and what follows.
func renderConsents(w io.Writer, p paint, doc *nba.ConsentDocument) {
	type said struct {
		status nba.ConsentState
		period *nba.TimePeriod
	}
	purposes, channels := map[string]said{}, map[string]said{}
	for _, c := range doc.Purposes {
		purposes[c.PrivacyUsagePurpose] = said{c.Status, c.ValidFor}
	}
	for _, c := range doc.Channels {
		channels[c.Channel] = said{c.Status, c.ValidFor}
	}
	fmt.Fprintf(w, "%s %s, version %d\n\n", subjectWord(doc.SubjectRef), p.bold(doc.ID), doc.Version)
	t := newTable(p, "For", "Said", "From", "Until", "Now")
	rows := func(prefix string, effective map[string]bool, answers map[string]said) {
		for _, name := range slices.Sorted(maps.Keys(effective)) {
			a, allowed := answers[name], p.green("allowed")
			if !effective[name] {
				allowed = p.yellow("not allowed")
			}
			from, until := "-", "-"
			if a.period != nil {
				from, until = stampOf(a.period.StartDateTime), stampOf(a.period.EndDateTime)
			}
			word := a.status.String()
			if a.status == nba.Unanswered {
				word = "-"
			}
			t.AppendRow([]any{prefix + p.bold(name), word, from, until, allowed})
		}
	}
	if doc.Effective != nil {
		rows("purpose ", doc.Effective.Purposes, purposes)
		rows("channel ", doc.Effective.Channels, channels)
	}
	writeTable(w, t, 0)
}
