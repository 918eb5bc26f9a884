package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/arbiterhq/arbiter/plugins/admission"
	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/wasm"
	"github.com/spf13/cobra"
)

// verifiedPlugin is the answer of plugin verify.
type verifiedPlugin struct {
	Name     string `json:"name"`
	Version  string `json:"version"`
	Kind     string `json:"kind"`
	Digest   string `json:"digest"`
	SignedBy string `json:"signedBy,omitempty"`
	// Signature is unsigned, unverified (without a key to hold it against) or valid.
	Signature string `json:"signature"`
	Golden    int    `json:"golden"`
	Node      bool   `json:"node"`
}

func (a *app) pluginVerifyCommand() *cobra.Command {
	var keyFile string
	var node bool
	cmd := &cobra.Command{
		Use: "verify FILE", Short: "Check an artifact as a node does: digest, signature, admission, golden rows; offline",
		Long: "Check the digest and the signature of an artifact, and admit it in the sandbox that nodes use: its structure, its\n" +
			"exports, and every golden row or decision. Nothing is kept.\n\n" +
			"With --node the node does it, which also knows the trusted keys, the attributes and the catalog.",
		Example: "  arbiter plugin verify churn.wasm --public-key release.key.pub\n  arbiter plugin verify churn.wasm --node",
		Args:    args("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			module, err := a.readFile(args[0], maxModuleBytes)
			if err != nil {
				return err
			}
			v, err := a.verify(cmd.Context(), module, keyFile)
			if err != nil {
				return err
			}
			if node {
				if err := a.withClient(cmd, func(ctx context.Context, c apiClient) error {
					checked, err := c.VerifyPlugin(ctx, module)
					if err == nil && checked.SignedBy != "" {
						v.Signature = "valid"
					}
					return err
				}); err != nil {
					return err
				}
				v.Node = true
			}
			return a.print(v, func(w io.Writer, p paint) { renderVerified(w, p, v) })
		},
	}
	cmd.Flags().StringVar(&keyFile, "public-key", "", "the key that must have signed it, a PEM `FILE`")
	cmd.Flags().BoolVar(&node, "node", false, "have the node check it too")
	return cmd
}

// verify checks an artifact without a node.
func (a *app) verify(ctx context.Context, module []byte, keyFile string) (*verifiedPlugin, error) {
	v := &verifiedPlugin{Digest: artifact.Digest(module), Signature: "unsigned"}
	by, err := artifact.SignedBy(module)
	if err != nil {
		return nil, err
	}
	if v.SignedBy = by; by != "" {
		v.Signature = "unverified"
	}
	if keyFile != "" {
		text, err := a.readFile(keyFile, maxKeyBytes)
		if err != nil {
			return nil, err
		}
		public, err := publicKey(text)
		if err != nil {
			return nil, err
		}
		if _, err := artifact.VerifySignature(module, []nba.PluginKey{{ID: artifact.KeyID(public), PublicKey: public}}, false); err != nil {
			return nil, err
		}
		v.Signature = "valid"
	}
	sandbox, err := wasm.New(wasm.Config{Instances: 1})
	if err != nil {
		return nil, err
	}
	admitted, err := admission.Admit(ctx, sandbox, module, admission.Isolated())
	if err != nil {
		return nil, err
	}
	m := admitted.Manifest
	admitted.Pool.Release()
	v.Name, v.Version, v.Kind, v.Golden = m.Name, m.Version, m.Kind, len(m.Golden)+len(m.Decisions)
	return v, sandbox.Close(ctx)
}

func renderVerified(w io.Writer, p paint, v *verifiedPlugin) {
	ok := p.green("ok  ")
	fmt.Fprintf(w, "%s %s %s, a %s\n%s digest %s\n", ok, p.bold(v.Name), v.Version, v.Kind, ok, v.Digest)
	switch v.Signature {
	case "valid":
		fmt.Fprintf(w, "%s signed by key %s\n", ok, v.SignedBy)
	case "unverified":
		fmt.Fprintf(w, "%s signed by key %s, which was not checked: name it with --public-key, or ask the node with --node\n", p.dim("-   "), v.SignedBy)
	default:
		fmt.Fprintf(w, "%s not signed\n", p.dim("-   "))
	}
	what := "row"
	if v.Kind == artifact.KindStrategy {
		what = "decision"
	}
	fmt.Fprintf(w, "%s admitted in the sandbox, with %s\n", ok, plural(v.Golden, "golden "+what))
	if v.Node {
		fmt.Fprintf(w, "%s the node would take it\n", ok)
	}
}

