// Package realdata finds the real data sets that tests and benchmarks read: customer files, model
// files with reference outputs. They are not part of the repository; they lie in the folder
// ../shared/data beside the checkout, or where the environment variable ARBITER_DATA points.
package realdata

import (
	"os"
	"path/filepath"
	"testing"
)

// Path is the path of one data file, such as "telco-ibm/Telco-Customer-Churn.csv". The test or
// benchmark is skipped, and says so, where the file is absent.
func Path(tb testing.TB, name string) string {
	tb.Helper()
	root := os.Getenv("ARBITER_DATA")
	if root == "" {
		root = filepath.Join(moduleRoot(tb), "..", "shared", "data")
	}
	path := filepath.Join(root, filepath.FromSlash(name))
	if _, err := os.Stat(path); err != nil {
		tb.Skipf("REAL DATA NOT FOUND: %s is not in %s; set ARBITER_DATA to the folder that holds it", name, root)
	}
	return path
}

// moduleRoot is the nearest folder upwards that holds go.mod.
func moduleRoot(tb testing.TB) string {
	tb.Helper()
	dir, err := os.Getwd()
	if err != nil {
		tb.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			tb.Fatal("no go.mod in any folder above the test")
		}
		dir = parent
	}
}
