package node

import (
	"bytes"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/cluster/blob"
)

// TestUnusedArtifactsAreSwept: an artifact that no plugin version has goes once it is old, one that may still be
// staged stays, and so does one that is used.
func TestUnusedArtifactsAreSwept(t *testing.T) {
	n := openNode(t, t.TempDir())
	blobs := n.router.Blobs()
	content := bytes.Repeat([]byte("a push that was cut short "), 100)
	digest := blob.Digest(content)
	if err := blobs.Put(digest, content); err != nil {
		t.Fatal(err)
	}
	loadDemo(t, n, 1)
	used, err := n.Plugins(t.Context())
	if err != nil || len(used) == 0 {
		t.Fatalf("%d plugins: %v", len(used), err)
	}
	n.sweep(time.Now())
	if !blobs.Has(digest) {
		t.Error("an artifact that was put just now is gone")
	}
	n.sweep(time.Now().Add(2 * orphanAge))
	if blobs.Has(digest) {
		t.Error("an artifact that nobody staged for two hours is still there")
	}
	if !blobs.Has(used[0].Digest) {
		t.Error("the artifact of a plugin version is gone")
	}
}
