package expr

import (
	"time"

	"github.com/arbiterhq/arbiter/runtime/consent"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Vars are what an expression reads. One Vars belongs to one goroutine; evaluation writes only its
// unexported part.
type Vars struct {
	Subject nba.Subject
	// Mask holds the purposes data of this subject may be used for (consent.Mask), Purpose the one
	// the expression is evaluated for.
	Mask    nba.PurposeSet
	Purpose nba.PurposeID
	// Contexts are the situational values of the request. Of equal keys the first counts.
	Contexts  []nba.ContextValue
	Now       time.Time
	Channel   string
	Direction string
	// History answers questions to the interaction history; nil: it cannot be read.
	History History
	// Aggregates answers what event strategies counted; nil: it cannot be read.
	Aggregates Aggregates
	// Journeys tells where the subject stands; nil: it cannot be read.
	Journeys Journeys
	// Scores tells what models say of the subject; nil: they cannot be asked.
	Scores Scores
	// Event is what expressions of NewEventEnv read; nil elsewhere.
	Event *Event

	gap Gap
}

// Gap is the first thing that an expression asked for and did not get.
type Gap struct {
	// Attribute is the absent attribute; Known is false when nothing was absent.
	Attribute nba.AttributeID
	Known     bool
	// History tells that it was the history, and no attribute; Strategy, if not empty, that it was the
	// aggregate of that event strategy.
	History  bool
	Strategy string
	// Journey, if not empty, tells that it was something of that journey.
	Journey string
	// Withheld is true when consent, or the purposes of the attribute, keep it from being used.
	Withheld bool
}

// Gap tells what was absent in the last evaluation with v, for explanations.
func (v *Vars) Gap() Gap { return v.gap }

func (v *Vars) context(key string) (string, bool) {
	for i := range v.Contexts {
		if v.Contexts[i].Key == key {
			return v.Contexts[i].Value, true
		}
	}
	return "", false
}

// The times CEL can hold: years 1 to 9999.
const (
	minUnixSeconds = -62135596800
	maxUnixSeconds = 253402300799
)

// attribute is one attribute as an expression reads it.
type attribute struct {
	id       nba.AttributeID
	kind     nba.Kind
	purposes nba.PurposeSet
}

func attributeOf(a nba.Attribute) attribute {
	return attribute{id: a.ID, kind: a.Type, purposes: a.PurposeSet}
}

// read is the value of a, unless it is absent, withheld, or of another kind than declared.
func (a attribute) read(v *Vars) (nba.Value, bool) {
	withheld := !consent.Visible(a.purposes, v.Purpose, v.Mask)
	if !withheld {
		if value, ok := v.Subject.Attribute(a.id); ok && value.Kind() == a.kind && a.representable(value) {
			return value, true
		}
	}
	if !v.gap.Known {
		v.gap = Gap{Attribute: a.id, Known: true, Withheld: withheld}
	}
	return nba.Value{}, false
}

// has is the CEL has(): it is never an error and leaves no gap.
func (a attribute) has(v *Vars) bool {
	if !consent.Visible(a.purposes, v.Purpose, v.Mask) {
		return false
	}
	value, ok := v.Subject.Attribute(a.id)
	return ok && value.Kind() == a.kind && a.representable(value)
}

// representable is false for times beyond CEL's range.
func (a attribute) representable(value nba.Value) bool {
	if a.kind != nba.KindTime {
		return true
	}
	ms := value.Int()
	return ms >= minUnixSeconds*1000 && ms < (maxUnixSeconds+1)*1000
}
