package serving

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// A version that keeps failing is taken out, tried again later and later, and comes back when it answers.
func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b breaker
		fail := func(want bool) {
			t.Helper()
			if opened := b.failed("trap"); opened != want {
				t.Fatalf("opened = %v, want %v", opened, want)
			}
		}
		for range breakFailures - 1 {
			fail(false)
		}
		time.Sleep(breakWindow + time.Second) // the failures are forgotten
		for range breakFailures - 1 {
			fail(false)
		}
		fail(true)
		if b.allow() {
			t.Error("a call is let through at once")
		}
		if h := b.health(); h.State != nba.BreakerOpen || h.Reason != "trap" || h.NextTrial == nil {
			t.Errorf("health: %+v", h)
		}
		time.Sleep(firstTrial)
		if !b.allow() || b.allow() {
			t.Error("not exactly one call is let through as a trial")
		}
		fail(false)
		time.Sleep(firstTrial)
		if b.allow() {
			t.Error("the second trial comes as early as the first")
		}
		time.Sleep(firstTrial)
		if !b.allow() {
			t.Error("the second trial does not come")
		}
		b.gaveUp()
		if !b.allow() {
			t.Error("a trial that was given up blocks the next")
		}
		b.succeeded()
		for range 2 { // not as a trial
			if !b.allow() || b.health().State != nba.BreakerClosed {
				t.Error("the version did not come back")
			}
		}
		for range 10 * breakFailures { // few failures among many good calls are no reason
			fail(false)
			b.succeeded()
			b.succeeded()
		}
	})
}
