package node

import (
	"testing"

	"github.com/oklog/ulid/v2"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

func TestTokenRoundTrip(t *testing.T) {
	id := ulid.MustParse("01ARZ3NDEKTSV4RRFFQ69G5FAV")
	var w tokenWriter
	for _, c := range [][2]string{{"family-plan", "family-web"}, {"a", ""}, {"", "x"}} {
		decision, action, treatment, err := parseToken(w.token(id, c[0], c[1]))
		if err != nil || decision != id.String() || action != c[0] || treatment != c[1] {
			t.Errorf("%v: got %s %s %s %v", c, decision, action, treatment, err)
		}
	}
}

func FuzzParseToken(f *testing.F) {
	var w tokenWriter
	f.Add(w.token(ulid.MustParse("01ARZ3NDEKTSV4RRFFQ69G5FAV"), "family-plan", "family-web"))
	f.Add("")
	f.Add("AAAA")
	f.Fuzz(func(t *testing.T, token string) {
		decision, action, treatment, err := parseToken(token)
		if err != nil {
			if nba.CodeOf(err) != nba.CodeInvalid {
				t.Errorf("code %s", nba.CodeOf(err))
			}
			return
		}
		id, err := ulid.ParseStrict(decision)
		if err != nil {
			t.Fatal(err)
		}
		if again, _, _, err := parseToken((&tokenWriter{}).token(id, action, treatment)); err != nil || again != decision {
			t.Errorf("a parsed token does not survive the round trip: %v", err)
		}
	})
}
