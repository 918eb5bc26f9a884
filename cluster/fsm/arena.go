package fsm

// arena holds the values of one batch: they must not change before its transaction ended, and are
// given up together.
type arena struct {
	chunk []byte
}

const arenaChunk = 256 << 10

func (a *arena) reset() { a.chunk = a.chunk[:0] }

// room is an empty slice to append up to n bytes to; keep must follow before the next room. More
// than n bytes are no harm, only an allocation.
func (a *arena) room(n int) []byte {
	if cap(a.chunk)-len(a.chunk) < n {
		a.chunk = make([]byte, 0, max(n, arenaChunk, min(2*cap(a.chunk), 16*arenaChunk)))
	}
	at := len(a.chunk)
	return a.chunk[at:at:cap(a.chunk)]
}

// keep reserves what was appended to room and returns it with no room to grow.
func (a *arena) keep(b []byte) []byte {
	if at := len(a.chunk); cap(a.chunk)-at >= len(b) && len(b) > 0 && cap(b) > 0 &&
		cap(a.chunk) > at && &a.chunk[:at+1][at] == &b[0] {
		a.chunk = a.chunk[:at+len(b)]
	}
	return b[:len(b):len(b)]
}
