package fsm

import (
	"fmt"

	"github.com/oklog/ulid/v2"

	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Home tells to which data group a key belongs, by what a slot can be made of. One of its fields is set.
type Home struct {
	// Subject is a subject key.
	Subject []byte
	// Decision is the id of a decision, which carries its slot.
	Decision ulid.ULID
	// Everywhere is true for what each group keeps that has slots of the one it was found in. Most is true too
	// if the greatest of several values counts, and Sum if they are added up, as 8 bytes, little endian.
	Everywhere, Most, Sum bool
	// Nowhere is true for what a restore leaves out: the parts of volumes that groups hold.
	Nowhere bool
}

// ErrNoHome is wrapped when a key belongs to a group by its number alone, so that a state that has such keys
// can be restored into as many data groups only.
var ErrNoHome = fmt.Errorf("a key belongs to its data group by number alone")

// HomeOf tells where a key of a data group belongs. What it gives shares the memory of the key.
func HomeOf(b store.Bucket, key []byte) (Home, error) {
	switch b {
	case store.Subjects, store.Contacts:
		return Home{Subject: key}, nil
	case store.Decisions:
		return homeOfDecision(key)
	case store.History:
		return homeOfSubject(key)
	case store.Idempotency:
		return Home{Everywhere: true}, nil
	case store.Control:
		if _, _, ok := ParseVolumeKey(key); ok || len(key) > 1 && key[len(key)-1] == 0 {
			return Home{Nowhere: true}, nil
		}
	case store.Due:
		return homeOfDue(key)
	}
	return homeOfEvents(b, key)
}

func homeOfSubject(key []byte) (Home, error) {
	if len(key) < 2 || int(key[0]) >= len(nba.SubjectTypes) || len(key) < 2+int(key[1]) {
		return Home{}, corruptSubject()
	}
	return Home{Subject: key[: 2+int(key[1]) : 2+int(key[1])]}, nil
}

func homeOfDecision(id []byte) (Home, error) {
	if len(id) < len(ulid.ULID{}) {
		return Home{}, errDue
	}
	return Home{Decision: ulid.ULID(id[:len(ulid.ULID{})])}, nil
}

func homeOfDue(key []byte) (Home, error) {
	const ms, id = 8, 16
	rest := key[1:]
	switch key[0] {
	case dueKey:
		return Home{Everywhere: true}, nil
	case dueVerdict:
		if len(rest) == 0 {
			return Home{Everywhere: true, Most: true}, nil
		}
		return homeOfDecision(rest)
	case dueErased:
		return homeOfDecision(rest)
	case dueDecision, dueOutbox:
		if len(rest) < ms+id {
			return Home{}, errDue
		}
		return homeOfDecision(rest[ms:])
	case dueHold:
		if len(rest) < ms+id {
			return Home{}, errDue
		}
		return homeOfSubject(rest[ms+id:])
	case dueTimer:
		if len(rest) < ms+1 {
			return Home{}, errDue
		}
		return homeOfSubject(rest[ms+1:])
	}
	return Home{}, fmt.Errorf("%w: due, kind %d", ErrNoHome, key[0])
}

// homeOfEvents is the home of events and of what follows from them.
func homeOfEvents(b store.Bucket, key []byte) (Home, error) {
	const ms, id, run = 8, 16, 8
	none := fmt.Errorf("%w: bucket %d", ErrNoHome, b)
	if len(key) == 0 {
		return Home{}, none
	}
	kind, rest := key[0], key[1:]
	switch b {
	case store.Windows:
		return homeOfSubject(key)
	case store.Seen: // with a hash behind the subject it is of an event by its number
		if home, err := homeOfSubject(key); err != nil || len(home.Subject) == len(key) {
			return home, err
		}
	case store.Journeys:
		switch kind {
		case journeyDefinition:
			return Home{Everywhere: true, Most: true}, nil
		case journeyUses: // too many where a group was split, which keeps a definition too long
			return Home{Everywhere: true, Sum: true}, nil
		}
		return homeOfSubject(key)
	case store.Triggers:
		switch {
		case kind == triggerOf || kind == triggerShutOf:
			return homeOfSubject(rest)
		case (kind == triggerAt || kind == triggerShut) && len(rest) >= ms+id:
			return homeOfDecision(rest[ms:]) // ids of triggers and deliveries carry a slot too
		}
	case store.Outbox:
		switch {
		case kind == outboxSubject:
			return homeOfSubject(rest)
		case kind == outboxOf && len(rest) == id, kind == outboxDue && len(rest) > ms+id, kind == outboxDone && len(rest) == 1+ms+id:
			return homeOfDecision(rest[len(rest)-id:])
		}
	case store.Campaigns:
		if (kind == campaignContacted || kind == campaignHeldOut) && len(rest) > run {
			return homeOfSubject(rest[run:])
		}
	}
	return Home{}, none
}
