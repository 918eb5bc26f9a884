package cli

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/arbiterhq/arbiter/cluster/backup"
	"github.com/arbiterhq/arbiter/cluster/blob"
	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/client"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/telemetry"
	"github.com/spf13/cobra"
)

// backupFlags are those of all commands about backups.
type backupFlags struct {
	dir, keyFile, admin, id string
	keep                    int
	withoutEvents           bool
}

func (a *app) backupCommand() *cobra.Command {
	var f backupFlags
	cmd := &cobra.Command{
		Use: "backup --dir FOLDER", Short: "Back the cluster up into a folder, while it runs",
		Long: "Reads the state of all groups from a running cluster, through the admin listener of any node, and keeps it in a folder.\n" +
			"What the folder has already, from earlier backups, is neither sent nor kept again. Every write that was acknowledged\n" +
			"before the backup began is in it; each group is as of one place in its log.\n\n" +
			"A backup holds the whole customer memory. Its files are for their owner alone (mode 0600); with --key-file they are\n" +
			"encrypted too. It needs the key of an admin (ARBITER_TOKEN) where the cluster asks for one.",
		Example: `  arbiter cluster backup --dir /backup/arbiter
  arbiter cluster backup --dir /backup/arbiter --keep 14 --admin-addr 127.0.0.1:8081
  openssl rand -hex 32 > backup.key && chmod 600 backup.key
  arbiter cluster backup --dir /backup/arbiter --key-file backup.key
  arbiter cluster backup list --dir /backup/arbiter
  arbiter cluster backup verify --dir /backup/arbiter`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.backup(cmd, &f) },
	}
	f.add(cmd)
	cmd.Flags().StringVar(&f.admin, "admin-addr", "", "admin listener of a node (default "+defaultAdminAddr+"; env ARBITER_ADMIN_ADDR)")
	cmd.Flags().IntVar(&f.keep, "keep", 0, "remove all but the newest backups of the folder; 0 keeps all")
	cmd.AddCommand(a.backupListCommand(), a.backupVerifyCommand())
	return cmd
}

func (f *backupFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.dir, "dir", "", "the `FOLDER` of the backups")
	cmd.Flags().StringVar(&f.keyFile, "key-file", "", "encrypt with the key in this `FILE`, 64 hexadecimal digits")
}

// open opens the folder that the flags name.
func (f *backupFlags) open(cmd *cobra.Command, create bool) (*backup.Repository, error) {
	if f.dir == "" {
		return nil, usage(cmd, "--dir is missing: name the folder of the backups")
	}
	key, err := backup.ReadKey(f.keyFile)
	if err != nil {
		return nil, err
	}
	return backup.Open(f.dir, key, create)
}

// adminClient is a client of an admin listener.
func (a *app) adminClient(cmd *cobra.Command, addr string) (*client.Client, error) {
	if addr == "" {
		addr = a.getenv("ARBITER_ADMIN_ADDR")
	}
	if addr == "" {
		addr = defaultAdminAddr
	}
	c, err := client.New(addr, "arbiter/"+telemetry.Build().Version)
	if err != nil {
		return nil, usage(cmd, "--admin-addr: %s", err)
	}
	return c, a.secure(c)
}

func (a *app) backup(cmd *cobra.Command, f *backupFlags) (err error) {
	if f.keep < 0 {
		return usage(cmd, "--keep is not negative")
	}
	c, err := a.adminClient(cmd, f.admin)
	if err != nil {
		return err
	}
	defer c.Close()
	folder, err := f.open(cmd, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, folder.Close()) }()
	req, err := folder.Request()
	if err != nil {
		return err
	}
	began := time.Now()
	stream, err := c.Backup(cmd.Context(), req)
	if err != nil {
		return err
	}
	made, err := folder.Receive(stream)
	if err = errors.Join(err, stream.Close()); err != nil {
		return withHint(err, "nothing was lost: what came so far makes the next backup quicker; run it again")
	}
	if f.keep > 0 {
		if _, err := folder.Prune(f.keep); err != nil {
			return err
		}
	}
	out := backupLine(made)
	out.TookMS = time.Since(began).Milliseconds()
	return a.print(out, func(w io.Writer, p paint) {
		fmt.Fprintf(w, "%s %s of %s in %.1f s: %d groups, %s keys, %.1f MiB; %.1f MiB were new\n", p.green("backup"), p.bold(made.ID), made.Cluster,
			time.Since(began).Seconds(), len(made.Groups), thousands(out.Pairs), mib(out.Bytes), mib(out.NewBytes))
	})
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// backupInfo is what is printed of a backup.
type backupInfo struct {
	ID       string    `json:"id"`
	Cluster  string    `json:"cluster"`
	Release  string    `json:"release,omitempty"`
	From     time.Time `json:"from"`
	To       time.Time `json:"to"`
	Groups   int       `json:"groups"`
	Plugins  int       `json:"plugins"`
	Pairs    int64     `json:"pairs"`
	Bytes    int64     `json:"bytes"`
	NewBytes int64     `json:"newBytes"`
	TookMS   int64     `json:"tookMs,omitempty"`
}

