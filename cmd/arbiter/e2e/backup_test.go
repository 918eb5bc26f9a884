package e2e

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// drillLoad decides and responds until it is stopped, and knows what was acknowledged when.
type drillLoad struct {
	mu    sync.Mutex
	acked map[string]time.Time // decision ids
	begun map[string]time.Time // when the decision was asked for
	stop  chan struct{}
	work  sync.WaitGroup
}

const drillSubjects = 300

func beginDrill(t *testing.T, nodes []*server) *drillLoad {
	l := &drillLoad{acked: map[string]time.Time{}, begun: map[string]time.Time{}, stop: make(chan struct{})}
	for w := range 4 {
		l.work.Go(func() {
			for i := w; ; i += 4 {
				select {
				case <-l.stop:
					return
				default:
				}
				s := nodes[i%len(nodes)]
				began := time.Now()
				r, err := s.tryCall("POST", "/v1/decisions", nba.DecisionRequest{Subject: nba.SubjectRef{ID: subscriberID(1 + i%drillSubjects)}, Channel: "web"})
				if err != nil || r.status != 200 {
					t.Errorf("a decision during the drill: %v %d %s", err, r.status, r.body)
					continue
				}
				var d nba.Decision
				if err := json.Unmarshal(r.body, &d); err != nil {
					t.Error(err)
					continue
				}
				l.mu.Lock()
				l.acked[d.DecisionID], l.begun[d.DecisionID] = time.Now(), began
				l.mu.Unlock()
				if len(d.Propositions) > 0 && len(d.Propositions[0].Items) > 0 {
					_, _ = s.tryCall("POST", "/v1/responses", nba.Response{ResponseToken: d.Propositions[0].Items[0].ResponseToken, Outcome: nba.Impression})
				}
			}
		})
	}
	return l
}

func (l *drillLoad) end() {
	close(l.stop)
	l.work.Wait()
}

// madeBackup is what arbiter cluster backup prints.
type madeBackup struct {
	ID              string
	From, To        time.Time
	Pairs, NewBytes int64
	Bytes           int64
}

func backUp(t *testing.T, s *server, args ...string) (made madeBackup) {
	t.Helper()
	out, errOut, code := runCLI(t, append([]string{"cluster", "backup", "-o", "json", "--admin-addr", s.admin}, args...)...)
	if code != 0 {
		t.Fatalf("backup: exit %d\n%s%s\n%s", code, out, errOut, s.output)
	}
	if err := json.Unmarshal([]byte(out), &made); err != nil {
		t.Fatal(err)
	}
	return made
}

// TestBackupDrill backs a cluster of three processes up while it decides, breaks the copy, and restores into
// clusters of other sizes: what was acknowledged is there, byte for byte.
func TestBackupDrill(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t, 3)
	loadDemo(t, nodes[0], drillSubjects)
	key := filepath.Join(t.TempDir(), "backup.key")
	if err := os.WriteFile(key, []byte(strings.Repeat("5e", 32)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "backups")
	load := beginDrill(t, nodes)
	time.Sleep(time.Second)
	first := backUp(t, nodes[0], "--dir", dir, "--key-file", key)
	time.Sleep(500 * time.Millisecond)
	busy := backUp(t, nodes[1], "--dir", dir, "--key-file", key)
	time.Sleep(500 * time.Millisecond)
	load.end()
	quiet := backUp(t, nodes[2], "--dir", dir, "--key-file", key)
	again := backUp(t, nodes[2], "--dir", dir, "--key-file", key)
	if again.NewBytes > 64<<10 || first.Pairs >= busy.Pairs || busy.Pairs >= quiet.Pairs {
		t.Errorf("of a second backup %d bytes are new; %d, %d, then %d keys", again.NewBytes, first.Pairs, busy.Pairs, quiet.Pairs)
	}
	expectPrivate(t, dir)
	if out, errOut, code := runCLI(t, "cluster", "backup", "verify", "--dir", dir, "--key-file", key); code != 0 {
		t.Errorf("verify: exit %d\n%s%s", code, out, errOut)
	}
	if _, errOut, code := runCLI(t, "cluster", "backup", "verify", "--dir", dir); code == 0 || !strings.Contains(errOut, "sealed") {
		t.Errorf("verify without the key: exit %d\n%s", code, errOut)
	}

	// The one that was made under load, into two nodes with as many groups.
	smaller := startCluster(t, 2, "--data-groups", "16")
	restoreDrill(t, smaller[1], "--dir", dir, "--key-file", key, "--id", busy.ID)
	load.expect(t, smaller[0], busy)

	// The one that was made after it, into four nodes with another number of groups.
	larger := startCluster(t, 4, "--data-groups", "7")
	restoreDrill(t, larger[3], "--dir", dir, "--key-file", key, "--id", quiet.ID)
	expectSame(t, nodes[0], larger, load)
	if _, errOut, code := runCLI(t, "cluster", "restore", "--dir", dir, "--key-file", key, "--admin-addr", larger[0].admin); code == 0 || !strings.Contains(errOut, "holds nothing yet") {
		t.Errorf("a restore into a cluster that is in use: exit %d\n%s", code, errOut)
	}
	if p := larger[1].call("POST", "/v1/decisions", nba.DecisionRequest{Subject: nba.SubjectRef{ID: subscriberID(1)}, Channel: "web"}); p.status != 200 {
		t.Errorf("a decision after the restore: %d %s", p.status, p.body)
	}
	expectNewer(t, nodes[0], larger[2])

	breakPack(t, dir)
	if _, errOut, code := runCLI(t, "cluster", "backup", "verify", "--dir", dir, "--key-file", key); code == 0 || !strings.Contains(errOut, "damaged") {
		t.Errorf("verify of a backup that was changed: exit %d\n%s", code, errOut)
	}
}

