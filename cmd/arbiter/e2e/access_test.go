package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/porttest"
	"github.com/arbiterhq/arbiter/runtime/auth"
)

// TestGuardedNode: a node that asks who calls, over TLS, from the first key to the log of changes.
func TestGuardedNode(t *testing.T) {
	t.Parallel()
	authority := newAuthority(t)
	api, admin := porttest.Free(t), porttest.Free(t)
	data := filepath.Join(t.TempDir(), "data")
	s := &server{t: t, url: "https://" + api, admin: "https://" + admin, stopDeadline: 30 * time.Second, http: authority.client(),
		cliArgs: []string{"--ca-cert", filepath.Join(authority.folder, "ca.pem")},
		args: append([]string{"server", "--data", data, "--addr", api, "--admin-addr", admin, "--auth-required", "true"},
			authority.issue("n1")[:4]...)}
	s.launch()
	t.Cleanup(s.stop)

	// as runs the command line with a token.
	as := func(token string, args ...string) (stdout, stderr string, code int) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), arbiter, append(append(args, s.cliArgs...), "--addr", s.url)...)
		var out, errs strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &errs
		cmd.Env = append(os.Environ(), "NO_COLOR=1", "ARBITER_TOKEN="+token)
		if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
			t.Fatal(err)
		}
		return out.String(), errs.String(), cmd.ProcessState.ExitCode()
	}
	key := func(token string, args ...string) auth.View {
		t.Helper()
		stdout, stderr, code := as(token, append([]string{"key", "create", "-o", "json"}, args...)...)
		var made auth.View
		if code != 0 || json.Unmarshal([]byte(stdout), &made) != nil || made.Token == "" {
			t.Fatalf("key create %v: exit %d\n%s%s", args, code, stdout, stderr)
		}
		return made
	}

	if _, stderr, code := as("", "catalog", "history"); code == 0 || !strings.Contains(stderr, "ARBITER_TOKEN") {
		t.Errorf("without a key: exit %d, %s", code, stderr)
	}
	root := key("", "--first", "--name", "root")
	if _, stderr, code := as("", "key", "create", "--first", "--name", "thief"); code == 0 || !strings.Contains(stderr, "made before") {
		t.Errorf("a second first key: exit %d, %s", code, stderr)
	}
	shop := key(root.Token, "--name", "web shop", "--role", "channel")
	if stdout, _, _ := as(shop.Token, "key", "whoami"); !strings.Contains(stdout, "web shop") || !strings.Contains(stdout, "channel") {
		t.Errorf("whoami: %s", stdout)
	}
	if _, stderr, code := as(shop.Token, "retention", "--max-per-subject", "500"); code == 0 || !strings.Contains(stderr, "permission") {
		t.Errorf("a channel changed the retention: exit %d, %s", code, stderr)
	}
	if _, stderr, code := as(root.Token, "retention", "--max-per-subject", "500"); code != 0 {
		t.Fatalf("retention: %s", stderr)
	}
	noted := struct {
		Head struct {
			Seq  uint64
			Hash string
		}
	}{}
	stdout, stderr, code := as(root.Token, "audit", "verify", "-o", "json")
	if err := json.Unmarshal([]byte(stdout), &noted); code != 0 || err != nil || noted.Head.Seq != 3 {
		t.Fatalf("audit verify: exit %d\n%s%s", code, stdout, stderr)
	}
	s.restart()
	if _, _, code := as(root.Token, "key", "revoke", shop.ID); code != 0 {
		t.Fatal("the key is not revoked")
	}
	if _, _, code := as(shop.Token, "key", "whoami"); code == 0 {
		t.Error("a revoked key is good")
	}
	stdout, stderr, code = as(root.Token, "audit", "verify", "--seq", "3", "--hash", noted.Head.Hash)
	if code != 0 || !strings.Contains(stdout, "4 records") {
		t.Errorf("audit verify after a restart: exit %d\n%s%s", code, stdout, stderr)
	}
	if stdout, _, _ = as(root.Token, "audit", "tail"); !strings.Contains(stdout, "setRetention") || !strings.Contains(stdout, "revokeKey") || !strings.Contains(stdout, "root") {
		t.Errorf("audit tail:\n%s", stdout)
	}
	for _, file := range []string{root.Token, shop.Token} {
		if strings.Contains(s.output.String(), file) {
			t.Error("a token is in the log")
		}
	}
}
