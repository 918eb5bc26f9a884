package clock

import (
	"testing"
	"time"
)

func TestManualMovesOnlyWhenTold(t *testing.T) {
	start := time.Date(2026, 11, 22, 10, 0, 0, 0, time.FixedZone("east", 3600))
	m := NewManual(start)
	if got := m.Now(); !got.Equal(start) || got.Location() != time.UTC {
		t.Fatalf("got %v, want %v in UTC", got, start)
	}
	m.Advance(-time.Minute)
	if got, want := m.Now(), start.Add(-time.Minute); !got.Equal(want) {
		t.Fatalf("got %v, want %v", got, want)
	}
}

func TestSystemIsUTC(t *testing.T) {
	var c Clock = System{}
	if now := c.Now(); now.Location() != time.UTC || time.Since(now) > time.Minute {
		t.Fatalf("got %v", now)
	}
}
