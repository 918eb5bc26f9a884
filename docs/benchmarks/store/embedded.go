package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/arbiterhq/arbiter/cluster/importer"
	"github.com/arbiterhq/arbiter/cluster/node"
	"github.com/arbiterhq/arbiter/cluster/router"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// serveCallers is the process with a node inside: it follows the orders of its standard input.
func serveCallers(args []string) error {
	cfg, err := nodeConfig(args)
	if err != nil {
		return err
	}
	debug.SetGCPercent(120) // as arbiter server
	ctx := context.Background()
	n, err := node.Open(ctx, cfg)
	if err != nil {
		return err
	}
	defer n.Close()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if err = n.Ready(ctx); err == nil {
			break
		}
		if time.Now().After(deadline) {
			return err
		}
	}
	answers := json.NewEncoder(os.Stdout)
	if err := answers.Encode(report{}); err != nil {
		return err
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var o order
		if err := json.Unmarshal(in.Bytes(), &o); err != nil {
			return err
		}
		if err := answers.Encode(follow(ctx, n, o)); err != nil {
			return err
		}
	}
	return nil
}

func nodeConfig(args []string) (node.Config, error) {
	cfg := node.DefaultConfig()
	flags := flag.NewFlagSet("node", flag.ContinueOnError)
	flags.StringVar(&cfg.DataDir, "dir", "", "data folder")
	flags.IntVar(&cfg.DataGroups, "groups", 16, "data groups")
	id := flags.String("id", "", "name of the node")
	addr := flags.String("addr", "", "address for the other nodes")
	nodes := flags.String("nodes", "", "all nodes")
	if err := flags.Parse(args); err != nil {
		return cfg, err
	}
	cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	if *id == "" {
		return cfg, nil
	}
	ln, err := net.Listen("tcp", *addr)
	if err != nil {
		return cfg, err
	}
	cluster := &router.Cluster{NodeID: *id, Nodes: map[string]string{}, Listener: ln}
	for _, member := range strings.Split(*nodes, ",") {
		name, at, _ := strings.Cut(member, "=")
		cluster.Nodes[name] = at
	}
	cfg.Cluster = cluster
	return cfg, nil
}

func follow(ctx context.Context, n *node.Node, o order) (r report) {
	fail := func(err error) report { return report{Error: err.Error()} }
	switch o.Do {
	case "declare":
		for range 40 {
			if _, err := n.DeclareAttributes(ctx, []nba.AttributeDeclaration{{Name: "document", Type: nba.KindString}}); err != nil {
				r = fail(err)
				time.Sleep(250 * time.Millisecond)
				continue
			}
			return report{}
		}
		return r
	case "fill":
		if err := fillNode(ctx, n, o.From, o.To); err != nil {
			return fail(err)
		}
		return report{}
	case "update":
		return measured(ctx, o, update(ctx, n, o.To))
	case "read":
		return measured(ctx, o, readOne(ctx, n, o.Read, o.To))
	}
	return fail(fmt.Errorf("no order %q", o.Do))
}

func measured(ctx context.Context, o order, do call) report {
	var r report
	if o.Rate > 0 {
		t := openTally(ctx, o.Rate, o.Clients, o.Warmup, o.Duration, do)
		r = report{Done: t.updates, Errors: t.errors, First: t.first, Hist: t.hist.Export()}
	} else {
		t := closedTally(ctx, o.Clients, o.Warmup, o.Duration, do)
		r = report{Done: t.updates, Errors: t.errors, First: t.first, Hist: t.hist.Export()}
	}
	return r
}

// update replaces a subject at random.
func update(ctx context.Context, n *node.Node, subjects int) call {
	return func(_ int, random *rand.Rand) (int, error) {
		bounded, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		_, _, err := n.PutSubject(bounded, nba.SubjectDocument{SubjectRef: nba.SubjectRef{ID: key(random.IntN(subjects))},
			Attributes: map[string]any{"document": text(random)}}, nil)
		return 1, err
	}
}

func readOne(ctx context.Context, n *node.Node, consistency string, subjects int) call {
	return func(_ int, random *rand.Rand) (int, error) {
		bounded, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		_, err := n.Subject(bounded, nba.SubjectRef{ID: key(random.IntN(subjects))}, &nba.Read{Consistency: consistency})
		return 1, err
	}
}

// fillNode imports the subjects from one number to below another.
func fillNode(ctx context.Context, n *node.Node, from, to int) error {
	lines, write := io.Pipe()
	go func() {
		random := rand.New(rand.NewPCG(1, uint64(from)))
		buffered := bufio.NewWriterSize(write, 1<<20)
		var line []byte
		for i := from; i < to; i++ {
			line = appendLine(line[:0], i, random)
			if _, err := buffered.Write(line); err != nil {
				return // the import ended early and says why
			}
		}
		write.CloseWithError(buffered.Flush())
	}()
	summary, err := n.ImportSubjects(ctx, lines, importer.Spec{Format: "ndjson"}, func(r importer.Result) error {
		return fmt.Errorf("line %d: %s", r.Line, r.Reason)
	})
	lines.Close()
	if err == nil && summary.Accepted != to-from {
		err = fmt.Errorf("%d of %d subjects were accepted", summary.Accepted, to-from)
	}
	return err
}
