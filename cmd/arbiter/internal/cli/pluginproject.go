package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/plugins/project"
	"github.com/spf13/cobra"
)

func languageNames() string {
	var names []string
	for _, l := range project.Languages() {
		names = append(names, string(l))
	}
	return strings.Join(names, ", ")
}

func (a *app) pluginNewCommand() *cobra.Command {
	var language, kind, dir string
	cmd := &cobra.Command{
		Use: "new NAME", Short: "Begin a plugin in a language of your choice; offline",
		Long:    "Make a folder with a plugin that builds and passes its tests: its source, plugin.yaml, which says what\nit reads and what it must answer, and a copy of the guest SDK.",
		Example: "  arbiter plugin new upgrade-score --lang rust\n  arbiter plugin new newcomers --lang go --kind strategy\n  arbiter plugin build upgrade-score && arbiter plugin test upgrade-score",
		Args:    args("NAME"),
		RunE: func(_ *cobra.Command, args []string) error {
			l, err := project.ParseLanguage(language)
			if err != nil {
				return err
			}
			if dir == "" {
				dir = args[0]
			}
			if err := project.New(dir, args[0], l, kind); err != nil {
				return err
			}
			p := a.paint(a.outTTY)
			fmt.Fprintf(a.out, "%s is a "+kind+" in %s. Its source and %s are yours; the folder arbiter is the SDK.\n\n", p.bold(dir), l, project.SpecFile)
			fmt.Fprintf(a.out, "  arbiter plugin test %s\n  arbiter plugin push %s --activate\n", dir, filepath.Join(dir, "build", args[0]+".wasm"))
			return nil
		},
	}
	cmd.Flags().StringVar(&language, "lang", string(project.Rust), "the language: "+languageNames())
	cmd.Flags().StringVar(&kind, "kind", artifact.KindScorer, "what it does: scorer (gives actions their propensity) or strategy (rearranges what was ranked)")
	cmd.Flags().StringVar(&dir, "dir", "", "the folder to make (default: the name)")
	_ = cmd.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions([]string{artifact.KindScorer, artifact.KindStrategy}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("lang", cobra.FixedCompletions(strings.Split(languageNames(), ", "), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// built is the answer of plugin build.
type built struct {
	File        string `json:"file"`
	SizeBytes   int    `json:"sizeBytes"`
	MemoryPages int    `json:"memoryPages"`
	FuelBase    int64  `json:"fuelBase"`
	FuelPerRow  int64  `json:"fuelPerRow"`
}

func (a *app) pluginBuildCommand() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use: "build [DIR]", Short: "Compile a plugin with its language's toolchain; offline",
		Long:    "Compile a plugin and put its manifest into the module. Limits that plugin.yaml leaves out are measured.",
		Example: "  arbiter plugin build upgrade-score",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			module, s, err := project.Build(cmd.Context(), folder(args))
			if err != nil {
				return err
			}
			b, err := writeModule(folder(args), out, module, s)
			if err != nil {
				return err
			}
			return a.print(b, func(w io.Writer, p paint) {
				fmt.Fprintf(w, "%s: %s bytes, %d pages of memory, fuel %s + %s a row\n", p.bold(b.File), thousands(int64(b.SizeBytes)),
					b.MemoryPages, thousands(b.FuelBase), thousands(b.FuelPerRow))
			})
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "the file to write (default DIR/build/NAME.wasm)")
	return cmd
}

func folder(args []string) string {
	if len(args) == 0 {
		return "."
	}
	return args[0]
}

func writeModule(dir, out string, module []byte, s *project.Spec) (built, error) {
	if out == "" {
		out = filepath.Join(dir, "build", s.Manifest.Name+".wasm")
	}
	if err := os.WriteFile(out, module, 0o644); err != nil {
		return built{}, fmt.Errorf("writing the plugin: %w", err)
	}
	l := s.Manifest.Limits
	return built{File: out, SizeBytes: len(module), MemoryPages: l.MemoryPages, FuelBase: l.FuelBase, FuelPerRow: l.FuelPerRow}, nil
}

// tested is the answer of plugin test.
type tested struct {
	built
	MemoryBytes int           `json:"memoryBytes"`
	MaxFuel     uint64        `json:"maxFuel"`
	GrantedFuel int64         `json:"grantedFuel"`
	Largest     string        `json:"-"` // the call that is granted so much
	Failed      int           `json:"failed"`
	Checks      []testedCheck `json:"checks"`
}

type testedCheck struct {
	Name    string `json:"name"`
	Passed  bool   `json:"passed"`
	Problem string `json:"problem,omitempty"`
	Fuel    uint64 `json:"fuel,omitempty"`
}

func (a *app) pluginTestCommand() *cobra.Command {
	return &cobra.Command{
		Use: "test [DIR]", Short: "Build a plugin and run the contract and its own cases in the sandbox; offline",
		Long:    "Build a plugin, admit it as a node does, and run the rules of the contract and the cases of plugin.yaml.\nExit code 1 when one fails.",
		Example: "  arbiter plugin test upgrade-score",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			module, s, err := project.Build(cmd.Context(), folder(args))
			if err != nil {
				return err
			}
			b, err := writeModule(folder(args), "", module, s)
			if err != nil {
				return err
			}
			report, err := project.Test(cmd.Context(), module, s)
			if err != nil {
				return err
			}
			answer := tested{built: b, MemoryBytes: report.MemoryBytes, MaxFuel: report.MaxFuel, Failed: report.Failed()}
			answer.Largest, answer.GrantedFuel = "a call of one row", s.Manifest.Fuel(1)
			if s.Manifest.Kind == artifact.KindStrategy {
				answer.Largest, answer.GrantedFuel = plural(s.Manifest.Limits.MaxRows, "candidate"), s.Manifest.Fuel(s.Manifest.Limits.MaxRows)
			}
			for _, c := range report.Checks {
				check := testedCheck{Name: c.Name, Passed: c.Err == nil, Fuel: c.Fuel}
				if c.Err != nil {
					check.Problem = c.Err.Error()
				}
				answer.Checks = append(answer.Checks, check)
			}
			if err := a.print(answer, func(w io.Writer, p paint) { renderTested(w, p, &answer) }); err != nil {
				return err
			}
			if answer.Failed > 0 {
				return fmt.Errorf("%s of %d failed", plural(answer.Failed, "check"), len(answer.Checks))
			}
			return nil
		},
	}
}

func renderTested(w io.Writer, p paint, t *tested) {
	for _, c := range t.Checks {
		mark := p.green("ok  ")
		if !c.Passed {
			mark = p.red("FAIL")
		}
		fuel := ""
		if c.Fuel > 0 {
			fuel = p.dim(fmt.Sprintf("  (fuel %s)", thousands(int64(c.Fuel))))
		}
		fmt.Fprintf(w, "%s  %s%s\n", mark, c.Name, fuel)
		if !c.Passed {
			fmt.Fprintf(w, "      %s\n", c.Problem)
		}
	}
	fmt.Fprintf(w, "\n%s: %s bytes; %s used at most %s fuel of %s, and the module %s bytes of memory of %s\n", p.bold(t.File),
		thousands(int64(t.SizeBytes)), t.Largest, thousands(int64(t.MaxFuel)), thousands(t.GrantedFuel), thousands(int64(t.MemoryBytes)),
		thousands(int64(t.MemoryPages)<<16))
}
