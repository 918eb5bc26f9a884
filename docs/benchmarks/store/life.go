package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"
)

// life measures what is not throughput: restarts, memory, and what doing nothing costs.
func life(ctx context.Context, s *settings) error {
	c, err := newArbiter(s, s.groups)
	if err != nil {
		return err
	}
	defer func() { c.stop() }()
	if err := c.start(ctx); err != nil {
		return err
	}
	time.Sleep(2 * time.Second)
	empty, _, err := c.nodes[0].memory()
	if err != nil {
		return err
	}
	began := time.Now()
	if err := c.fill(s.subjects); err != nil {
		return err
	}
	fmt.Printf("filled with %d subjects in %.1f s\n", s.subjects, time.Since(began).Seconds())
	if err := memoryUnderLoad(ctx, s, c, empty); err != nil {
		return err
	}
	if err := restarts(ctx, s, c); err != nil {
		return err
	}
	c.stop()
	return idle(ctx, s)
}

// memoryUnderLoad writes at random for a while, since a node at rest holds less.
func memoryUnderLoad(ctx context.Context, s *settings, c *arbiterCluster, empty int64) error {
	c.connect(64)
	r := openLoop(ctx, openRate, 64, 0, s.duration, c.putOne(s.subjects))
	fmt.Printf("memory, after %s\n", r)
	for i, p := range c.nodes {
		own, mapped, err := p.memory()
		if err != nil {
			return err
		}
		disk, err := diskBytes(c.folder(i))
		if err != nil {
			return err
		}
		fmt.Printf("  %s   own %d MB (%d MB when empty, so %d MB for %d subjects)   mapped %d MB   disk %d MB\n", p.name, own>>20, empty>>20,
			(own-empty)>>20, s.subjects, mapped>>20, disk>>20)
	}
	return nil
}

// restarts takes one node down and up again: asked to, killed, and with nothing in the page cache.
func restarts(ctx context.Context, s *settings, c *arbiterCluster) error {
	last := len(c.nodes) - 1
	for _, how := range []struct {
		name string
		down func()
		cold bool
	}{
		{"after SIGTERM, warm", func() { c.nodes[last].stop() }, false},
		{"after kill -9, warm", func() { c.nodes[last].kill() }, false},
		{"after SIGTERM, cold", func() { c.nodes[last].stop() }, true},
		{"after kill -9, cold", func() { c.nodes[last].kill() }, true},
	} {
		for range s.rounds {
			how.down()
			if how.cold {
				if err := dropCache(c.folder(last)); err != nil {
					return err
				}
			}
			began := time.Now()
			if err := c.launch(last); err != nil {
				return err
			}
			if err := c.awaitReady(ctx, last); err != nil {
				return err
			}
			fmt.Printf("restart of one node %-22s ready after %6.0f ms\n", how.name, float64(time.Since(began).Microseconds())/1000)
			time.Sleep(time.Second)
		}
	}
	return nil
}

// idle measures clusters without any work.
func idle(ctx context.Context, s *settings) error {
	for _, groups := range s.idle {
		own := *s
		own.dir = filepath.Join(s.dir, fmt.Sprintf("idle-%d", groups))
		if err := idleWith(ctx, &own, groups); err != nil {
			return err
		}
	}
	return nil
}
