package journey

import "encoding/binary"

// RuleKind tells from where a rule leads to its stage.
type RuleKind uint8

// The kinds of rules. The numbers are stored: append only.
const (
	// Move leads on from the stage From.
	Move RuleKind = 1
	// Exit leads on from every stage.
	Exit RuleKind = 2
	// Enter begins an instance. One that is open already takes the data over; in the stage To its time
	// begins anew.
	Enter RuleKind = 3
	// Jump is what a person asks for: from the stage From, or from every stage if that is AnyStage, or it
	// begins an instance.
	Jump RuleKind = 4

	ruleEnd = 5
)

// AnyStage is the From of a Jump from every stage, None that of one which only begins.
const (
	AnyStage = -1
	None     = -2
)

// Rule leads to the stage at position To of the definition.
type Rule struct {
	Kind     RuleKind
	From, To int
}

// Cause tells what moved an instance.
type Cause uint8

// The causes. The numbers are stored: append only.
const (
	CauseEvent    Cause = 1
	CauseResponse Cause = 2
	CauseTimeout  Cause = 3
	CausePerson   Cause = 4
	// CauseReplaced: another instance began, and there may be no more.
	CauseReplaced Cause = 5

	causeEnd = 6
)

// String is the name of c in answers.
func (c Cause) String() string {
	if c == 0 || c >= causeEnd {
		return "unknown"
	}
	return [...]string{"event", "response", "timeout", "person", "replaced"}[c-1]
}

// Effect is what is asked of one journey of one subject. The rules are those whose conditions hold, in the
// order they are tried: the first that leads on from where an instance is counts.
type Effect struct {
	// Digest identifies the definition, which is there as bytes.
	Digest     [DigestBytes]byte
	Definition []byte
	// Key tells the instance among those of the journey. Every means all that are open; none begins then.
	Key   string
	Every bool
	Rules []Rule
	// Data are the fields to set, in the order of their names.
	Data   []Field
	Cause  Cause
	Detail string // the type of the event, the outcome, or what a person gave as the reason
}

const effectEvery = 1

// AppendEffects appends effects, each of another journey, to dst: a section of an event or a response.
func AppendEffects(dst []byte, effects []Effect) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(effects)))
	for i := range effects {
		dst = effects[i].append(dst)
	}
	return dst
}

func (e *Effect) append(dst []byte) []byte {
	flags := byte(0)
	if e.Every {
		flags |= effectEvery
	}
	dst = append(append(dst, flags, byte(e.Cause)), e.Digest[:]...)
	dst = binary.AppendUvarint(dst, uint64(len(e.Definition)))
	dst = appendText(appendText(append(dst, e.Definition...), e.Key), e.Detail)
	dst = binary.AppendUvarint(dst, uint64(len(e.Rules)))
	for _, rule := range e.Rules {
		dst = append(dst, byte(rule.Kind))
		dst = binary.AppendUvarint(binary.AppendVarint(dst, int64(rule.From)), uint64(rule.To))
	}
	return appendFields(dst, e.Data)
}

// MaxEffects bounds the effects of one event: one for each journey of a catalog.
const MaxEffects = 64

const maxDefinition = 8 << 10

// DecodeEffects reads what AppendEffects wrote, into effects if there is room. The definitions share the
// memory of b.
func DecodeEffects(b []byte, effects []Effect) ([]Effect, error) {
	r := reader{rest: string(b)}
	effects = effects[:0]
	for range r.count(MaxEffects) {
		effects = append(effects, r.effect())
	}
	return effects, r.end()
}

func (r *reader) effect() (e Effect) {
	flags := r.byte()
	e.Every, e.Cause = flags&effectEvery != 0, Cause(r.byte())
	copy(e.Digest[:], r.take(DigestBytes))
	e.Definition = []byte(r.take(int(r.uvarint(maxDefinition))))
	e.Key, e.Detail = r.text(MaxKeyBytes), r.text(MaxTextBytes)
	r.bad = r.bad || flags&^effectEvery != 0 || e.Cause == 0 || e.Cause >= causeEnd
	for range r.count(MaxRules) {
		rule := Rule{Kind: RuleKind(r.byte()), From: int(r.varint()), To: int(r.uvarint(MaxStages - 1))}
		r.bad = r.bad || rule.Kind == 0 || rule.Kind >= ruleEnd || rule.From < None || rule.From >= MaxStages
		e.Rules = append(e.Rules, rule)
	}
	e.Data = r.fields()
	return e
}
