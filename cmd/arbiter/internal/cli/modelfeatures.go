package cli

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/plugins/compiler"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/spf13/cobra"
)

// featureRowsPerCall is how many rows one request asks for.
const featureRowsPerCall = 500

type modelFeaturesFlags struct {
	rows, out      string
	id, action, at string
	subjectType    string
	contexts       []string
}

func (a *app) modelFeaturesCommand() *cobra.Command {
	var f modelFeaturesFlags
	cmd := &cobra.Command{
		Use: "features FILE --rows ROWS", Short: "Make a training table: features exactly as a node scores them",
		Long: "Asks the node for the features of customers and adds them as columns to ROWS, a CSV file with one customer a\n" +
			"line, such as labels. FILE is a feature file or a plugin. The node makes the features by the code that scores:\n" +
			"consent, levels, logs, ratios and the interaction history count as they do in a decision. A missing feature is\n" +
			"an empty field. Numbers are written so that reading gives them back exactly.",
		Example: "  arbiter model features features.yaml --rows labels.csv --id customerID -o train.csv\n" +
			"  arbiter model features churn.wasm --rows offers.csv --id subject --action action --at shownAt -o train.csv",
		Args: args("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.rows == "" {
				return usage(cmd, "--rows is needed")
			}
			return a.makeFeatures(cmd, args[0], &f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.rows, "rows", "", "CSV `FILE` with a header and one customer a line; - is the standard input")
	flags.StringVar(&f.id, "id", "id", "`COLUMN` of the subject id")
	flags.StringVar(&f.subjectType, "type", "", "type of the subjects (default subscriber)")
	flags.StringVar(&f.action, "action", "", "`COLUMN` of the action, for features of the candidate")
	flags.StringVar(&f.at, "at", "", "`COLUMN` of the moment (RFC 3339) up to which the interaction history counts (default now)")
	flags.StringSliceVar(&f.contexts, "context", nil, "`COLUMN` that is the context value of its name; may be repeated")
	flags.StringVarP(&f.out, "out", "o", "-", "CSV `FILE` to write; - is the standard output")
	flags.Var(&a.format, "output", "not used here")
	_ = flags.MarkHidden("output")
	return cmd
}

func (a *app) makeFeatures(cmd *cobra.Command, file string, f *modelFeaturesFlags) error {
	features, purpose, err := a.featureList(file)
	if err != nil {
		return err
	}
	body, err := a.readFile(f.rows, maxRowsBytes)
	if err != nil {
		return err
	}
	records, err := csv.NewReader(bytes.NewReader(body)).ReadAll()
	if err != nil {
		return fmt.Errorf("reading %s: %w", f.rows, err)
	}
	if len(records) < 2 {
		return fmt.Errorf("%s needs a header and at least one row", f.rows)
	}
	table := &featureTable{flags: f, header: records[0], records: records[1:]}
	if err := table.locate(features); err != nil {
		return err
	}
	encoded, err := json.Marshal(features)
	if err != nil {
		return fmt.Errorf("encoding the features: %w", err)
	}
	var out bytes.Buffer
	line := newStageLine(a)
	defer line.clear()
	err = a.withClient(cmd, func(ctx context.Context, c apiClient) error {
		return table.write(ctx, c, &nba.FeatureRequest{Features: encoded, Purpose: purpose}, csv.NewWriter(&out), line)
	})
	if err != nil {
		return err
	}
	line.clear()
	if table.unknown > 0 {
		fmt.Fprintf(a.err, "%s %s of %d are not on the node; their features are empty\n", a.paint(a.errTTY).yellow("Warning:"),
			plural(table.unknown, "customer"), len(table.records))
	}
	if f.out != "-" {
		return writeWhole(f.out, out.Bytes())
	}
	_, err = a.out.Write(out.Bytes())
	return err
}

// featureList reads the features of a plugin or of a feature file.
func (a *app) featureList(file string) ([]artifact.Feature, string, error) {
	body, err := a.readFile(file, maxModuleBytes)
	if err != nil {
		return nil, "", err
	}
	if bytes.HasPrefix(body, []byte("\x00asm")) {
		m, err := artifact.Parse(body)
		if err != nil {
			return nil, "", err
		}
		return m.Features, m.Purpose, nil
	}
	spec, err := compiler.LoadFeatures(body, filepath.Base(file))
	if err != nil {
		return nil, "", err
	}
	features, err := spec.List()
	return features, spec.Purpose, err
}

// featureTable is the rows that features are added to.
type featureTable struct {
	flags   *modelFeaturesFlags
	header  []string
	records [][]string
	unknown int

	id, action, at int // columns, -1 for none
	contexts       []int
}

// locate finds the columns that the flags name.
func (t *featureTable) locate(features []artifact.Feature) error {
	var missing error
	column := func(name string) int {
		at := slices.Index(t.header, name)
		if at < 0 && name != "" && missing == nil {
			hint := "its columns are " + listed(t.header, 20)
			if near := nba.Nearest(name, t.header); near != "" {
				hint = "did you mean " + near + "?"
			}
			missing = withHint(fmt.Errorf("%s has no column %s", t.flags.rows, name), "%s", hint)
		}
		return at
	}
	t.id, t.action, t.at = column(t.flags.id), column(t.flags.action), column(t.flags.at)
	for _, name := range t.flags.contexts {
		t.contexts = append(t.contexts, column(name))
	}
	for i := range features {
		if missing == nil && slices.Contains(t.header, features[i].Name) {
			missing = fmt.Errorf("%s already has a column %s, which is a feature; leave it out", t.flags.rows, features[i].Name)
		}
	}
	return missing
}

// write asks for the features, so many rows at a time, and writes the table.
func (t *featureTable) write(ctx context.Context, c apiClient, req *nba.FeatureRequest, w *csv.Writer, line *stageLine) error {
	for begin := 0; begin < len(t.records); begin += featureRowsPerCall {
		line.update("making features", begin, len(t.records))
		chunk := t.records[begin:min(begin+featureRowsPerCall, len(t.records))]
		req.Rows = req.Rows[:0]
		for i, record := range chunk {
			row, err := t.row(record)
			if err != nil {
				return fmt.Errorf("%s, row %d: %w", t.flags.rows, begin+i+1, err)
			}
			req.Rows = append(req.Rows, row)
		}
		table, err := c.Features(ctx, req)
		if err != nil {
			return err
		}
		if begin == 0 {
			if err := w.Write(append(slices.Clone(t.header), table.Names...)); err != nil {
				return fmt.Errorf("writing the features: %w", err)
			}
		}
		if len(table.Rows) != len(chunk) {
			return fmt.Errorf("the node answered %d rows for %d: %w", len(table.Rows), len(chunk), io.ErrUnexpectedEOF)
		}
		for i, values := range table.Rows {
			if values == nil {
				t.unknown++
				values = make([]*float64, len(table.Names))
			}
			record := slices.Clone(chunk[i])
			for _, v := range values {
				record = append(record, exactly(v))
			}
			if err := w.Write(record); err != nil {
				return fmt.Errorf("writing the features: %w", err)
			}
		}
	}
	w.Flush()
	return w.Error()
}

// row is what is asked for one line.
func (t *featureTable) row(record []string) (nba.FeatureRow, error) {
	row := nba.FeatureRow{Subject: nba.SubjectRef{ID: record[t.id], Type: nba.SubjectType(t.flags.subjectType)}}
	if t.action >= 0 {
		row.Action = record[t.action]
	}
	if t.at >= 0 && record[t.at] != "" {
		at, err := time.Parse(time.RFC3339, record[t.at])
		if err != nil {
			return row, fmt.Errorf("column %s is no moment such as 2026-05-01T12:00:00Z", t.flags.at)
		}
		row.At = &at
	}
	for i, column := range t.contexts {
		if record[column] != "" {
			row.Contexts = append(row.Contexts, nba.ContextValue{Key: t.flags.contexts[i], Value: record[column]})
		}
	}
	return row, nil
}

// exactly writes a number so that reading gives it back, and a missing one as nothing.
func exactly(v *float64) string {
	if v == nil {
		return ""
	}
	return strconv.FormatFloat(*v, 'g', -1, 64)
}
