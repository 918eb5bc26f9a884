package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestPythonClient runs the tests of the Python client that need nothing but the standard library
// against a real node. make test-python also runs those with the real model libraries.
func TestPythonClient(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed: the Python client is not tested")
	}
	folder := filepath.Join("..", "..", "..", "sdk", "client", "python")
	if out, err := exec.Command(python, "-c", "import sys; sys.exit(sys.version_info < (3, 9))").CombinedOutput(); err != nil {
		t.Skipf("python3 is older than 3.9: the Python client is not tested: %s", out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, python, "-W", "error", "-m", "unittest", "tests.test_client", "tests.test_export")
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "ARBITER_BIN="+arbiter, "PYTHONDONTWRITEBYTECODE=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
