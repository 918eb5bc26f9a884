package api

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/arbiterhq/arbiter/cluster/backup"
)

// TestBackupStreams: both streams are on the admin listener alone, and a stream that is cut is no restore.
func TestBackupStreams(t *testing.T) {
	core := newMemCore()
	base := startAdmin(t, core, nil)
	response, stream := fetch(t, http.MethodPost, base+"/v1/cluster/backup", "application/json", `{}`)
	if response.StatusCode != 200 || response.Header.Get("Content-Type") != contentTypeBackup {
		t.Fatalf("a backup: %d %s", response.StatusCode, response.Header.Get("Content-Type"))
	}
	if err := backup.Read(bytes.NewReader([]byte(stream)), nothing{}); err != nil {
		t.Fatal(err)
	}
	response, lines := fetch(t, http.MethodPost, base+"/v1/cluster/restore", contentTypeBackup, stream)
	if response.StatusCode != 200 || !strings.Contains(lines, `"done":true`) {
		t.Errorf("a restore: %d %s", response.StatusCode, lines)
	}
	if _, lines = fetch(t, http.MethodPost, base+"/v1/cluster/restore", contentTypeBackup, stream[:len(stream)-1]); strings.Contains(lines, `"done":true`) || !strings.Contains(lines, "problem") {
		t.Errorf("a restore of a stream without its end: %s", lines)
	}
	for _, c := range []struct {
		path, media, body string
		status            int
	}{
		{"/v1/cluster/backup", "application/json", "{", 400},
		{"/v1/cluster/backup", "text/plain", "{}", 415},
		{"/v1/cluster/restore", "application/json", "{}", 415},
		{"/v1/cluster/restore?withoutEvents=perhaps", contentTypeBackup, stream, 422},
	} {
		if response, body := fetch(t, http.MethodPost, base+c.path, c.media, c.body); response.StatusCode != c.status {
			t.Errorf("%s as %s: %d, want %d: %s", c.path, c.media, response.StatusCode, c.status, body)
		}
	}
	api := "http://" + start(t, core, nil)
	for path, media := range map[string]string{"/v1/cluster/backup": "application/json", "/v1/cluster/restore": contentTypeBackup} {
		if response, _ := fetch(t, http.MethodPost, api+path, media, "{}"); response.StatusCode != 404 {
			t.Errorf("%s on the API port: %d, want 404", path, response.StatusCode)
		}
	}
}
