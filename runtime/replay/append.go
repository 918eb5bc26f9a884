package replay

import (
	"encoding/binary"
	"encoding/hex"
	"math"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/arbiterhq/arbiter/runtime/engine"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// format is the first byte of a record.
const format = 1

// The flags of a record: what is in it that most do without. The lowest two bits tell the explain level.
const (
	explainMask    = 0b11
	flagLimits     = 1 << 2 // limits of the placements; without, all are 1
	flagExcluded   = 1 << 3
	flagContexts   = 1 << 4
	flagLate       = 1 << 5 // the deadline passed
	flagAnswers    = 1 << 6 // some questions were answered with yes
	flagAggregates = 1 << 7
)

var explains = [...]nba.Explain{nba.ExplainNone, nba.ExplainReasons, nba.ExplainFull}

// The forms of a value, in the lowest three bits of its head.
const (
	formAbsent = iota
	formFalse
	formTrue
	formInt
	formDecimal // a whole number of hundredths or of another power of ten
	formFloat   // the 8 bytes
	formText
	formTime
)

// decimals are the numbers that a value of formDecimal is divided by.
var decimals = [...]float64{1, 10, 100, 10_000}

const (
	dayMS    = 24 * 60 * 60 * 1000
	maxExact = 1 << 52
)

// Seed is what a decision draws by chance from. It is made of the decision's id, so that it need not be
// kept.
func Seed(decisionID string) uint64 { return xxhash.Sum64String(decisionID) }

// Append appends the record of the decision that in asked for and whose reads in.Reads noted. in.Subject
// must still be valid. texts shortens texts that the catalog names too; nil shortens none.
func Append(dst []byte, in *engine.Input, texts *Texts) []byte {
	at := len(dst) + 1
	dst = append(dst, format, 0)
	flags := appendExplain(in.Request.Options.Explain)
	recorded := in.Reads.Recorded()
	granted, refused, channel := in.Reads.Consents()
	dst = binary.AppendUvarint(dst, in.Subject.Version())
	dst = binary.AppendUvarint(dst, uint64(len(in.Dictionary.Attributes())))
	dst = binary.AppendUvarint(dst, uint64(granted))
	dst = binary.AppendUvarint(dst, uint64(refused))
	dst = append(dst, byte(channel))
	dst, flags = appendRequest(dst, in.Request, flags)
	if recorded.Late > 0 {
		flags |= flagLate
		dst = binary.AppendUvarint(dst, uint64(recorded.Late))
	}
	if len(recorded.Yes) > 0 {
		flags |= flagAnswers
		dst = appendAnswers(dst, recorded.Yes)
	}
	if len(recorded.Aggregates) > 0 {
		flags |= flagAggregates
		dst = binary.AppendUvarint(dst, uint64(len(recorded.Aggregates)))
		for _, value := range recorded.Aggregates {
			dst = appendAggregate(dst, value)
		}
	}
	models := in.Reads.Models()
	dst = binary.AppendUvarint(dst, uint64(len(models)))
	for _, info := range models {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(PluginOf(info.Digest)))
	}
	dst[at] = flags
	next := nba.AttributeID(0)
	in.Reads.Asked(func(id nba.AttributeID, value nba.Value, ok bool) {
		dst = appendAttribute(dst, uint64(id-next), value, ok, texts)
		next = id + 1
	})
	return dst
}

func appendExplain(level nba.Explain) byte {
	for i, known := range explains {
		if level == known {
			return byte(i)
		}
	}
	return 0
}

