package trigger

import "encoding/binary"

// Update is what one event brings to one strategy, as the log carries it.
type Update struct {
	Name string
	Spec Spec
	// Value and Ends are those of Event; Template is AppendTemplate, empty where no trigger is raised.
	Value    int64
	Ends     bool
	Template []byte
}

// maxName bounds the name of a strategy.
const maxName = 256

// Append appends the bytes of u to dst. Updates of one event lie one after the other.
func (u *Update) Append(dst []byte) []byte {
	dst = append(binary.AppendUvarint(dst, uint64(len(u.Name))), u.Name...)
	dst = append(u.Spec.Append(dst), b2(u.Ends))
	dst = binary.AppendVarint(dst, u.Value)
	return append(binary.AppendUvarint(dst, uint64(len(u.Template))), u.Template...)
}

// Next takes the next update off the front of updates; ok is false at the end. u shares their memory.
func (u *Update) Next(updates []byte) (rest []byte, ok bool, err error) {
	if len(updates) == 0 {
		return nil, false, nil
	}
	r := reader{rest: updates}
	size := r.uvarint()
	r.bad = r.bad || size == 0 || size > maxName
	u.Name = string(r.take(min(size, maxName)))
	r.spec(&u.Spec)
	ends := r.byte()
	u.Ends = ends == 1
	u.Value = r.varint()
	size = r.uvarint()
	r.bad = r.bad || ends > 1 || size > maxTemplate || u.Value < -MaxValue || u.Value > MaxValue
	u.Template = r.take(min(size, maxTemplate))
	if r.bad {
		return nil, false, ErrCorrupt
	}
	return r.rest, true, nil
}

// AppendTemplate appends what the triggers of an event are made of: its type and its contexts, as they are
// encoded. ParseTemplate is the inverse; what it gives shares the memory of the template.
func AppendTemplate(dst []byte, eventType string, contexts []byte) []byte {
	return append(append(binary.AppendUvarint(dst, uint64(len(eventType))), eventType...), contexts...)
}

// ParseTemplate reads what AppendTemplate wrote. An empty template is one without type and contexts.
func ParseTemplate(template []byte) (eventType string, contexts []byte, err error) {
	if len(template) == 0 {
		return "", nil, nil
	}
	r := reader{rest: template}
	eventType = string(r.take(r.uvarint()))
	if r.bad {
		return "", nil, ErrCorrupt
	}
	return eventType, r.rest, nil
}

// AppendTimer appends what a timer of a strategy carries: its name and its spec, since the catalog may be
// another when it fires. ParseTimer is the inverse.
func AppendTimer(dst []byte, name string, s *Spec) []byte {
	return s.Append(append(binary.AppendUvarint(dst, uint64(len(name))), name...))
}

// ParseTimer reads what AppendTimer wrote.
func ParseTimer(value []byte) (name string, s Spec, err error) {
	r := reader{rest: value}
	size := r.uvarint()
	r.bad = r.bad || size == 0 || size > maxName
	name = string(r.take(min(size, maxName)))
	r.spec(&s)
	return name, s, r.err()
}
