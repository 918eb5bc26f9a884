package cli

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/arbiterhq/arbiter/plugins/adapter"
	"github.com/arbiterhq/arbiter/plugins/project"
	"github.com/spf13/cobra"
)

// wrapFlags say how a module that was built for another host becomes an artifact.
type wrapFlags struct {
	options project.WrapOptions
	spec    string
	data    string
}

const maxSpecBytes = 4 << 20

func (f *wrapFlags) add(cmd *cobra.Command) {
	kinds := adapter.Kinds()
	cmd.Flags().StringVar(&f.options.Adapter, "adapter", "", "what the module was built for: "+strings.Join(kinds, ", "))
	cmd.Flags().StringVar(&f.spec, "spec", "", "the plugin.yaml with its features and cases, without a language")
	cmd.Flags().StringVar(&f.options.Entrypoint, "entrypoint", "", "the rule of an OPA policy (telco/eligible), or the function of an Extism plugin (default score)")
	cmd.Flags().StringVar(&f.data, "data", "", "the data document of an OPA policy, JSON (default: that of the bundle)")
	cmd.Flags().StringVar(&f.options.Name, "name", "", "the name of the plugin (default: as in the spec)")
	cmd.Flags().StringVar(&f.options.Version, "version", "", "its version (default: as in the spec)")
	_ = cmd.RegisterFlagCompletionFunc("adapter", cobra.FixedCompletions(kinds, cobra.ShellCompDirectiveNoFileComp))
}

// wanted tells whether a command that wraps on demand is asked to.
func (f *wrapFlags) wanted() bool { return f.options.Adapter != "" || f.spec != "" }

// wrap makes the artifact.
func (f *wrapFlags) wrap(cmd *cobra.Command, a *app, module []byte) ([]byte, *project.Spec, error) {
	if f.spec == "" {
		return nil, nil, usage(cmd, "name the plugin.yaml that lists the features: --spec FILE")
	}
	spec, err := a.readFile(f.spec, maxSpecBytes)
	if err != nil {
		return nil, nil, err
	}
	if f.data != "" {
		if f.options.Data, err = a.readFile(f.data, maxModuleBytes); err != nil {
			return nil, nil, err
		}
	}
	return project.Wrap(cmd.Context(), module, spec, f.options)
}

func (a *app) pluginWrapCommand() *cobra.Command {
	var flags wrapFlags
	var out string
	cmd := &cobra.Command{
		Use: "wrap FILE", Short: "Make a plugin of a module that was built for OPA, WASI or Extism; offline",
		Long: "Give a module that was built for another host the manifest of a plugin: an OPA policy (policy.wasm or the\n" +
			"bundle of opa build -t wasm), a WASI command that reads and writes JSON, or an Extism plugin. It runs in the\n" +
			"same sandbox as any plugin. Its limits are measured on the cases of the spec.",
		Example: "  arbiter plugin wrap bundle.tar.gz --adapter opa --entrypoint telco/eligible --spec plugin.yaml --out family-rule.wasm\n" +
			"  arbiter plugin push bundle.tar.gz --adapter opa --entrypoint telco/eligible --spec plugin.yaml --activate",
		Args: args("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			module, err := a.readFile(args[0], maxModuleBytes)
			if err != nil {
				return err
			}
			wrapped, s, err := flags.wrap(cmd, a, module)
			if err != nil {
				return err
			}
			if out == "" {
				out = s.Manifest.Name + ".wasm"
			}
			if err := os.WriteFile(out, wrapped, 0o644); err != nil {
				return fmt.Errorf("writing the plugin: %w", err)
			}
			l := s.Manifest.Limits
			b := built{File: out, SizeBytes: len(wrapped), MemoryPages: l.MemoryPages, FuelBase: l.FuelBase, FuelPerRow: l.FuelPerRow}
			return a.print(b, func(w io.Writer, p paint) {
				fmt.Fprintf(w, "%s: %s bytes, %d pages of memory, fuel %s + %s a row\n", p.bold(b.File), thousands(int64(b.SizeBytes)),
					b.MemoryPages, thousands(b.FuelBase), thousands(b.FuelPerRow))
			})
		},
	}
	flags.add(cmd)
	cmd.Flags().StringVar(&out, "out", "", "the file to write (default NAME.wasm)")
	return cmd
}