func appendRequest(dst []byte, req *nba.DecisionRequest, flags byte) ([]byte, byte) {
	for i := range req.Placements {
		if req.Placements[i].Limit != 1 {
			flags |= flagLimits
		}
	}
	if flags&flagLimits != 0 {
		dst = binary.AppendUvarint(dst, uint64(len(req.Placements)))
		for i := range req.Placements {
			dst = binary.AppendUvarint(dst, uint64(req.Placements[i].Limit))
		}
	}
	if len(req.ExcludedActions) > 0 {
		flags |= flagExcluded
		dst = binary.AppendUvarint(dst, uint64(len(req.ExcludedActions)))
		for _, action := range req.ExcludedActions {
			dst = appendText(dst, action)
		}
	}
	if len(req.Contexts) > 0 {
		flags |= flagContexts
		dst = binary.AppendUvarint(dst, uint64(len(req.Contexts)))
		for i := range req.Contexts {
			dst = appendText(appendText(appendText(dst, req.Contexts[i].Type), req.Contexts[i].Key), req.Contexts[i].Value)
		}
	}
	return dst, flags
}

func appendText(dst []byte, text string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(text))), text...)
}

// appendAnswers writes the distances between the questions that were answered with yes.
func appendAnswers(dst []byte, yes []int) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(yes)))
	next := 0
	for _, n := range yes {
		dst = binary.AppendUvarint(dst, uint64(n-next))
		next = n + 1
	}
	return dst
}

// The forms of an aggregate, in the lowest two bits.
const (
	aggregateCount = iota // a whole number
	aggregateDays         // milliseconds, as days
	aggregateFloat        // the 8 bytes
)

func appendAggregate(dst []byte, value float64) []byte {
	if value >= 0 && value < maxExact && value == math.Trunc(value) && !math.Signbit(value) {
		return binary.AppendUvarint(dst, uint64(value)<<2) // aggregateCount
	}
	if ms := math.Round(value * dayMS); ms > 0 && ms < maxExact && ms/dayMS == value {
		return binary.AppendUvarint(dst, uint64(ms)<<2|aggregateDays)
	}
	return binary.LittleEndian.AppendUint64(append(dst, aggregateFloat), math.Float64bits(value))
}

// appendAttribute writes how far an attribute's id is from the one after the last, the form of its value,
// and the value.
func appendAttribute(dst []byte, step uint64, value nba.Value, ok bool, texts *Texts) []byte {
	head := func(form uint64) []byte { return binary.AppendUvarint(dst, step<<3|form) }
	if !ok {
		return head(formAbsent)
	}
	switch value.Kind() {
	case nba.KindBool:
		if value.Bool() {
			return head(formTrue)
		}
		return head(formFalse)
	case nba.KindInt:
		return binary.AppendVarint(head(formInt), value.Int())
	case nba.KindFloat:
		if number, scale, ok := decimalOf(value.Float()); ok {
			return binary.AppendVarint(head(formDecimal), number<<2|scale)
		}
		return binary.LittleEndian.AppendUint64(head(formFloat), value.Bits())
	case nba.KindString:
		return texts.append(head(formText), value.Str())
	case nba.KindTime:
		if ms := value.Int(); ms%dayMS == 0 {
			return binary.AppendVarint(head(formTime), ms/dayMS<<1)
		} else if ms < maxExact && ms > -maxExact {
			return binary.AppendVarint(head(formTime), ms<<1|1)
		}
	}
	return head(formAbsent) // of no kind, or a time that no expression can read
}

// decimalOf is a float as a whole number that is divided by decimals[scale].
func decimalOf(f float64) (number, scale int64, ok bool) {
	for i, by := range decimals {
		whole := math.Round(f * by)
		if math.Abs(whole) < maxExact && whole/by == f && (whole != 0 || !math.Signbit(f)) {
			return int64(whole), int64(i), true
		}
	}
	return 0, 0, false
}

// Plugin stands for the digest of a plugin version: its first 64 bits.
type Plugin uint64

// PluginOf is what stands for a digest, as in nba.ModelInfo.
func PluginOf(digest string) Plugin {
	digits := strings.TrimPrefix(digest, "sha256:")
	var raw [8]byte
	if len(digits) >= 2*len(raw) {
		if _, err := hex.Decode(raw[:], []byte(digits[:2*len(raw)])); err == nil {
			return Plugin(binary.BigEndian.Uint64(raw[:]))
		}
	}
	return Plugin(xxhash.Sum64String(digest))
}
