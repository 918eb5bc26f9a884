package cli

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/arbiterhq/arbiter/plugins/admission"
	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/runtime/wasm"
	"github.com/spf13/cobra"
)

func (a *app) modelCheckCommand() *cobra.Command {
	var rows, expected string
	var tolerance float64
	cmd := &cobra.Command{
		Use: "check FILE --rows ROWS --expected EXPECTED", Short: "Score rows in the sandbox and compare with the library's outputs",
		Long: "Admits the plugin as a node does and scores every row in the sandbox. The column margin of EXPECTED must be\n" +
			"equal bit for bit, as 32-bit floats; prob within --tolerance. The first row that differs is printed, and the\n" +
			"exit code is 1.",
		Example: "  arbiter model check churn.wasm --rows test_features.csv --expected test_expected.csv",
		Args:    args("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if rows == "" || expected == "" {
				return usage(cmd, "--rows and --expected are needed")
			}
			return a.checkModel(cmd.Context(), args[0], rows, expected, tolerance)
		},
	}
	cmd.Flags().StringVar(&rows, "rows", "", "CSV `FILE` of feature rows; the header names the features, an empty field is a missing value")
	cmd.Flags().StringVar(&expected, "expected", "", "CSV `FILE` with the outputs of each row: column margin, prob, or both")
	cmd.Flags().Float64Var(&tolerance, "tolerance", artifact.ScoreTolerance, "relative difference allowed in prob")
	return cmd
}

// checkResult is what arbiter model check prints.
type checkResult struct {
	Rows int `json:"rows"`
	// Margins and Scores count the rows that were compared and agreed.
	Margins        int     `json:"margins"`
	Scores         int     `json:"scores"`
	LargestDiff    float64 `json:"largestDifference"`
	FuelLargestRow uint64  `json:"fuelLargestRow"`
	Name           string  `json:"name"`
	Version        string  `json:"version"`
	Digest         string  `json:"digest"`
}

// expectedOutputs are the library's outputs; a nil slice was not in the file.
type expectedOutputs struct {
	rows            int
	margins, scores []float64
}

func (a *app) checkModel(ctx context.Context, file, rowsFile, expectedFile string, tolerance float64) (err error) {
	module, err := a.readFile(file, maxModuleBytes)
	if err != nil {
		return err
	}
	manifest, err := admission.Inspect(module, admission.Policy{})
	if err != nil {
		return err
	}
	rows, err := a.readRows(rowsFile, manifest)
	if err != nil {
		return err
	}
	want, err := a.readExpected(expectedFile)
	if err != nil {
		return err
	}
	if len(rows) != want.rows {
		return fmt.Errorf("%s has %s, %s has %d", rowsFile, plural(len(rows), "row"), expectedFile, want.rows)
	}
	sandbox, err := wasm.New(wasm.Config{Instances: 1})
	if err != nil {
		return fmt.Errorf("starting the sandbox: %w", err)
	}
	defer func() { err = errors.Join(err, sandbox.Close(context.WithoutCancel(ctx))) }()
	admitted, err := admission.Admit(ctx, sandbox, module, admission.Policy{})
	if err != nil {
		return err
	}
	defer admitted.Pool.Release()
	result := &checkResult{Rows: len(rows), Name: manifest.Name, Version: manifest.Version, Digest: admitted.Digest}
	if err := result.compare(ctx, admitted, rows, want, tolerance); err != nil {
		return err
	}
	return a.print(result, func(w io.Writer, p paint) {
		fmt.Fprintf(w, "%s: %s of %s %s", p.green("equal"), plural(result.Rows, "row"), p.bold(result.Name), result.Version)
		if want.margins != nil {
			fmt.Fprintf(w, "; margins equal bit for bit")
		}
		if want.scores != nil {
			fmt.Fprintf(w, "; probabilities differ by %.2g at most", result.LargestDiff)
		}
		fmt.Fprintf(w, "; %s fuel a row at most\n", thousands(int64(result.FuelLargestRow)))
	})
}

