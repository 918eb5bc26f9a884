package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/spf13/cobra"
)

// auditPage is how many records are read at once, and auditPoll how often more are asked for.
const (
	auditPage = 1000
	auditPoll = time.Second
)

func (a *app) auditCommand() *cobra.Command {
	return noun("audit", "Who changed what",
		`  arbiter audit tail
  arbiter audit tail --follow -o json
  arbiter audit verify
  arbiter audit verify --seq 120 --hash 9f2c…     nothing up to a record that was noted before was changed`,
		a.auditTailCommand(), a.auditVerifyCommand())
}

func (a *app) auditTailCommand() *cobra.Command {
	var follow bool
	var count int
	cmd := &cobra.Command{
		Use: "tail [--follow]", Short: "The newest changes, oldest first", Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if count < 1 || count > auditPage {
				return usage(cmd, "--count must be 1 to %d", auditPage)
			}
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				page, err := c.Audit(ctx, 0, 1)
				if err != nil {
					return err
				}
				after := page.Head.Seq - min(page.Head.Seq, uint64(count))
				for {
					if page, err = c.Audit(ctx, after, auditPage); err != nil {
						return err
					}
					if len(page.Items) > 0 || !follow {
						if err := a.print(page.Items, func(w io.Writer, p paint) { renderAudit(w, p, page.Items) }); err != nil {
							return err
						}
					}
					if len(page.Items) > 0 {
						after = page.Items[len(page.Items)-1].Seq
					}
					if !follow {
						return nil
					}
					select {
					case <-time.After(auditPoll):
					case <-ctx.Done():
						return nil
					}
				}
			})
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with changes as they are made")
	cmd.Flags().IntVarP(&count, "count", "n", 20, "how many to begin with")
	return cmd
}

func renderAudit(w io.Writer, p paint, records []fsm.AuditRecord) {
	for i := range records {
		r := &records[i]
		who := r.Actor.Name
		if who == "" {
			who = string(r.Actor.Kind)
		}
		fmt.Fprintf(w, "%s  %s  %s  %s %s\n", p.dim(fmt.Sprintf("%6d", r.Seq)), r.At.Local().Format(time.DateTime), p.bold(who), r.Action, p.dim(r.Object))
		for _, c := range r.Changes {
			switch {
			case c.Before == "":
				fmt.Fprintf(w, "        %s %s: %s\n", p.green("+"), c.Fact, c.After)
			case c.After == "":
				fmt.Fprintf(w, "        %s %s: %s\n", p.red("-"), c.Fact, c.Before)
			default:
				fmt.Fprintf(w, "        %s %s: %s → %s\n", p.yellow("~"), c.Fact, c.Before, c.After)
			}
		}
	}
}

// auditVerified is what arbiter audit verify found.
type auditVerified struct {
	Records int           `json:"records"`
	From    uint64        `json:"from,omitempty"`
	Head    fsm.AuditHead `json:"head"`
}

func (a *app) auditVerifyCommand() *cobra.Command {
	var seq uint64
	var hash string
	cmd := &cobra.Command{
		Use: "verify [--seq N --hash HASH]", Short: "Check that no record was changed or left out",
		Long: "Reads all records and computes their chain again. Note the end that it prints somewhere else: with --seq and --hash, a\n" +
			"later run shows that what was recorded until then is still what it was.",
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if (seq == 0) != (hash == "") {
				return usage(cmd, "give --seq and --hash together")
			}
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				found, err := verifyAudit(ctx, c, seq, hash)
				if err != nil {
					return err
				}
				return a.print(found, func(w io.Writer, p paint) {
					fmt.Fprintf(w, "%s %d records, whole. The chain ends at %d:\n%s\n", p.green("ok"), found.Records, found.Head.Seq, found.Head.Hash)
				})
			})
		},
	}
	cmd.Flags().Uint64Var(&seq, "seq", 0, "the number of a record that was noted before")
	cmd.Flags().StringVar(&hash, "hash", "", "its hash")
	return cmd
}

func verifyAudit(ctx context.Context, c apiClient, seq uint64, hash string) (found auditVerified, err error) {
	var previous *fsm.AuditRecord
	after, noted := uint64(0), seq == 0
	for {
		page, err := c.Audit(ctx, after, auditPage)
		if err != nil {
			return found, err
		}
		for i := range page.Items {
			r := &page.Items[i]
			if err := checkLink(previous, r); err != nil {
				return found, err
			}
			if previous == nil {
				found.From = r.Seq
			}
			if r.Seq == seq {
				if noted = r.Hash == hash; !noted {
					return found, fmt.Errorf("record %d has another hash than the one that was noted: the log was changed", seq)
				}
			}
			previous, after = r, r.Seq
			found.Records++
		}
		if len(page.Items) > 0 && after < page.Head.Seq {
			continue
		}
		found.Head = page.Head
		switch {
		case after != page.Head.Seq || previous != nil && previous.Hash != page.Head.Hash:
			return found, fmt.Errorf("the log ends at record %d and its chain at %d: records are missing", after, page.Head.Seq)
		case !noted:
			return found, fmt.Errorf("record %d is not in the log any more", seq)
		}
		return found, nil
	}
}

// checkLink checks one record, and that it follows the one before.
func checkLink(previous, r *fsm.AuditRecord) error {
	hash, err := r.Chain()
	switch {
	case err != nil:
		return err
	case hash != r.Hash:
		return fmt.Errorf("record %d was changed: its hash is not that of what it says", r.Seq)
	case previous != nil && (r.Seq != previous.Seq+1 || r.Previous != previous.Hash):
		return fmt.Errorf("record %d does not follow record %d: one was changed or left out", r.Seq, previous.Seq)
	case previous == nil && r.Seq == 1 && r.Previous != "":
		return fmt.Errorf("the first record follows another: records are missing")
	}
	return nil
}
