package api

import (
	"strconv"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// headerAge tells how old a stale answer may be.
const headerAge = "Arbiter-Age"

// readQuery are the query parameters of an operation that reads what a group keeps.
func readQuery(others ...string) []string { return append(others, "consistency", "maxAge") }

// readOf reads how current the answer must be.
func readOf(in *request) (read nba.Read, err error) {
	read.Consistency = in.query.Get("consistency")
	if text := in.query.Get("maxAge"); text != "" {
		if read.MaxAge, err = time.ParseDuration(text); err != nil || read.MaxAge <= 0 {
			return read, nba.Errorf(nba.CodeInvalid, "the query parameter maxAge must be a duration with its unit, such as 500ms or 5s")
		}
	}
	if read, err = read.Normalize(); err != nil {
		return read, nba.Errorf(nba.CodeInvalid, "the query parameter consistency must be stale, leader or linearizable; maxAge goes with stale alone")
	}
	return read, nil
}

// ageOf is the value of headerAge for an answer to read, in whole milliseconds, rounded up; empty if
// the answer is current.
func ageOf(read *nba.Read) string {
	if read.Consistency != nba.ConsistencyStale {
		return ""
	}
	ms := (read.Age + time.Millisecond - 1) / time.Millisecond
	return strconv.FormatInt(int64(ms), 10) + "ms"
}
