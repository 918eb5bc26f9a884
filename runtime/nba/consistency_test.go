package nba

import (
	"testing"
	"time"
)

// TestNormalizeTwice: a read passes more than one layer, and each may normalise it.
func TestNormalizeTwice(t *testing.T) {
	for _, read := range []Read{{}, {Consistency: ConsistencyLeader}, {Consistency: ConsistencyLinearizable}, {Consistency: ConsistencyStale},
		{Consistency: ConsistencyStale, MaxAge: time.Second}} {
		once, err := read.Normalize()
		if err != nil {
			t.Fatalf("%+v: %v", read, err)
		}
		if twice, err := once.Normalize(); err != nil || twice != once {
			t.Errorf("%+v became %+v and then %+v, %v", read, once, twice, err)
		}
	}
	for _, read := range []Read{{Consistency: "strong"}, {MaxAge: time.Second}, {Consistency: ConsistencyStale, MaxAge: -1}} {
		if _, err := read.Normalize(); err == nil {
			t.Errorf("%+v is no read", read)
		}
	}
}
