package command

import (
	"encoding/binary"
	"encoding/hex"
	"math"
	"strings"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// MaxExplanation bounds the explanation kept with a decision, in bytes.
const MaxExplanation = 256 << 10

// The formats of the stored record. Format 1 is read only.
const (
	recordFormat1 = 1
	recordFormat  = 2
)

// The flags of a record and of a proposition in it.
const (
	flagDegraded       = 1 << 0
	flagInControlGroup = 1 << 1
	flagExplanation    = 1 << 2
	flagSections       = 1 << 3 // sections follow at the end
	recordFlags        = flagDegraded | flagInControlGroup | flagExplanation | flagSections

	flagWeight      = 1 << 0 // the context weight follows; without, it is 1
	flagFraction    = 1 << 1 // the value is a double; without, a whole number
	flagLever       = 1 << 2 // the lever follows; without, it is 1
	flagProbability = 1 << 3 // the selection probability follows; without, it is 1
	flagModel       = 1 << 4 // a model follows

	propositionFlags = flagWeight | flagFraction | flagLever | flagProbability | flagModel
)

const (
	maxRankEncoded = math.MaxUint16
	maxWhole       = 1 << 53 // whole numbers below are doubles, exactly
)

// texts are the last texts of a record: a text that was there is written as its distance.
type texts struct {
	ring  [64]string
	count int
}

func (t *texts) add(text string) {
	t.ring[t.count%len(t.ring)] = text
	t.count++
}

// append writes 0 and the text, or n for the text n places back.
func (t *texts) append(dst []byte, text string) []byte {
	for back := 1; back <= min(t.count, len(t.ring)); back++ {
		if t.ring[(t.count-back)%len(t.ring)] == text {
			return binary.AppendUvarint(dst, uint64(back))
		}
	}
	t.add(text)
	return appendText(append(dst, 0), text)
}

func (t *texts) read(r *reader) string {
	back := r.uvarint()
	if back == 0 {
		text := r.text(maxText)
		t.add(text)
		return text
	}
	if back > uint64(min(t.count, len(t.ring))) {
		r.bad = true
		return ""
	}
	return t.ring[(t.count-int(back))%len(t.ring)]
}

func (d *Decision) appendRecord(dst []byte) []byte {
	flags := byte(0)
	for _, f := range [...]struct {
		on   bool
		flag byte
	}{{d.Degraded, flagDegraded}, {d.InControlGroup, flagInControlGroup}, {len(d.Explanation) > 0, flagExplanation}, {len(d.Kept) > 0, flagSections}} {
		if f.on {
			flags |= f.flag
		}
	}
	dst = append(dst, recordFormat, flags)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(d.Time.UnixMilli()))
	dst = binary.AppendUvarint(dst, d.CatalogVersion)
	dst = appendText(dst, d.Channel)
	dst = appendText(dst, string(d.Direction))
	dst = appendText(dst, d.RequestID)
	dst = appendText(dst, d.DegradedReason)
	if d.InControlGroup {
		dst = appendText(dst, d.ControlGroup)
	}
	placements := d.placements()
	dst = binary.AppendUvarint(dst, uint64(len(placements)))
	for _, placement := range placements {
		dst = appendText(dst, placement)
	}
	dst = binary.AppendUvarint(dst, uint64(len(d.Propositions)))
	var seen texts
	at := 0
	for i := range d.Propositions {
		p := &d.Propositions[i]
		at = indexFrom(placements, p.Placement, at)
		dst = binary.AppendUvarint(dst, uint64(at))
		dst = p.append(dst, &seen)
	}
	if len(d.Explanation) > 0 {
		dst = append(binary.AppendUvarint(dst, uint64(len(d.Explanation))), d.Explanation...)
	}
	if len(d.Kept) > 0 {
		dst = d.Kept.append(dst)
	}
	return dst
}

// placements are those of the answer, with every one that a proposition names.
func (d *Decision) placements() []string {
	placements := d.Placements
	for i := range d.Propositions {
		if indexFrom(placements, d.Propositions[i].Placement, 0) == len(placements) {
			placements = append(placements[:len(placements):len(placements)], d.Propositions[i].Placement)
		}
	}
	return placements
}

// indexFrom is where text is in list, beginning to look at from, which is usually there; else len(list).
func indexFrom(list []string, text string, from int) int {
	for n := range list {
		if i := (from + n) % len(list); list[i] == text {
			return i
		}
	}
	return len(list)
}

