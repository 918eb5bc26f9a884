package cli

import (
	"os"

	"github.com/arbiterhq/arbiter/plugins/admission"
	"github.com/spf13/cobra"
)

// compileChild is the hidden command that a node starts this program with to compile a plugin in a
// process of its own, which may be killed when the plugin is a compile bomb.
const compileChild = "compile-plugin-child"

// compileWith starts this program as the child. Where it cannot be told which file that is, plugins are
// compiled in the node's own process.
func compileWith() []string {
	program, err := os.Executable()
	if err != nil {
		return nil
	}
	return []string{program, compileChild}
}

func (a *app) compileChildCommand() *cobra.Command {
	return &cobra.Command{
		Use: compileChild, Hidden: true, Args: args(),
		Short: "Compile a plugin into the cache of a node (started by the node itself)",
		RunE:  func(cmd *cobra.Command, _ []string) error { return admission.CompileChild(cmd.Context(), a.in) },
	}
}
