package archtest

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/arbiterhq/arbiter/"

// layers are the top-level folders from the lowest to the highest. A package may import packages of
// its own layer and of those before it.
var layers = []string{"sdk", "runtime", "plugins", "cluster", "cmd"}

// doors are the third-party modules that only some packages may import, each with its reason.
var doors = []struct {
	module, reason string
	allowed        []string
}{
	{"github.com/gofiber/fiber", "handlers stay free of the web framework, so that it can be replaced in one package",
		[]string{"cmd/arbiter/internal/api"}},
	{"github.com/hashicorp/raft", "consensus has one owner",
		[]string{"cluster/raftgroup", "cluster/fsm"}},
	{"go.etcd.io/bbolt", "one package knows how records rest on disk", []string{"cluster/store"}},
	{"github.com/tetratelabs/wazero", "one package runs guests, and admission validates them",
		[]string{"runtime/wasm", "plugins/admission"}},
	{"cel.dev/cel-go", "one package knows the expression language", []string{"runtime/expr"}},
	{"github.com/twmb/franz-go", "one package knows the Kafka client, and one its tests' broker", []string{"cluster/kafka", "cluster/kafka/kafkatest"}},
	{"github.com/robfig/cron", "one package knows schedules", []string{"runtime/campaign"}},
	{"github.com/parquet-go/parquet-go", "one package writes files of contacts", []string{"cmd/arbiter/internal/cli", "cmd/arbiter/e2e"}},
	{"github.com/spf13/cobra", "one package is the command line", []string{"cmd/arbiter/internal/cli", "cmd/arbiter"}},
}

type goPackage struct {
	ImportPath string
	Dir        string
	Imports    []string
	GoFiles    []string
}

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Dir,Imports,GoFiles", module+"...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var packages []goPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
	if len(packages) < 20 {
		t.Fatalf("go list found %d packages, which cannot be all", len(packages))
	}
	return packages
}

func layerOf(path string) int {
	for i, layer := range layers {
		if path == layer || strings.HasPrefix(path, layer+"/") {
			return i
		}
	}
	return -1
}

// importError says why importer may not import imported, or is empty. Both are paths within the
// module.
func importError(importer, imported string) string {
	if strings.HasPrefix(importer, "examples") {
		if !strings.HasPrefix(imported, "sdk/") && !strings.HasPrefix(imported, "examples") {
			return "examples use sdk only"
		}
		return ""
	}
	if strings.HasPrefix(imported, "examples") {
		if layerOf(importer) != layerOf("cmd") {
			return "only the program shows examples"
		}
		return ""
	}
	from, to := layerOf(importer), layerOf(imported)
	switch {
	case from < 0 || to < 0:
		return "a package lies outside the folders cmd cluster plugins runtime sdk examples"
	case to > from:
		return "imports go down only: cmd > cluster > plugins > runtime > sdk"
	}
	return ""
}

func doorError(importer, imported string) string {
	for _, d := range doors {
		if imported != d.module && !strings.HasPrefix(imported, d.module+"/") && !strings.HasPrefix(imported, d.module+"-") {
			continue
		}
		for _, allowed := range d.allowed {
			if importer == allowed {
				return ""
			}
		}
		return "only " + strings.Join(d.allowed, ", ") + " may import it: " + d.reason
	}
	return ""
}

func TestImportsGoDownAndThroughTheDoors(t *testing.T) {
	for _, p := range listPackages(t) {
		importer := strings.TrimPrefix(p.ImportPath, module)
		for _, path := range p.Imports {
			reason := doorError(importer, path)
			if imported, ours := strings.CutPrefix(path, module); ours && reason == "" {
				reason = importError(importer, imported)
			}
			if reason != "" {
				t.Errorf("%s imports %s: %s", importer, path, reason)
			}
		}
	}
}

func TestNoProductionCodeImportsTesting(t *testing.T) {
	for _, p := range listPackages(t) {
		if strings.HasSuffix(p.ImportPath, "/sdk/realdata") || strings.HasSuffix(p.ImportPath, "test") {
			continue // packages that exist for tests
		}
		for _, path := range p.Imports {
			if path == "testing" {
				t.Errorf("%s imports testing: test helpers live in _test.go files or in packages whose name ends in test", p.ImportPath)
			}
		}
	}
}

func TestTheRulesCatchWhatTheyMust(t *testing.T) {
	for _, c := range []struct {
		importer, imported string
		refused            bool
	}{
		{"runtime/engine", "runtime/nba", false},
		{"runtime/engine", "plugins/serving", true},
		{"plugins/serving", "cluster/store", true},
		{"cluster/node", "plugins/serving", false},
		{"sdk/abi", "runtime/nba", true},
		{"examples", "runtime/nba", true},
		{"examples/telco", "sdk/client/go", false},
		{"cluster/node", "examples", true},
		{"cmd/arbiter/internal/cli", "examples", false},
		{"util", "runtime/nba", true},
	} {
		if got := importError(c.importer, c.imported) != ""; got != c.refused {
			t.Errorf("%s importing %s: refused %v, want %v", c.importer, c.imported, got, c.refused)
		}
	}
	for _, c := range []struct {
		importer, imported string
		refused            bool
	}{
		{"runtime/engine", "go.etcd.io/bbolt", true},
		{"cluster/store", "go.etcd.io/bbolt", false},
		{"cluster/node", "github.com/hashicorp/raft", true},
		{"cluster/node", "github.com/hashicorp/raft-wal", true},
		{"cmd/arbiter/internal/cli", "github.com/gofiber/fiber/v2", true},
		{"plugins/serving", "github.com/tetratelabs/wazero/api", true},
		{"plugins/admission", "github.com/tetratelabs/wazero", false},
		{"cluster/node", "github.com/twmb/franz-go/pkg/kgo", true},
	} {
		if got := doorError(c.importer, c.imported) != ""; got != c.refused {
			t.Errorf("%s importing %s: refused %v, want %v", c.importer, c.imported, got, c.refused)
		}
	}
}
