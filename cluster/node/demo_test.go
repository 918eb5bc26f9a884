package node

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"testing"

	"github.com/arbiterhq/arbiter/cluster/importer"
	"github.com/arbiterhq/arbiter/examples"
	"github.com/arbiterhq/arbiter/plugins/compiler"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// openNode opens a node over dir with a quiet log; the test closes it.
func openNode(tb testing.TB, dir string) *Node {
	tb.Helper()
	cfg := DefaultConfig()
	cfg.DataDir = dir
	cfg.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	n, err := Open(tb.Context(), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := n.Close(); err != nil {
			tb.Error(err)
		}
	})
	return n
}

// loadDemo gives n the demo operator: subscribers, churn model, catalog.
func loadDemo(tb testing.TB, n *Node, subscribers int) {
	tb.Helper()
	ctx := context.Background()
	mapping, err := importer.ParseMapping(examples.SubscriberMapping(), "subscribers.yaml")
	if err != nil {
		tb.Fatal(err)
	}
	var body bytes.Buffer
	if err := examples.WriteSubscribers(&body, 42, subscribers); err != nil {
		tb.Fatal(err)
	}
	summary, err := n.ImportSubjects(ctx, &body, importer.Spec{Mapping: mapping}, func(r importer.Result) error {
		tb.Errorf("line %d, column %s: %s", r.Line, r.Column, r.Reason)
		return nil
	})
	if err != nil || summary.Accepted != subscribers {
		tb.Fatalf("importing the subscribers: %+v, %v", summary, err)
	}
	if _, err := n.PushPlugin(ctx, churnModule(tb, "1.0.0"), true); err != nil {
		tb.Fatal(err)
	}
	stored, err := n.PutCatalog(ctx, examples.Catalog(), "*")
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := n.ActivateCatalog(ctx, stored.Version, ""); err != nil {
		tb.Fatal(err)
	}
}

func churnModule(tb testing.TB, version string) []byte {
	tb.Helper()
	features, err := compiler.LoadFeatures(examples.ChurnFeatures(), "features.yaml")
	if err != nil {
		tb.Fatal(err)
	}
	out, err := compiler.Compile(examples.ChurnModel(), compiler.Options{Name: "churn", Version: version, Features: features})
	if err != nil {
		tb.Fatal(err)
	}
	return out.Module
}

func request(subject, channel string) *nba.DecisionRequest {
	return &nba.DecisionRequest{Subject: nba.SubjectRef{ID: subject}, Channel: channel}
}
