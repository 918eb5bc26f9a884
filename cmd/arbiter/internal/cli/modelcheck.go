package cli

import (
	"context"
	"fmt"
	"io"
	"math"

	"github.com/arbiterhq/arbiter/plugins/admission"
	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/plugins/compiler"
	"github.com/arbiterhq/arbiter/runtime/wasm"
	"github.com/spf13/cobra"
)

func (a *app) modelCheckCommand() *cobra.Command {
	var rows, expected string
	var tolerance float64
	cmd := &cobra.Command{
		Use: "check FILE --rows ROWS [--expected EXPECTED]", Short: "Score rows in the sandbox and compare with the library's outputs",
		Long: "Admits the plugin as a node does, scores every row in the sandbox and compares. The first row that differs is\n" +
			"printed with the features that are suspicious, and the exit code is 1.\n\n" +
			"ROWS has the features by name, or in the model's order without a header; an empty field or nan is missing.\n" +
			"EXPECTED has a line for each row (without it, ROWS has these columns too): raw scores in a column margin or raw,\n" +
			"outputs in a column prob, score or pred, of one class in prob_CLASS. Without such a header the file's name tells\n" +
			"(NAME.raw.csv, NAME.margin.csv, NAME.pred.csv), and several columns are the classes in their order.\n\n" +
			"Raw scores must be equal bit for bit, outputs within 4 units in the last place (2 of 32-bit floats); ONNX and PMML,\n" +
			"which do not fix the order of sums, within 1e-5 and 1e-6.",
		Example: "  arbiter model check churn.wasm --rows rows.csv --expected churn.margin.csv\n  arbiter model check churn.wasm --rows golden.csv",
		Args:    args("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if rows == "" {
				return usage(cmd, "--rows is needed")
			}
			if !cmd.Flags().Changed("tolerance") {
				tolerance = math.NaN()
			}
			return a.checkModel(cmd.Context(), args[0], rows, expected, tolerance)
		},
	}
	cmd.Flags().StringVar(&rows, "rows", "", "CSV `FILE` of feature rows")
	cmd.Flags().StringVar(&expected, "expected", "", "CSV `FILE` with what the library gave for each row")
	cmd.Flags().Float64Var(&tolerance, "tolerance", 0, "relative difference allowed in outputs (default as above)")
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

func (a *app) checkModel(ctx context.Context, file, rowsFile, expectedFile string, tolerance float64) error {
	module, err := a.readFile(file, maxModuleBytes)
	if err != nil {
		return err
	}
	manifest, err := artifact.Parse(module)
	if err != nil {
		return err
	}
	golden, err := a.readGolden(rowsFile, expectedFile)
	if err != nil {
		return err
	}
	table, err := golden.TableOf(manifest)
	if err != nil {
		return err
	}
	if table.Margins == nil && table.Outputs == nil {
		return withHint(fmt.Errorf("%s has neither a column margin nor a column prob", rowsFile), "give --expected, or add the column to the rows")
	}
	line := newStageLine(a)
	defer line.clear()
	result := &checkResult{Rows: len(table.Rows), Name: manifest.Name, Version: manifest.Version, Digest: artifact.Digest(module)}
	err = inSandbox(ctx, module, func(_ *admission.Admitted, instance *wasm.Instance) error {
		scorer := admission.NewRowScorer(manifest, instance)
		c := &checker{checkResult: result, table: table, manifest: manifest, tolerance: tolerance, run: scorer.Score}
		err := c.compare(ctx, line)
		result.FuelLargestRow = scorer.Fuel()
		return err
	})
	if err != nil {
		return err
	}
	line.clear()
	return a.print(result, func(w io.Writer, p paint) {
		fmt.Fprintf(w, "%s: %s of %s %s", p.green("equal"), plural(result.Rows, "row"), p.bold(result.Name), result.Version)
		if result.Margins > 0 {
			fmt.Fprintf(w, "; raw scores equal%s", exactness(manifest))
		}
		if result.Scores > 0 {
			fmt.Fprintf(w, "; outputs differ by %.2g at most", result.LargestDiff)
		}
		fmt.Fprintf(w, "; %s fuel a row at most\n", thousands(int64(result.FuelLargestRow)))
	})
}

// exactness is how raw scores of the source format are compared.
func exactness(m *artifact.Manifest) string {
	if compiler.Agree(formatOf(m), 1, 1+1e-9, false) {
		return " within the tolerance of the format"
	}
	return " bit for bit"
}

func formatOf(m *artifact.Manifest) string {
	if m.Source == nil {
		return ""
	}
	return m.Source.Format
}

// checker compares the rows of a table with what the module gives.
type checker struct {
	*checkResult
	table     *compiler.Table
	manifest  *artifact.Manifest
	tolerance float64 // of outputs; NaN for that of the format
	run       compiler.Scorer
}

// compare scores every row, one at a time, and stops at the first that differs.
func (c *checker) compare(ctx context.Context, line *stageLine) error {
	format, t := formatOf(c.manifest), c.table
	for i, row := range t.Rows {
		line.update("scoring rows", i, len(t.Rows))
		if err := ctx.Err(); err != nil {
			return err
		}
		raw, output, err := c.run(ctx, row)
		if err != nil {
			return fmt.Errorf("scoring %s: %w", t.Place(i), err)
		}
		if !t.AgreesMargin(format, i, raw) {
			return c.differs(ctx, i, "raw score", raw, t.Margins[i], func(raw, _ float64) bool { return t.AgreesMargin(format, i, raw) })
		}
		if !c.agreesOutput(format, i, output) {
			return c.differs(ctx, i, "output", output, t.Outputs[i], func(_, output float64) bool { return c.agreesOutput(format, i, output) })
		}
		if t.Margins != nil {
			c.Margins++
		}
		if t.Outputs != nil {
			if diff := math.Abs(output - t.Outputs[i]); diff > c.LargestDiff && !t.Complement() {
				c.LargestDiff = diff
			}
			c.Scores++
		}
	}
	return nil
}

func (c *checker) agreesOutput(format string, i int, output float64) bool {
	if c.tolerance != c.tolerance || c.table.Outputs == nil || c.table.AgreesOutput(format, i, output) {
		return c.table.AgreesOutput(format, i, output)
	}
	return math.Abs(output-c.table.Outputs[i]) <= c.tolerance*math.Abs(c.table.Outputs[i])
}

// differs is the error of row i, with the features that are suspicious.
func (c *checker) differs(ctx context.Context, i int, what string, got, want float64, agrees func(raw, output float64) bool) error {
	err := fmt.Errorf("row %d differs (%s): %s %v, want %v", i+1, c.table.Place(i), what, got, want)
	reason := artifact.Diagnose(c.manifest.Names(), c.table.Rows[i], func(row []float64) bool {
		raw, output, err := c.run(ctx, row)
		return err == nil && agrees(raw, output)
	})
	if reason == "" {
		reason = "usually the rows, the expected values and the model file are not of the same model, or the library used fewer trees (a model that stopped early predicts with the best round), or the column holds outputs instead of raw scores"
	}
	return withHint(err, "%s", reason)
}
