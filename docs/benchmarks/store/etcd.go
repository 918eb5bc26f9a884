package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// etcdCluster is etcd as its documentation starts it, with room for the data and with compaction of
// old revisions, without which it would fill its quota.
type etcdCluster struct {
	members   []*process
	endpoints []string
	clients   []*clientv3.Client
	leader    bool
}

// batch is how many updates one import or transaction carries.
const batch = 128

func startEtcd(ctx context.Context, s *settings) (*etcdCluster, error) {
	c := &etcdCluster{leader: s.leader}
	addrs, err := freeAddrs(2 * s.nodes)
	if err != nil {
		return nil, err
	}
	list := ""
	for i := range s.nodes {
		list += fmt.Sprintf(",e%d=http://%s", i+1, addrs[2*i+1])
	}
	for i := range s.nodes {
		name, client, peer := fmt.Sprintf("e%d", i+1), "http://"+addrs[2*i], "http://"+addrs[2*i+1]
		p, err := startProcess(name, filepath.Join(s.dir, name+".log"), s.etcd, "--name", name,
			"--data-dir", filepath.Join(s.dir, name), "--listen-client-urls", client, "--advertise-client-urls", client,
			"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", list[1:],
			"--initial-cluster-state", "new", "--quota-backend-bytes", fmt.Sprint(int64(16)<<30), "--max-txn-ops", fmt.Sprint(batch),
			"--auto-compaction-mode", "revision", "--auto-compaction-retention", "200000", "--log-level", "warn")
		if err != nil {
			return c, err
		}
		c.members, c.endpoints = append(c.members, p), append(c.endpoints, client)
	}
	for i, p := range c.members {
		if err := p.await(ctx, c.endpoints[i]+"/health", 60*time.Second, 50*time.Millisecond); err != nil {
			return c, err
		}
	}
	return c, nil
}

// connect opens as many connections as etcd's own benchmark would: one for eight clients.
func (c *etcdCluster) connect(ctx context.Context, clients int) error {
	c.disconnect()
	endpoints := c.endpoints
	if c.leader {
		leader, err := c.leaderEndpoint(ctx)
		if err != nil {
			return err
		}
		endpoints = []string{leader}
	}
	for range max(1, clients/8) {
		client, err := clientv3.New(clientv3.Config{Endpoints: endpoints, DialTimeout: 5 * time.Second, Context: ctx})
		if err != nil {
			return err
		}
		c.clients = append(c.clients, client)
	}
	return nil
}

func (c *etcdCluster) leaderEndpoint(ctx context.Context) (string, error) {
	client, err := clientv3.New(clientv3.Config{Endpoints: c.endpoints, DialTimeout: 5 * time.Second, Context: ctx})
	if err != nil {
		return "", err
	}
	defer client.Close()
	for _, endpoint := range c.endpoints {
		status, err := client.Status(ctx, endpoint)
		if err != nil {
			return "", err
		}
		if status.Leader == status.Header.MemberId {
			return endpoint, nil
		}
	}
	return "", errors.New("etcd has no leader")
}

func (c *etcdCluster) disconnect() {
	for _, client := range c.clients {
		client.Close()
	}
	c.clients = nil
}

func (c *etcdCluster) stop() {
	if c == nil {
		return
	}
	c.disconnect()
	var all sync.WaitGroup
	for _, p := range c.members {
		all.Go(p.stop)
	}
	all.Wait()
}

func key(i int) string { return fmt.Sprintf("S-%08d", i) }

// putOne writes one key.
func (c *etcdCluster) putOne(ctx context.Context, subjects int) call {
	return func(client int, random *rand.Rand) (int, error) {
		bounded, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		_, err := c.clients[client%len(c.clients)].Put(bounded, key(random.IntN(subjects)), text(random))
		return 1, err
	}
}

// putMany writes a transaction of many keys, all different as etcd demands.
func (c *etcdCluster) putMany(ctx context.Context, subjects int) call {
	return func(client int, random *rand.Rand) (int, error) {
		bounded, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		seen := make(map[int]bool, batch)
		ops := make([]clientv3.Op, 0, batch)
		for len(ops) < batch {
			if i := random.IntN(subjects); !seen[i] {
				seen[i] = true
				ops = append(ops, clientv3.OpPut(key(i), text(random)))
			}
		}
		_, err := c.clients[client%len(c.clients)].Txn(bounded).Then(ops...).Commit()
		return batch, err
	}
}

// fill stores every key once.
func (c *etcdCluster) fill(ctx context.Context, subjects int) error {
	if err := c.connect(ctx, 64); err != nil {
		return err
	}
	return inPieces(subjects, 8, func(worker, from, to int) error {
		random := rand.New(rand.NewPCG(1, uint64(from)))
		var ops []clientv3.Op
		for i := from; i < to; i++ {
			ops = append(ops, clientv3.OpPut(key(i), text(random)))
			if len(ops) == batch || i+1 == to {
				if _, err := c.clients[worker%len(c.clients)].Txn(ctx).Then(ops...).Commit(); err != nil {
					return fmt.Errorf("filling etcd: %w", err)
				}
				ops = ops[:0]
			}
		}
		return nil
	})
}

// inPieces shares the numbers below total among workers, 10,000 at a time.
func inPieces(total, workers int, do func(worker, from, to int) error) error {
	const piece = 10_000
	pieces := make(chan int)
	errs := make(chan error, workers)
	go func() {
		defer close(pieces)
		for from := 0; from < total; from += piece {
			pieces <- from
		}
	}()
	for worker := range workers {
		go func() {
			var failed error
			for from := range pieces {
				if failed == nil {
					failed = do(worker, from, min(from+piece, total))
				}
			}
			errs <- failed
		}()
	}
	var first error
	for range workers {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}

// alphabet makes values that do not compress to nothing and need no escapes in JSON.
const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// text is a value of valueBytes.
func text(random *rand.Rand) string {
	b := make([]byte, valueBytes)
	for i := 0; i < len(b); i += 10 {
		for j, bits := i, random.Uint64(); j < min(i+10, len(b)); j, bits = j+1, bits>>6 {
			b[j] = alphabet[bits&63]
		}
	}
	return string(b)
}
