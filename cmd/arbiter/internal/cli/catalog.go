package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/client"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/spf13/cobra"
)

// maxCatalogBytes is the largest catalog file that is read; the node may take less.
const maxCatalogBytes = 16 << 20

func (a *app) catalogCommand() *cobra.Command {
	return noun("catalog", "The catalog: every action, policy and model binding, as one document",
		`  arbiter catalog get > catalog.yaml
  arbiter catalog validate catalog.yaml
  arbiter catalog diff catalog.yaml
  arbiter catalog apply catalog.yaml --note 'spring offers'
  arbiter catalog history
  arbiter catalog revert`,
		a.catalogGetCommand(), a.catalogPutCommand(), a.catalogApplyCommand(), a.catalogValidateCommand(), a.catalogDiffCommand(),
		a.catalogActivateCommand(), a.catalogHistoryCommand(), a.catalogRevertCommand(), a.catalogVersionsCommand(), a.catalogSchemaCommand())
}

func (a *app) catalogGetCommand() *cobra.Command {
	var version string
	cmd := &cobra.Command{
		Use: "get", Short: "Print a catalog document as it was put",
		Example: "  arbiter catalog get > catalog.yaml\n  arbiter catalog get --version active",
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				text, err := c.Catalog(ctx, version)
				if err != nil {
					return err
				}
				_, err = a.out.Write(text.Document)
				return err
			})
		},
	}
	cmd.Flags().StringVar(&version, "version", "", "active, or a `VERSION` number (default the one stored last)")
	return cmd
}

func (a *app) catalogPutCommand() *cobra.Command {
	var ifMatch string
	cmd := &cobra.Command{
		Use: "put PATH", Short: "Check and store a catalog, without activating it",
		Long:    "Check and store a catalog, without activating it. " + pathHelp,
		Example: "  arbiter catalog put catalog.yaml\n  arbiter catalog put catalog/ --if-match v12",
		Args:    args("PATH"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				version, err := a.putCatalog(ctx, c, args[0], ifMatch)
				if err != nil {
					return err
				}
				return a.print(version, func(w io.Writer, p paint) {
					fmt.Fprintf(w, "catalog %s stored as version %s\n%s arbiter catalog activate %d\n", p.bold(version.Name),
						p.bold(strconv.FormatUint(version.Version, 10)), p.dim("To make it the active one:"), version.Version)
				})
			})
		},
	}
	cmd.Flags().StringVar(&ifMatch, "if-match", "", "only if this `VERSION`, such as v12, is the one stored last (default: the one that is there now)")
	return cmd
}

// putCatalog stores a file. Without ifMatch it replaces the document that is the last one now: a
// change that somebody makes in between is refused, not overwritten.
func (a *app) putCatalog(ctx context.Context, c apiClient, file, ifMatch string) (*nba.CatalogVersion, error) {
	source, err := a.readCatalog(file)
	if err != nil {
		return nil, err
	}
	document, err := source.document()
	if err != nil {
		return nil, err
	}
	if len(source.problems) > 0 { // the node would not see them
		return nil, source.validate(ctx, c)
	}
	if ifMatch == "" {
		head, err := c.Catalog(ctx, "")
		switch {
		case err == nil:
			ifMatch = head.ETag
		case !isStatus(err, http.StatusNotFound):
			return nil, err
		}
	}
	version, err := c.PutCatalog(ctx, document, ifMatch)
	return version, source.inFiles(err)
}

// pathHelp says what a PATH of a catalog is.
const pathHelp = "PATH is a file, - for standard input, or a\n" +
	"folder: its .yaml files are one catalog, whose lists are joined; names that stand in two files are mistakes, and\n" +
	"so are other fields that differ. The rows of a table without rows are those of the .csv file with its name."

func isStatus(err error, status int) bool {
	p, ok := errors.AsType[*client.Problem](err)
	return ok && p.Status == status
}

