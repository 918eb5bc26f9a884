package apitest

import (
	"strings"
	"testing"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/sdk/abi"
)

// pluginAdmin goes through what there is to do with plugins besides pushing them. It leaves the plugin of
// the fixture pushed and active.
func (s *suite) pluginAdmin(t *testing.T) {
	const media = "application/wasm"
	strategy := spare(t)
	push := func() nba.PluginVersion {
		t.Helper()
		var version nba.PluginVersion
		_, body := s.do(t, call{op: "pushPlugin", path: "/v1/plugins?activate=true", media: media, body: strategy, want: 201})
		s.decode(t, body, &version)
		return version
	}
	s.do(t, call{op: "verifyPlugin", media: media, body: "garbage", want: 422, code: "PLUGIN_REFUSED"})
	s.do(t, call{op: "verifyPlugin", media: jsonMedia, body: "{}", invalid: true, want: 415})
	s.do(t, call{op: "verifyPlugin", media: media, body: string(s.fixture.Plugin), want: 200})

	version := push()
	plugin := "/v1/plugins/" + version.Name
	one := plugin + "/versions/" + strings.NewReplacer("+", "%2B", "é", "%C3%A9", ":", "%3A").Replace(version.Version)
	s.do(t, call{op: "getPluginLogs", path: plugin + "/logs", want: 200})
	s.do(t, call{op: "getPluginLogs", path: plugin + "/logs?limit=10", want: 200})
	s.do(t, call{op: "getPluginLogs", path: plugin + "/logs?limit=0", invalid: true, want: 422, code: "INVALID"})
	s.do(t, call{op: "getPluginLogs", path: "/v1/plugins/contract-none/logs", want: 404, code: "PLUGIN_UNKNOWN"})
	s.do(t, call{op: "removePluginVersion", path: one, want: 409, code: "CONFLICT"})
	s.do(t, call{op: "removePlugin", path: plugin, want: 409, code: "CONFLICT"})
	for _, unknown := range []call{{op: "removePlugin", path: "/v1/plugins/contract-none"}, {op: "removePluginVersion", path: "/v1/plugins/contract-none/versions/1.0.0"},
		{op: "deactivatePlugin", path: "/v1/plugins/contract-none/deactivate"}} {
		unknown.want, unknown.code = 404, "PLUGIN_UNKNOWN"
		s.do(t, unknown)
	}
	s.do(t, call{op: "deactivatePlugin", path: plugin + "/deactivate", want: 204})
	s.do(t, call{op: "removePluginVersion", path: one, want: 204})
	push()
	s.do(t, call{op: "deactivatePlugin", path: plugin + "/deactivate", want: 204})
	s.do(t, call{op: "removePlugin", path: plugin, want: 204})
	s.do(t, call{op: "pushPlugin", path: "/v1/plugins?activate=true", media: media, body: string(s.fixture.Plugin), want: 201})
	s.pluginKeys(t)
}

// spare is a strategy that nothing else needs.
func spare(t *testing.T) string {
	t.Helper()
	_, module, err := abi.LoadStrategy("strategy.json")
	if err != nil {
		t.Fatal(err)
	}
	m, err := artifact.Parse(module)
	if err != nil {
		t.Fatal(err)
	}
	m.Name, m.Attributes = "contract-strategy", nil
	if module, err = artifact.Embed(module, m); err != nil {
		t.Fatal(err)
	}
	return string(module)
}

func (s *suite) pluginKeys(t *testing.T) {
	const key = `{"name":"contract-key","publicKey":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}`
	s.do(t, call{op: "listPluginKeys", want: 200})
	s.do(t, call{op: "trustPluginKey", media: jsonMedia, body: key, want: 201})
	s.do(t, call{op: "trustPluginKey", media: jsonMedia, body: key, want: 201})
	s.do(t, call{op: "trustPluginKey", media: jsonMedia, body: `{"name":"contract-key","publicKey":"AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}`, want: 409, code: "CONFLICT"})
	s.do(t, call{op: "trustPluginKey", media: jsonMedia, body: `{"name":"contract-short","publicKey":"AAEC"}`, want: 422, code: "INVALID"})
	s.do(t, call{op: "trustPluginKey", media: jsonMedia, body: `{"name":`, invalid: true, want: 400, code: "MALFORMED"})
	s.do(t, call{op: "trustPluginKey", media: "text/plain", body: key, invalid: true, want: 415})
	s.do(t, call{op: "listPluginKeys", want: 200})
	s.do(t, call{op: "distrustPluginKey", path: "/v1/plugin-keys/contract-key", want: 204})
	s.do(t, call{op: "distrustPluginKey", path: "/v1/plugin-keys/contract-key", want: 404, code: "NOT_FOUND"})
}
