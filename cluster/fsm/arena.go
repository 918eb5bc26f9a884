package fsm

// arena holds keys and values. They never change, so the store may keep them; a chunk is given up when
// all of it is in the files.
type arena struct {
	chunk []byte
}

const arenaChunk = 256 << 10

// room is an empty slice to append up to n bytes to; keep must follow before the next room. More
// than n bytes are no harm, only an allocation.
func (a *arena) room(n int) []byte {
	if cap(a.chunk)-len(a.chunk) < n {
		a.chunk = make([]byte, 0, max(n, arenaChunk))
	}
	at := len(a.chunk)
	return a.chunk[at:at:cap(a.chunk)]
}

// copied is a copy of b.
func (a *arena) copied(b []byte) []byte { return a.keep(append(a.room(len(b)), b...)) }

// keep reserves what was appended to room and returns it with no room to grow.
func (a *arena) keep(b []byte) []byte {
	if at := len(a.chunk); cap(a.chunk)-at >= len(b) && len(b) > 0 && cap(b) > 0 &&
		cap(a.chunk) > at && &a.chunk[:at+1][at] == &b[0] {
		a.chunk = a.chunk[:at+len(b)]
	}
	return b[:len(b):len(b)]
}
