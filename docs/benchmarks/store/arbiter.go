package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
)

// arbiterCluster is Arbiter with its defaults.
type arbiterCluster struct {
	settings  *settings
	nodes     []*process
	api       []string
	admin     []string
	peers     []string
	hosts     []*fasthttp.HostClient
	extraArgs []string
}

// newArbiter plans a cluster over folders of s.dir without starting it.
func newArbiter(s *settings, groups int) (*arbiterCluster, error) {
	addrs, err := freeAddrs(3 * s.arbiterNodes)
	if err != nil {
		return nil, err
	}
	c := &arbiterCluster{settings: s, nodes: make([]*process, s.arbiterNodes), extraArgs: []string{"--data-groups", fmt.Sprint(groups)}}
	for i := range s.arbiterNodes {
		c.api, c.admin, c.peers = append(c.api, addrs[3*i]), append(c.admin, addrs[3*i+1]), append(c.peers, addrs[3*i+2])
	}
	return c, nil
}

func nodeName(i int) string { return fmt.Sprintf("n%d", i+1) }

func (c *arbiterCluster) folder(i int) string { return filepath.Join(c.settings.dir, nodeName(i)) }

// members is the list of all nodes as the command line takes it.
func (c *arbiterCluster) members() string {
	list := ""
	for i, peer := range c.peers {
		list += fmt.Sprintf(",%s=%s", nodeName(i), peer)
	}
	return list[1:]
}

// launch starts node i without waiting for it.
func (c *arbiterCluster) launch(i int) error {
	args := append([]string{"server", "--data", c.folder(i), "--addr", c.api[i], "--admin-addr", c.admin[i], "--log-level", "warn"}, c.extraArgs...)
	if len(c.peers) > 1 {
		args = append(args, "--node-id", nodeName(i), "--cluster-addr", c.peers[i], "--nodes", c.members())
	}
	var err error
	c.nodes[i], err = startProcess(nodeName(i), filepath.Join(c.settings.dir, nodeName(i)+".log"), c.settings.arbiter, args...)
	return err
}

func (c *arbiterCluster) awaitReady(ctx context.Context, i int) error {
	return c.nodes[i].await(ctx, "http://"+c.admin[i]+"/readyz", 120*time.Second, 5*time.Millisecond)
}

func (c *arbiterCluster) start(ctx context.Context) error {
	for i := range c.nodes {
		if err := c.launch(i); err != nil {
			return err
		}
	}
	for i := range c.nodes {
		if err := c.awaitReady(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

func (c *arbiterCluster) stop() {
	if c == nil {
		return
	}
	c.disconnect()
	var all sync.WaitGroup
	for _, p := range c.nodes {
		all.Go(p.stop)
	}
	all.Wait()
}

// connect gives each node its share of the clients, one connection each.
func (c *arbiterCluster) connect(clients int) {
	c.disconnect()
	for _, addr := range c.api {
		c.hosts = append(c.hosts, &fasthttp.HostClient{Addr: addr, MaxConns: clients, Name: "store", MaxIdleConnDuration: time.Minute,
			ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second, MaxIdemponentCallAttempts: 1})
	}
}

func (c *arbiterCluster) disconnect() {
	for _, h := range c.hosts {
		h.CloseIdleConnections()
	}
	c.hosts = nil
}

// exchange sends one request to node at and returns the body of a 2xx answer, which the caller must
// not keep.
func (c *arbiterCluster) exchange(at int, method, path, contentType string, body []byte, use func([]byte) error) error {
	req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(resp)
	host := c.hosts[at%len(c.hosts)]
	req.SetRequestURI("http://" + host.Addr + path)
	req.Header.SetMethod(method)
	req.Header.SetContentType(contentType)
	req.SetBodyRaw(body)
	if err := host.DoTimeout(req, resp, 30*time.Second); err != nil {
		return err
	}
	if resp.StatusCode()/100 != 2 {
		return fmt.Errorf("status %d: %s", resp.StatusCode(), resp.Body())
	}
	if use == nil {
		return nil
	}
	return use(resp.Body())
}

// declare adds the attribute that carries the value.
func (c *arbiterCluster) declare() error {
	c.connect(1)
	var err error
	for range 40 { // the control group may still elect its leader
		if err = c.exchange(0, fasthttp.MethodPut, "/v1/attributes", "application/json",
			[]byte(`{"attributes":[{"name":"document","type":"string"}]}`), nil); err == nil {
			break
		}
		time.Sleep(250 * time.Millisecond)
	}
	return err
}

// putOne replaces one subject.
func (c *arbiterCluster) putOne(subjects int) call {
	return func(client int, random *rand.Rand) (int, error) {
		body := make([]byte, 0, valueBytes+64)
		body = append(body, `{"attributes":{"document":"`...)
		body = append(body, text(random)...)
		body = append(body, `"}}`...)
		return 1, c.exchange(client, fasthttp.MethodPut, "/v1/subjects/"+key(random.IntN(subjects)), "application/json", body, nil)
	}
}

func appendLine(body []byte, i int, random *rand.Rand) []byte {
	body = append(body, `{"id":"`...)
	body = append(body, key(i)...)
	body = append(body, `","attributes":{"document":"`...)
	body = append(body, text(random)...)
	return append(body, "\"}}\n"...)
}

// putMany replaces many subjects in one request.
func (c *arbiterCluster) putMany(subjects int) call {
	return func(client int, random *rand.Rand) (int, error) {
		body := make([]byte, 0, batch*(valueBytes+64))
		for range batch {
			body = appendLine(body, random.IntN(subjects), random)
		}
		return batch, c.importLines(client, body, batch)
	}
}

// importLines sends lines and demands that all were taken. Subjects that occur twice count as one.
func (c *arbiterCluster) importLines(at int, body []byte, lines int) error {
	return c.exchange(at, fasthttp.MethodPost, "/v1/subjects/import", "application/x-ndjson", body, func(answer []byte) error {
		if !bytes.Contains(answer, fmt.Appendf(nil, `"rejected":0`)) || !bytes.Contains(answer, fmt.Appendf(nil, `"read":%d`, lines)) {
			return fmt.Errorf("the import answered %s", answer)
		}
		return nil
	})
}

// fill stores every subject once.
func (c *arbiterCluster) fill(subjects int) error {
	if err := c.declare(); err != nil {
		return err
	}
	const workers, lines = 6, 1000
	c.connect(workers)
	return inPieces(subjects, workers, func(worker, from, to int) error {
		random := rand.New(rand.NewPCG(1, uint64(from)))
		for at := from; at < to; at += lines {
			var body []byte
			end := min(at+lines, to)
			for i := at; i < end; i++ {
				body = appendLine(body, i, random)
			}
			if err := c.importWithPatience(worker, body, end-at); err != nil {
				return fmt.Errorf("filling Arbiter: %w", err)
			}
		}
		return nil
	})
}

// importWithPatience tries again while the node is overloaded: filling is not measured.
func (c *arbiterCluster) importWithPatience(at int, body []byte, lines int) (err error) {
	for range 20 {
		if err = c.importLines(at, body, lines); err == nil {
			return nil
		}
		time.Sleep(200 * time.Millisecond)
	}
	return err
}

// filled tells that an earlier run with -keep left its data.
func (c *arbiterCluster) filled() bool {
	_, err := os.Stat(c.folder(0))
	return !errors.Is(err, os.ErrNotExist)
}
