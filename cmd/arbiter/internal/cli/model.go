package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/arbiterhq/arbiter/plugins/compiler"
	"github.com/spf13/cobra"
)

// Limits of the files that the model commands read.
const (
	maxModelBytes    = 256 << 20
	maxFeaturesBytes = 4 << 20
	maxRowsBytes     = 256 << 20
)

func (a *app) modelCommand() *cobra.Command {
	return noun("model", "Models: compile a trained model file into a plugin, and check it; offline",
		`  arbiter model compile model.xgb.json --features features.yaml -o churn.wasm
  arbiter model check churn.wasm --rows rows.csv --expected expected.csv
  arbiter model inspect churn.wasm`,
		a.modelCompileCommand(), a.modelCheckCommand(), a.modelInspectCommand(), a.modelBenchCommand())
}

// compileFlags are the flags of arbiter model compile.
type compileFlags struct {
	features, golden, expected string
	name, version, purpose     string
	out                        string
}

func (a *app) modelCompileCommand() *cobra.Command {
	var f compileFlags
	cmd := &cobra.Command{
		Use: "compile FILE", Short: "Compile a model file into a plugin",
		Long: "Compiles a model as XGBoost saved it (JSON) into one WebAssembly file, the plugin. With --golden the outputs\n" +
			"of the library are compared row by row first, and some rows go into the plugin: every node that admits it\n" +
			"checks them again.",
		Example: `  arbiter model compile churn.xgb.json --features features.yaml
  arbiter model compile churn.xgb.json --features features.yaml --golden rows.csv --golden-expected expected.csv \
      --name churn --version 1.1.0 -o churn.wasm`,
		Args: args("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.compileModel(cmd, args[0], &f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.features, "features", "", "feature `FILE`: how each feature is made (default: attributes of the same names)")
	flags.StringVar(&f.golden, "golden", "", "CSV `FILE` of feature rows")
	flags.StringVar(&f.expected, "golden-expected", "", "CSV `FILE` with the library's output of each row: column margin, prob, or both")
	flags.StringVar(&f.name, "name", "", "name of the plugin (default made of the file's name)")
	flags.StringVar(&f.version, "version", "1.0.0", "version of the plugin")
	flags.StringVar(&f.purpose, "purpose", "", "purpose whose consent the features need (default that of the feature file, or profiling)")
	// -o means the output format everywhere else; here a compiler's user expects it to name the file.
	flags.StringVarP(&f.out, "out", "o", "", "plugin `FILE` to write (default NAME.wasm)")
	flags.Var(&a.format, "output", "how to print: table, json or yaml")
	return cmd
}

func (a *app) compileModel(cmd *cobra.Command, file string, f *compileFlags) error {
	if (f.golden == "") != (f.expected == "") {
		return usage(cmd, "--golden and --golden-expected belong together")
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
	opts := compiler.Options{Name: f.name, Version: f.version, Purpose: f.purpose}
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
		return err
	}
	for _, warning := range out.Warnings {
		fmt.Fprintf(a.err, "%s %s\n", a.paint(a.errTTY).yellow("Warning:"), warning)
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
		if f.golden != "" {
			fmt.Fprintf(w, "  %s agree with the library; %d are in the plugin\n", plural(out.GoldenChecked, "golden row"), summary.GoldenRows)
		}
		fmt.Fprintf(w, "%s arbiter plugin push %s --activate\n", p.dim("To let it score:"), f.out)
	})
}

func (a *app) readGolden(rowsFile, expectedFile string) (*compiler.Golden, error) {
	rows, err := a.readFile(rowsFile, maxRowsBytes)
	if err != nil {
		return nil, err
	}
	expected, err := a.readFile(expectedFile, maxRowsBytes)
	if err != nil {
		return nil, err
	}
	return compiler.ParseGolden(rows, expected)
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

// renderSummary prints a plugin's manifest for people.
func renderSummary(w io.Writer, p paint, s *compiler.Summary) {
	fmt.Fprintf(w, "%s %s, a %s that gives a %s\n\n", p.bold(s.Name), p.bold(s.Version), s.Kind, dash(s.Output))
	line := func(name, format string, args ...any) {
		fmt.Fprintf(w, "  %s  %s\n", p.dim(pad(name, 8)), fmt.Sprintf(format, args...))
	}
	line("digest", "%s", s.Digest)
	line("size", "%s bytes; %s bytes of memory", thousands(int64(s.SizeBytes)), thousands(int64(s.MemoryBytes)))
	line("purpose", "%s", s.Purpose)
	line("limits", "%d rows a call; fuel %s + %s a row", s.Limits.MaxRows, thousands(s.Limits.FuelBase), thousands(s.Limits.FuelPerRow))
	line("golden", "%s, replayed when a node admits it", plural(s.GoldenRows, "row"))
	if source := s.Source; source != nil {
		line("source", "%s", strings.TrimSpace(source.Format+" "+source.Library))
		if source.Trees > 0 {
			line("model", "%s, %s deep at most, %s", plural(source.Trees, "tree"), plural(source.MaxDepth, "level"), source.Objective)
		}
	}
	fmt.Fprintln(w)
	t := newTable(p, "#", "Feature", "Of", "Made from")
	right(t, 1)
	for i, f := range s.Features {
		t.AppendRow([]any{i, f.Name, f.Scope, wrap(f.From, 50, 0)})
	}
	writeTable(w, t, 2)
}
