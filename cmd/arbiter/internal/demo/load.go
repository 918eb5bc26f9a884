// Package demo brings the demo operator of package examples into a node and plays its customers.
//
// Both go through the public API, as any operator's data and channels do. Load is repeatable: it may
// run again after it was interrupted anywhere. The catalog is activated last, so a node whose catalog
// is active has everything else.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/arbiterhq/arbiter/cluster/importer"
	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/bulk"
	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/client"
	"github.com/arbiterhq/arbiter/examples"
	"github.com/arbiterhq/arbiter/plugins/compiler"
	"golang.org/x/sync/errgroup"
)

// Options say what to load.
type Options struct {
	// Subscribers is how many are generated, from Seed.
	Subscribers int
	Seed        uint64
}

// Loaded tells what a node holds after Load.
type Loaded struct {
	// Fresh is false when the node held a catalog already and nothing was loaded.
	Fresh bool
	// Subscribers is how many were loaded.
	Subscribers int64
	// Plugin is the model's name and version, Catalog the catalog's name; empty unless Fresh.
	Plugin, Catalog string
}

// Load brings subscribers, model and catalog in, unless the node has a catalog already.
func Load(ctx context.Context, c *client.Client, opts Options) (*Loaded, error) {
	if _, err := c.Catalog(ctx, "active"); err == nil {
		return &Loaded{}, nil
	} else if !isNotFound(err) {
		return nil, err
	}
	mapping := examples.SubscriberMapping()
	parsed, err := importer.ParseMapping(mapping, "subscribers.mapping.yaml")
	if err != nil {
		return nil, err
	}
	if _, err := c.DeclareAttributes(ctx, parsed.Declarations()); err != nil {
		return nil, fmt.Errorf("declaring the demo attributes: %w", err)
	}
	out := &Loaded{Fresh: true}
	both, bothCtx := errgroup.WithContext(ctx)
	both.Go(func() (err error) {
		out.Subscribers, err = importSubscribers(bothCtx, c, mapping, opts)
		return err
	})
	both.Go(func() (err error) {
		out.Plugin, err = pushModel(bothCtx, c)
		return err
	})
	if err := both.Wait(); err != nil {
		return nil, err
	}
	out.Catalog, err = applyCatalog(ctx, c)
	return out, err
}

func isNotFound(err error) bool {
	p, ok := errors.AsType[*client.Problem](err)
	return ok && p.Status == http.StatusNotFound
}

// importSubscribers generates into one end of a pipe and sends from the other.
func importSubscribers(ctx context.Context, c *client.Client, mapping []byte, opts Options) (int64, error) {
	if opts.Subscribers == 0 {
		return 0, nil
	}
	out, in := io.Pipe()
	generated := make(chan error, 1)
	go func() {
		err := examples.WriteSubscribers(in, opts.Seed, opts.Subscribers)
		in.CloseWithError(err)
		generated <- err
	}()
	checkpoint := &bulk.Checkpoint{Line: 1}
	splitter, err := bulk.NewSplitter(out, bulk.CSV, 0, 0)
	if err == nil {
		err = bulk.Run(ctx, bulk.Options{
			Sender: c, Splitter: splitter, Format: bulk.CSV, Mapping: mapping, Checkpoint: checkpoint,
			RetryFor: bulk.DefaultRetryFor,
			Rejected: func(r client.ImportResult) error {
				return fmt.Errorf("generated subscriber in line %d, column %s: %s", r.Line, r.Column, r.Reason)
			},
		})
	}
	out.CloseWithError(io.ErrClosedPipe) // ends the generator when the import stopped early
	if generatedErr := <-generated; err == nil {
		err = generatedErr
	}
	if err != nil {
		return 0, fmt.Errorf("importing the demo subscribers: %w", err)
	}
	return checkpoint.Counts.Accepted, nil
}

// pushModel compiles the churn model and lets it score. Compiling is deterministic, so pushing it
// again is no conflict.
func pushModel(ctx context.Context, c *client.Client) (string, error) {
	features, err := compiler.LoadFeatures(examples.ChurnFeatures(), "features.yaml")
	if err != nil {
		return "", fmt.Errorf("reading the demo model's features: %w", err)
	}
	model, err := compiler.Compile(examples.ChurnModel(), compiler.Options{
		Name: examples.ChurnPlugin, Version: examples.ChurnVersion, Features: features})
	if err != nil {
		return "", fmt.Errorf("compiling the demo model: %w", err)
	}
	version, err := c.PushPlugin(ctx, model.Module, true)
	if err != nil {
		return "", fmt.Errorf("pushing the demo model: %w", err)
	}
	return version.Name + " " + version.Version, nil
}

// applyCatalog stores and activates the demo catalog, in place of one that an interrupted run stored.
func applyCatalog(ctx context.Context, c *client.Client) (string, error) {
	etag := ""
	if head, err := c.Catalog(ctx, ""); err == nil {
		etag = head.ETag
	} else if !isNotFound(err) {
		return "", err
	}
	stored, err := c.PutCatalog(ctx, examples.Catalog(), etag)
	if err != nil {
		return "", fmt.Errorf("storing the demo catalog: %w", err)
	}
	if _, err := c.ActivateCatalog(ctx, stored.Version, "the demo operator"); err != nil {
		return "", fmt.Errorf("activating the demo catalog: %w", err)
	}
	return stored.Name, nil
}
