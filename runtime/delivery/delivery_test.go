package delivery

import (
	"fmt"
	"testing"
	"time"
)

func at(seconds int) time.Time { return time.Unix(1_700_000_000+int64(seconds), 0) }

func TestWaitsGrowAndDiffer(t *testing.T) {
	p := Policy{First: time.Second, Longest: 10 * time.Second, Attempts: 5}
	differ := map[time.Duration]bool{}
	for i := range 50 {
		id := fmt.Sprint("delivery-", i)
		for n, most := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 3: 4 * time.Second, 4: 8 * time.Second, 5: 10 * time.Second, 900: 10 * time.Second} {
			wait := p.Wait(id, n)
			if wait < most/2 || wait > most || wait != p.Wait(id, n) {
				t.Errorf("attempt %d waits %s: between %s and %s, always the same", n, wait, most/2, most)
			}
		}
		differ[p.Wait(id, 3)] = true
	}
	if len(differ) < 40 {
		t.Errorf("%d of 50 waits differ", len(differ))
	}
}

func TestJudge(t *testing.T) {
	p := Policy{First: 2 * time.Second, Longest: 10 * time.Second, Attempts: 3}
	for name, c := range map[string]struct {
		tried Tried
		state State
		after [2]time.Duration
	}{
		"sent":                     {Tried{Outcome: Sent}, Done, [2]time.Duration{}},
		"refused":                  {Tried{Outcome: Refused}, Dead, [2]time.Duration{}},
		"failed":                   {Tried{Outcome: Failed}, Again, [2]time.Duration{time.Second, 2 * time.Second}},
		"failed for the last time": {Tried{Outcome: Failed, Attempts: 2}, Dead, [2]time.Duration{}},
		"asked to wait":            {Tried{Outcome: Failed, After: 5 * time.Second}, Again, [2]time.Duration{5 * time.Second, 5 * time.Second}},
		"asked to wait for ever":   {Tried{Outcome: Failed, After: time.Hour}, Again, [2]time.Duration{10 * time.Second, 10 * time.Second}},
		"too late then":            {Tried{Outcome: Failed, Expires: at(1)}, Expired, [2]time.Duration{}},
		"held":                     {Tried{Outcome: Held, Attempts: 2, After: 3 * time.Second}, Again, [2]time.Duration{3 * time.Second, 3 * time.Second}},
		"sent after it expired":    {Tried{Outcome: Sent, Expires: at(-1)}, Done, [2]time.Duration{}},
	} {
		state, next := p.Judge(&c.tried, at(0))
		if wait := next.Sub(at(0)); state != c.state || state == Again && (wait < c.after[0] || wait > c.after[1]) {
			t.Errorf("%s: state %d, next after %s", name, state, wait)
		}
	}
}

func TestBreaker(t *testing.T) {
	b := Breaker{Failures: 3, Pause: 10 * time.Second, Longest: 15 * time.Second}
	allowed := func(second int, want bool) {
		t.Helper()
		if ok, until := b.Allow(at(second)); ok != want || !ok && !until.After(at(second)) {
			t.Fatalf("at %d: %v until %s, want %v", second, ok, until, want)
		}
	}
	for range 2 {
		b.Report(at(0), false)
	}
	b.Report(at(0), true) // not in a row
	for range 3 {
		allowed(0, true)
		b.Report(at(0), false)
	}
	b.Report(at(1), false) // began before it opened
	allowed(9, false)
	allowed(10, true)  // one is let through
	allowed(10, false) // and no other
	b.Report(at(11), false)
	allowed(25, false) // 15 and not 20 seconds
	allowed(26, true)
	b.Report(at(27), true)
	allowed(27, true)
	b.Report(at(27), false)
	allowed(27, true)
}

func TestPolicyValidates(t *testing.T) {
	if err := DefaultPolicy().Validate(); err != nil {
		t.Error(err)
	}
	if (Policy{}).Validate() == nil {
		t.Error("the zero policy is taken")
	}
}
