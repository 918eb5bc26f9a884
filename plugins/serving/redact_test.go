package serving

import (
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

func TestRedact(t *testing.T) {
	var r redactor
	r.addText("S-000123")
	r.add(nba.String("Gold Family"))
	r.add(nba.String("no"))
	r.add(nba.Int(61))
	r.add(nba.Float(-0.25))
	r.add(nba.Bool(true))
	r.add(nba.Time(time.UnixMilli(1700000000123)))
	for _, c := range []struct{ line, want string }{
		{"picked 3 of 12 for GOLD family", "picked 3 of 12 for [redacted]"},
		{"customer s-000123 is here", "customer [redacted] is here"},
		{"answer no, not none", "answer [redacted], not none"},
		{"tenure=61 months; 61.0; 612", "tenure=[redacted] months; [redacted]; 612"},
		{"offset -0.25", "offset [redacted]"},
		{"tenure 61, then 62.", "tenure [redacted], then 62."},
		{"at 1700000000123 or 20/11", "at [redacted] or 20/11"},
		{"call +49-170-123456", "call [redacted]"},
		{"write to a.b@example.com now", "write to [redacted] now"},
		{"score 0.123456789 vip=true", "score 0.123456789 vip=true"},
		{"a\nb\tc\x00d", "a b c d"},
		{"", ""},
		{"ümlaut Gold FamilY ü", "ümlaut [redacted] ü"},
	} {
		if got := r.clean(c.line); got != c.want {
			t.Errorf("clean(%q) = %q, want %q", c.line, got, c.want)
		}
	}
}

func FuzzRedact(f *testing.F) {
	f.Add("the plan is gold", "gold")
	f.Add("İstanbul İ", "İ")
	f.Fuzz(func(t *testing.T, line, text string) {
		var r redactor
		r.addText(text)
		r.clean(line)
	})
}
