package nba

// Touch is one line of a subject's history as a model reads it: a proposition, or with an Outcome what
// came back of one. Its strings may share memory with the store; they must be copied to be kept.
type Touch struct {
	TimeMS  int64 // milliseconds since 1970
	Action  string
	Channel string
	Outcome Outcome // "" for a proposition
}

// Historian is a Subject whose interaction history can be read with it, as of the same log index.
type Historian interface {
	Subject
	// Touches calls fn with the touches of the subject, newest first, until fn returns false.
	Touches(fn func(t *Touch) (more bool)) error
}
