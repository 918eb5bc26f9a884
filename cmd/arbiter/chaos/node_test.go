package chaos

import (
	"context"
	"errors"
	"fmt"
	"net"
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

// node is one member of the cluster: a folder, its addresses, and the process if there is one.
type node struct {
	id         string
	api, admin string // host:port
	peer       string // where the other nodes reach it
	members    []string
	clock      string // file with the offset of its clock, if it can be set
	dir        string // data folder
	logFile    string
	program    string
	args, env  []string
	client     *http.Client

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{}
	paused bool
}

// start begins the process, without waiting for it.
func (n *node) start() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.exited != nil {
		select {
		case <-n.exited:
		default:
			return fmt.Errorf("%s runs already", n.id)
		}
	}
	log, err := os.OpenFile(n.logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	fmt.Fprintf(log, "---- start %s\n", time.Now().Format("15:04:05.000"))
	cmd := exec.Command(n.program, n.args...)
	cmd.Env = append(os.Environ(), n.env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	n.cmd, n.exited, n.paused = cmd, exited, false
	return nil
}

// alive tells that the process runs, paused or not.
func (n *node) alive() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.exited == nil {
		return false
	}
	select {
	case <-n.exited:
		return false
	default:
		return true
	}
}

func (n *node) pid() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cmd.Process.Pid
}

func (n *node) signal(sig syscall.Signal) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd == nil {
		return errors.New("not started")
	}
	return n.cmd.Process.Signal(sig)
}

// kill ends the process without any chance to clean up.
func (n *node) kill() {
	if n.signal(syscall.SIGKILL) == nil {
		<-n.exited
	}
}

// terminate asks the process to end and waits; it is killed when that takes longer than patience.
func (n *node) terminate(patience time.Duration) error {
	if !n.alive() {
		return nil
	}
	_ = n.signal(syscall.SIGCONT)
	_ = n.signal(syscall.SIGTERM)
	select {
	case <-n.exited:
		return nil
	case <-time.After(patience):
		n.kill()
		return fmt.Errorf("%s did not end within %v of SIGTERM", n.id, patience)
	}
}

// ready asks /readyz; the error says what it answered.
func (n *node) ready(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.admin+"/readyz", nil)
	if err != nil {
		return err
	}
	resp, err := n.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		body := make([]byte, 400)
		count, _ := resp.Body.Read(body)
		return fmt.Errorf("/readyz of %s answers %d: %s", n.id, resp.StatusCode, body[:count])
	}
	return nil
}

// awaitReady waits until the node says it is ready.
func (n *node) awaitReady(patience time.Duration) error {
	var last error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if !n.alive() {
			return fmt.Errorf("%s ended by itself:\n%s", n.id, n.tail())
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		last = n.ready(ctx)
		cancel()
		if last == nil {
			return nil
		}
	}
	return fmt.Errorf("%s is not ready after %v: %w\n%s", n.id, patience, last, n.tail())
}

// tail is the end of what the process wrote.
func (n *node) tail() string {
	body, err := os.ReadFile(n.logFile)
	if err != nil {
		return err.Error()
	}
	return string(body[max(0, len(body)-6000):])
}

// cluster is the system under test.
type cluster struct {
	t     *testing.T
	dir   string
	nodes []*node
	links []*link // between the nodes, in both directions; none with one node
}

// setup changes a node before it starts for the first time.
type setup func(t *testing.T, c *cluster, i int)

// newCluster starts count nodes and waits until all are ready. Everything ends with the test.
func newCluster(t *testing.T, count int, setups ...setup) *cluster {
	t.Helper()
	c := &cluster{t: t, dir: t.TempDir()}
	if *flagKeep != "" {
		c.dir = filepath.Join(*flagKeep, t.Name())
		if err := errors.Join(os.RemoveAll(c.dir), os.MkdirAll(c.dir, 0o700)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range count {
		id := fmt.Sprintf("n%d", i+1)
		c.nodes = append(c.nodes, &node{id: id, program: os.Getenv(envBinary), api: porttest.Free(t), admin: porttest.Free(t),
			dir: filepath.Join(c.dir, id), logFile: filepath.Join(c.dir, id+".log"),
			client: &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64,
				DialContext: (&net.Dialer{Timeout: time.Second}).DialContext}}})
	}
	c.wire()
	for i := range c.nodes {
		for _, s := range setups {
			s(t, c, i)
		}
	}
	t.Cleanup(c.end)
	for _, n := range c.nodes {
		if err := n.start(); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range c.nodes {
		if err := n.awaitReady(60 * time.Second); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// wire gives each node its command line. Between nodes lie links, so that each node knows the others
// by addresses of its own.
func (c *cluster) wire() {
	peers := make([]string, len(c.nodes))
	for i := range c.nodes {
		peers[i] = porttest.Free(c.t)
	}
	for i, n := range c.nodes {
		if err := os.MkdirAll(n.dir, 0o700); err != nil {
			c.t.Fatal(err)
		}
		n.args = []string{"server", "--data", n.dir, "--addr", n.api, "--admin-addr", n.admin, "--log-level", "info", "--plugins-unsigned", "allow"}
		if len(c.nodes) == 1 {
			continue
		}
		n.peer = peers[i]
		for j, other := range c.nodes {
			addr := peers[j]
			if i != j {
				l := newLink(c.t, n.id, other.id, peers[j])
				c.links = append(c.links, l)
				addr = l.addr()
			}
			n.members = append(n.members, other.id+"="+addr)
		}
		// Each node is told other addresses, so the name of the cluster cannot come from them.
		n.args = append(n.args, "--cluster-node-id", n.id, "--cluster-addr", n.peer, "--cluster-nodes", strings.Join(n.members, ","),
			"--cluster-id", "chaos")
	}
}

// end stops every process and reports one that does not stop when asked.
func (c *cluster) end() {
	c.heal()
	var ends sync.WaitGroup
	for _, n := range c.nodes {
		ends.Go(func() {
			if err := n.terminate(20 * time.Second); err != nil {
				c.t.Errorf("%v\n%s", err, n.tail())
			}
			n.client.CloseIdleConnections()
		})
	}
	ends.Wait()
	for _, l := range c.links {
		l.close()
	}
	if c.t.Failed() {
		for _, n := range c.nodes {
			c.t.Logf("%s: %s", n.id, n.tail())
		}
	}
}

// heal lets paused nodes go on and opens all links. It starts nothing.
func (c *cluster) heal() {
	for _, l := range c.links {
		l.open()
	}
	for _, n := range c.nodes {
		if n.alive() {
			_ = n.signal(syscall.SIGCONT)
		}
	}
}

// restore heals, starts what is down, and waits until every node is ready.
func (c *cluster) restore(patience time.Duration) error {
	c.heal()
	for _, n := range c.nodes {
		if !n.alive() {
			if err := n.start(); err != nil {
				return err
			}
		}
	}
	for _, n := range c.nodes {
		if err := n.awaitReady(patience); err != nil {
			return err
		}
	}
	return nil
}

// between are the links that connect a and b, in both directions.
func (c *cluster) between(a, b *node) (found []*link) {
	for _, l := range c.links {
		if l.from == a.id && l.to == b.id || l.from == b.id && l.to == a.id {
			found = append(found, l)
		}
	}
	return found
}