func backupLine(m *backup.Manifest) backupInfo {
	pairs, bytes := m.Pairs()
	return backupInfo{ID: m.ID, Cluster: m.Cluster, Release: m.Release, From: m.From, To: m.To, Groups: len(m.Groups), Plugins: len(m.Blobs),
		Pairs: pairs, Bytes: bytes, NewBytes: m.NewBytes}
}

func (a *app) backupListCommand() *cobra.Command {
	var f backupFlags
	cmd := &cobra.Command{
		Use: "list --dir FOLDER", Short: "The backups in a folder, oldest first", Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			folder, err := f.open(cmd, false)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, folder.Close()) }()
			list, err := folder.Manifests()
			if err != nil {
				return err
			}
			lines := make([]backupInfo, len(list))
			for i := range list {
				lines[i] = backupLine(&list[i])
			}
			return a.print(lines, func(w io.Writer, p paint) {
				t := newTable(p, "Backup", "Made", "Cluster", "Keys", "MiB", "New MiB")
				right(t, 4, 5, 6)
				for _, l := range lines {
					t.AppendRow([]any{p.bold(l.ID), l.From.Local().Format(time.DateTime), l.Cluster, thousands(l.Pairs),
						fmt.Sprintf("%.1f", mib(l.Bytes)), fmt.Sprintf("%.1f", mib(l.NewBytes))})
				}
				writeTable(w, t, 0)
			})
		},
	}
	f.add(cmd)
	return cmd
}

func (a *app) backupVerifyCommand() *cobra.Command {
	var f backupFlags
	cmd := &cobra.Command{
		Use: "verify --dir FOLDER", Short: "Read a backup whole and check all of it",
		Long: "Reads every chunk of a backup, checks it against its SHA-256, and computes the digest of each group again: it must be the\n" +
			"one that the replicas of the group had where the backup was taken. The exit code is 1 if something is not as it was.",
		Example: "  arbiter cluster backup verify --dir /backup/arbiter\n  arbiter cluster backup verify --dir /backup/arbiter --id 01KB3V8Q5M9T1Z7X4C6W2R0YHD",
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			folder, err := f.open(cmd, false)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, folder.Close()) }()
			m, err := folder.Manifest(f.id)
			if err != nil {
				return err
			}
			if err := verifyBackup(cmd.Context(), folder, m); err != nil {
				return err
			}
			line := backupLine(m)
			return a.print(line, func(w io.Writer, p paint) {
				fmt.Fprintf(w, "%s %s is whole: %d groups, %s keys, %.1f MiB, %d plugins\n", p.green("ok"), p.bold(m.ID), line.Groups,
					thousands(line.Pairs), mib(line.Bytes), line.Plugins)
			})
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&f.id, "id", "", "which backup (default the newest)")
	return cmd
}

