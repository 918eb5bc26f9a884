package e2e

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// TestFoldersOfEarlierReleases opens data folders that earlier releases wrote (testdata/folders, made by
// make.sh): what is in them is read, decided on, changed, and there after another start.
func TestFoldersOfEarlierReleases(t *testing.T) {
	t.Parallel()
	folders, err := filepath.Glob("testdata/folders/*.tar.gz")
	if err != nil || len(folders) < 4 {
		t.Fatalf("%d folders: %v", len(folders), err)
	}
	for _, archive := range folders {
		t.Run(strings.TrimSuffix(filepath.Base(archive), ".tar.gz"), func(t *testing.T) {
			dir := unpackFolder(t, archive)
			raw, err := os.ReadFile(filepath.Join(dir, "decision.json"))
			if err != nil {
				t.Fatal(err)
			}
			var made nba.Decision
			if err := json.Unmarshal(raw, &made); err != nil {
				t.Fatal(err)
			}
			s := start(t, "server", "--data", dir, "--log-level", "warn")
			for range 2 {
				expectFolder(t, s, &made)
				s.stop()
				s.restart()
			}
			expectFolder(t, s, &made)
		})
	}
}

// expectFolder looks for what make.sh put into a folder, and goes on with it.
func expectFolder(t *testing.T, s *server, made *nba.Decision) {
	t.Helper()
	const subject = "S-000005" // whom the decision was for
	for _, id := range []string{"S-000001", subject, "S-000040"} {
		doc := decode[nba.SubjectDocument](t, s.call("GET", "/v1/subjects/"+id, nil), 200)
		if len(doc.Attributes) == 0 || len(doc.Consents) == 0 {
			t.Errorf("%s has %d attributes and %d consents", id, len(doc.Attributes), len(doc.Consents))
		}
	}
	record := decode[nba.DecisionRecord](t, s.call("GET", "/v1/decisions/"+made.DecisionID, nil), 200)
	if actions := actionsOf(record.Propositions); actions != actionsOf(made.Propositions) || record.CatalogVersion != made.CatalogVersion {
		t.Errorf("the decision proposes%s by catalogVersion %d, did%s by %d", actions, record.CatalogVersion, actionsOf(made.Propositions), made.CatalogVersion)
	}
	if history := wholeHistory(t, s, subject); len(history) == 0 {
		t.Error("no interactions")
	}
	d := decode[nba.Decision](t, s.call("POST", "/v1/decisions", nba.DecisionRequest{Subject: nba.SubjectRef{ID: subject}, Channel: "web"}), 200)
	if d.Degraded || d.CatalogVersion != made.CatalogVersion {
		t.Errorf("a decision by catalogVersion %d, degraded %t", d.CatalogVersion, d.Degraded)
	}
	if r := s.call("PATCH", "/v1/subjects/"+subject, map[string]any{"attributes": map[string]any{"tenure": 7}}); r.status != 200 {
		t.Errorf("a change: %d %s", r.status, r.body)
	}
}

// actionsOf lists what is proposed. The first release kept no empty placements.
func actionsOf(placements []nba.PlacementPropositions) (actions string) {
	for i := range placements {
		for j := range placements[i].Items {
			actions += " " + placements[i].Placement + "/" + placements[i].Items[j].Action
		}
	}
	return actions
}

func unpackFolder(t *testing.T, archive string) string {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for entries := tar.NewReader(unzipped); ; {
		h, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return dir
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, filepath.Clean("/"+h.Name))
		if h.Typeflag == tar.TypeDir {
			if err := os.MkdirAll(path, 0o700); err != nil {
				t.Fatal(err)
			}
			continue
		}
		out, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
		if err == nil {
			_, err = io.Copy(out, entries)
			err = errors.Join(err, out.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
