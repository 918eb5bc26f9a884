package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/plugins/project"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/spf13/cobra"
)

// maxModuleBytes is the largest artifact that is read; the node may take less.
const maxModuleBytes = 64 << 20

func (a *app) pluginCommand() *cobra.Command {
	return noun("plugin", "Plugins: the WebAssembly artifacts that score and decide",
		`  arbiter plugin new upgrade-score --lang rust
  arbiter plugin test upgrade-score
  arbiter plugin push churn.wasm --activate
  arbiter plugin list
  arbiter plugin activate churn 1.1.0
  arbiter plugin inspect churn.wasm
  arbiter plugin sign churn.wasm --key release.key
  arbiter plugin logs newcomers -f`,
		a.pluginNewCommand(), a.pluginBuildCommand(), a.pluginTestCommand(), a.pluginWrapCommand(),
		a.pluginPushCommand(), a.pluginListCommand(), a.pluginActivateCommand(), a.pluginDeactivateCommand(), a.pluginRemoveCommand(),
		a.pluginInspectCommand(), a.pluginVerifyCommand(), a.pluginSignCommand(), a.pluginKeysCommand(), a.pluginLogsCommand())
}

func (a *app) pluginPushCommand() *cobra.Command { return a.pushCommand("plugin") }

// modelPushCommand is arbiter plugin push, where those who train models look for it.
func (a *app) modelPushCommand() *cobra.Command { return a.pushCommand("model") }

func (a *app) pushCommand(noun string) *cobra.Command {
	var activate bool
	var wrap wrapFlags
	var params []string
	cmd := &cobra.Command{
		Use: "push FILE", Short: "Upload an artifact; the node checks it and replays its golden rows",
		Long:    "Upload an artifact. Given the folder of a plugin in place of a FILE, it is built and tested first.",
		Example: "  arbiter " + noun + " push churn.wasm\n  arbiter " + noun + " push churn.wasm --activate\n  arbiter " + noun + " push ./newcomers --activate",
		Args:    args("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			module, err := a.artifact(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if len(params) > 0 {
				if module, err = withParameters(cmd, module, params); err != nil {
					return err
				}
			}
			if wrap.wanted() {
				if module, _, err = wrap.wrap(cmd, a, module); err != nil {
					return err
				}
			}
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				version, err := c.PushPlugin(ctx, module, activate)
				if err != nil {
					return err
				}
				return a.print(version, func(w io.Writer, p paint) {
					renderPluginVersion(w, p, version)
					if version.State == nba.StateStaged {
						fmt.Fprintf(w, "%s arbiter plugin activate %s %s\n", p.dim("To let it decide:"), version.Name, version.Version)
					}
				})
			})
		},
	}
	if noun == "plugin" {
		wrap.add(cmd)
		cmd.Flags().StringArrayVar(&params, "param", nil, "a parameter of the plugin, as `NAME=VALUE`, in place of that of its manifest; not for signed artifacts")
	}
	cmd.Flags().BoolVar(&activate, "activate", false, "let it score at once; decisions under way end with the version they began with")
	return cmd
}

// stateOf is the state of a version, with what is wrong with it.
func stateOf(p paint, v *nba.PluginVersion) string {
	state := stateColour(p, v.State)
	if v.Health == nil || v.Health.State != nba.BreakerOpen {
		return state
	}
	instead := "starting propensities"
	if v.Health.StandIn != "" {
		instead = v.Health.StandIn
	}
	return state + p.red(", failing ("+v.Health.Reason+"): "+instead)
}

// artifact reads an artifact, or builds and tests the plugin in a folder.
func (a *app) artifact(ctx context.Context, name string) ([]byte, error) {
	if info, err := os.Stat(name); err != nil || !info.IsDir() {
		return a.readFile(name, maxModuleBytes)
	}
	module, s, err := project.Build(ctx, name)
	if err != nil {
		return nil, err
	}
	if _, err := writeModule(name, "", module, s); err != nil {
		return nil, err
	}
	report, err := project.Test(ctx, module, s)
	if err != nil {
		return nil, err
	}
	if failed := report.Failed(); failed > 0 {
		return nil, fmt.Errorf("%s of %d failed, so nothing was pushed; arbiter plugin test %s shows them", plural(failed, "check"), len(report.Checks), name)
	}
	return module, nil
}

// withParameters changes the parameters in the manifest of an artifact, which gives it another digest.
func withParameters(cmd *cobra.Command, module []byte, params []string) ([]byte, error) {
	if by, err := artifact.SignedBy(module); err != nil || by != "" {
		return nil, errors.Join(err, usage(cmd, "--param changes the artifact, and it is signed: give the parameters before signing, or in the catalog"))
	}
	m, err := artifact.Parse(module)
	if err != nil {
		return nil, err
	}
	if m.Parameters == nil {
		m.Parameters = map[string]string{}
	}
	for _, param := range params {
		name, value, ok := strings.Cut(param, "=")
		if !ok {
			return nil, usage(cmd, "--param is NAME=VALUE")
		}
		m.Parameters[name] = value
	}
	return artifact.Embed(module, m)
}

func renderPluginVersion(w io.Writer, p paint, v *nba.PluginVersion) {
	fmt.Fprintf(w, "plugin %s %s is %s, %s, %s bytes\n", p.bold(v.Name), p.bold(v.Version), stateColour(p, v.State),
		shortDigest(v.Digest), thousands(int64(v.SizeBytes)))
}

func (a *app) pluginListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List all plugins and their versions",
		Example: "  arbiter plugin list\n  arbiter plugin list -o json",
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				versions, err := c.Plugins(ctx)
				if err != nil {
					return err
				}
				return a.print(versions, func(w io.Writer, p paint) {
					if len(versions) == 0 {
						fmt.Fprintln(w, "No plugin was pushed. arbiter plugin push FILE --activate brings one in.")
						return
					}
					t := newTable(p, "Plugin", "Version", "State", "Kind", "Features", "Bytes", "Pushed", "Signed by", "Digest")
					right(t, 5, 6)
					for _, v := range versions {
						t.AppendRow([]any{p.bold(v.Name), v.Version, stateOf(p, &v), v.Kind, v.Features,
							thousands(int64(v.SizeBytes)), stamp(v.PushedAt), dash(v.SignedBy), shortDigest(v.Digest)})
					}
					writeTable(w, t, 0)
				})
			})
		},
	}
}

func (a *app) pluginActivateCommand() *cobra.Command {
	return &cobra.Command{
		Use: "activate NAME VERSION", Short: "Let a pushed version score, in place of the active one",
		Example: "  arbiter plugin activate churn 1.1.0",
		Args:    args("NAME", "VERSION"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				version, err := c.ActivatePlugin(ctx, args[0], args[1])
				if err != nil {
					return err
				}
				return a.print(version, func(w io.Writer, p paint) { renderPluginVersion(w, p, version) })
			})
		},
	}
}