func (a *app) catalogApplyCommand() *cobra.Command {
	var note string
	cmd := &cobra.Command{
		Use: "apply PATH", Short: "Check, store and activate a catalog",
		Long: "Check, store and activate a catalog. It becomes active on all nodes at once, after every node that answers has\n" +
			"compiled it and loaded its models. " + pathHelp,
		Example: "  arbiter catalog apply catalog.yaml\n  arbiter catalog apply catalog/ --note 'spring offers'",
		Args:    args("PATH"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				stored, err := a.putCatalog(ctx, c, args[0], "")
				if err != nil {
					return err
				}
				return a.activateCatalog(ctx, c, stored.Version, note)
			})
		},
	}
	cmd.Flags().StringVar(&note, "note", "", "what arbiter catalog history says about it")
	return cmd
}

func (a *app) activateCatalog(ctx context.Context, c apiClient, version uint64, note string) error {
	active, err := c.ActivateCatalog(ctx, version, note)
	if err != nil {
		return err
	}
	return a.print(active, func(w io.Writer, p paint) {
		fmt.Fprintf(w, "catalog %s, version %d, is %s; decisions carry catalogVersion %s\n", p.bold(active.Name), active.Version,
			p.green("active"), p.bold(strconv.FormatUint(active.CatalogVersion, 10)))
	})
}

func (a *app) catalogActivateCommand() *cobra.Command {
	var note string
	cmd := &cobra.Command{
		Use: "activate VERSION", Short: "Make a stored catalog the active one",
		Example: "  arbiter catalog activate 12",
		Args:    args("VERSION"),
		RunE: func(cmd *cobra.Command, args []string) error {
			version, err := strconv.ParseUint(trimV(args[0]), 10, 64)
			if err != nil {
				return usage(cmd, "VERSION is a number, as arbiter catalog versions lists them")
			}
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				return a.activateCatalog(ctx, c, version, note)
			})
		},
	}
	cmd.Flags().StringVar(&note, "note", "", "what arbiter catalog history says about it")
	return cmd
}

// trimV lets users give a version as its ETag has it.
func trimV(version string) string {
	if len(version) > 1 && version[0] == 'v' {
		return version[1:]
	}
	return version
}

func (a *app) catalogValidateCommand() *cobra.Command {
	return &cobra.Command{
		Use: "validate PATH", Short: "Find every mistake of a catalog; changes nothing",
		Long:    "Find every mistake of a catalog, with its file, line, column and what to do; changes nothing. " + pathHelp,
		Example: "  arbiter catalog validate catalog.yaml\n  arbiter catalog validate catalog/",
		Args:    args("PATH"),
		RunE: func(cmd *cobra.Command, args []string) error {
			source, err := a.readCatalog(args[0])
			if err != nil {
				return err
			}
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				if err := source.validate(ctx, c); err != nil {
					return err
				}
				return a.print(map[string]any{"valid": true}, func(w io.Writer, p paint) {
					fmt.Fprintf(w, "%s is %s\n", args[0], p.green("valid"))
				})
			})
		},
	}
}

func (a *app) catalogVersionsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "versions", Short: "List the stored catalogs, newest first",
		Example: "  arbiter catalog versions",
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				versions, err := c.CatalogVersions(ctx)
				if err != nil {
					return err
				}
				return a.print(versions, func(w io.Writer, p paint) {
					if len(versions) == 0 {
						fmt.Fprintln(w, "No catalog is stored. arbiter catalog apply FILE stores and activates one.")
						return
					}
					t := newTable(p, "Version", "State", "CatalogVersion", "Name", "Activated", "Digest")
					right(t, 1, 3)
					for _, v := range versions {
						t.AppendRow([]any{v.Version, stateColour(p, v.State), zeroDash(v.CatalogVersion), p.bold(v.Name),
							stampOf(v.ActivatedAt), shortDigest(v.Digest)})
					}
					writeTable(w, t, 0)
				})
			})
		},
	}
}

func stateColour(p paint, s nba.State) string {
	switch s {
	case nba.StateActive:
		return p.green(string(s))
	case nba.StateStaged:
		return p.yellow(string(s))
	default:
		return p.dim(string(s))
	}
}

func zeroDash(n uint64) string {
	if n == 0 {
		return "-"
	}
	return strconv.FormatUint(n, 10)
}