func (p *Proposition) append(dst []byte, seen *texts) []byte {
	dst = binary.AppendUvarint(dst, uint64(p.Rank))
	dst = seen.append(dst, p.Action)
	dst = seen.append(dst, p.Treatment)
	flags, at := byte(0), len(dst)
	dst = append(dst, 0)
	number := func(f float64) { dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(f)) }
	unless := func(usual, f float64, flag byte) {
		if math.Float64bits(f) != math.Float64bits(usual) {
			flags |= flag
			number(f)
		}
	}
	number(p.Propensity)
	unless(1, p.ContextWeight, flagWeight)
	if p.Value >= 0 && p.Value < maxWhole && p.Value == math.Trunc(p.Value) && !math.Signbit(p.Value) {
		dst = binary.AppendUvarint(dst, uint64(p.Value))
	} else {
		flags |= flagFraction
		number(p.Value)
	}
	unless(1, p.Lever, flagLever)
	number(p.Priority)
	unless(1, p.SelectionProbability, flagProbability)
	dst = seen.append(dst, p.ReasonCode)
	dst = seen.append(dst, p.ReasonLabel)
	if p.ModelDigest != "" || p.ModelName != "" || p.ModelVersion != "" {
		flags |= flagModel
		dst = seen.append(dst, p.ModelName)
		dst = seen.append(dst, p.ModelVersion)
		dst = seen.append(dst, packDigest(p.ModelDigest))
	}
	dst[at] = flags
	return dst
}

const digestPrefix = "sha256:"

// packDigest halves a digest: 1 and 32 bytes instead of "sha256:" and 64 digits. Another text is 0 and
// the text.
func packDigest(digest string) string {
	if digits, ok := strings.CutPrefix(digest, digestPrefix); ok && len(digits) == 64 && strings.ToLower(digits) == digits {
		if raw, err := hex.DecodeString(digits); err == nil {
			return "\x01" + string(raw)
		}
	}
	return "\x00" + digest
}

func unpackDigest(packed string) (digest string, ok bool) {
	switch {
	case len(packed) == 33 && packed[0] == 1:
		return digestPrefix + hex.EncodeToString([]byte(packed[1:])), true
	case len(packed) > 0 && packed[0] == 0:
		return packed[1:], true
	}
	return "", false
}

// DecisionReader reads the stored record of a decision. Texts share its memory.
type DecisionReader struct {
	Degraded       bool
	InControlGroup bool
	ControlGroup   string
	TimeMS         int64
	CatalogVersion uint64
	Channel        string
	Direction      nba.Direction
	RequestID      string
	DegradedReason string
	// Placements are those of the answer, in its order; nil in a record of format 1, which has those
	// of its propositions only.
	Placements []string

	format      byte
	checking    bool // nobody looks at the propositions
	left        int
	explanation bool
	sections    bool
	r           reader
	seen        texts
	// Of format 1, which shares placements and digests apart.
	placements, digests []string
	// The last digest, packed and not: most propositions have the same.
	packed, digest string
}

// OpenDecision reads the head of a record; Next reads the propositions.
func OpenDecision(record []byte) (DecisionReader, error) { return openDecision(record, false) }

func openDecision(record []byte, checking bool) (DecisionReader, error) {
	d := DecisionReader{r: reader{rest: record}, checking: checking}
	r := &d.r
	var flags byte
	d.format, flags = r.u8(), r.u8()
	known := byte(recordFlags)
	if d.format == recordFormat1 {
		known = flagDegraded
	}
	d.Degraded, d.InControlGroup = flags&flagDegraded != 0, flags&flagInControlGroup != 0
	d.explanation, d.sections = flags&flagExplanation != 0, flags&flagSections != 0
	d.TimeMS = int64(r.u64())
	d.CatalogVersion = r.uvarint()
	d.Channel = r.text(maxText)
	d.Direction = nba.Direction(r.text(maxText))
	d.RequestID = r.text(maxText)
	if d.format != recordFormat1 {
		d.DegradedReason = r.text(maxText)
		if d.InControlGroup {
			d.ControlGroup = r.text(maxText)
		}
		if n := r.uvarint(); n > nba.MaxPlacements {
			r.bad = true
		} else {
			d.Placements = make([]string, n)
			for i := range d.Placements {
				d.Placements[i] = r.text(maxText)
			}
		}
	}
	n := r.uvarint()
	if d.format < recordFormat1 || d.format > recordFormat || flags&^known != 0 || n > MaxPropositions || r.bad {
		return DecisionReader{}, ErrMalformed
	}
	d.left = int(n)
	return d, nil
}

// Left is the number of propositions that Next has yet to return.
func (d *DecisionReader) Left() int { return d.left }