func (a *app) pluginRemoveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "rm NAME [VERSION]", Short: "Remove a version of a plugin with its artifact, or the whole plugin",
		Long: "Remove a version, or without VERSION all versions of a plugin, from all nodes. It is refused while a version is\n" +
			"active or part of a rollout, and while the active catalog names the plugin.",
		Example: "  arbiter plugin rm churn 1.0.0\n  arbiter plugin deactivate churn && arbiter plugin rm churn",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			version := ""
			if len(args) == 2 {
				version = args[1]
			}
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				if err := c.RemovePlugin(ctx, args[0], version); err != nil {
					return err
				}
				return a.print(map[string]string{"removed": args[0], "version": version}, func(w io.Writer, p paint) {
					what := "with all its versions"
					if version != "" {
						what = version
					}
					fmt.Fprintf(w, "plugin %s %s is removed\n", p.bold(args[0]), what)
				})
			})
		},
	}
	return cmd
}

func (a *app) pluginDeactivateCommand() *cobra.Command {
	return &cobra.Command{
		Use: "deactivate NAME", Short: "Retire the active version of a plugin that the catalog does not name",
		Example: "  arbiter plugin deactivate churn",
		Args:    args("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				if err := c.DeactivatePlugin(ctx, args[0]); err != nil {
					return err
				}
				return a.print(map[string]string{"deactivated": args[0]}, func(w io.Writer, p paint) { fmt.Fprintf(w, "no version of plugin %s is active\n", p.bold(args[0])) })
			})
		},
	}
}

// followPause is how often plugin logs -f asks for further lines.
const followPause = 500 * time.Millisecond

func (a *app) pluginLogsCommand() *cobra.Command {
	var follow bool
	var limit int
	cmd := &cobra.Command{
		Use: "logs NAME", Short: "Show what a plugin wrote to its log, on all nodes",
		Long: "Show the newest lines of a plugin that has the capability log. They are redacted: what the host handed over about\n" +
			"a customer is taken out. Each node keeps the newest thousand.",
		Example: "  arbiter plugin logs newcomers -f",
		Args:    args("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				return a.pluginLogs(ctx, c, args[0], limit, follow)
			})
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what it writes from now on, until Ctrl-C")
	cmd.Flags().IntVar(&limit, "limit", 0, "the most lines to begin with (default 200)")
	return cmd
}

func (a *app) pluginLogs(ctx context.Context, c apiClient, name string, limit int, follow bool) error {
	cursor := ""
	for {
		lines, next, err := c.PluginLogs(ctx, name, limit, cursor)
		if err != nil {
			if follow && cursor != "" && ctx.Err() != nil {
				return nil // the user ended it
			}
			return err
		}
		if !follow || len(lines) > 0 {
			if err := a.print(lines, func(w io.Writer, p paint) { renderLogLines(w, p, lines, follow) }); err != nil {
				return err
			}
		}
		if !follow {
			return nil
		}
		cursor, limit = next, 0
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(followPause):
		}
	}
}

func renderLogLines(w io.Writer, p paint, lines []nba.PluginLogLine, follow bool) {
	if len(lines) == 0 && !follow {
		fmt.Fprintln(w, "The plugin wrote nothing. It needs the capability log in its plugin.yaml, and calls of its own.")
	}
	for i := range lines {
		l := &lines[i]
		level := pad(l.Level, 5)
		switch l.Level {
		case "error":
			level = p.red(level)
		case "warn":
			level = p.yellow(level)
		}
		node := ""
		if l.Node != "" {
			node = l.Node + " "
		}
		fmt.Fprintf(w, "%s %s%s %s %s\n", p.dim(l.Time.Format("2006-01-02T15:04:05.000Z")), p.dim(node), p.dim(l.Version), level, l.Text)
	}
}
