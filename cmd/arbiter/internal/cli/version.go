package cli

import (
	"fmt"
	"io"

	"github.com/arbiterhq/arbiter/runtime/telemetry"
	"github.com/spf13/cobra"
)

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print which build this is",
		Example: "  arbiter version\n  arbiter version -o json",
		Args:    args(),
		RunE: func(*cobra.Command, []string) error {
			build := telemetry.Build()
			return a.print(build, func(w io.Writer, p paint) {
				fmt.Fprintf(w, "arbiter %s (%s, %s, %s)\n", p.bold(build.Version), build.Revision, build.GoVersion, build.Platform)
			})
		},
	}
}
