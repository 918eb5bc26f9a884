package apitest

import (
	"strings"
	"testing"
)

// security makes and revokes API keys; the server under test demands none.
func (s *suite) security(t *testing.T) {
	type key struct {
		ID, Name, Token string
		Roles           []string
	}
	const request = `{"name":"contract","roles":["channel"],"expiresIn":"1h","rate":5}`
	header, body := s.do(t, call{op: "createFirstKey", media: jsonMedia, body: `{"name":"contract","roles":["channel"]}`, want: 201})
	var first, made key
	s.decode(t, body, &first)
	if first.Token == "" || len(first.Roles) != 1 || first.Roles[0] != "admin" || header.Get("Location") != "/v1/keys/"+first.ID {
		t.Errorf("the first key: %s at %s", body, header.Get("Location"))
	}
	s.do(t, call{op: "createFirstKey", media: jsonMedia, body: request, want: 409, code: "CONFLICT"})
	_, body = s.do(t, call{op: "createKey", media: jsonMedia, body: request, want: 201})
	s.decode(t, body, &made)
	if _, body = s.do(t, call{op: "listKeys", want: 200}); !strings.Contains(string(body), made.ID) || strings.Contains(string(body), made.Token) {
		t.Error("the list of keys lacks one, or shows a token")
	}
	for _, op := range []string{"createKey", "createFirstKey"} {
		for _, c := range []call{
			{body: `{"name":"","roles":["channel"]}`, want: 422, code: "INVALID"},
			{body: `{"name":"x","roles":["` + canary + `"]}`, want: 422, code: "INVALID"},
			{body: `{"name":"x","roles":["channel"],"expiresIn":"` + canary + `"}`, want: 422, code: "INVALID"},
			{body: `{"name":"x","roles":["channel"],"rate":-1}`, want: 422, code: "INVALID"},
			{body: `{"name":"x","roles":["channel"],"` + canary + `":1}`, want: 422, code: "INVALID"},
			{body: `{`, want: 400, code: "MALFORMED"},
			{body: request, media: "text/plain", want: 415, code: "UNSUPPORTED_MEDIA"},
		} {
			if op == "createFirstKey" && strings.Contains(c.body, `["`+canary) {
				continue // it is an admin's whatever is asked for
			}
			c.op, c.invalid = op, true
			if c.media == "" {
				c.media = jsonMedia
			}
			s.do(t, c)
		}
	}
	s.do(t, call{op: "whoAmI", want: 200})
	if _, body = s.do(t, call{op: "listAudit", path: "/v1/audit?after=0&limit=1000", want: 200}); !strings.Contains(string(body), "key "+made.ID) {
		t.Error("the audit log does not have the key")
	}
	s.do(t, call{op: "listAudit", want: 200})
	s.do(t, call{op: "listAudit", path: "/v1/audit?limit=0", invalid: true, want: 422, code: "INVALID"})
	s.do(t, call{op: "listAudit", path: "/v1/audit?after=x", invalid: true, want: 422, code: "INVALID"})
	s.do(t, call{op: "revokeKey", path: "/v1/keys/" + made.ID, want: 204})
	s.do(t, call{op: "revokeKey", path: "/v1/keys/" + made.ID, want: 404, code: "NOT_FOUND"})
	s.do(t, call{op: "revokeKey", path: "/v1/keys/" + first.ID, want: 409, code: "CONFLICT"})
}