// Next returns the next proposition; ok is false at the end and when the record is malformed, which
// Err tells apart.
func (d *DecisionReader) Next() (p Proposition, ok bool) {
	if d.left == 0 || d.r.bad {
		return Proposition{}, false
	}
	d.left--
	if d.format == recordFormat1 {
		d.next1(&p)
	} else {
		d.next(&p)
	}
	return p, !d.r.bad
}

func (d *DecisionReader) next(p *Proposition) {
	r := &d.r
	if at := r.uvarint(); at < uint64(len(d.Placements)) {
		p.Placement = d.Placements[at]
	} else {
		r.bad = true
	}
	p.Rank = r.rank()
	p.Action, p.Treatment = d.seen.read(r), d.seen.read(r)
	flags := r.u8()
	r.bad = r.bad || flags&^propositionFlags != 0
	unless := func(usual float64, flag byte) float64 {
		if flags&flag != 0 {
			return r.f64()
		}
		return usual
	}
	p.Propensity = r.f64()
	p.ContextWeight = unless(1, flagWeight)
	if flags&flagFraction != 0 {
		p.Value = r.f64()
	} else {
		whole := r.uvarint()
		r.bad = r.bad || whole >= maxWhole
		p.Value = float64(whole)
	}
	p.Lever = unless(1, flagLever)
	p.Priority = r.f64()
	p.SelectionProbability = unless(1, flagProbability)
	p.ReasonCode, p.ReasonLabel = d.seen.read(r), d.seen.read(r)
	if flags&flagModel != 0 {
		p.ModelName, p.ModelVersion = d.seen.read(r), d.seen.read(r)
		p.ModelDigest = d.modelDigest(d.seen.read(r))
	}
}

func (d *DecisionReader) modelDigest(packed string) string {
	if packed == d.packed && packed != "" {
		return d.digest
	}
	if d.checking {
		if len(packed) == 0 || packed[0] > 1 || packed[0] == 1 && len(packed) != 33 {
			d.r.bad = true
		}
		return ""
	}
	digest, ok := unpackDigest(packed)
	d.r.bad = d.r.bad || !ok
	d.packed, d.digest = packed, digest
	return digest
}

func (r *reader) rank() int {
	rank := r.uvarint()
	r.bad = r.bad || rank > maxRankEncoded
	return int(rank)
}

// next1 reads a proposition of format 1, which has fewer fields.
func (d *DecisionReader) next1(p *Proposition) {
	p.Rank = d.r.rank()
	p.Placement = d.shared(&d.placements)
	p.Action = d.r.text(maxText)
	p.Treatment = d.r.text(maxText)
	p.ModelDigest = d.shared(&d.digests)
	p.Propensity, p.Priority, p.SelectionProbability = d.r.f64(), d.r.f64(), d.r.f64()
}

func (d *DecisionReader) shared(seen *[]string) string {
	back := d.r.uvarint()
	text := ""
	switch {
	case back == 0:
		text = d.r.text(maxText)
	case back > uint64(len(*seen)):
		d.r.bad = true
	default:
		text = (*seen)[len(*seen)-int(back)]
	}
	*seen = append(*seen, text)
	return text
}

// Complete tells whether the record has all of the answer. One of format 1 has not.
func (d *DecisionReader) Complete() bool { return d.format != recordFormat1 }

// Explanation is the JSON of the explanation, or nil. It is there after Next returned the last
// proposition, and shares the memory of the record.
func (d *DecisionReader) Explanation() []byte {
	if !d.explanation || d.left > 0 || d.r.bad {
		return nil
	}
	r := d.r
	return r.explanation()
}

func (r *reader) explanation() []byte {
	n := r.uvarint()
	if n == 0 || n > MaxExplanation {
		r.bad = true
	}
	return r.take(int(min(n, MaxExplanation)))
}

// Sections are those kept with the decision, or nil. They are there after Next returned the last
// proposition, and share the memory of the record.
func (d *DecisionReader) Sections() Sections {
	if !d.sections || d.left > 0 || d.r.bad {
		return nil
	}
	r := d.r
	if d.explanation {
		r.explanation()
	}
	return r.sections()
}

// Err is ErrMalformed when Next stopped before the end, or when other bytes than an explanation and
// sections follow the end.
func (d *DecisionReader) Err() error {
	if d.left > 0 || d.r.bad {
		return ErrMalformed
	}
	r := d.r
	if d.explanation {
		r.explanation()
	}
	if d.sections {
		r.sections()
	}
	return r.end()
}
