package nba

import "time"

// The consistencies of a read, from the cheapest to the strongest.
const (
	// ConsistencyStale reads what the node at hand has, which may be old; the answer tells how old.
	ConsistencyStale = "stale"
	// ConsistencyLeader reads from the leader of the subject's group, with everything that was
	// acknowledged there. A leader that was cut off a moment ago may answer without the writes of its
	// successor.
	ConsistencyLeader = "leader"
	// ConsistencyLinearizable reads what a majority confirmed after the read arrived: never older than
	// anything that was acknowledged before.
	ConsistencyLinearizable = "linearizable"
)

// DefaultMaxAge is how old a stale read may be whose caller names no bound.
const DefaultMaxAge = 10 * time.Second

// Read tells how current an answer must be. The zero value reads from the leader.
type Read struct {
	// Consistency is one of the constants; empty means ConsistencyLeader.
	Consistency string
	// MaxAge bounds the age of a stale read, where 0 means DefaultMaxAge; others have none.
	MaxAge time.Duration
	// Age is set by the answer: how old what was read may be. It is 0 unless Consistency is stale.
	Age time.Duration
}

// Normalize fills in what is omitted and checks the rest; what it returned it leaves alone. The error points at the query parameters.
func (r Read) Normalize() (Read, error) {
	switch r.Consistency {
	case "":
		r.Consistency = ConsistencyLeader
	case ConsistencyStale, ConsistencyLeader, ConsistencyLinearizable:
	default:
		return r, Invalid("/consistency", "consistency is one of stale, leader, linearizable")
	}
	if r.MaxAge < 0 || r.MaxAge > 0 && r.Consistency != ConsistencyStale {
		return r, Invalid("/maxAge", "maxAge is a positive duration, and belongs to consistency=stale")
	}
	if r.MaxAge == 0 && r.Consistency == ConsistencyStale {
		r.MaxAge = DefaultMaxAge
	}
	return r, nil
}
