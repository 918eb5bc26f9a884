package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/porttest"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// authority makes an authority in a folder of its own, and certificates with it, by the command line.
type authority struct {
	t      *testing.T
	folder string
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	a := authority{t, t.TempDir()}
	a.run("tls", "ca", "--dir", a.folder)
	return a
}

func (a authority) run(args ...string) {
	a.t.Helper()
	if stdout, stderr, code := runCLI(a.t, args...); code != 0 {
		a.t.Fatalf("arbiter %s: exit %d\n%s%s", strings.Join(args, " "), code, stdout, stderr)
	}
}

// issue makes or replaces the certificate of a node and returns the flags of a server that has it.
func (a authority) issue(node string, more ...string) []string {
	a.t.Helper()
	a.run(append([]string{"tls", "cert", "--ca", a.folder, "--dir", a.folder, "--node", node, "--replace"}, more...)...)
	return []string{"--tls-cert", filepath.Join(a.folder, node+".pem"), "--tls-key", filepath.Join(a.folder, node+".key"), "--tls-ca", filepath.Join(a.folder, "ca.pem")}
}

func (a authority) client() *http.Client {
	a.t.Helper()
	raw, err := os.ReadFile(filepath.Join(a.folder, "ca.pem"))
	if err != nil {
		a.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(raw)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}
	return &http.Client{Transport: transport, Timeout: 30 * time.Second}
}

// serial is that of the certificate the server shows now.
func (s *server) serial() string {
	s.t.Helper()
	resp, err := s.client().Get(s.url + "/healthz")
	if err != nil {
		s.t.Fatal(err)
	}
	resp.Body.Close()
	return resp.TLS.PeerCertificates[0].SerialNumber.String()
}

// TestClusterOverTLS: nodes prove to each other who they are, clients speak https, and certificates are
// exchanged while the cluster serves.
func TestClusterOverTLS(t *testing.T) {
	t.Parallel()
	authority := newAuthority(t)
	var members []string
	for i := range 3 {
		members = append(members, fmt.Sprintf("n%d=%s", i+1, porttest.Free(t)))
	}
	dir := t.TempDir()
	var nodes []*server
	for i := range 3 {
		id, api, admin := fmt.Sprintf("n%d", i+1), porttest.Free(t), porttest.Free(t)
		s := &server{t: t, url: "https://" + api, admin: "https://" + admin, stopDeadline: 30 * time.Second, http: authority.client(),
			cliArgs: []string{"--ca-cert", filepath.Join(authority.folder, "ca.pem")},
			args: append([]string{"server", "--data", filepath.Join(dir, id), "--node-id", id, "--nodes", strings.Join(members, ","),
				"--data-groups", "2", "--addr", api, "--admin-addr", admin}, authority.issue(id)...)}
		s.spawn()
		t.Cleanup(s.stop)
		nodes = append(nodes, s)
	}
	for _, s := range nodes {
		s.awaitReady()
	}
	put := func(s *server, id string) {
		t.Helper()
		if r := s.repeat("PUT", "/v1/subjects/"+id, map[string]any{"attributes": map[string]any{}}); r.status/100 != 2 {
			t.Fatalf("PUT through %s: %d %s", s.url, r.status, r.body)
		}
	}
	put(nodes[0], "T-1")
	decode[nba.SubjectDocument](t, nodes[1].call("GET", "/v1/subjects/T-1?consistency=linearizable", nil), 200)
	if out := nodes[2].mustCLI("cluster"); !strings.Contains(out, "seen by n3") {
		t.Errorf("arbiter cluster:\n%s", out)
	}
	if _, stderr, code := runCLI(t, "cluster", "--addr", nodes[0].url); code == 0 || !strings.Contains(stderr, "certificate") {
		t.Errorf("a client that does not know the authority: exit %d, %s", code, stderr)
	}
	if resp, err := http.Get("http://" + strings.TrimPrefix(nodes[0].url, "https://") + "/healthz"); err == nil {
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			t.Error("the API answers plain HTTP")
		}
	}

	before := nodes[0].serial()
	authority.issue("n1", "--days", "30")
	for deadline := time.Now().Add(15 * time.Second); nodes[0].serial() == before; time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("n1 does not show its new certificate:\n%s", nodes[0].output)
		}
	}
	put(nodes[0], "T-2")
	put(nodes[1], "T-3")

	// A node with the certificate of another authority is of no use to the others, and they not to it.
	nodes[2].stop()
	flags := newAuthority(t).issue("n3")
	nodes[2].args = append(nodes[2].args[:len(nodes[2].args)-len(flags)], flags...)
	nodes[2].spawn()
	put(nodes[0], "T-4")
	for deadline := time.Now().Add(30 * time.Second); !strings.Contains(nodes[2].output.String(), "securing"); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("a node of another authority says nothing of it:\n%s", nodes[2].output)
		}
	}
	if out := nodes[0].mustCLI("cluster"); !strings.Contains(out, "down") {
		t.Errorf("a node of another authority was let in:\n%s", out)
	}
}
