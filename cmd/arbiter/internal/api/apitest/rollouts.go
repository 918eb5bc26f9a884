package apitest

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// rollouts rolls out a version of the plugin that was pushed and activated before: another one if the
// server has one, else the same, which a server that compares versions refuses.
func (s *suite) rollouts(t *testing.T) {
	_, body := s.do(t, call{op: "listPlugins", want: 200})
	var plugins struct {
		Items []struct{ Name, Version, State string }
	}
	s.decode(t, body, &plugins)
	if len(plugins.Items) == 0 {
		t.Fatal("no plugin was pushed")
	}
	plugin := plugins.Items[0]
	for _, p := range plugins.Items {
		if p.State != "active" {
			plugin = p
		}
	}
	start := fmt.Sprintf(`{"plugin":%q,"version":%q,"auto":false,"steps":[{"stage":"shadow","holdSeconds":60},{"stage":"canary","permille":100}],"guardrails":{"minCalls":50,"shiftPpm":-1}}`,
		plugin.Name, plugin.Version)
	s.do(t, call{op: "listRollouts", want: 200})
	for _, c := range []call{
		{body: `{"plugin":"contract-none","version":"1.0.0","auto":false}`, want: 404, code: "PLUGIN_UNKNOWN"},
		{body: strings.Replace(start, `"permille":100`, `"permille":2000`, 1), invalid: true, want: 422, code: "INVALID"},
		{body: strings.Replace(start, `"stage":"shadow"`, `"stage":"`+canary+`"`, 1), invalid: true, want: 422, code: "INVALID"},
		{body: `{"version":"1.0.0"}`, invalid: true, want: 422, code: "INVALID"},
		{body: `{"plugin":7}`, invalid: true, want: 422, code: "INVALID"},
		{body: `{`, invalid: true, want: 400, code: "MALFORMED"},
		{body: start, media: "application/wasm", invalid: true, want: 415},
	} {
		c.op = "startRollout"
		if c.media == "" {
			c.media = jsonMedia
		}
		s.do(t, c)
	}
	header, body := s.do(t, call{op: "startRollout", media: jsonMedia, body: start, want: 201})
	location := header.Get("Location")
	var started struct{ ID, Stage string }
	s.decode(t, body, &started)
	if !strings.HasSuffix(location, started.ID) || started.ID == "" {
		t.Errorf("rollout %q lies at %q", started.ID, location)
	}
	s.do(t, call{op: "getRollout", path: location, want: 200})
	s.do(t, call{op: "getRollout", path: "/v1/rollouts/contract-none", want: 404})
	s.do(t, call{op: "listRollouts", want: 200})
	s.do(t, call{op: "pauseRollout", path: location + "/pause", want: 200})
	s.do(t, call{op: "promoteRollout", path: location + "/promote", want: 409, code: "CONFLICT"})
	s.do(t, call{op: "resumeRollout", path: location + "/resume", want: 200})
	s.do(t, call{op: "promoteRollout", path: location + "/promote?force=" + canary, want: 422, code: "INVALID"})
	s.do(t, call{op: "promoteRollout", path: location + "/promote?force=true", want: 200})
	s.do(t, call{op: "undoRollout", path: location + "/undo", want: 409, code: "CONFLICT"})
	s.do(t, call{op: "abortRollout", path: location + "/abort", want: 200})
	s.do(t, call{op: "abortRollout", path: location + "/abort", want: 409, code: "CONFLICT"})
	start = strings.Replace(start, `[{"stage":"shadow","holdSeconds":60},{"stage":"canary","permille":100}]`, `[]`, 1)
	header, _ = s.do(t, call{op: "startRollout", media: jsonMedia, body: start, want: 201})
	location = header.Get("Location")
	s.leaves(t, location, "staged")
	s.do(t, call{op: "promoteRollout", path: location + "/promote?force=true", want: 200})
	s.do(t, call{op: "undoRollout", path: location + "/undo", want: 200})
}

// leaves waits until a rollout is in another stage: nodes get ready on their own, and a promotion that meets
// that is refused.
func (s *suite) leaves(t *testing.T, location, stage string) {
	t.Helper()
	now := struct{ Stage string }{stage}
	for deadline := time.Now().Add(10 * time.Second); now.Stage == stage && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		_, body := s.do(t, call{op: "getRollout", path: location, want: 200})
		s.decode(t, body, &now)
	}
}
