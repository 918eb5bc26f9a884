package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/client"
	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/demo"
	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/load"
	"github.com/arbiterhq/arbiter/runtime/telemetry"
)

// How arbiter dev runs several nodes.
const (
	// devPortStep is between the ports of one node and the next: the API, the admin listener and the
	// port for other nodes follow each other.
	devPortStep = 10
	// devReadyTimeout bounds how long the nodes may take to find each other.
	devReadyTimeout = time.Minute
	// devRestartAfter is how long a node that ended stays away, so that one can watch what happens.
	devRestartAfter = 3 * time.Second
	// devStopTimeout is how long a node may take to end before it is killed.
	devStopTimeout = 20 * time.Second
)

// devNode is one node of arbiter dev: a process of its own.
type devNode struct {
	id, api, admin, cluster string
	dir, logPath            string
	log                     io.Writer
	args                    []string
	ready                   atomic.Bool                // it was once
	process                 atomic.Pointer[os.Process] // that runs now, or ran last
}

// devCluster runs several nodes as child processes until ctx ends, with the demo in them.
func (a *app) devCluster(ctx context.Context, f *devFlags, folder string, temporary bool, began time.Time) (err error) {
	nodes, err := planDevNodes(f, listenAddr(a.addr), folder)
	if err != nil {
		return err
	}
	links, err := newDevLinks(nodes)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, links.close()) }()
	for _, n := range nodes {
		n.args = append(n.args, "--cluster-id", "dev", "--nodes", links.members(n))
	}
	control, err := newDevControl(nodes, links)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, control.close()) }()
	run, stop := context.WithCancel(ctx)
	var children sync.WaitGroup
	failed := make(chan error, len(nodes))
	defer func() {
		stop()
		children.Wait()
	}()
	for _, n := range nodes {
		file, err := os.OpenFile(n.logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return fmt.Errorf("opening the log of node %s: %w", n.id, err)
		}
		defer file.Close() //nolint:errcheck // a log
		n.log = file
		children.Go(func() { failed <- a.runDevNode(run, n) })
	}
	if err := awaitDevNodes(run, nodes, failed); err != nil {
		return err
	}
	loaded, err := a.loadDevCluster(run, f, nodes[0])
	if err != nil {
		return err
	}
	a.clusterBanner(f, nodes, folder, temporary, loaded, time.Since(began))
	var traffic sync.WaitGroup
	defer traffic.Wait()
	defer stop()
	if !f.noDemo {
		for i, n := range nodes {
			traffic.Go(func() { a.devTraffic(run, f, n, uint64(i), float64(len(nodes))) })
		}
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}

// planDevNodes gives every node its ports and its folder.
func planDevNodes(f *devFlags, apiAddr, folder string) ([]*devNode, error) {
	var nodes []*devNode
	for i := range f.nodes {
		n := &devNode{id: "n" + strconv.Itoa(i+1)}
		n.dir, n.logPath = filepath.Join(folder, n.id), filepath.Join(folder, n.id+".log")
		for offset, addr := range []*string{&n.api, &n.admin, &n.cluster} {
			var err error
			if *addr, err = devAddr(apiAddr, i*devPortStep+offset); err != nil {
				return nil, err
			}
		}
		nodes = append(nodes, n)
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("making the data folder: %w", err)
	}
	sink, err := f.sinkArgs(folder)
	if err != nil {
		return nil, err
	}
	for _, n := range nodes {
		n.args = []string{"server", "--data", n.dir, "--addr", n.api, "--admin-addr", n.admin,
			"--node-id", n.id, "--log-level", f.logLevel, "--plugins-unsigned", "allow"}
		n.args = append(n.args, sink...)
		if f.groups > 0 {
			n.args = append(n.args, "--data-groups", strconv.Itoa(f.groups))
		}
	}
	return nodes, nil
}

// devAddr is the address offset ports after the first, which must be free; with port 0, any free one.
func devAddr(first string, offset int) (string, error) {
	host, text, err := net.SplitHostPort(first)
	if err != nil {
		return "", &usageError{message: "--addr: use HOST:PORT, like " + defaultAddr}
	}
	port, err := strconv.Atoi(text)
	if err != nil || port > 0 && port+offset > 65535 {
		return "", &usageError{message: "--addr: the nodes take ports from this one on, and there are none left"}
	}
	if port > 0 {
		port += offset
	}
	ln, err := listenLoopback(net.JoinHostPort(host, strconv.Itoa(port)), "--addr")
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}

