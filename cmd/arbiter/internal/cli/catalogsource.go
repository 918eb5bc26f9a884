package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/client"
	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// catalogSource is a catalog as its authors keep it: one file, or a folder of files that are merged.
type catalogSource struct {
	path     string
	merged   *catalog.Merged
	problems []nba.Detail // found while merging
}

// readCatalog reads a file, standard input ("-"), or every .yaml, .yml and .csv file below a folder.
func (a *app) readCatalog(path string) (*catalogSource, error) {
	info, err := os.Stat(path)
	if path == "-" || err == nil && !info.IsDir() {
		document, err := a.readFile(path, maxCatalogBytes)
		if err != nil {
			return nil, err
		}
		merged, _ := catalog.Merge([]catalog.Source{{File: filepath.Base(path), Text: document}})
		return &catalogSource{path: path, merged: merged}, nil
	}
	if err != nil {
		return nil, err
	}
	var sources []catalog.Source
	err = filepath.WalkDir(path, func(file string, entry fs.DirEntry, err error) error {
		hidden := strings.HasPrefix(entry.Name(), ".") && file != path
		switch {
		case err != nil:
			return err
		case entry.IsDir() && hidden:
			return fs.SkipDir
		case entry.IsDir() || hidden || !slices.Contains([]string{".yaml", ".yml", ".csv"}, strings.ToLower(filepath.Ext(file))):
			return nil
		}
		text, err := a.readFile(file, maxCatalogBytes)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(filepath.Dir(filepath.Clean(path)), file)
		if err != nil {
			name = file
		}
		sources = append(sources, catalog.Source{File: filepath.ToSlash(name), Text: text})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the catalog in %s: %w", path, err)
	}
	if len(sources) == 0 {
		return nil, fmt.Errorf("there is no .yaml file in %s", path)
	}
	merged, problems := catalog.Merge(sources)
	return &catalogSource{path: path, merged: merged, problems: problems}, nil
}

// document is the one document of the source, or all mistakes of the merge.
func (s *catalogSource) document() ([]byte, error) {
	if s.merged == nil {
		return nil, s.mistakes(nil)
	}
	return s.merged.Document, nil
}

// mistakes is an error with those of the merge and those that a node found, in the places of the files.
func (s *catalogSource) mistakes(found []nba.Detail) error {
	all := slices.Clone(s.problems)
	if s.merged != nil {
		all = append(all, s.merged.InFiles(found)...)
	}
	slices.SortStableFunc(all, func(a, b nba.Detail) int { return strings.Compare(a.File, b.File) })
	message := fmt.Sprintf("the catalog has %d mistakes", len(all))
	if len(all) == 1 {
		message = "the catalog has 1 mistake"
	}
	return &client.Problem{Title: "The catalog has mistakes", Status: http.StatusUnprocessableEntity, Code: nba.CodeCatalogInvalid, Detail: message, Errors: all}
}

// inFiles puts the mistakes that a node found in their files. A source that could not be merged without
// mistakes has those too, also where the node found none.
func (s *catalogSource) inFiles(err error) error {
	p, ok := errors.AsType[*client.Problem](err)
	switch {
	case ok && p.Code == nba.CodeCatalogInvalid && s.path != "-":
		report, _ := errors.AsType[*client.Problem](s.mistakes(p.Errors))
		report.Title, report.Instance = p.Title, p.Instance
		if len(s.problems) == 0 {
			report.Detail = p.Detail
		}
		return report
	case err == nil && len(s.problems) > 0:
		return s.mistakes(nil)
	}
	return err
}

// validate has a node find every mistake.
func (s *catalogSource) validate(ctx context.Context, c apiClient) error {
	document, err := s.document()
	if err != nil {
		return err
	}
	return s.inFiles(c.ValidateCatalog(ctx, document))
}
