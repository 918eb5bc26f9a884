package project

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// maxToolOutput bounds what is shown of a toolchain's messages.
const maxToolOutput = 8 << 10

// Build compiles the project in dir and returns the artifact: the module with its manifest. Limits
// that plugin.yaml leaves out are measured. Mistakes of the source are an *nba.Error with
// CodePluginRefused that holds the compiler's messages; ctx ends the toolchain.
func Build(ctx context.Context, dir string) (module []byte, s *Spec, err error) {
	if s, err = LoadSpec(dir); err != nil {
		return nil, nil, err
	}
	if s.Manifest.Adapter != nil {
		return s.buildWrapped(ctx, dir)
	}
	if err := s.writeFeatures(dir); err != nil {
		return nil, nil, err
	}
	out := filepath.Join("build", s.Manifest.Name+".module.wasm")
	if err := os.MkdirAll(filepath.Join(dir, "build"), 0o755); err != nil {
		return nil, nil, fmt.Errorf("creating the build folder: %w", err)
	}
	for _, step := range toolchain(s, out) {
		if err := step.run(ctx, dir); err != nil {
			return nil, nil, err
		}
	}
	if s.Language == Rust {
		out = filepath.Join("build", "wasm32-unknown-unknown", "release", strings.ReplaceAll(s.Manifest.Name, "-", "_")+".wasm")
	}
	if module, err = os.ReadFile(filepath.Join(dir, out)); err != nil {
		return nil, nil, fmt.Errorf("reading what the toolchain built: %w", err)
	}
	limits, err := s.measure(ctx, module)
	if err != nil {
		return nil, nil, err
	}
	s.Manifest.Limits = limits
	s.Manifest.Source = &artifact.Source{Format: string(s.Language)}
	module, err = artifact.Embed(module, &s.Manifest)
	return module, s, err
}

// step is one command of a toolchain.
type step struct {
	// programs are tried in order; the first that is installed runs.
	programs []string
	args     []string
	env      []string
	// skip, if it exists in the project, makes the step needless.
	skip string
	// install tells how to get the toolchain.
	install string
}

// toolchain is what builds a project. The flags leave out what a plugin cannot use: a standard
// library that needs a system, exceptions, debug information.
func toolchain(s *Spec, out string) []step {
	switch s.Language {
	case C:
		return []step{{programs: []string{"clang-19", "clang-18", "clang-17", "clang"},
			args: []string{"--target=wasm32-wasi", "-mexec-model=reactor", "-O3", "-ffp-contract=off", "-Wall", "-Wextra", "-I.",
				"-Wl,--strip-all", "-Wl,-z,stack-size=16384", "-o", out, "plugin.c", "-lm"},
			install: "install clang, lld and wasi-libc (Debian: apt install clang-19 lld-19 wasi-libc libclang-rt-19-dev-wasm32)"}}
	case Rust:
		return []step{{programs: []string{"cargo"},
			args:    []string{"build", "--quiet", "--release", "--target", "wasm32-unknown-unknown", "--target-dir", "build"},
			env:     []string{"RUSTFLAGS=-C link-arg=-zstack-size=16384"},
			install: "install Rust and its target: rustup target add wasm32-unknown-unknown (https://rustup.rs)"}}
	case AssemblyScript:
		entry, runtime := "arbiter/scorer.ts", "stub"
		if s.Manifest.Kind == artifact.KindStrategy {
			entry, runtime = "arbiter/strategy.ts", "minimal" // which frees what a call allocated
		}
		return []step{
			{programs: []string{"npm"}, args: []string{"install", "--no-audit", "--no-fund", "--loglevel=error"},
				skip: "node_modules/.bin/asc", install: "install Node.js 20 or newer with npm (https://nodejs.org)"},
			{programs: []string{"node"}, args: []string{"node_modules/assemblyscript/bin/asc.js", entry, "-O3", "--converge", "--noAssert",
				"--runtime", runtime, "--use", "abort=", "-o", out},
				install: "install Node.js 20 or newer with npm (https://nodejs.org)"}}
	default:
		return []step{{programs: []string{"go"},
			args:    []string{"build", "-buildmode=c-shared", "-trimpath", "-ldflags=-s -w", "-o", out, "."},
			env:     []string{"GOOS=wasip1", "GOARCH=wasm", "GOWORK=off", "GOFLAGS="},
			install: "install Go 1.24 or newer (https://go.dev/doc/install)"}}
	}
}

func (t *step) run(ctx context.Context, dir string) error {
	if t.skip != "" {
		if _, err := os.Stat(filepath.Join(dir, t.skip)); err == nil {
			return nil
		}
	}
	program, err := t.find()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, program, t.args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), t.env...)
	var messages bytes.Buffer
	cmd.Stdout, cmd.Stderr = &messages, &messages
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		text := strings.TrimSpace(messages.String())
		return nba.Errorf(nba.CodePluginRefused, "%s %s: %v\n%s\n(a missing toolchain? %s)", filepath.Base(program), t.args[0], err,
			text[:min(len(text), maxToolOutput)], t.install)
	}
	return nil
}

func (t *step) find() (string, error) {
	for _, name := range t.programs {
		if program, err := exec.LookPath(name); err == nil {
			return program, nil
		}
	}
	return "", nba.Errorf(nba.CodeInvalid, "%s is not installed: %s", t.programs[len(t.programs)-1], t.install)
}
