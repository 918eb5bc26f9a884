package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/arbiterhq/arbiter/runtime/catalog"
)

// catalogDiff is what arbiter catalog diff answers.
type catalogDiff struct {
	Old     string           `json:"old"`
	New     string           `json:"new"`
	Changes []catalog.Change `json:"changes"`
}

func (a *app) catalogDiffCommand() *cobra.Command {
	var exitCode bool
	cmd := &cobra.Command{
		Use: "diff [OLD] NEW", Short: "Tell what two catalogs mean differently",
		Long: "Compare two catalogs by what they mean: actions, policies, levers, limits, tables and models that were added,\n" +
			"removed or changed, with their old and new values. How they are written makes no difference. OLD and NEW are\n" +
			"files, folders, version or catalogVersion numbers, active, or head (the one stored last); without OLD it is\n" +
			"the active one.",
		Example: `  arbiter catalog diff catalog.yaml              # against the active one
  arbiter catalog diff 41 catalog/ -o json
  arbiter catalog diff 41 active`,
		Args: func(cmd *cobra.Command, given []string) error {
			if len(given) == 0 || len(given) > 2 {
				return usage(cmd, "name one or two catalogs")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				args = []string{"active", args[0]}
			}
			diff := catalogDiff{Old: args[0], New: args[1], Changes: []catalog.Change{}}
			old, err := a.anyCatalog(cmd, args[0])
			if err != nil {
				return err
			}
			updated, err := a.anyCatalog(cmd, args[1])
			if err != nil {
				return err
			}
			changes, err := catalog.Diff(old, updated)
			if err != nil {
				return fmt.Errorf("comparing the catalogs: %w", err)
			}
			diff.Changes = append(diff.Changes, changes...)
			if err := a.print(diff, func(w io.Writer, p paint) { renderDiff(w, p, diff.Changes) }); err != nil {
				return err
			}
			if exitCode && len(changes) > 0 {
				return errDiffers
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, "exit with 1 if they differ")
	return cmd
}

var errDiffers = fmt.Errorf("the catalogs differ")

// anyCatalog reads a file or folder, or a document that a node has.
func (a *app) anyCatalog(cmd *cobra.Command, name string) (document []byte, err error) {
	_, statErr := os.Stat(name)
	if version, isVersion := versionName(name); isVersion && statErr != nil {
		err = a.withClient(cmd, func(ctx context.Context, c apiClient) error {
			text, err := c.Catalog(ctx, version)
			if err == nil {
				document = text.Document
			}
			return err
		})
		return document, err
	}
	source, err := a.readCatalog(name)
	if err != nil {
		return nil, err
	}
	if len(source.problems) > 0 {
		return nil, source.mistakes(nil)
	}
	return source.document()
}

// versionName is a version as the API names it: active, a number, or nothing for the one stored last.
func versionName(name string) (version string, ok bool) {
	switch name {
	case "active":
		return name, true
	case "head":
		return "", true
	}
	_, err := strconv.ParseUint(trimV(name), 10, 64)
	return trimV(name), err == nil
}

// renderDiff prints the changes, one a line.
func renderDiff(w io.Writer, p paint, changes []catalog.Change) {
	if len(changes) == 0 {
		fmt.Fprintln(w, "They mean the same.")
		return
	}
	for _, c := range changes {
		switch c.Kind {
		case catalog.Added:
			fmt.Fprintf(w, "%s %s\n", p.green("+"), c)
		case catalog.Removed:
			fmt.Fprintf(w, "%s %s\n", p.red("-"), c)
		default:
			fmt.Fprintf(w, "%s %s\n", p.yellow("~"), c)
		}
	}
}

func (a *app) catalogSchemaCommand() *cobra.Command {
	var part bool
	cmd := &cobra.Command{
		Use: "schema", Short: "Print the JSON Schema of catalog files, for editors",
		Long: "Print the JSON Schema of catalog files. Editors with the YAML language server check and complete a file whose\n" +
			"first line is # yaml-language-server: $schema=PATH. arbiter catalog validate finds more: names, expressions,\n" +
			"attributes.",
		Example: "  arbiter catalog schema > catalog.schema.json\n  arbiter catalog schema --part > catalog-part.schema.json",
		Args:    args(),
		RunE: func(*cobra.Command, []string) error {
			schema, err := catalog.Schema()
			if part {
				schema, err = catalog.PartSchema()
			}
			if err != nil {
				return err
			}
			_, err = a.out.Write(schema)
			return err
		},
	}
	cmd.Flags().BoolVar(&part, "part", false, "for the files of a catalog in a folder, each of which has some of the fields")
	return cmd
}

func (a *app) catalogHistoryCommand() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use: "history", Short: "List the activations of catalogs, newest first",
		Long: "List the activations of catalogs, newest first. Decisions carry the catalogVersion; arbiter decide\n" +
			"--catalog-version pins one, and arbiter catalog revert makes its catalog the active one again.",
		Example: "  arbiter catalog history\n  arbiter catalog history --limit 100 -o json",
		Args:    args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				activations, err := c.CatalogActivations(ctx)
				if err != nil {
					return err
				}
				if limit > 0 && len(activations) > limit {
					activations = activations[:limit]
				}
				return a.print(activations, func(w io.Writer, p paint) {
					if len(activations) == 0 {
						fmt.Fprintln(w, "No catalog was activated. arbiter catalog apply FILE stores and activates one.")
						return
					}
					t := newTable(p, "CatalogVersion", "Version", "Name", "Activated", "Digest", "Note")
					right(t, 1, 2)
					for _, v := range activations {
						number := strconv.FormatUint(v.CatalogVersion, 10)
						if v.Active {
							number = p.green("active " + number)
						}
						t.AppendRow([]any{number, v.Version, p.bold(v.Name), stampOf(v.ActivatedAt), shortDigest(v.Digest), v.Note})
					}
					writeTable(w, t, 0)
				})
			})
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 20, "how many; 0 for all that are kept")
	return cmd
}

