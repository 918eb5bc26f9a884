package project

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/sdk"
)

var nameForm = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

// New makes a project of a kind in dir, which must not exist or be empty, from the template of language.
// On an error nothing of it is left.
func New(dir, name string, language Language, kind string) error {
	switch kind {
	case artifact.KindScorer:
		return create(dir, name, language, kind, "template", "template/plugin.yaml")
	case artifact.KindStrategy:
		return create(dir, name, language, kind, "template-strategy", "template/strategy.yaml")
	}
	return nba.Errorf(nba.CodeInvalid, "a plugin is a %s or a %s", artifact.KindScorer, artifact.KindStrategy)
}

// NewConformance makes the project of the conformance plugin of a kind, which the vectors of the contract
// are for, in the same way.
func NewConformance(dir string, language Language, kind string) error {
	if kind == artifact.KindStrategy {
		return create(dir, "conformance", language, kind, "conformance-strategy", "abi/vectors/strategy.yaml")
	}
	return create(dir, "conformance", language, kind, "conformance", "abi/vectors/plugin.yaml")
}

func create(dir, name string, language Language, kind, source, spec string) (err error) {
	if !nameForm.MatchString(name) {
		return nba.Errorf(nba.CodeInvalid, "a plugin's name is a lower-case letter, then up to 62 letters, digits and hyphens")
	}
	parts, ok := layouts[language]
	if !ok {
		return nba.Errorf(nba.CodeInvalid, "no guest SDK for language %q", clip(string(language)))
	}
	files, err := projectFiles(language, kind, source, spec, parts)
	if err != nil {
		return err
	}
	created, err := emptyFolder(dir)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, clear(dir, created))
		}
	}()
	fill := strings.NewReplacer("NAME", name, "LANGUAGE", string(language))
	for to, from := range files {
		text, err := sdk.Guests.ReadFile(from)
		if err != nil {
			return fmt.Errorf("reading the template: %w", err)
		}
		if err := write(filepath.Join(dir, filepath.FromSlash(to)), fill.Replace(string(text))); err != nil {
			return err
		}
	}
	s, err := LoadSpec(dir)
	if err != nil {
		return err
	}
	return s.writeFeatures(dir)
}

// projectFiles maps the files of a project to those of the SDK. What the source has not, the template of
// its kind gives.
func projectFiles(language Language, kind, source, spec string, parts layout) (map[string]string, error) {
	files := map[string]string{}
	template := "template"
	if kind == artifact.KindStrategy {
		template = "template-strategy"
	}
	for _, folder := range []string{template, source} {
		root := path.Join(string(language), folder)
		err := fs.WalkDir(sdk.Guests, root, func(p string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				files[strings.TrimSuffix(strings.TrimPrefix(p, root+"/"), ".txt")] = p
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("reading the template of %s: %w", language, err)
		}
	}
	for from, to := range parts.files(kind) {
		files[to] = from
	}
	files[SpecFile] = spec
	return files, nil
}

// emptyFolder makes dir, or takes it as it is when it is empty.
func emptyFolder(dir string) (created bool, err error) {
	entries, err := os.ReadDir(dir)
	switch {
	case err == nil && len(entries) > 0:
		return false, nba.Errorf(nba.CodeConflict, "%s exists and is not empty; choose another name or folder", dir)
	case err == nil:
		return false, nil
	case !errors.Is(err, fs.ErrNotExist):
		return false, fmt.Errorf("looking at the folder: %w", err)
	}
	return true, os.MkdirAll(dir, 0o755)
}

// clear removes what create made.
func clear(dir string, created bool) error {
	if created {
		return os.RemoveAll(dir)
	}
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}

func write(name, text string) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return fmt.Errorf("creating a folder of the project: %w", err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		return fmt.Errorf("writing the project: %w", err)
	}
	return nil
}

// writeFeatures writes the generated file. It is left alone when it would not change, so that
// toolchains need not build anew.
func (s *Spec) writeFeatures(dir string) error {
	parts := layouts[s.Language]
	if s.Manifest.Kind == artifact.KindStrategy && s.Language != C {
		return nil // what a strategy is told has names
	}
	name, text := filepath.Join(dir, filepath.FromSlash(parts.features)), parts.generate(s)
	if old, err := os.ReadFile(name); err == nil && string(old) == text {
		return nil
	}
	return write(name, text)
}
