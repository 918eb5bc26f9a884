package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/porttest"
)

// arbiter is the path of the program under test.
var arbiter string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "arbiter-e2e-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		arbiter = filepath.Join(dir, "arbiter")
		if err := os.Setenv("ARBITER_PLUGINS_UNSIGNED", "allow"); err != nil { // TestSignedPlugins sets it otherwise
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		build := exec.Command("go", "build", "-o", arbiter, "..")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "building the program: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// server is one running process of the program.
type server struct {
	t            *testing.T
	cmd          *exec.Cmd
	program      string // empty: the one under test
	args         []string
	output       *lockedBuffer
	url, admin   string
	exited       chan struct{}
	stopDeadline time.Duration
	http         *http.Client // nil: the default
	cliArgs      []string     // of every command line
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// start runs "arbiter ARGS --addr … --admin-addr …" and waits until it is ready. The process is ended
// with the test.
func start(t *testing.T, args ...string) *server {
	t.Helper()
	api, admin := porttest.Free(t), porttest.Free(t)
	s := &server{t: t, args: append(args, "--addr", api, "--admin-addr", admin),
		url: "http://" + api, admin: "http://" + admin, stopDeadline: 15 * time.Second}
	s.launch()
	t.Cleanup(s.stop)
	return s
}

func (s *server) launch() {
	s.t.Helper()
	s.spawn()
	s.awaitReady()
}

// spawn starts the process without waiting for it.
func (s *server) spawn() {
	s.t.Helper()
	s.output = &lockedBuffer{}
	program := s.program
	if program == "" {
		program = arbiter
	}
	s.cmd = exec.Command(program, s.args...)
	s.cmd.Stdout, s.cmd.Stderr = s.output, s.output
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	exited := make(chan struct{})
	s.exited = exited
	cmd := s.cmd
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
}

func (s *server) client() *http.Client {
	if s.http != nil {
		return s.http
	}
	return http.DefaultClient
}

func (s *server) awaitReady() {
	s.t.Helper()
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		select {
		case <-s.exited:
			s.t.Fatalf("the server ended before it was ready:\n%s", s.output)
		default:
		}
		resp, err := s.client().Get(s.url + "/readyz")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
	}
	s.t.Fatalf("the server is not ready after a minute:\n%s", s.output)
}

// kill9 ends the process without any chance to clean up.
func (s *server) kill9() {
	s.t.Helper()
	if err := s.cmd.Process.Kill(); err != nil {
		s.t.Fatal(err)
	}
	<-s.exited
}

// restart starts the same command again on the same ports.
func (s *server) restart() {
	s.t.Helper()
	s.launch()
}

func (s *server) stop() {
	select {
	case <-s.exited:
		return
	default:
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.exited:
	case <-time.After(s.stopDeadline):
		s.t.Errorf("the server did not stop within %v of SIGTERM:\n%s", s.stopDeadline, s.output)
		_ = s.cmd.Process.Kill()
		<-s.exited
	}
}

// cli runs the command line against s and returns its output and exit code.
func (s *server) cli(args ...string) (stdout, stderr string, code int) {
	s.t.Helper()
	return runCLI(s.t, append(append(args, s.cliArgs...), "--addr", s.url)...)
}

func runCLI(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, arbiter, args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	cmd.Env = append(os.Environ(), "NO_COLOR=1")
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errOut.String(), cmd.ProcessState.ExitCode()
}

// mustCLI is cli for commands that must succeed.
func (s *server) mustCLI(args ...string) string {
	s.t.Helper()
	stdout, stderr, code := s.cli(args...)
	if code != 0 {
		s.t.Fatalf("arbiter %s: exit %d\n%s%s", strings.Join(args, " "), code, stdout, stderr)
	}
	return stdout
}

// reply is one HTTP answer.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// problem is an RFC 9457 body.
type problem struct {
	Type, Title, Detail, Instance, Code string
	Status                              int
	Errors                              []struct {
		Pointer, File, Code, Detail string
		Line, Column                int
	}
}

func (r reply) problem(t *testing.T) problem {
	t.Helper()
	if got := r.header.Get("Content-Type"); got != "application/problem+json" {
		t.Fatalf("status %d: content type %q, want application/problem+json: %s", r.status, got, r.body)
	}
	var p problem
	if err := json.Unmarshal(r.body, &p); err != nil {
		t.Fatal(err)
	}
	return p
}

// call sends one request; body may be nil, a string, or a value that is sent as JSON.
func (s *server) call(method, path string, body any, headers ...string) reply {
	s.t.Helper()
	r, err := s.tryCall(method, path, body, headers...)
	if err != nil {
		s.t.Fatalf("%s %s: %v\n%s", method, path, err, s.output)
	}
	return r
}

func (s *server) tryCall(method, path string, body any, headers ...string) (reply, error) {
	var reader io.Reader
	contentType := "application/json"
	switch b := body.(type) {
	case nil:
	case string:
		reader = strings.NewReader(b)
	case []byte:
		reader, contentType = bytes.NewReader(b), "application/wasm"
	default:
		encoded, err := json.Marshal(b)
		if err != nil {
			return reply{}, err
		}
		reader = bytes.NewReader(encoded)
	}
	req, err := http.NewRequest(method, s.url+path, reader)
	if err != nil {
		return reply{}, err
	}
	if reader != nil {
		req.Header.Set("Content-Type", contentType)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := s.client().Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, b}, err
}

// decode reads a JSON body into a value of type T.
func decode[T any](t *testing.T, r reply, want int) T {
	t.Helper()
	var v T
	if r.status != want {
		t.Fatalf("status %d, want %d: %s", r.status, want, r.body)
	}
	if err := json.Unmarshal(r.body, &v); err != nil {
		t.Fatalf("%v: %s", err, r.body)
	}
	return v
}

// repeat is call for a request that may be repeated: as a client does, it waits where the answer says so,
// for as long as an election may take on a busy machine.
func (s *server) repeat(method, path string, body any, headers ...string) reply {
	s.t.Helper()
	for until := time.Now().Add(20 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		r := s.call(method, path, body, headers...)
		if busy := r.status == http.StatusServiceUnavailable || r.status == http.StatusGatewayTimeout; !busy || time.Now().After(until) {
			return r
		}
	}
}
