package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/arbiterhq/arbiter/plugins/admission"
	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/plugins/compiler"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/wasm"
	"github.com/spf13/cobra"
)

// Limits of the files that the model commands read.
const (
	maxModelBytes    = 256 << 20
	maxFeaturesBytes = 4 << 20
	maxRowsBytes     = 256 << 20
)

func (a *app) modelCommand() *cobra.Command {
	return noun("model", "Models: compile a trained model file into a plugin, check and push it",
		`  arbiter model compile model.xgb.json --features features.yaml -o churn.wasm
  arbiter model check churn.wasm --rows rows.csv --expected expected.csv
  arbiter model inspect churn.wasm
  arbiter model push churn.wasm --activate
  arbiter model features features.yaml --rows labels.csv -o train.csv`,
		a.modelCompileCommand(), a.modelCheckCommand(), a.modelInspectCommand(), a.modelBenchCommand(), a.modelPushCommand(),
		a.modelFeaturesCommand())
}

// compileFlags are the flags of arbiter model compile.
type compileFlags struct {
	features, golden, expected string
	name, version, purpose     string
	class                      string
	out                        string
}

func (a *app) modelCompileCommand() *cobra.Command {
	var f compileFlags
	cmd := &cobra.Command{
		Use: "compile FILE", Short: "Compile a model file into a plugin",
		Long: "Compiles a model as its library saved it into one WebAssembly file, the plugin: LightGBM text, XGBoost JSON or\n" +
			"UBJSON, CatBoost JSON, ONNX, PMML; what it is shows by its content. The plugin is run in the sandbox and held\n" +
			"against the model on rows made for every threshold. With --golden the outputs of the library are compared row\n" +
			"by row first, and some rows go into the plugin: every node that admits it checks them again.\n\n" +
			"Rows are the features by name, or in the model's order without a header. What the library gave stands in the\n" +
			"same file or in --golden-expected: columns margin (or raw) and prob (or score, pred), prob_CLASS of one of\n" +
			"several classes; without a header the file's name tells, as in NAME.raw.csv and NAME.pred.csv.",
		Example: `  arbiter model compile churn.xgb.json --features features.yaml --golden rows.csv -o churn.wasm
  arbiter model compile segments.lgb.txt --class premium
  arbiter model compile churn.xgb.json --features features.yaml --golden rows.csv --golden-expected expected.csv \
      --name churn --version 1.1.0 -o churn.wasm`,
		Args: args("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.compileModel(cmd, args[0], &f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.features, "features", "", "feature `FILE`: how each feature is made (default: attributes of the same names)")
	flags.StringVar(&f.golden, "golden", "", "CSV `FILE` of feature rows, with what the library gave for them or without")
	flags.StringVar(&f.expected, "golden-expected", "", "CSV `FILE` with what the library gave for each row, when it is not in the file of the rows")
	flags.StringVar(&f.class, "class", "", "class whose probability is the score (default the second of two; needed when there are more)")
	flags.StringVar(&f.name, "name", "", "name of the plugin (default made of the file's name)")
	flags.StringVar(&f.version, "version", "1.0.0", "version of the plugin")
	flags.StringVar(&f.purpose, "purpose", "", "purpose whose consent the features need (default that of the feature file, or profiling)")
	// -o means the output format everywhere else; here a compiler's user expects it to name the file.
	flags.StringVarP(&f.out, "out", "o", "", "plugin `FILE` to write (default NAME.wasm)")
	flags.Var(&a.format, "output", "how to print: table, json or yaml")
	return cmd
}

func (a *app) compileModel(cmd *cobra.Command, file string, f *compileFlags) error {
	if f.golden == "" && f.expected != "" {
		return usage(cmd, "--golden-expected needs --golden: the rows it belongs to")
	}
	if f.name == "" {
		if f.name = pluginName(file); f.name == "" {
			return usage(cmd, "--name is missing: %s does not tell one", file)
		}
	}
	if f.out == "" {
		f.out = f.name + ".wasm"
	}
	model, err := a.readFile(file, maxModelBytes)
	if err != nil {
		return err
	}
	line := newStageLine(a)
	defer line.clear()
	opts := compiler.Options{Name: f.name, Version: f.version, Purpose: f.purpose, Class: f.class, Progress: line.update}
	if f.features != "" {
		text, err := a.readFile(f.features, maxFeaturesBytes)
		if err != nil {
			return err
		}
		if opts.Features, err = compiler.LoadFeatures(text, filepath.Base(f.features)); err != nil {
			return err
		}
	}
	if f.golden != "" {
		if opts.Golden, err = a.readGolden(f.golden, f.expected); err != nil {
			return err
		}
	}
	out, err := compiler.Compile(model, opts)
	if err != nil {
		return explainClass(err, f.class)
	}
	gated, err := a.gateModel(cmd.Context(), out)
	if err != nil {
		return err
	}
	line.clear()
	for _, warning := range out.Warnings {
		fmt.Fprintf(a.err, "%s %s\n", a.paint(a.errTTY).yellow("Warning:"), warning)
	}
	if _, err := admission.Inspect(out.Module, admission.Policy{}); err != nil {
		fmt.Fprintf(a.err, "%s a node with default limits would refuse it: %s\n", a.paint(a.errTTY).yellow("Warning:"), err)
	}
	if err := writeWhole(f.out, out.Module); err != nil {
		return err
	}
	summary, err := compiler.Inspect(out.Module)
	if err != nil {
		return err
	}
	return a.print(summary, func(w io.Writer, p paint) {
		fmt.Fprintf(w, "%s %s %s: %s bytes, %s\n", p.green("wrote"), p.bold(f.out), p.dim("("+summary.Name+" "+summary.Version+")"),
			thousands(int64(summary.SizeBytes)), shortDigest(summary.Digest))
		if s := summary.Source; s != nil && s.Trees > 0 {
			fmt.Fprintf(w, "  %s, %s deep at most, %s\n", plural(s.Trees, "tree"), plural(s.MaxDepth, "level"), plural(len(summary.Features), "feature"))
		}
		if out.GoldenChecked > 0 {
			fmt.Fprintf(w, "  %s agree with the library; %d are in the plugin\n", plural(out.GoldenChecked, "golden row"), summary.GoldenRows)
		}
		if gated.Splits > 0 {
			fmt.Fprintf(w, "  the module equals the model bit for bit on %s rows, made for %s of its %s thresholds and to come to %s of its %s splits\n", thousands(int64(gated.Rows)),
				thousands(int64(gated.TriedThresholds)), thousands(int64(gated.Thresholds)), thousands(int64(gated.Covered)), thousands(int64(gated.Splits)))
		} else {
			fmt.Fprintf(w, "  the module equals the model bit for bit on %s rows with odd values\n", thousands(int64(gated.Rows)))
		}
		fmt.Fprintf(w, "%s arbiter model push %s --activate\n", p.dim("To let it score:"), f.out)
	})
}

// explainClass adds how to name a class to the error of a model of several.
func explainClass(err error, class string) error {
	if class == "" && nba.CodeOf(err) == nba.CodeModelInvalid && strings.Contains(err.Error(), "name the class to score") {
		return withHint(err, "add --class NAME")
	}
	return err
}

// gateModel runs the module in the sandbox and holds it against the model.
func (a *app) gateModel(ctx context.Context, out *compiler.Output) (gated compiler.Gated, err error) {
	err = inSandbox(ctx, out.Module, func(admitted *admission.Admitted, instance *wasm.Instance) error {
		gated, err = out.Gate(ctx, admission.NewRowScorer(admitted.Manifest, instance).Score)
		return err
	})
	return gated, err
}

// inSandbox admits a module, with limits beyond those of a node, and lends fn one instance.
func inSandbox(ctx context.Context, module []byte, fn func(*admission.Admitted, *wasm.Instance) error) (err error) {
	sandbox, err := wasm.New(wasm.Config{Instances: 1, MaxCallFuel: benchFuel})
	if err != nil {
		return fmt.Errorf("starting the sandbox: %w", err)
	}
	defer func() { err = errors.Join(err, sandbox.Close(context.WithoutCancel(ctx))) }()
	admitted, err := admission.Admit(ctx, sandbox, module, admission.Policy{MaxBytes: maxModuleBytes, MaxMemoryPages: benchPages, MaxCallFuel: benchFuel})
	if err != nil {
		return err
	}
	defer admitted.Pool.Release()
	instance, err := admitted.Pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer admitted.Pool.Discard(instance)
	return fn(admitted, instance)
}

// readGolden reads feature rows and what is expected of them; without expectedFile both are in one.
func (a *app) readGolden(rowsFile, expectedFile string) (*compiler.Golden, error) {
	files := compiler.GoldenFiles{RowsName: rowsFile, ExpectedName: expectedFile}
	var err error
	if files.Rows, err = a.readFile(rowsFile, maxRowsBytes); err != nil {
		return nil, err
	}
	if expectedFile != "" {
		if files.Expected, err = a.readFile(expectedFile, maxRowsBytes); err != nil {
			return nil, err
		}
	}
	return compiler.ReadGolden(files)
}

// pluginName makes a plugin name of a file name: "Churn_model.xgb.json" gives "churn-model".
func pluginName(file string) string {
	base, _, _ := strings.Cut(filepath.Base(file), ".")
	name := strings.Trim(regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(base), "-"), "-0123456789")
	return name[:min(len(name), 63)]
}

// writeWhole writes a file under another name first, so that no half of it is ever seen.
func writeWhole(name string, body []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("writing %s: %w", name, err), os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(body)
	if chmodErr := f.Chmod(0o644); err == nil {
		err = chmodErr
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

func (a *app) modelInspectCommand() *cobra.Command {
	return &cobra.Command{
		Use: "inspect FILE", Short: "Show what is in a plugin file: manifest, features, limits",
		Example: "  arbiter model inspect churn.wasm\n  arbiter model inspect churn.wasm -o json",
		Args:    args("FILE"),
		RunE:    func(_ *cobra.Command, args []string) error { return a.inspect(args[0]) },
	}
}

func (a *app) pluginInspectCommand() *cobra.Command {
	return &cobra.Command{
		Use: "inspect FILE", Short: "Show what is in a plugin file; offline",
		Example: "  arbiter plugin inspect churn.wasm",
		Args:    args("FILE"),
		RunE:    func(_ *cobra.Command, args []string) error { return a.inspect(args[0]) },
	}
}

func (a *app) inspect(file string) error {
	module, err := a.readFile(file, maxModuleBytes)
	if err != nil {
		return err
	}
	summary, err := compiler.Inspect(module)
	if err != nil {
		return err
	}
	return a.print(summary, func(w io.Writer, p paint) { renderSummary(w, p, summary) })
}

// listed joins names, the first most of them.
func listed(names []string, most int) string {
	if len(names) > most {
		return strings.Join(names[:most], ", ") + ", …"
	}
	return strings.Join(names, ", ")
}

// duration prints nanoseconds with two digits that count.
func duration(ns float64) string {
	unit := "ns"
	if ns >= 1000 {
		ns, unit = ns/1000, "µs"
	}
	digits := 0
	if ns < 10 {
		digits = 1
	}
	if step := math.Pow(10, math.Floor(math.Log10(max(ns, 1)))-1); step > 1 {
		ns = math.Round(ns/step) * step
	}
	return fmt.Sprintf("%.*f %s", digits, ns, unit)
}

// renderSummary prints a plugin's manifest for people.
func renderSummary(w io.Writer, p paint, s *compiler.Summary) {
	what, row, golden := " that gives a "+dash(s.Output), "row", "row"
	if s.Kind == artifact.KindStrategy {
		what, row, golden = "", "candidate", "decision"
	}
	fmt.Fprintf(w, "%s %s, a %s%s\n\n", p.bold(s.Name), p.bold(s.Version), s.Kind, what)
	line := func(name, format string, args ...any) {
		fmt.Fprintf(w, "  %s  %s\n", p.dim(pad(name, 8)), fmt.Sprintf(format, args...))
	}
	line("digest", "%s", s.Digest)
	line("size", "%s bytes; %s bytes of memory", thousands(int64(s.SizeBytes)), thousands(int64(s.MemoryBytes)))
	line("purpose", "%s", s.Purpose)
	signed := "no"
	if s.SignedBy != "" {
		signed = "by key " + s.SignedBy + "; arbiter plugin verify checks it"
	}
	line("signed", "%s", signed)
	line("limits", "%s a call; fuel %s + %s a %s", plural(s.Limits.MaxRows, row), thousands(s.Limits.FuelBase), thousands(s.Limits.FuelPerRow), row)
	line("golden", "%s, replayed when a node admits it", plural(s.GoldenRows, golden))
	if len(s.Capabilities) > 0 {
		line("may use", "%s", strings.Join(s.Capabilities, ", "))
	}
	for _, key := range slices.Sorted(maps.Keys(s.Parameters)) {
		line("param", "%s = %s", key, wrap(s.Parameters[key], 60, 0))
	}
	if source := s.Source; source != nil {
		line("source", "%s", strings.TrimSpace(source.Format+" "+source.Library))
		if source.Trees > 0 {
			line("model", "%s, %s deep at most, %s nodes, %s", plural(source.Trees, "tree"), plural(source.MaxDepth, "level"), thousands(int64(source.Nodes)), source.Objective)
		}
		if len(source.Layouts) > 0 {
			line("layout", "%s", strings.Join(source.Layouts, ", "))
		}
		if source.Class != "" {
			line("class", "%s, of %s", source.Class, listed(source.Classes, 10))
		}
	}
	if c := s.Cost; c.FuelOneRow > 0 && s.Kind == artifact.KindScorer {
		further := ""
		if s.CandidateFeatures > 0 {
			further = fmt.Sprintf(", %s for each further candidate", duration(c.FurtherRowNS))
		}
		line("cost", "about %s a call of one row%s; predicted from the fuel, arbiter model bench measures", duration(c.OneRowNS), further)
	}
	if s.Kind == artifact.KindStrategy {
		line("inputs", "%s, %s", plural(len(s.Attributes), "attribute"), plural(s.SubjectFeatures, "feature"))
		if len(s.Attributes) > 0 {
			line("", "%s", listed(s.Attributes, 20))
		}
	} else {
		line("inputs", "%s of the subject, %d of the candidate", plural(s.SubjectFeatures, "feature"), s.CandidateFeatures)
	}
	if len(s.Features) == 0 {
		return
	}
	fmt.Fprintln(w)
	t := newTable(p, "#", "Feature", "Of", "Made from")
	right(t, 1)
	for i, f := range s.Features {
		t.AppendRow([]any{i, f.Name, f.Scope, wrap(f.From, 50, 0)})
	}
	writeTable(w, t, 2)
}
