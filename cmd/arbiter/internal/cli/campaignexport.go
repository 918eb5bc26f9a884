package cli

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/spf13/cobra"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// The formats of an export.
const (
	exportNDJSON  = "ndjson"
	exportParquet = "parquet"
)

// exportManifest describes the files of an export. It is written last: files without one are not complete.
type exportManifest struct {
	Campaign string       `json:"campaign"`
	Run      string       `json:"run"`
	State    string       `json:"state"`
	Catalog  uint64       `json:"catalogVersion"`
	Written  time.Time    `json:"writtenAt"`
	Contacts int          `json:"contacts"`
	Files    []exportFile `json:"files"`
}

type exportFile struct {
	Name     string `json:"name"`
	Format   string `json:"format"`
	Contacts int    `json:"contacts"`
	Bytes    int64  `json:"bytes"`
	Digest   string `json:"digest"`
}

func (a *app) campaignExportCommand() *cobra.Command {
	var id, dir, format string
	cmd := &cobra.Command{
		Use: "export CAMPAIGN", Short: "Write whom a run contacted, with what, into a file with a manifest",
		Long: "Writes RUN.ndjson or RUN.parquet and RUN.manifest.json with the number of contacts and the SHA-256 of the file. Each\n" +
			"file appears under its name when it is complete, the manifest last. Without --dir, NDJSON goes to the standard output.",
		Example: "  arbiter campaign export device-renewal > contacts.ndjson\n  arbiter campaign export device-renewal --dir out --format parquet",
		Args:    args("CAMPAIGN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if format != exportNDJSON && format != exportParquet || format == exportParquet && dir == "" {
				return usage(cmd, "--format is ndjson or parquet; parquet needs --dir")
			}
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				run, err := c.CampaignRun(ctx, args[0], id)
				if err != nil {
					return err
				}
				if dir == "" {
					_, err := eachContact(ctx, c, run, newContactLines(a.out).write)
					return err
				}
				manifest, err := exportRun(ctx, c, run, dir, format)
				if err != nil {
					return err
				}
				return a.print(manifest, func(w io.Writer, p paint) {
					f := &manifest.Files[0]
					fmt.Fprintf(w, "%s contacts in %s, %d bytes, %s\n", p.bold(fmt.Sprint(manifest.Contacts)), filepath.Join(dir, f.Name), f.Bytes, f.Digest)
				})
			})
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "`FOLDER` to write into")
	cmd.Flags().StringVar(&format, "format", exportNDJSON, "ndjson or parquet")
	runFlag(cmd, &id)
	return cmd
}

// exportPage is how many contacts are asked for at once.
const exportPage = 2000

// eachContact calls fn with every contact of a run, page by page.
func eachContact(ctx context.Context, c apiClient, run *nba.CampaignRun, fn func(*nba.CampaignContact) error) (count int, err error) {
	for cursor := ""; ; {
		page, next, err := c.CampaignContacts(ctx, run.Campaign, run.ID, exportPage, cursor)
		if err != nil {
			return count, err
		}
		for i := range page {
			if err := fn(&page[i]); err != nil {
				return count, err
			}
			count++
		}
		if cursor = next; cursor == "" {
			return count, nil
		}
	}
}

type contactLines struct{ encoder *json.Encoder }

func newContactLines(w io.Writer) *contactLines {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return &contactLines{encoder}
}

func (l *contactLines) write(c *nba.CampaignContact) error { return l.encoder.Encode(c) }

// contactRow is a contact in a Parquet file.
type contactRow struct {
	Subject       string            `parquet:"subject"`
	Type          string            `parquet:"type,dict"`
	DecisionID    string            `parquet:"decisionId"`
	DecidedAt     int64             `parquet:"decidedAt,timestamp(millisecond)"`
	Channel       string            `parquet:"channel,dict"`
	Action        string            `parquet:"action,dict"`
	Treatment     string            `parquet:"treatment,dict"`
	Propensity    float64           `parquet:"propensity"`
	Value         float64           `parquet:"value"`
	Priority      float64           `parquet:"priority"`
	Content       map[string]string `parquet:"content"`
	ResponseToken string            `parquet:"responseToken"`
}

// exportRun writes the file and then its manifest.
func exportRun(ctx context.Context, c apiClient, run *nba.CampaignRun, dir, format string) (*exportManifest, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, err
	}
	manifest := &exportManifest{Campaign: run.Campaign, Run: run.ID, State: run.State, Catalog: run.CatalogVersion, Written: time.Now().UTC().Truncate(time.Second)}
	file := exportFile{Name: run.ID + "." + format, Format: format}
	err := writeAtomically(filepath.Join(dir, file.Name), func(w io.Writer) (err error) {
		sum := &countingHash{to: w, sum: sha256.New()}
		if format == exportParquet {
			file.Contacts, err = writeParquet(ctx, c, run, sum)
		} else {
			file.Contacts, err = eachContact(ctx, c, run, newContactLines(sum).write)
		}
		file.Bytes, file.Digest = sum.count, "sha256:"+hex.EncodeToString(sum.sum.Sum(nil))
		return err
	})
	if err != nil {
		return nil, err
	}
	manifest.Contacts, manifest.Files = file.Contacts, []exportFile{file}
	return manifest, writeAtomically(filepath.Join(dir, run.ID+".manifest.json"), func(w io.Writer) error {
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		return encoder.Encode(manifest)
	})
}

// rowGroup bounds the rows that a Parquet file holds in memory until they are written.
const rowGroup = 50_000

func writeParquet(ctx context.Context, c apiClient, run *nba.CampaignRun, w io.Writer) (int, error) {
	rows := parquet.NewGenericWriter[contactRow](w, parquet.Compression(&parquet.Zstd), parquet.MaxRowsPerRowGroup(rowGroup))
	count, err := eachContact(ctx, c, run, func(line *nba.CampaignContact) error {
		_, err := rows.Write([]contactRow{{Subject: line.Subject, Type: line.Type, DecisionID: line.DecisionID, DecidedAt: line.DecidedAt.UnixMilli(),
			Channel: line.Channel, Action: line.Action, Treatment: line.Treatment, Propensity: line.Propensity, Value: line.Value,
			Priority: line.Priority, Content: line.Content, ResponseToken: line.ResponseToken}})
		return err
	})
	return count, errors.Join(err, rows.Close())
}

// countingHash counts and digests what passes.
type countingHash struct {
	to    io.Writer
	sum   hash.Hash
	count int64
}

// Write implements io.Writer.
func (h *countingHash) Write(b []byte) (int, error) {
	n, err := h.to.Write(b)
	h.count += int64(n)
	h.sum.Write(b[:n])
	return n, err
}

// writeAtomically writes a file that appears under its name when it is complete and on disk.
func writeAtomically(name string, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name()) // it is of no use
		}
	}()
	buffered := bufio.NewWriter(f)
	if err := errors.Join(write(buffered), buffered.Flush()); err != nil {
		return err
	}
	if err := errors.Join(f.Chmod(0o640), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return err
	}
	folder, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
