package project

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"github.com/arbiterhq/arbiter/plugins/adapter"
	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/plugins/wasmbin"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// maxWrapped bounds the module, and the data document, that Wrap takes.
const maxWrapped = 64 << 20

// WrapOptions tell how a module that was built for another host becomes an artifact. What is "" is as the
// description says.
type WrapOptions struct {
	// Adapter and Entrypoint are those of the manifest.
	Adapter, Entrypoint string
	Name, Version       string
	// Data is the data document of an OPA policy; nil for that of the bundle, or none.
	Data []byte
}

// Wrap makes an artifact of a module that was built for another host, or of a bundle that opa build made.
// spec is a plugin.yaml without a language: it names the features and the cases, which are tried in the
// sandbox, and limits that it leaves out are measured. Mistakes are an *nba.Error with CodePluginRefused.
func Wrap(ctx context.Context, module, spec []byte, o WrapOptions) ([]byte, *Spec, error) {
	s, err := parseSpec(spec, func(doc *document) {
		for _, f := range [...]struct {
			to    *string
			value string
		}{{&doc.Adapter, o.Adapter}, {&doc.Entrypoint, o.Entrypoint}, {&doc.Name, o.Name}, {&doc.Version, o.Version}} {
			if f.value != "" {
				*f.to = f.value
			}
		}
	})
	if err != nil {
		return nil, nil, err
	}
	if s.Manifest.Adapter == nil {
		return nil, nil, nba.Errorf(nba.CodePluginRefused, "%s names no adapter: write adapter: %s, %s or %s", SpecFile, artifact.AdapterOPA, artifact.AdapterWASICommand, artifact.AdapterExtism)
	}
	return s.wrap(ctx, module, o.Data)
}

func (s *Spec) wrap(ctx context.Context, module, data []byte) ([]byte, *Spec, error) {
	kind := s.Manifest.Adapter.Kind
	if len(module) > 1 && module[0] == 0x1f && module[1] == 0x8b {
		bundled, err := openBundle(module)
		if err != nil {
			return nil, nil, err
		}
		module = bundled.module
		if data == nil {
			data = bundled.data
		}
	}
	module, err := wasmbin.OwnMemory(module, "memory")
	if err != nil {
		return nil, nil, err
	}
	if data != nil && kind != artifact.AdapterOPA {
		return nil, nil, nba.Errorf(nba.CodePluginRefused, "a data document goes with the adapter %s only", artifact.AdapterOPA)
	}
	if module, err = wasmbin.WithoutCustomSection(module, adapter.SectionOPAData); err != nil {
		return nil, nil, err
	}
	if data != nil {
		module = wasmbin.AppendCustomSection(module, adapter.SectionOPAData, data)
	}
	if s.Manifest.Limits, err = s.measure(ctx, module); err != nil {
		return nil, nil, err
	}
	s.Manifest.Source = &artifact.Source{Format: kind}
	module, err = artifact.Embed(module, &s.Manifest)
	return module, s, err
}

// buildWrapped is Build for a folder whose plugin.yaml names a module and its adapter.
func (s *Spec) buildWrapped(ctx context.Context, dir string) ([]byte, *Spec, error) {
	switch {
	case s.module == "":
		return nil, nil, nba.Errorf(nba.CodePluginRefused, "%s: adapter needs module: the file that was built for %s", SpecFile, s.Manifest.Adapter.Kind)
	case !filepath.IsLocal(filepath.FromSlash(s.module)), s.data != "" && !filepath.IsLocal(filepath.FromSlash(s.data)):
		return nil, nil, nba.Errorf(nba.CodePluginRefused, "%s: module and data are paths within the folder of the plugin", SpecFile)
	}
	if err := os.MkdirAll(filepath.Join(dir, "build"), 0o755); err != nil {
		return nil, nil, fmt.Errorf("creating the build folder: %w", err)
	}
	module, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(s.module)))
	if err != nil {
		return nil, nil, fmt.Errorf("reading the module: %w", err)
	}
	var data []byte
	if s.data != "" {
		if data, err = os.ReadFile(filepath.Join(dir, filepath.FromSlash(s.data))); err != nil {
			return nil, nil, fmt.Errorf("reading the data document: %w", err)
		}
	}
	return s.wrap(ctx, module, data)
}

// bundle is what opa build -t wasm writes into its archive.
type bundle struct{ module, data []byte }

func openBundle(archive []byte) (b bundle, err error) {
	zip, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		return b, nba.Errorf(nba.CodePluginRefused, "the bundle cannot be read: %w", err)
	}
	files := tar.NewReader(zip)
	for {
		header, err := files.Next()
		switch {
		case errors.Is(err, io.EOF) && b.module == nil:
			return b, nba.Errorf(nba.CodePluginRefused, "the bundle holds no policy.wasm; make it with opa build -t wasm -e ENTRYPOINT")
		case errors.Is(err, io.EOF):
			return b, nil
		case err != nil:
			return b, nba.Errorf(nba.CodePluginRefused, "the bundle cannot be read: %w", err)
		}
		var to *[]byte
		switch path.Clean("/" + header.Name) {
		case "/policy.wasm":
			to = &b.module
		case "/data.json":
			to = &b.data
		default:
			continue
		}
		if *to, err = io.ReadAll(io.LimitReader(files, maxWrapped+1)); err != nil {
			return b, nba.Errorf(nba.CodePluginRefused, "the bundle cannot be read: %w", err)
		}
		if len(*to) > maxWrapped {
			return b, nba.Errorf(nba.CodeTooLarge, "a file of the bundle has more than %d bytes", maxWrapped)
		}
	}
}