// compare scores every row, one at a time, and stops at the first that differs.
func (r *checkResult) compare(ctx context.Context, admitted *admission.Admitted, rows [][]float64, want *expectedOutputs, tolerance float64) error {
	instance, err := admitted.Pool.Acquire(ctx)
	if err != nil {
		return err
	}
	subjectN := admitted.Manifest.SubjectFeatures()
	score := func(row []float64, run func(context.Context, int) (uint64, error)) (float64, error) {
		for i, f := range row {
			if i < subjectN {
				wasm.PutFloat(instance.Subject(), i, f)
			} else {
				wasm.PutFloat(instance.Candidates(1), i-subjectN, f)
			}
		}
		fuel, err := run(ctx, 1)
		r.FuelLargestRow = max(r.FuelLargestRow, fuel)
		return instance.ScoreAt(0), err
	}
	for i, row := range rows {
		if want.margins != nil {
			got, err := score(row, instance.ScoreRaw)
			if err != nil {
				admitted.Pool.Discard(instance)
				return fmt.Errorf("scoring row %d: %w", i+1, err)
			}
			if math.Float32bits(float32(got)) != math.Float32bits(float32(want.margins[i])) {
				admitted.Pool.Discard(instance)
				return fmt.Errorf("row %d differs: margin %v, want %v", i+1, float32(got), float32(want.margins[i]))
			}
			r.Margins++
		}
		if want.scores != nil {
			got, err := score(row, instance.Score)
			if err != nil {
				admitted.Pool.Discard(instance)
				return fmt.Errorf("scoring row %d: %w", i+1, err)
			}
			diff := math.Abs(got - want.scores[i])
			if !(diff <= tolerance*math.Abs(want.scores[i])) {
				admitted.Pool.Discard(instance)
				return fmt.Errorf("row %d differs: score %v, want %v", i+1, got, want.scores[i])
			}
			r.LargestDiff = max(r.LargestDiff, diff)
			r.Scores++
		}
	}
	admitted.Pool.Put(instance)
	return nil
}

// readRows reads feature rows into the order of the manifest. Columns that are no feature are errors:
// they are more likely misspelt than meant.
func (a *app) readRows(file string, manifest *artifact.Manifest) ([][]float64, error) {
	header, records, err := a.readTable(file)
	if err != nil {
		return nil, err
	}
	position := make([]int, len(manifest.Features))
	for i := range manifest.Features {
		name := manifest.Features[i].Name
		if position[i] = slices.Index(header, name); position[i] < 0 {
			return nil, fmt.Errorf("%s has no column %s; the model reads %s", file, name, plural(len(position), "feature"))
		}
	}
	if len(header) > len(position) {
		return nil, fmt.Errorf("%s has %d columns, but the model reads %s", file, len(header), plural(len(position), "feature"))
	}
	rows := make([][]float64, len(records))
	for r, record := range records {
		rows[r] = make([]float64, len(position))
		for i, column := range position {
			if rows[r][i], err = parseCell(record[column], 64); err != nil {
				return nil, fmt.Errorf("%s, row %d, column %s: not a number", file, r+1, header[column])
			}
		}
	}
	return rows, nil
}

// readExpected reads the columns margin and prob; others, such as the label, are left alone.
func (a *app) readExpected(file string) (*expectedOutputs, error) {
	header, records, err := a.readTable(file)
	if err != nil {
		return nil, err
	}
	out := &expectedOutputs{rows: len(records)}
	read := func(names ...string) ([]float64, error) {
		column := slices.IndexFunc(header, func(h string) bool { return slices.Contains(names, strings.ToLower(h)) })
		if column < 0 {
			return nil, nil
		}
		values := make([]float64, len(records))
		for r, record := range records {
			v, err := parseCell(record[column], 32)
			if err != nil || math.IsNaN(v) {
				return nil, fmt.Errorf("%s, row %d, column %s: not a number", file, r+1, header[column])
			}
			values[r] = v
		}
		return values, nil
	}
	var marginErr, scoreErr error
	out.margins, marginErr = read("margin", "raw")
	out.scores, scoreErr = read("prob", "score", "prediction")
	if err := errors.Join(marginErr, scoreErr); err != nil {
		return nil, err
	}
	if out.margins == nil && out.scores == nil {
		return nil, fmt.Errorf("%s has neither a column margin nor a column prob", file)
	}
	return out, nil
}

func (a *app) readTable(file string) (header []string, records [][]string, err error) {
	body, err := a.readFile(file, maxRowsBytes)
	if err != nil {
		return nil, nil, err
	}
	records, err = csv.NewReader(bytes.NewReader(body)).ReadAll()
	if err != nil {
		return nil, nil, fmt.Errorf("reading %s: %w", file, err)
	}
	if len(records) < 2 {
		return nil, nil, fmt.Errorf("%s needs a header and at least one row", file)
	}
	return records[0], records[1:], nil
}

// parseCell reads a number; an empty cell is a missing value, NaN.
func parseCell(text string, bits int) (float64, error) {
	if text = strings.TrimSpace(text); text == "" {
		return math.NaN(), nil
	}
	return strconv.ParseFloat(text, bits)
}