func (a *app) catalogRevertCommand() *cobra.Command {
	var note string
	cmd := &cobra.Command{
		Use: "revert [VERSION]", Short: "Make an earlier catalog the active one again",
		Long: "Make an earlier catalog the active one again, as a new activation with a catalogVersion of its own. VERSION is\n" +
			"a version or a catalogVersion, as arbiter catalog history lists them; without it, it is the catalog that was\n" +
			"active before the one that is now.",
		Example: "  arbiter catalog revert\n  arbiter catalog revert 41 --note 'the spring offers came too early'",
		Args: func(cmd *cobra.Command, given []string) error {
			if len(given) > 1 {
				return usage(cmd, "there are %d arguments too many", len(given)-1)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			var wanted uint64
			if len(args) == 1 {
				var err error
				if wanted, err = strconv.ParseUint(trimV(args[0]), 10, 64); err != nil || wanted == 0 {
					return usage(cmd, "VERSION is a number, as arbiter catalog history lists them")
				}
			}
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				version, err := earlierCatalog(ctx, c, wanted)
				if err != nil {
					return err
				}
				return a.activateCatalog(ctx, c, version, note)
			})
		},
	}
	cmd.Flags().StringVar(&note, "note", "", "what the history says about it")
	return cmd
}

// earlierCatalog is the document of a version or catalogVersion, or with 0 the one that was active before.
func earlierCatalog(ctx context.Context, c apiClient, wanted uint64) (uint64, error) {
	activations, err := c.CatalogActivations(ctx)
	if err != nil {
		return 0, err
	}
	if wanted != 0 {
		for _, a := range activations {
			if a.CatalogVersion == wanted {
				return a.Version, nil
			}
		}
		return wanted, nil
	}
	for i := 1; i < len(activations); i++ {
		if activations[i].Version != activations[0].Version {
			return activations[i].Version, nil
		}
	}
	return 0, fmt.Errorf("there is no catalog that was active before")
}
