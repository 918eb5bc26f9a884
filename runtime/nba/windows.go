package nba

// Counting is a Subject whose state of event strategies can be read with it, as of the same log index.
type Counting interface {
	Subject
	// Windows is that state, as runtime/trigger writes it; nil where there is none. It shares the memory of
	// the subject.
	Windows() ([]byte, error)
}
