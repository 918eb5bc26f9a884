package adapter_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/plugins/admission"
	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/runtime/wasm"
)

// TestSources builds the modules of testdata from their sources and admits them with the same golden rows:
// what the toolchains make today runs too. It needs those toolchains, and the registries of Go and Rust:
// make sdk.
func TestSources(t *testing.T) {
	if os.Getenv("ARBITER_SDK") == "" {
		t.Skip("make sdk builds the modules from their sources")
	}
	cargo := func(project, target, file string) func(t *testing.T) []byte {
		return func(t *testing.T) []byte {
			if dir := strings.TrimSpace(string(run(t, ".", nil, "rustc", "--print", "target-libdir", "--target", target))); !exists(dir) {
				t.Skipf("Rust has no target %s here: rustup target add %s", target, target)
			}
			out := t.TempDir()
			run(t, filepath.Join("testdata", "src", project), nil, "cargo", "build", "--quiet", "--release", "--locked", "--target", target, "--target-dir", out)
			return read(t, filepath.Join(out, target, "release", file))
		}
	}
	for _, c := range []struct {
		name     string
		build    func(t *testing.T) []byte
		manifest *artifact.Manifest
	}{
		{"policy", func(t *testing.T) []byte {
			return withData(t, run(t, filepath.Join("testdata", "src", "policy", "build"), []string{"GOWORK=off", "GOFLAGS="},
				"go", "run", ".", filepath.Join("..", "eligible.rego"), "telco/eligible", "telco/fit", "telco/text"), `{"withdrawn":[24]}`)
		}, policyManifest()},
		{"command", cargo("rust-command", "wasm32-wasip1", "command.wasm"), scorerManifest(artifact.AdapterWASICommand)},
		{"extism", cargo("extism", "wasm32-unknown-unknown", "extism_scorer.wasm"), scorerManifest(artifact.AdapterExtism)},
	} {
		t.Run(c.name, func(t *testing.T) {
			admit(t, newSandbox(t, wasm.Config{Instances: 1, MaxWait: time.Minute}), embed(t, c.build(t), c.manifest), admission.Isolated())
		})
	}
}

// run runs a program and returns what it prints.
func run(t *testing.T, dir string, env []string, program string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	out, err := cmd.Output()
	if err != nil {
		if exit, ok := err.(*exec.ExitError); ok {
			t.Fatalf("%s: %v\n%s", program, err, exit.Stderr)
		}
		t.Fatal(err)
	}
	return out
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
