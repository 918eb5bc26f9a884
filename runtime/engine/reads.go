package engine

import (
	"errors"
	"math/bits"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Reads are what one decision read besides its catalog, its request and its time: with them Decide makes
// the same decision again when the subject, its contacts, its history and the models are others since.
// Given to Decide in Input.Reads, one made by Record is filled; one made by Play answers in their stead.
// It is used by one decision at a time and keeps its memory. Methods of a nil *Reads do nothing.
//
// What is read of attributes is noted by id. Everything that is only asked for a yes or no (limits,
// failures) is noted as the answer, and what is computed from the history as its value.
type Reads struct {
	subject nba.Subject
	now     int64
	channel string
	asked   []uint64 // a bit for each attribute id

	answers    int   // to questions so far
	yes        []int // those that were yes, counted from 0
	aggregates []float64
	models     []*nba.ModelInfo
	journeys   []byte // where the subject stood
	stood      bool   // the decision asked where
	looks      int    // at the deadline
	late       int    // the look that found it passed, from 1; 0: none

	playing bool
	at      int // of yes
	value   int // of aggregates
	strayed error
}

// Recorded are the parts of Reads that Play takes: what Record left.
type Recorded struct {
	// Yes are the numbers of the questions that were answered with yes, ascending from 0.
	Yes []int
	// Aggregates are what was computed from the interaction history, in the order it was asked for.
	Aggregates []float64
	// Late is the number of the look at the deadline that found it passed, from 1; 0: none.
	Late int
}

var (
	_ nba.Historian  = (*Reads)(nil)
	_ nba.Consenting = (*Reads)(nil)
	_ nba.Counting   = (*Reads)(nil)
)

// errStrayed is the failure of a decision that is made again and asks for what it did not ask then.
var errStrayed = errors.New("the decision that is made again asks for what it did not ask then")

// errNoJourneys is the failure of subjects that do not tell where they stand.
var errNoJourneys = errors.New("where the subject stands in its journeys cannot be read here")

// errFailedThen is the failure of a plugin that failed when the decision was made.
var errFailedThen = errors.New("it failed when the decision was made")

// Record makes r ready to note what the next decision reads.
func (r *Reads) Record() {
	clear(r.asked)
	clear(r.models)
	*r = Reads{asked: r.asked, yes: r.yes[:0], aggregates: r.aggregates[:0], models: r.models[:0], journeys: r.journeys[:0]}
}

// Play makes r answer the next decision, whose Input.Subject has the attributes that were read.
func (r *Reads) Play(recorded Recorded) {
	r.Record()
	r.playing, r.yes, r.aggregates, r.late = true, recorded.Yes, recorded.Aggregates, recorded.Late
}

// Recorded are the answers noted. They are valid until the next Record.
func (r *Reads) Recorded() Recorded {
	return Recorded{Yes: r.yes, Aggregates: r.aggregates, Late: r.late}
}

// Models are the versions that scored or arranged, in the order they were called, without those that
// failed. They are valid until the next Record.
func (r *Reads) Models() []*nba.ModelInfo { return r.models }

// Strayed is why a decision that was made again may differ from what it was then; nil: it does not.
func (r *Reads) Strayed() error {
	if r.playing && r.strayed == nil && (r.at < len(r.yes) || r.value < len(r.aggregates)) {
		return errStrayed
	}
	return r.strayed
}

// Asked calls fn with every attribute that was read, in the order of their ids, with its value; ok is
// false for one that the subject does not have. The subject must still be valid.
func (r *Reads) Asked(fn func(id nba.AttributeID, value nba.Value, ok bool)) {
	for word, set := range r.asked {
		for ; set != 0; set &= set - 1 {
			id := nba.AttributeID(word*64 + bits.TrailingZeros64(set))
			value, ok := r.subject.Attribute(id)
			fn(id, value, ok)
		}
	}
}

// Consents are the purposes the subject granted and refused, and its answer to the channel, as they
// counted for the decision. The subject must still be valid.
func (r *Reads) Consents() (granted, refused nba.PurposeSet, channel nba.ConsentState) {
	granted, refused = r.PurposesAt(r.now)
	return granted, refused, r.ChannelAt(r.channel, r.now)
}

// begin puts r between a decision and its subject.
func (r *Reads) begin(in *Input) {
	if r == nil {
		return
	}
	r.subject, r.now, r.channel = in.Subject, in.Now.UnixMilli(), in.Request.Channel
	if words := (len(in.Dictionary.Attributes()) + 63) / 64; words > len(r.asked) {
		r.asked = make([]uint64, words)
	}
	in.Subject = r
}

// answer notes the answer to a yes-or-no question, or gives the one of then.
func (r *Reads) answer(yes bool) bool {
	if r == nil {
		return yes
	}
	n := r.answers
	r.answers++
	if r.playing {
		yes = r.at < len(r.yes) && r.yes[r.at] == n
		if yes {
			r.at++
		}
	} else if yes {
		r.yes = append(r.yes, n)
	}
	return yes
}

// deadline notes that the deadline passed, or tells whether it passed here then.
func (r *Reads) deadline(passed bool) bool {
	if r == nil {
		return passed
	}
	r.looks++
	switch {
	case r.playing:
		return r.looks == r.late
	case passed && r.late == 0:
		r.late = r.looks
	}
	return passed
}

// call has a plugin called by do, unless it failed then, and notes how it ended.
func (r *Reads) call(do func() (*nba.ModelInfo, error)) (*nba.ModelInfo, error) {
	if r == nil {
		return do()
	}
	if r.playing {
		if r.answer(false) {
			return nil, errFailedThen
		}
		info, err := do()
		if err != nil {
			r.strayed = err
		}
		return info, err
	}
	aggregates := len(r.aggregates)
	info, err := do()
	if r.answer(err != nil) {
		r.aggregates = r.aggregates[:aggregates] // it will not be called again
	} else {
		r.models = append(r.models, info)
	}
	return info, err
}

// Aggregate notes a value computed from the interaction history, or gives the one of then. Whoever
// computes one for a decision passes it through here, once for each use, in an order that depends on
// nothing else than the call.
func (r *Reads) Aggregate(value float64) float64 {
	if r == nil {
		return value
	}
	if !r.playing {
		r.aggregates = append(r.aggregates, value)
		return value
	}
	if r.value == len(r.aggregates) {
		r.strayed = errStrayed
		return value
	}
	r.value++
	return r.aggregates[r.value-1]
}

// Beneath is the subject itself, for those whose reading does not matter to the decision. It notes nothing.
func (r *Reads) Beneath() nba.Subject { return r.subject }

// Ref implements nba.Subject.
func (r *Reads) Ref() nba.SubjectRef { return r.subject.Ref() }

// Version implements nba.Subject.
func (r *Reads) Version() uint64 { return r.subject.Version() }

// Granted implements nba.Subject.
func (r *Reads) Granted() nba.PurposeSet { return r.subject.Granted() }

// Attribute implements nba.Subject, and notes that the attribute was read.
func (r *Reads) Attribute(id nba.AttributeID) (nba.Value, bool) {
	if word := int(id) / 64; word < len(r.asked) {
		r.asked[word] |= 1 << (id % 64)
	}
	return r.subject.Attribute(id)
}

// Touches implements nba.Historian. What is computed of them must pass through Aggregate.
func (r *Reads) Touches(fn func(t *nba.Touch) (more bool)) error {
	if who, ok := r.subject.(nba.Historian); ok {
		return who.Touches(fn)
	}
	return errors.New("the history of the subject cannot be read here")
}

// Windows implements nba.Counting. What is computed of it must pass through Aggregate.
func (r *Reads) Windows() ([]byte, error) {
	if who, ok := r.subject.(nba.Counting); ok {
		return who.Windows()
	}
	return nil, nil
}

// PurposesAt implements nba.Consenting.
func (r *Reads) PurposesAt(ms int64) (granted, refused nba.PurposeSet) {
	if who, ok := r.subject.(nba.Consenting); ok {
		return who.PurposesAt(ms)
	}
	return r.subject.Granted(), 0
}

// ChannelAt implements nba.Consenting.
func (r *Reads) ChannelAt(channel string, ms int64) nba.ConsentState {
	if who, ok := r.subject.(nba.Consenting); ok {
		return who.ChannelAt(channel, ms)
	}
	return nba.Unanswered
}