// verifyBackup reads all of a backup and compares the digests.
func verifyBackup(ctx context.Context, folder *backup.Repository, m *backup.Manifest) error {
	sums := map[int]*fsm.Summer{}
	pairs := map[int]int64{}
	blobs := map[string][]byte{}
	err := folder.Each(m, func(g backup.Group, chunk []byte) error {
		sum := sums[g.Number]
		if sum == nil {
			sum = &fsm.Summer{}
			sums[g.Number] = sum
		}
		err := backup.Pairs(chunk, func(bucket uint8, key, value []byte) error {
			sum.Add(store.Bucket(bucket), key, value)
			pairs[g.Number]++
			return nil
		})
		return errors.Join(err, ctx.Err())
	}, func(b backup.Blob, part []byte) error {
		blobs[b.Digest] = append(blobs[b.Digest], part...)
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	for i := range m.Groups {
		g := &m.Groups[i].Of
		sum := sums[g.Number]
		if sum == nil {
			sum = &fsm.Summer{}
		}
		if hex.EncodeToString(command.AppendDigest(nil, sum.Sum())) != g.Digest || pairs[g.Number] != g.Pairs {
			return fmt.Errorf("%w: group %s has another digest than it had in the cluster", backup.ErrDamaged, g.Name)
		}
	}
	for digest, content := range blobs {
		if blob.Digest(content) != digest {
			return fmt.Errorf("%w: a plugin has another digest than its name says", backup.ErrDamaged)
		}
	}
	return nil
}

func (a *app) restoreCommand() *cobra.Command {
	var f backupFlags
	cmd := &cobra.Command{
		Use: "restore --dir FOLDER", Short: "Restore a backup into a new cluster",
		Long: "Fills a cluster that holds nothing yet, through the admin listener of any of its nodes. It may have another number of\n" +
			"nodes, and another number of data groups, than the one that was backed up. It answers no calls until all of the backup\n" +
			"has taken effect. If the restore fails, run it again.\n\n" +
			"API keys are in the backup, as hashes: those of the backup apply afterwards, and a key that was made to restore is gone.\n" +
			"With another number of data groups, kept events, dead letters, cursors of streams and how far campaigns are must be left\n" +
			"out, if there are any (--without-events).",
		Example: "  arbiter cluster restore --dir /backup/arbiter\n  arbiter cluster restore --dir /backup/arbiter --id 01KB3V8Q5M9T1Z7X4C6W2R0YHD --admin-addr 127.0.0.1:8081",
		Args:    args(),
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.restore(cmd, &f) },
	}
	f.add(cmd)
	cmd.Flags().StringVar(&f.id, "id", "", "which backup (default the newest)")
	cmd.Flags().StringVar(&f.admin, "admin-addr", "", "admin listener of a node (default "+defaultAdminAddr+"; env ARBITER_ADMIN_ADDR)")
	cmd.Flags().BoolVar(&f.withoutEvents, "without-events", false, "leave out kept events, dead letters, cursors of streams and how far campaigns are")
	return cmd
}

func (a *app) restore(cmd *cobra.Command, f *backupFlags) (err error) {
	c, err := a.adminClient(cmd, f.admin)
	if err != nil {
		return err
	}
	defer c.Close()
	folder, err := f.open(cmd, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, folder.Close()) }()
	m, err := folder.Manifest(f.id)
	if err != nil {
		return err
	}
	began := time.Now()
	from, to := io.Pipe()
	sent := make(chan error, 1)
	go func() {
		err := folder.Send(m, to)
		to.CloseWithError(err) // nil is the end of the stream
		sent <- err
	}()
	total, _ := m.Pairs()
	done, err := c.Restore(cmd.Context(), from, f.withoutEvents, func(so nba.Restored) {
		if a.errTTY && total > 0 {
			fmt.Fprintf(a.err, "\r%3d %% ", 100*so.Pairs/total)
		}
	})
	from.CloseWithError(io.ErrClosedPipe) // the sender ends if the node answered before it read all
	if sendErr := <-sent; errors.Is(sendErr, backup.ErrDamaged) {
		err = sendErr // what the node says follows from it
	}
	if a.errTTY {
		fmt.Fprint(a.err, "\r      \r")
	}
	if err != nil {
		return err
	}
	return a.print(done, func(w io.Writer, p paint) {
		fmt.Fprintf(w, "%s %s in %.1f s: %d groups, %s keys, %d plugins\n", p.green("restored"), p.bold(done.Backup), time.Since(began).Seconds(),
			done.Groups, thousands(done.Pairs), done.Plugins)
	})
}
