package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

func TestRenderJourneys(t *testing.T) {
	at := time.Date(2026, 11, 22, 12, 54, 3, 0, time.UTC)
	var b strings.Builder
	renderJourneys(&b, paint{}, &nba.SubjectJourneys{
		Journeys: []nba.JourneyInstance{
			{Journey: "cart", Stage: "open", Since: at, Due: &nba.JourneyDue{At: at.Add(15 * time.Second), Stage: "abandoned"}, Data: map[string]any{"value": 249.5, "product": "phone"}},
			{Journey: "complaint", Key: "T-1", Stage: "late", Since: at},
		},
		Moves: []nba.JourneyMove{{Time: at, Journey: "cart", To: "open", Cause: "event", Detail: "cart.updated"}},
	})
	for _, want := range []string{"abandoned 2026-11-22 12:54:18Z", "complaint T-1 late", "cart carries product=phone, value=249.5", "cart - open event cart.updated"} {
		if !strings.Contains(strings.Join(strings.Fields(b.String()), " "), want) {
			t.Errorf("%q is missing in\n%s", want, b.String())
		}
	}
	for _, line := range strings.Split(b.String(), "\n") {
		if n := len([]rune(line)); n > 80 {
			t.Errorf("a line of %d columns: %s", n, line)
		}
	}
	b.Reset()
	renderJourneys(&b, paint{}, &nba.SubjectJourneys{})
	if b.String() != "No journey is open.\n" {
		t.Errorf("got %s", b.String())
	}
}
