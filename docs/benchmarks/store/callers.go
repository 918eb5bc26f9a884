package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// order is what the conductor asks of the processes that embed a node, one JSON object a line.
type order struct {
	Do       string        `json:"do"` // declare, fill, update, read
	From     int           `json:"from,omitempty"`
	To       int           `json:"to,omitempty"`
	Clients  int           `json:"clients,omitempty"`
	Read     string        `json:"read,omitempty"` // consistency
	Warmup   time.Duration `json:"warmup,omitempty"`
	Duration time.Duration `json:"duration,omitempty"`
	Rate     float64       `json:"rate,omitempty"` // of an open loop
}

// report is the answer to an order.
type report struct {
	Error  string                 `json:"error,omitempty"`
	Done   int64                  `json:"done"`
	Errors int64                  `json:"errors"`
	First  string                 `json:"first,omitempty"`
	Hist   *hdrhistogram.Snapshot `json:"hist,omitempty"`
}

// embedded is one process with a node inside.
type embedded struct {
	name string
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Scanner
	log  *os.File
	mu   sync.Mutex
}

// callers measures the node's own interface, with callers in the processes of the cluster.
func callers(ctx context.Context, s *settings) error {
	c, err := newArbiter(s, s.groups)
	if err != nil {
		return err
	}
	var nodes []*embedded
	defer func() {
		for _, n := range nodes {
			n.in.Close()
		}
		for _, n := range nodes {
			n.wait()
		}
	}()
	for i := range c.nodes {
		n, err := embed(s, c, i)
		if err != nil {
			return err
		}
		nodes = append(nodes, n)
	}
	for _, n := range nodes { // the greeting of a node that is ready
		if _, err := n.receive(); err != nil {
			return err
		}
	}
	if err := fillCallers(nodes, s); err != nil {
		return err
	}
	var measured []result
	for range s.rounds {
		for _, clients := range []int{1, 64, 1024} {
			r, err := together(ctx, nodes, order{Do: "update", To: s.subjects, Clients: clients, Warmup: s.warmup, Duration: s.duration})
			if err != nil {
				return err
			}
			fmt.Printf("updates, %4d callers            %s\n", clients, r)
			if clients == 1024 {
				measured = append(measured, r)
			}
		}
		r, err := together(ctx, nodes, order{Do: "update", To: s.subjects, Clients: 256, Warmup: s.warmup, Duration: s.duration, Rate: openRate})
		if err != nil {
			return err
		}
		fmt.Printf("updates at %d /s              %s\n", openRate, r)
		for _, read := range []string{"stale", "leader", "linearizable"} {
			r, err := together(ctx, nodes, order{Do: "read", Read: read, To: s.subjects, Clients: 64, Warmup: s.warmup / 2, Duration: s.duration / 2})
			if err != nil {
				return err
			}
			fmt.Printf("reads, %-12s 64 callers   %s\n", read, r)
		}
	}
	fmt.Printf("medians: updates, 1024 callers  %8.0f /s   p50 %s   p99 %s\n", medianOf(measured, rateOf),
		millis(time.Duration(medianOf(measured, p50Of))), millis(time.Duration(medianOf(measured, p99Of))))
	return nil
}

func fillCallers(nodes []*embedded, s *settings) error {
	if _, err := nodes[0].ask(order{Do: "declare"}); err != nil {
		return err
	}
	began := time.Now()
	errs := make(chan error, len(nodes))
	share := (s.subjects + len(nodes) - 1) / len(nodes)
	for i, n := range nodes {
		go func() {
			_, err := n.ask(order{Do: "fill", From: i * share, To: min((i+1)*share, s.subjects)})
			errs <- err
		}()
	}
	for range nodes {
		if err := <-errs; err != nil {
			return err
		}
	}
	fmt.Printf("filled with %d subjects in %.1f s\n", s.subjects, time.Since(began).Seconds())
	return nil
}

// together gives every node its share of an order and adds up the reports.
func together(ctx context.Context, nodes []*embedded, o order) (result, error) {
	type answer struct {
		r   report
		err error
	}
	answers := make(chan answer, len(nodes))
	lasted, total := o.Duration, o.Clients
	for i, n := range nodes {
		share := o
		share.Clients = total / len(nodes)
		if i < total%len(nodes) {
			share.Clients++
		}
		share.Rate = o.Rate / float64(len(nodes))
		go func() {
			if share.Clients == 0 {
				answers <- answer{}
				return
			}
			r, err := n.ask(share)
			answers <- answer{r, err}
		}()
	}
	t := &tally{hist: newHistogram()}
	var failed error
	for range nodes {
		a := <-answers
		if a.err != nil {
			failed = a.err
			continue
		}
		hist := newHistogram()
		if a.r.Hist != nil {
			hist = hdrhistogram.Import(a.r.Hist)
		}
		t.add(hist, a.r.Done, a.r.Done, a.r.Errors, a.r.First)
	}
	if failed == nil {
		failed = ctx.Err()
	}
	return t.result(lasted), failed
}

// embed starts one process.
func embed(s *settings, c *arbiterCluster, i int) (*embedded, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	n := &embedded{name: nodeName(i)}
	args := []string{"node", "-dir", c.folder(i), "-groups", fmt.Sprint(s.groups)}
	if len(c.peers) > 1 {
		args = append(args, "-id", nodeName(i), "-addr", c.peers[i], "-nodes", c.members())
	}
	n.cmd = exec.Command(self, args...)
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if n.log, err = os.Create(filepath.Join(s.dir, n.name+".log")); err != nil {
		return nil, err
	}
	n.cmd.Stderr = n.log
	if n.in, err = n.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := n.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	n.out = bufio.NewScanner(out)
	n.out.Buffer(nil, 64<<20)
	return n, n.cmd.Start()
}

func (n *embedded) wait() {
	_ = n.cmd.Wait()
	n.log.Close()
}

// ask sends an order and waits for the report.
func (n *embedded) ask(o order) (report, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	line, err := json.Marshal(o)
	if err != nil {
		return report{}, err
	}
	if _, err := n.in.Write(append(line, '\n')); err != nil {
		return report{}, err
	}
	return n.receive()
}

func (n *embedded) receive() (r report, err error) {
	if !n.out.Scan() {
		body, _ := os.ReadFile(n.log.Name())
		return r, fmt.Errorf("%s ended by itself: %v\n%s", n.name, n.out.Err(), body[max(0, len(body)-3000):])
	}
	if err := json.Unmarshal(n.out.Bytes(), &r); err != nil {
		return r, fmt.Errorf("%s answers %q", n.name, n.out.Text())
	}
	if r.Error != "" {
		return r, fmt.Errorf("%s: %s", n.name, r.Error)
	}
	return r, nil
}