func restoreDrill(t *testing.T, s *server, args ...string) {
	t.Helper()
	out, errOut, code := runCLI(t, append([]string{"cluster", "restore", "--admin-addr", s.admin}, args...)...)
	if code != 0 {
		t.Fatalf("restore: exit %d\n%s%s\n%s", code, out, errOut, s.output)
	}
	t.Log(strings.TrimSpace(out))
}

// expect looks for every decision that the backup promises to have, and for those that it must not have.
func (l *drillLoad) expect(t *testing.T, s *server, made madeBackup) {
	t.Helper()
	before, after := 0, 0
	for id, acked := range l.acked {
		switch {
		case acked.Before(made.From):
			before++
			if r := s.call("GET", "/v1/decisions/"+id, nil); r.status != 200 {
				t.Errorf("a decision that was acknowledged %v before the backup: %d", made.From.Sub(acked), r.status)
			}
		case l.begun[id].After(made.To):
			after++
			if r := s.call("GET", "/v1/decisions/"+id, nil); r.status != 404 {
				t.Errorf("a decision that was begun %v after the backup: %d", l.begun[id].Sub(made.To), r.status)
			}
		}
	}
	if before < 20 || after < 20 {
		t.Errorf("%d decisions before the backup and %d after it: that shows nothing", before, after)
	}
	t.Logf("the cut took %v: %d decisions before it, %d after it", made.To.Sub(made.From).Round(time.Millisecond), before, after)
}

// expectSame compares subjects, contacts, histories and decisions with those of the first cluster.
func expectSame(t *testing.T, from *server, to []*server, l *drillLoad) {
	t.Helper()
	now := regexp.MustCompile(`"(at|since)":"[^"]*"`) // of the answer
	compare := func(path string, i int) {
		want, got := from.call("GET", path, nil), to[i%len(to)].call("GET", path, nil)
		want.body, got.body = now.ReplaceAll(want.body, nil), now.ReplaceAll(got.body, nil)
		if want.status != 200 || got.status != 200 || string(want.body) != string(got.body) || want.header.Get("ETag") != got.header.Get("ETag") {
			t.Errorf("%s: %d %s\nand restored: %d %s", path, want.status, want.body, got.status, got.body)
		}
	}
	for i := range drillSubjects {
		for _, rest := range []string{"", "/consents", "/contacts", "/history?limit=500"} {
			compare("/v1/subjects/"+subscriberID(1+i)+rest, i)
		}
	}
	for i, id := range slices.Sorted(maps.Keys(l.acked)) {
		compare("/v1/decisions/"+id, i)
	}
	compare("/v1/catalog/versions", 0)
	compare("/v1/plugins", 1)
	compare("/v1/attributes", 2)
}

// expectNewer: what is stored after a restore has a version above all that came with it.
func expectNewer(t *testing.T, from, to *server) {
	t.Helper()
	head := from.call("GET", "/v1/catalog", nil)
	put := to.call("PUT", "/v1/catalog", strings.Replace(string(head.body), "name: demo-telco", "name: after-restore", 1), "If-Match", "*", "Content-Type", "application/yaml")
	if put.status != 201 && put.status != 200 {
		t.Fatalf("a catalog after the restore: %d %s", put.status, put.body)
	}
	var stored nba.CatalogVersion
	if err := json.Unmarshal(put.body, &stored); err != nil {
		t.Fatal(err)
	}
	var earlier struct{ Items []nba.CatalogVersion }
	if err := json.Unmarshal(from.call("GET", "/v1/catalog/versions", nil).body, &earlier); err != nil || len(earlier.Items) == 0 {
		t.Fatalf("%v: no versions", err)
	}
	for _, v := range earlier.Items {
		if stored.Version <= v.Version || stored.Version <= v.CatalogVersion {
			t.Errorf("a catalog that was stored after the restore has version %d, one from before %d (active as %d)", stored.Version, v.Version, v.CatalogVersion)
		}
	}
}

// expectPrivate: nobody but the owner may read any file of the backups.
func expectPrivate(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			err = fmt.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// breakPack changes one byte in the middle of the largest pack.
func breakPack(t *testing.T, dir string) {
	t.Helper()
	packs, err := filepath.Glob(filepath.Join(dir, "packs", "*.pack"))
	if err != nil || len(packs) == 0 {
		t.Fatalf("no packs: %v", err)
	}
	largest := slices.MaxFunc(packs, func(a, b string) int { return int(sizeOf(t, a) - sizeOf(t, b)) })
	content, err := os.ReadFile(largest)
	if err != nil {
		t.Fatal(err)
	}
	for i := 64; i < len(content)-4096; i += 4096 { // whatever chunk of it the newest backup has
		content[i] ^= 1
	}
	if err := os.WriteFile(largest, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func sizeOf(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}
