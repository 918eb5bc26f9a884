package command

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// SectionTag numbers a section of a decision. The numbers are stored: append only.
type SectionTag uint32

// The tags. Those from 10 to 19 are of contacts, from 20 of rollouts, from 30 of plugins.
const (
	// SectionReplay is what the decision read: docs/format/replay.md.
	SectionReplay SectionTag = 1
)

// MaxSections bounds the bytes of all sections of one kind of a decision together.
const MaxSections = 64 << 10

// Sections are parts of a decision that most decisions do without: each is a tag, a length and bytes,
// in the order of their tags. A release keeps those it does not know. No sections are no bytes.
type Sections []byte

// Put is s with the section of a tag set to body. It may share the memory of s.
func (s Sections) Put(tag SectionTag, body []byte) Sections {
	r := reader{rest: s}
	for {
		at := len(s) - len(r.rest)
		known, _, ok := r.section()
		if ok && known < tag {
			continue
		}
		end := at
		if ok && known == tag {
			end = len(s) - len(r.rest)
		}
		if at == len(s) {
			return appendSection(s, tag, body)
		}
		return slices.Replace(s, at, end, appendSection(nil, tag, body)...)
	}
}

// Get is the body of a section, nil if it is not there. It shares the memory of s.
func (s Sections) Get(tag SectionTag) []byte {
	r := reader{rest: s}
	for {
		known, body, ok := r.section()
		if !ok || known > tag {
			return nil
		}
		if known == tag {
			return body
		}
	}
}

func appendSection(dst Sections, tag SectionTag, body []byte) Sections {
	dst = binary.AppendUvarint(dst, uint64(tag))
	return append(binary.AppendUvarint(dst, uint64(len(body))), body...)
}

// section takes the next section off the front; ok is false at the end, and when it is malformed.
func (r *reader) section() (tag SectionTag, body []byte, ok bool) {
	if r.bad || len(r.rest) == 0 {
		return 0, nil, false
	}
	number, size := r.uvarint(), r.uvarint()
	if number > 1<<20 || size > MaxSections {
		r.bad = true
	}
	body = r.take(int(min(size, MaxSections)))
	if r.bad {
		return 0, nil, false
	}
	if body == nil {
		body = []byte{}
	}
	return SectionTag(number), body, true
}

// check tells whether s is well-formed: tags ascend, and nothing follows the last section.
func (s Sections) check() error {
	r, last, first := reader{rest: s}, SectionTag(0), true
	if len(s) > MaxSections {
		return ErrMalformed
	}
	for {
		tag, _, ok := r.section()
		if !ok {
			break
		}
		if !first && tag <= last {
			return ErrMalformed
		}
		first, last = false, tag
	}
	return r.end()
}

// sections takes sections with their length off the front.
func (r *reader) sections() Sections {
	size := r.uvarint()
	if size > MaxSections {
		r.bad = true
	}
	s := Sections(r.take(int(min(size, MaxSections))))
	if r.bad || s.check() != nil {
		r.bad = true
		return nil
	}
	return s
}

func (s Sections) append(dst []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// valid is an error that tells what is wrong with sections that are about to be written.
func (s Sections) valid() error {
	if err := s.check(); err != nil {
		return fmt.Errorf("sections of a decision (at most %d bytes, tags in order): %w", MaxSections, err)
	}
	return nil
}
