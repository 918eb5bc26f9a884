package cli

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/arbiterhq/arbiter/examples"
	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"arbiter": func() { os.Exit(Main(os.Args[1:])) }})
}

// TestScripts runs testdata/script/*.txtar: what can be seen of the program without a node. Besides the
// commands of testscript they have "exits CODE PROGRAM ARGS…".
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("NO_COLOR", "1")
			env.Setenv("ARBITER_ADDR", "127.0.0.1:1") // nobody listens there
			return errors.Join(
				os.WriteFile(filepath.Join(env.WorkDir, "churn.xgb.json"), examples.ChurnModel(), 0o600),
				os.WriteFile(filepath.Join(env.WorkDir, "features.yaml"), examples.ChurnFeatures(), 0o600))
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits": func(ts *testscript.TestScript, neg bool, args []string) {
				want, err := strconv.Atoi(args[0])
				ts.Check(err)
				err = ts.Exec(args[1], args[2:]...)
				got := 0
				if exit, ok := errors.AsType[*exec.ExitError](err); ok {
					got = exit.ExitCode()
				} else {
					ts.Check(err)
				}
				if (got == want) == neg {
					ts.Fatalf("exit code %d, want %d", got, want)
				}
			},
		},
	})
}
