package main

import (
	"context"
	"fmt"
	"os"
	"time"
)

// idleWith starts a cluster of so many groups and measures the processor time it takes for nothing.
func idleWith(ctx context.Context, s *settings, groups int) error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	c, err := newArbiter(s, groups)
	if err != nil {
		return err
	}
	defer c.stop()
	if err := c.start(ctx); err != nil {
		return err
	}
	time.Sleep(10 * time.Second)
	before, err := c.cpu()
	if err != nil {
		return err
	}
	const lasting = 20 * time.Second
	time.Sleep(lasting)
	after, err := c.cpu()
	if err != nil {
		return err
	}
	var own int64
	for _, p := range c.nodes {
		o, _, err := p.memory()
		if err != nil {
			return err
		}
		own += o
	}
	fmt.Printf("%3d idle groups: %.3f cores in all, %d MB in all\n", groups, (after-before).Seconds()/lasting.Seconds(), own>>20)
	return nil
}

// cpu is the processor time of all nodes.
func (c *arbiterCluster) cpu() (total time.Duration, err error) {
	for _, p := range c.nodes {
		used, err := p.cpu()
		if err != nil {
			return 0, err
		}
		total += used
	}
	return total, nil
}
