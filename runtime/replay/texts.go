package replay

import (
	"bytes"
	"encoding/binary"
)

// Texts are the quoted texts of a catalog document. A value that is one of them is written as its place
// in the document, which never changes. A Texts is immutable; nil has none.
type Texts struct {
	document []byte
	places   map[string]uint32
}

// minShared is the length from which a text is worth looking up: a place takes up to 4 bytes.
const minShared = 5

// maxShared bounds the texts that are looked up.
const maxShared = 64

// NewTexts finds the quoted texts of a document, which must not change.
func NewTexts(document []byte) *Texts {
	t := &Texts{document: document, places: map[string]uint32{}}
	for _, quote := range [...]byte{'"', '\''} {
		for at := bytes.IndexByte(document, quote); at >= 0; {
			rest := document[at+1:]
			end := bytes.IndexByte(rest, quote)
			if end < 0 {
				break
			}
			if text := string(rest[:end]); end >= minShared && end <= maxShared {
				if _, known := t.places[text]; !known {
					t.places[text] = uint32(at + 1)
				}
			}
			// Which quotes open and which close is not told apart: every pair of neighbours counts.
			at += 1 + end
		}
	}
	return t
}

// append writes twice the length and the text; or twice the length plus 1, and the place.
func (t *Texts) append(dst []byte, text string) []byte {
	if t != nil && len(text) >= minShared {
		if at, known := t.places[text]; known {
			return binary.AppendUvarint(binary.AppendUvarint(dst, uint64(len(text))<<1|1), uint64(at))
		}
	}
	return append(binary.AppendUvarint(dst, uint64(len(text))<<1), text...)
}

// read is the inverse of append. The text shares memory with r or with the document.
func (t *Texts) read(r *reader) string {
	head := r.uvarint(2*maxText + 1)
	if head&1 == 0 {
		return r.take(int(head >> 1))
	}
	at, size := r.uvarint(maxDocument), head>>1
	if r.bad || t == nil || at+size > uint64(len(t.document)) {
		r.bad = true
		return ""
	}
	return string(t.document[at : at+size])
}
