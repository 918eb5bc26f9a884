package node

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// accept verifies the signature of an artifact with the keys that are trusted now. It is asked before an
// artifact is staged, and on every node before a version becomes active.
func (n *Node) accept(module []byte) (signedBy string, err error) {
	key, err := artifact.VerifySignature(module, n.router.Control().State().Signers.Keys, n.cfg.AllowUnsigned)
	if key == nil {
		return "", err
	}
	return key.ID, err
}

// acceptStored is accept for an artifact that is on this node.
func (n *Node) acceptStored(digest string) error {
	module, err := n.router.Blobs().Get(digest)
	if err != nil {
		return fmt.Errorf("reading module %s: %w", digest, err)
	}
	_, err = n.accept(module)
	return err
}

// VerifyPlugin runs what a push runs, and keeps nothing: the signature, admission with its golden rows, and
// what the manifest names. It describes the version as a push would stage it.
func (n *Node) VerifyPlugin(ctx context.Context, module []byte) (nba.PluginVersion, error) {
	if err := n.serving(); err != nil {
		return nba.PluginVersion{}, err
	}
	return n.examine(ctx, module)
}

// PluginKeys are the keys whose signatures are trusted.
func (n *Node) PluginKeys(ctx context.Context) ([]nba.PluginKey, error) {
	n.catchUp(ctx)
	return slices.Clone(n.router.Control().State().Signers.Keys), nil
}

// TrustPluginKey adds a key whose signatures are trusted. One that is there stays as it is.
func (n *Node) TrustPluginKey(ctx context.Context, name string, public []byte) (nba.PluginKey, error) {
	if err := n.serving(); err != nil {
		return nba.PluginKey{}, err
	}
	key := nba.PluginKey{Name: name, PublicKey: public, ID: artifact.KeyID(public)}
	if err := n.router.Control().TrustKey(ctx, key); err != nil {
		return nba.PluginKey{}, err
	}
	for _, known := range n.router.Control().State().Signers.Keys {
		if known.ID == key.ID {
			return known, nil
		}
	}
	return key, nil
}

// DistrustPluginKey removes a trusted key by its id or name. What is active stays active.
func (n *Node) DistrustPluginKey(ctx context.Context, key string) error {
	if err := n.serving(); err != nil {
		return err
	}
	return n.router.Control().DistrustKey(ctx, key)
}

// RemovePlugin forgets a version of a plugin, or all of them for version "", and has every node delete its
// artifacts. What is active, part of a rollout, or the last version of a plugin that the active catalog
// names, is refused with CodeConflict.
func (n *Node) RemovePlugin(ctx context.Context, name, version string) error {
	if err := n.serving(); err != nil {
		return err
	}
	n.catchUp(ctx)
	if version == "" || n.versionsOf(name) == 1 {
		if err := n.unreferenced(name, "removed"); err != nil {
			return err
		}
	}
	return n.router.Control().RemovePlugin(ctx, name, version)
}

func (n *Node) versionsOf(name string) (count int) {
	for _, v := range n.router.Control().State().Plugins.Versions() {
		if v.Name == name {
			count++
		}
	}
	return count
}

// DeactivatePlugin retires the active version of a plugin that the active catalog does not name.
func (n *Node) DeactivatePlugin(ctx context.Context, name string) error {
	if err := n.serving(); err != nil {
		return err
	}
	n.catchUp(ctx)
	if err := n.unreferenced(name, "deactivated"); err != nil {
		return err
	}
	return n.router.Control().DeactivatePlugin(ctx, name)
}

// unreferenced refuses when the active catalog names a plugin.
func (n *Node) unreferenced(name, what string) error {
	v := n.acquire()
	defer v.release()
	if v.catalog == nil {
		return nil
	}
	named := slices.Contains(v.catalog.Strategies, name)
	for i := range v.catalog.Models {
		named = named || v.catalog.Models[i].Plugin == name
	}
	if !named {
		return nil
	}
	return nba.Errorf(nba.CodeConflict, "plugin %s is not %s: the active catalog names it; activate a catalog without it first", name, what)
}

// withHealth adds to active versions how they do on this node.
func (n *Node) withHealth(versions []nba.PluginVersion) []nba.PluginVersion {
	v := n.acquire()
	defer v.release()
	health := v.models.Health()
	for i := range versions {
		if info, ok := v.models.Info(versions[i].Name); ok && info.Digest == versions[i].Digest {
			versions[i].Health = health[versions[i].Name]
		}
	}
	return versions
}

// collector deletes the artifacts of versions that were removed, on this node.
type collector struct {
	news    chan struct{} // capacity 1: a new control state
	pushing sync.RWMutex  // held for reading from the moment an artifact is kept until it is staged
}

func newCollector() *collector { return &collector{news: make(chan struct{}, 1)} }

// wake tells of a new control state.
func (c *collector) wake() {
	select {
	case c.news <- struct{}{}:
	default: // it looks at the newest state anyway
	}
}

// orphanAge is how old an artifact is that no version has before it is deleted, at a start and every hour: of a
// push that was cut short, or a removal that this node slept through. A younger one may be on its way to be
// staged.
const orphanAge = time.Hour