// runDevNode runs a node until ctx ends. One that ends by itself is started again after a while, so
// that a node can be killed to see the others go on; one that cannot start is an error.
func (a *app) runDevNode(ctx context.Context, n *devNode) error {
	runtime.LockOSThread() // the kernel ends the child with the thread that started it
	defer runtime.UnlockOSThread()
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	for {
		cmd := exec.CommandContext(ctx, program, n.args...)
		cmd.Stdout, cmd.Stderr = n.log, n.log
		cmd.SysProcAttr = childAttributes()
		cmd.Cancel = func() error {
			// One that is paused must go on to end.
			return errors.Join(cmd.Process.Signal(syscall.SIGTERM), cmd.Process.Signal(syscall.SIGCONT))
		}
		cmd.WaitDelay = devStopTimeout
		err := cmd.Start()
		if err == nil {
			n.process.Store(cmd.Process)
			err = cmd.Wait()
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case !n.ready.Load():
			return withHint(fmt.Errorf("node %s ended before it was ready (%v)", n.id, err), "its log is %s", n.logPath)
		}
		fmt.Fprintf(a.err, "Node %s ended (%v). It is started again in %s.\n", n.id, err, devRestartAfter)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(devRestartAfter):
		}
	}
}

// awaitDevNodes waits until every node is ready.
func awaitDevNodes(ctx context.Context, nodes []*devNode, failed <-chan error) error {
	deadline := time.After(devReadyTimeout)
	web := &http.Client{Timeout: 2 * time.Second}
	for _, n := range nodes {
		for !devNodeReady(ctx, web, n) {
			select {
			case err := <-failed:
				return err
			case <-ctx.Done():
				return ctx.Err()
			case <-deadline:
				return withHint(fmt.Errorf("node %s is not ready after %s", n.id, devReadyTimeout), "its log is %s", n.logPath)
			case <-time.After(20 * time.Millisecond):
			}
		}
		n.ready.Store(true)
	}
	return nil
}

func devNodeReady(ctx context.Context, web *http.Client, n *devNode) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.admin+"/readyz", nil)
	if err != nil {
		return false
	}
	resp, err := web.Do(req)
	if err != nil {
		return false
	}
	return errors.Join(resp.Body.Close()) == nil && resp.StatusCode == http.StatusOK
}

func (a *app) loadDevCluster(ctx context.Context, f *devFlags, n *devNode) (*demo.Loaded, error) {
	c, err := client.New(n.api, "arbiter-dev/"+telemetry.Build().Version)
	if err != nil {
		return nil, fmt.Errorf("connecting to node %s: %w", n.id, err)
	}
	defer c.Close()
	return demo.Load(ctx, c, demo.Options{Subscribers: f.subscribers, Seed: f.seed})
}

// devTraffic plays the share of the customers that come to one node.
func (a *app) devTraffic(ctx context.Context, f *devFlags, n *devNode, number uint64, nodes float64) {
	c, err := client.New(n.api, "arbiter-dev/"+telemetry.Build().Version)
	if err != nil {
		fmt.Fprintf(a.err, "connecting to node %s: %v\n", n.id, err)
		return
	}
	defer c.Close()
	demo.Traffic(ctx, c, demo.TrafficOptions{PerSecond: trafficRate / nodes, Subscribers: f.subscribers, Seed: f.seed + number,
		Log: telemetry.Discard()})
}

func (a *app) clusterBanner(f *devFlags, nodes []*devNode, folder string, temporary bool, loaded *demo.Loaded, took time.Duration) {
	p := a.paint(a.outTTY)
	what := "the data of an earlier run"
	if loaded.Fresh {
		what = fmt.Sprintf("%s subscribers, catalog %s, model %s", thousands(loaded.Subscribers), loaded.Catalog, loaded.Plugin)
	}
	kept := ""
	if temporary {
		kept = p.dim("  (removed at the end; --data DIR keeps it)")
	}
	fmt.Fprintf(a.out, "%s: %d nodes in %.1f s with %s\n\n", p.green("Arbiter is ready"), len(nodes), took.Seconds(), what)
	for _, n := range nodes {
		fmt.Fprintf(a.out, "  %s  http://%s  %s\n", p.dim(pad(n.id, 7)), n.api, p.dim("metrics http://"+n.admin+"/metrics, log "+n.logPath))
	}
	fmt.Fprintf(a.out, "  %s  %s%s\n", p.dim(pad("Data", 7)), folder, kept)
	if f.subscribers > 0 {
		fmt.Fprintf(a.out, "\nIn another terminal, on any node:\n\n  %s\n", p.bold(fmt.Sprintf("%s decide %s --channel web --explain --addr %s",
			a.programName(), load.SubjectID(int64(min(exampleSubject, f.subscribers))), nodes[len(nodes)-1].api)))
	}
	at := ""
	if nodes[0].api != defaultAddr {
		at = " --addr " + nodes[0].api
	}
	fmt.Fprintf(a.out, "\nBreak a node to see the others go on: %s (or pause, resume, partition, heal)\nOne that was killed comes back after %s. Ctrl-C ends them all.\n",
		p.bold(a.programName()+" dev kill "+nodes[0].id+at), devRestartAfter)
}
