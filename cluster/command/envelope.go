package command

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Format is the envelope format written and understood by this release.
const Format = 1

// Kind numbers an operation. The numbers are stored: append only.
type Kind uint8

// The kinds. Those of data groups are below 64, those of the control group from 64.
const (
	SubjectPut       Kind = 1
	SubjectPatch     Kind = 2
	SubjectDelete    Kind = 3
	DecisionRecorded Kind = 4
	ResponseRecorded Kind = 5
	Keyed            Kind = 6
	Expired          Kind = 7
	StateMarked      Kind = 8 // of the control group too

	// Contacts on the ledgers of other subjects, and the budgets of volumes.
	ContactsReserved  Kind = 9
	ContactsTold      Kind = 10
	TimeElapsed       Kind = 11
	DecisionsResolved Kind = 12
	NewsDelivered     Kind = 13
	LeaseGranted      Kind = 14
	LeaseReturned     Kind = 15

	// Events and what follows from them.
	EventsApplied     Kind = 16
	TimersFired       Kind = 17
	TriggersClosed    Kind = 18
	DeliveriesChanged Kind = 19
	LettersPut        Kind = 20
	LettersRemoved    Kind = 21
	JourneyMoved      Kind = 22
	StreamsNoted      Kind = 23

	AttributesDeclared Kind = 64
	CatalogStored      Kind = 65
	CatalogActivated   Kind = 66
	PluginStaged       Kind = 67
	PluginActivated    Kind = 68
	NodeAnnounced      Kind = 69
	RetentionSet       Kind = 70

	RolloutStarted      Kind = 71
	RolloutAcknowledged Kind = 72
	RolloutChanged      Kind = 73
	RolloutCounted      Kind = 74

	SignerTrusted     Kind = 80
	SignerDistrusted  Kind = 81
	PluginRemoved     Kind = 82
	PluginDeactivated Kind = 83

	VolumeLeased    Kind = 90
	VolumeGivenBack Kind = 91

	// Members of the cluster, and where groups are kept.
	NodesFounded Kind = 120
	NodeJoined   Kind = 121
	NodeChanged  Kind = 122
	NodeRemoved  Kind = 123
	GroupsPlaced Kind = 124

	Attributed Kind = 100 // another operation, and on whose behalf
	KeyCreated Kind = 101
	KeyRevoked Kind = 102

	// A restore from a backup; of data groups too.
	RestoreBegun Kind = 135
	PairsLoaded  Kind = 136
	RestoreEnded Kind = 137
)

// Limits of one entry. A decoder refuses more.
const (
	MaxOps     = 1 << 16
	MaxOpBytes = 8 << 20
)

const (
	headBytes   = 2 + 8 + 4 // format, minimum reader, proposer time, count
	opHeadBytes = 1 + 1 + 4 // kind, version, length
	countAt     = 2 + 8
	opVersion   = 1
)

// ErrMalformed is returned when bytes are not an entry or not an operation of their kind.
var ErrMalformed = errors.New("malformed command")

// ErrTooNew is returned when an entry needs a later release to be understood. The state machine
// must stop there: skipping it would make this replica differ from the others.
var ErrTooNew = errors.New("command written by a later release")

// Op is one operation of an entry. Body shares the memory of the entry.
type Op struct {
	Kind    Kind
	Version uint8
	Body    []byte
}

// Builder packs operations into one entry. The zero Builder is ready after Reset. It is used by one
// goroutine and keeps its buffer between entries.
type Builder struct {
	buf   []byte
	count uint32
}

// Reset begins a new entry proposed at the given time, in milliseconds since the Unix epoch.
func (b *Builder) Reset(proposedMS int64) {
	b.buf = append(b.buf[:0], Format, Format)
	b.buf = binary.LittleEndian.AppendUint64(b.buf, uint64(proposedMS))
	b.buf = binary.LittleEndian.AppendUint32(b.buf, 0)
	b.count = 0
}

// Add packs an operation, as its Append made it.
func (b *Builder) Add(op []byte) {
	b.buf = append(b.buf, op...)
	b.count++
}

// AddPut packs a Put.
func (b *Builder) AddPut(p *Put) {
	b.buf, _ = p.Append(b.buf) // it never fails
	b.count++
}

// Len is the number of packed operations, Size the bytes of the entry so far.
func (b *Builder) Len() int { return int(b.count) }

// Size is the bytes of the entry so far.
func (b *Builder) Size() int { return len(b.buf) }

// Bytes is the finished entry. It stays valid until the next Reset.
func (b *Builder) Bytes() []byte {
	binary.LittleEndian.PutUint32(b.buf[countAt:], b.count)
	return b.buf
}

// Detach gives the finished entry away: the next Reset begins with a new buffer.
func (b *Builder) Detach() []byte {
	entry := b.Bytes()
	b.buf = nil
	return entry
}

func beginOp(dst []byte, kind Kind) (head []byte, at int) {
	dst = append(dst, byte(kind), opVersion, 0, 0, 0, 0)
	return dst, len(dst)
}

func endOp(dst []byte, at int) []byte {
	binary.LittleEndian.PutUint32(dst[at-4:], uint32(len(dst)-at))
	return dst
}

// Entry walks the operations of one log entry.
type Entry struct {
	proposedMS int64
	count      int
	rest       []byte
}

// Open checks the head of an entry and the frames of all its operations, so that Next cannot fail.
func Open(entry []byte) (Entry, error) {
	if len(entry) < headBytes {
		return Entry{}, ErrMalformed
	}
	if entry[1] > Format {
		return Entry{}, fmt.Errorf("entry format %d: %w", entry[1], ErrTooNew)
	}
	if entry[0] != Format || entry[1] == 0 {
		return Entry{}, ErrMalformed
	}
	e := Entry{
		proposedMS: int64(binary.LittleEndian.Uint64(entry[2:])),
		count:      int(binary.LittleEndian.Uint32(entry[countAt:])),
		rest:       entry[headBytes:],
	}
	if e.count > MaxOps {
		return Entry{}, ErrMalformed
	}
	rest := e.rest
	for range e.count {
		if len(rest) < opHeadBytes {
			return Entry{}, ErrMalformed
		}
		size := binary.LittleEndian.Uint32(rest[2:])
		if size > MaxOpBytes || int(size) > len(rest)-opHeadBytes {
			return Entry{}, ErrMalformed
		}
		rest = rest[opHeadBytes+int(size):]
	}
	if len(rest) != 0 {
		return Entry{}, ErrMalformed
	}
	return e, nil
}

// ProposedMS is when the proposer made the entry, in milliseconds since the Unix epoch.
func (e *Entry) ProposedMS() int64 { return e.proposedMS }

// Len is the number of operations that Next has yet to return.
func (e *Entry) Len() int { return e.count }

// Next returns the next operation; ok is false when there is none.
func (e *Entry) Next() (op Op, ok bool) {
	if e.count == 0 {
		return Op{}, false
	}
	size := int(binary.LittleEndian.Uint32(e.rest[2:]))
	op = Op{Kind: Kind(e.rest[0]), Version: e.rest[1], Body: e.rest[opHeadBytes : opHeadBytes+size : opHeadBytes+size]}
	e.rest = e.rest[opHeadBytes+size:]
	e.count--
	return op, true
}
