package cli

import (
	"context"
	"fmt"
	"io"

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
  arbiter plugin inspect churn.wasm`,
		a.pluginNewCommand(), a.pluginBuildCommand(), a.pluginTestCommand(), a.pluginWrapCommand(),
		a.pluginPushCommand(), a.pluginListCommand(), a.pluginActivateCommand(), a.pluginInspectCommand())
}

func (a *app) pluginPushCommand() *cobra.Command { return a.pushCommand("plugin") }

// modelPushCommand is arbiter plugin push, where those who train models look for it.
func (a *app) modelPushCommand() *cobra.Command { return a.pushCommand("model") }

func (a *app) pushCommand(noun string) *cobra.Command {
	var activate bool
	var wrap wrapFlags
	cmd := &cobra.Command{
		Use: "push FILE", Short: "Upload an artifact; the node checks it and replays its golden rows",
		Example: "  arbiter " + noun + " push churn.wasm\n  arbiter " + noun + " push churn.wasm --activate",
		Args:    args("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			module, err := a.readFile(args[0], maxModuleBytes)
			if err != nil {
				return err
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
						fmt.Fprintf(w, "%s arbiter plugin activate %s %s\n", p.dim("To let it score:"), version.Name, version.Version)
					}
				})
			})
		},
	}
	if noun == "plugin" {
		wrap.add(cmd)
	}
	cmd.Flags().BoolVar(&activate, "activate", false, "let it score at once; decisions under way end with the version they began with")
	return cmd
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
					t := newTable(p, "Plugin", "Version", "State", "Kind", "Features", "Bytes", "Pushed", "Digest")
					right(t, 5, 6)
					for _, v := range versions {
						t.AppendRow([]any{p.bold(v.Name), v.Version, stateColour(p, v.State), v.Kind, v.Features,
							thousands(int64(v.SizeBytes)), stamp(v.PushedAt), shortDigest(v.Digest)})
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
