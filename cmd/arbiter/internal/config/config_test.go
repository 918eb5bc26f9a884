package config

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite testdata/*.bad.txt")

func TestGoodFiles(t *testing.T) {
	dir := map[string]string{"data.dir": "/d"}
	got, _, err := Load(Sources{File: "testdata/empty.good.yaml", Overrides: dir})
	want := Default()
	want.Data.Dir = "/d"
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("empty: %v\n-want +got:\n%s", err, diff)
	}
	got, _, err = Load(Sources{File: "testdata/full.good.yaml"})
	want = Config{
		Data: Data{Dir: "/var/lib/arbiter", Groups: 4}, API: Listener{"[::1]:9080"}, Admin: Listener{"localhost:9081"},
		Cluster: Cluster{NodeID: "n2", Addr: "127.0.0.1:7102", Nodes: "n1=127.0.0.1:7101, n2=127.0.0.1:7102", ID: "north", Replicas: 2,
			Join: "dns:nodes.example.net:7101", Zone: "east-1", ReplaceAfter: 30 * time.Minute},
		TLS:      TLS{Cert: "/etc/arbiter/n1.pem", Key: "/etc/arbiter/n1.key", CA: "/etc/arbiter/ca.pem"},
		Plugins:  Plugins{Unsigned: UnsignedAllow, Capabilities: "log, param_get"},
		Delivery: Delivery{DefaultSink: "log"},
		Backup:   Backup{Dir: "/backup/arbiter", Interval: 30 * time.Minute, Keep: 96, KeyFile: "/etc/arbiter/backup.key"},
		Auth:     Auth{Required: true, OIDC: OIDC{Issuer: "https://login.example.net", Audience: "arbiter", RolesClaim: "groups", CA: "/etc/arbiter/idp.pem"}},
		Limits: Limits{HeaderBytes: 32 << 10, BodyBytes: 2 << 20, CatalogBytes: 8 << 20, PluginBytes: 16 << 20, ImportBytes: 64 << 20,
			Connections: 1000, Uploads: 4, ImportResults: 100000},
		Timeouts: Timeouts{Read: 5 * time.Second, UploadRead: 2 * time.Minute, Write: 10 * time.Second, Idle: 90 * time.Second,
			Decision: 250 * time.Millisecond, MaxDecision: 5 * time.Second, Request: 3 * time.Second, Admin: time.Minute,
			Import: 10 * time.Minute, ImportStall: 15 * time.Second, Shutdown: 20 * time.Second},
		Log: Log{Level: "warn", Format: "json"},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("full: %v\n-want +got:\n%s", err, diff)
	}
	text, err := os.ReadFile("testdata/full.good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range Settings() {
		if name := s.Key[strings.LastIndexByte(s.Key, '.')+1:]; !strings.Contains(string(text), name+":") {
			t.Errorf("full.good.yaml does not set %s", s.Key)
		}
	}
}

// TestBadFiles compares every problem of each *.bad.yaml with the *.bad.txt beside it, in which a line
// is LINE:COLUMN and the message.
func TestBadFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/*.bad.yaml")
	if err != nil || len(files) < 5 {
		t.Fatalf("found %d files: %v", len(files), err)
	}
	for _, file := range files {
		_, _, err := Load(Sources{File: file})
		shown, ok := errors.AsType[*nba.Error](err)
		if !ok {
			t.Errorf("%s: got %v, want problems", file, err)
			continue
		}
		var got strings.Builder
		for _, d := range shown.Details {
			if (d.File == file) != (d.Line > 0) || d.Code != nba.CodeInvalid {
				t.Errorf("%s: the detail %+v has a wrong place", file, d)
			}
			fmt.Fprintf(&got, "%d:%d %s\n", d.Line, d.Column, d.Detail)
		}
		golden := strings.TrimSuffix(file, ".yaml") + ".txt"
		if *update {
			if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got.String()); diff != "" {
			t.Errorf("%s: -want +got:\n%s", file, diff)
		}
	}
}

func TestLaterSourcesWin(t *testing.T) {
	c, warnings, err := Load(Sources{
		File: "testdata/full.good.yaml",
		Environ: []string{"ARBITER_DATA_GROUPS=8", "ARBITER_LIMITS_BODY_BYTES=3MiB", "ARBITER_LOG_LEVEL=error", "HOME=/root",
			"ARBITER_PORT=tcp://10.0.0.1:8080", "ARBITER_URL=x"},
		OtherEnv:  []string{"ARBITER_URL"},
		Overrides: map[string]string{"log.level": "debug", "api.addr": "127.0.0.1:0"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if c.Data.Groups != 8 || c.Limits.BodyBytes != 3<<20 || c.Log.Level != "debug" || c.API.Addr != "127.0.0.1:0" || c.Log.Format != "json" {
		t.Errorf("got %+v", c)
	}
	if want := []string{"environment variable ARBITER_PORT is not a setting and is ignored"}; !slices.Equal(warnings, want) {
		t.Errorf("got warnings %v, want %v", warnings, want)
	}
}

func TestProblemsNameTheirSource(t *testing.T) {
	_, _, err := Load(Sources{
		Environ:   []string{"ARBITER_TIMEOUTS_READ=soon", "ARBITER_API_ADDR=10.0.0.1:8080"},
		Overrides: map[string]string{"data.dirr": "/x", "limits.connections": "many"},
	})
	shown, ok := errors.AsType[*nba.Error](err)
	if !ok {
		t.Fatal(err)
	}
	var got []string
	for _, d := range shown.Details {
		got = append(got, d.Pointer+" "+d.Detail)
	}
	for i, want := range []string{
		"/timeouts/read environment variable ARBITER_TIMEOUTS_READ: timeouts.read must be a duration",
		"/data/dirr flag --data-dirr: data.dirr is not a setting: did you mean data.dir?",
		"/limits/connections flag --limits-connections: limits.connections must be a whole number",
		"/data/dir data.dir is missing",
		"/api/addr environment variable ARBITER_API_ADDR: api.addr reaches beyond loopback",
	} {
		if i >= len(got) || !strings.HasPrefix(got[i], want) {
			t.Errorf("problem %d of %q: want %q", i, got, want)
		}
	}
	if strings.Contains(err.Error(), "10.0.0.1") || strings.Contains(strings.Join(got, ""), "soon") {
		t.Error("a problem repeats a value")
	}
}

func TestValidateAddresses(t *testing.T) {
	for addr, ok := range map[string]bool{
		"127.0.0.1:8080": true, "127.9.9.9:1": true, "[::1]:8080": true, "localhost:0": true, "[::ffff:127.0.0.1]:80": true,
		":8080": false, "0.0.0.0:8080": false, "[::]:8080": false, "10.1.2.3:8080": false, "example.org:8080": false,
		"127.0.0.1": false, "127.0.0.1:http": false, "127.0.0.1:70000": false, "": false, "localhost.example.org:80": false,
	} {
		c := Default()
		c.Data.Dir, c.API.Addr = "/d", addr
		if err := c.Validate(); (err == nil) != ok {
			t.Errorf("%q: got %v, want ok %v", addr, err, ok)
		}
	}
	c := Default()
	c.Data.Dir, c.Admin.Addr = "/d", c.API.Addr
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "same as api.addr") {
		t.Errorf("the same address twice: %v", err)
	}
}

func TestClusterSettings(t *testing.T) {
	const nodes = "n1=127.0.0.1:7001,n2=127.0.0.1:7002,n3=127.0.0.1:7003"
	for _, test := range []struct {
		name    string
		cluster Cluster
		want    string // part of the message; empty: good
	}{
		{"alone", Cluster{Replicas: 3}, ""},
		{"three", Cluster{NodeID: "n1", Nodes: nodes, Replicas: 3}, ""},
		{"another address to listen on", Cluster{NodeID: "n1", Addr: "127.0.0.1:0", Nodes: nodes, Replicas: 3}, ""},
		{"no name", Cluster{Nodes: nodes, Replicas: 3}, "cluster.nodeId is missing"},
		{"no nodes", Cluster{NodeID: "n1", Replicas: 3}, "cluster.nodes is missing"},
		{"not one of them", Cluster{NodeID: "n4", Nodes: nodes, Replicas: 3}, "none of the nodes"},
		{"twice", Cluster{NodeID: "n1", Nodes: nodes + ",n1=127.0.0.1:7004", Replicas: 3}, "names a node twice"},
		{"one address", Cluster{NodeID: "n1", Nodes: nodes + ",n4=127.0.0.1:7001", Replicas: 3}, "the same address"},
		{"a bad name", Cluster{NodeID: "n1", Nodes: nodes + ",N_4=127.0.0.1:7004", Replicas: 3}, "something else than"},
		{"no list", Cluster{NodeID: "n1", Nodes: "n1", Replicas: 3}, "must be a list"},
		{"beyond loopback", Cluster{NodeID: "n1", Nodes: nodes + ",n4=10.0.0.1:7004", Replicas: 3}, "beyond loopback"},
		{"port 0", Cluster{NodeID: "n1", Nodes: "n1=127.0.0.1:0", Replicas: 3}, "port 0"},
		{"no replicas", Cluster{NodeID: "n1", Nodes: nodes}, "cluster.replicas must be"},
	} {
		c := Default()
		c.Data.Dir, c.Cluster = "/d", test.cluster
		if err := c.Validate(); (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", test.name, err, test.want)
		}
	}
	c := Cluster{NodeID: "n2", Nodes: nodes}
	if got := c.Listen(); got != "127.0.0.1:7002" {
		t.Errorf("listens on %q", got)
	}
}

func TestDefaultsRoundTripThroughText(t *testing.T) {
	flags := map[string]bool{}
	overrides := map[string]string{}
	for _, s := range Settings() {
		if s.Usage == "" || flags[s.Flag] || s.Env != "ARBITER_"+strings.ToUpper(strings.ReplaceAll(s.Flag, "-", "_")) {
			t.Errorf("%+v: no usage, or a name that is taken or of another form", s)
		}
		flags[s.Flag] = true
		overrides[s.Key] = s.Default
	}
	overrides["data.dir"] = "/d"
	want := Default()
	want.Data.Dir = "/d"
	got, _, err := Load(Sources{Overrides: overrides})
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v\n-want +got:\n%s", err, diff)
	}
	if !flags["limits-body-bytes"] || !flags["data-dir"] {
		t.Errorf("got flags %v", flags)
	}
}

func TestUnreadableFile(t *testing.T) {
	_, _, err := Load(Sources{File: "testdata/none.yaml"})
	if nba.CodeOf(err) != nba.CodeInvalid || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want that the file does not exist", err)
	}
	big := filepath.Join(t.TempDir(), "big.yaml")
	if err := os.WriteFile(big, []byte(strings.Repeat("#\n", maxFileBytes)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Load(Sources{File: big}); nba.CodeOf(err) != nba.CodeTooLarge {
		t.Errorf("got %v, want that it is too large", err)
	}
}

func FuzzLoadFile(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add("&a [*a]")
	f.Add("{? [x] : y}")
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, _, err := Load(Sources{File: path})
		if err == nil && c.Validate() != nil {
			t.Fatalf("%q was loaded and is not valid", text)
		}
	})
}

func TestTLSSettings(t *testing.T) {
	cluster := Cluster{NodeID: "n1", Nodes: "n1=10.0.0.1:7001,n2=10.0.0.2:7001", Replicas: 3}
	for _, test := range []struct {
		name    string
		tls     TLS
		cluster Cluster
		want    string // part of the message; empty: good
	}{
		{"none", TLS{}, Cluster{Replicas: 3}, ""},
		{"alone", TLS{Cert: "c", Key: "k"}, Cluster{Replicas: 3}, ""},
		{"a cluster beyond loopback", TLS{Cert: "c", Key: "k", CA: "a"}, cluster, ""},
		{"a cluster without", TLS{}, cluster, "beyond loopback"},
		{"no key", TLS{Cert: "c"}, Cluster{Replicas: 3}, "tls.key is missing"},
		{"no certificate", TLS{Key: "k"}, Cluster{Replicas: 3}, "tls.cert is missing"},
		{"authorities alone", TLS{CA: "a"}, Cluster{Replicas: 3}, "tls.cert is missing"},
		{"no authorities", TLS{Cert: "c", Key: "k"}, Cluster{NodeID: "n1", Nodes: "n1=127.0.0.1:7001", Replicas: 1}, "tls.ca is missing"},
	} {
		c := Default()
		c.Data.Dir, c.Cluster, c.TLS = "/d", test.cluster, test.tls
		if err := c.Validate(); (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", test.name, err, test.want)
		}
	}
}
