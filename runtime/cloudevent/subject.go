package cloudevent

import (
	"strings"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Subject is whom an event is about where the catalog does not tell:
//
//   - the attribute subject, as ID, TYPE:ID or TYPE/ID with a type of ours;
//   - else data.device.phoneNumber or data.device.networkAccessIdentifier, as the notifications of CAMARA have
//     it, of a subscriber.
//
// ok is false when it tells nobody.
func Subject(e *nba.Event) (ref nba.SubjectRef, ok bool) {
	if name := e.SubjectName; name != "" {
		if at := strings.IndexAny(name, ":/"); at > 0 {
			if kind := nba.SubjectType(name[:at]).Index(); kind >= 0 {
				return normal(nba.SubjectRef{Type: nba.SubjectTypes[kind], ID: name[at+1:]})
			}
		}
		return normal(nba.SubjectRef{ID: name})
	}
	device, ok := member(string(e.Data), "device")
	if !ok {
		return ref, false
	}
	for _, name := range [...]string{"phoneNumber", "networkAccessIdentifier"} {
		if value, ok := member(device, name); ok && value[0] == '"' {
			s := scanner{text: value}
			id, _ := s.string()
			return normal(nba.SubjectRef{ID: id})
		}
	}
	return ref, false
}

func normal(ref nba.SubjectRef) (nba.SubjectRef, bool) {
	ref, err := ref.Normalize()
	return ref, err == nil
}

// member is the text of a member of a JSON object.
func member(object, name string) (raw string, ok bool) {
	s := scanner{text: object}
	if s.peek() != '{' {
		return "", false
	}
	for s.pos++; s.peek() == '"'; s.pos++ {
		key, _ := s.string()
		if !s.take(':', "") {
			return "", false
		}
		value, found := s.value()
		if !found || key == name {
			return value, found
		}
		if s.peek() != ',' {
			return "", false
		}
	}
	return "", false
}