// sweep deletes the artifacts that no version has and that are older than orphanAge now.
func (n *Node) sweep(now time.Time) {
	if orphans, err := n.router.Blobs().Older(now.Add(-orphanAge)); err == nil {
		n.deleteUnused(orphans)
	}
}

// collect runs until the node is closed.
func (n *Node) collect() {
	defer n.followers.Done()
	n.sweep(time.Now())
	ticker := time.NewTicker(orphanAge)
	defer ticker.Stop()
	known := n.router.Control().State().Plugins.Digests()
	for {
		select {
		case <-n.ctx.Done():
			return
		case now := <-ticker.C:
			n.sweep(now)
			continue
		case <-n.collector.news:
		}
		now := n.router.Control().State().Plugins.Digests()
		var gone []string
		for digest := range known {
			if !now[digest] {
				gone = append(gone, digest)
			}
		}
		n.deleteUnused(gone)
		known = now
	}
}

func (n *Node) deleteUnused(digests []string) {
	if len(digests) == 0 {
		return
	}
	n.collector.pushing.Lock()
	defer n.collector.pushing.Unlock()
	used := n.router.Control().State().Plugins.Digests()
	for _, digest := range digests {
		if used[digest] {
			continue
		}
		n.host.Forget(digest)
		if err := n.router.Blobs().Delete(digest); err != nil {
			n.logger.Warn("the artifact of a removed plugin cannot be deleted", "digest", digest, "error", err)
		}
	}
}

// logPage is what nodes tell each other of the log of a plugin.
type logPage struct {
	Lines   []nba.PluginLogLine `json:"lines"`
	Written uint64              `json:"written"`
}

// Limits of a page of a plugin's log.
const (
	defaultLogLines = 200
	maxLogPage      = 5000
)

// PluginLogs are the newest lines that a plugin wrote on all nodes that answer, oldest first: up to limit
// of those after the cursor. The next cursor continues behind them.
func (n *Node) PluginLogs(ctx context.Context, name string, limit int, cursor string) (lines []nba.PluginLogLine, next string, err error) {
	if err := n.serving(); err != nil {
		return nil, "", err
	}
	n.catchUp(ctx)
	if n.versionsOf(name) == 0 {
		return nil, "", nba.Errorf(nba.CodePluginUnknown, "there is no such plugin; arbiter plugin list shows those that there are")
	}
	seen := map[string]uint64{}
	if cursor != "" {
		text, err := base64.RawURLEncoding.DecodeString(cursor)
		if err != nil || json.Unmarshal(text, &seen) != nil {
			return nil, "", nba.Invalid("/cursor", "the cursor is not one that this call gave")
		}
	}
	here := n.name()
	pages := map[string]logPage{here: n.logPage(name, seen[here])}
	var mu sync.Mutex
	var calls sync.WaitGroup
	for _, node := range n.others() {
		calls.Go(func() {
			page, err := n.logPageAt(ctx, node, name, seen[node])
			if err != nil {
				return // its lines come once it answers again
			}
			mu.Lock()
			defer mu.Unlock()
			pages[node] = page
		})
	}
	calls.Wait()
	for node, page := range pages {
		seen[node] = page.Written
		lines = append(lines, page.Lines...)
	}
	slices.SortStableFunc(lines, func(a, b nba.PluginLogLine) int {
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.Node, b.Node))
	})
	limit = min(cmp.Or(limit, defaultLogLines), maxLogPage)
	lines = lines[max(0, len(lines)-limit):]
	text, err := json.Marshal(seen)
	if err != nil {
		return nil, "", fmt.Errorf("making the cursor of a log: %w", err)
	}
	return lines, base64.RawURLEncoding.EncodeToString(text), nil
}

// name is the name of this node, "" for one that stands alone.
func (n *Node) name() string {
	if n.cfg.Cluster == nil {
		return ""
	}
	return n.cfg.Cluster.NodeID
}

func (n *Node) others() []string {
	if n.router.Alone() {
		return nil
	}
	return n.router.Others()
}

func (n *Node) logPage(name string, seen uint64) logPage {
	lines, written := n.host.Logs(name, seen)
	for i := range lines {
		lines[i].Node = n.name()
	}
	return logPage{Lines: lines, Written: written}
}

func (n *Node) logPageAt(ctx context.Context, node, name string, seen uint64) (page logPage, err error) {
	var p packer
	p.text(name)
	p.uint(seen)
	reply, err := n.router.Call(ctx, node, methodPluginLog, p.b)
	if err != nil {
		return page, err
	}
	return page, json.Unmarshal(reply, &page)
}

// servePluginLog tells another node what a plugin wrote here.
func (n *Node) servePluginLog(_ context.Context, _ string, request []byte) ([]byte, error) {
	u := unpacker{rest: string(request)}
	name, seen := u.text(), u.uint()
	if err := u.err(); err != nil {
		return nil, err
	}
	return json.Marshal(n.logPage(name, seen))
}

// lastGood are the versions that stand in for active ones that keep failing, as far as they are loaded.
func (n *Node) lastGood(state *fsm.ControlState) map[string]string {
	last := state.Plugins.LastGood()
	for name, digest := range last {
		if !n.host.Prepared(digest) {
			delete(last, name)
		}
	}
	return last
}
