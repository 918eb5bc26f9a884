package wal

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

// The errors of a log. Test them with errors.Is.
var (
	// ErrFull is the answer to entries while the disk is full. Nothing was written, what was written
	// before stands, and the log takes entries again once there is space.
	ErrFull = errors.New("the disk of the log is full")
	// ErrNotFound is the answer for an entry that the log does not have.
	ErrNotFound = errors.New("no such entry in the log")
	// ErrDamaged is the answer for an entry that is not what was written, or is missing.
	ErrDamaged = errors.New("the log is damaged here")
	// ErrFailed is the answer to all writes after the disk failed: what it holds is then unknown.
	ErrFailed = errors.New("the log failed and takes no writes until it is opened again")
	// ErrClosed is the answer after Close.
	ErrClosed = errors.New("the log is closed")
)

// Options tune a log.
type Options struct {
	// SegmentBytes is the size of a file.
	SegmentBytes int64
	// CacheBytes bounds the newest entries that are kept in memory.
	CacheBytes int64
	// MaxBatchBytes bounds what is gathered for one sync; a larger entry goes alone.
	MaxBatchBytes int64
	// MaxInFlight bounds the batches that are on their way to the disk at the same time.
	MaxInFlight int
	// Reserve is how many empty files are kept back for votes and truncations when the disk is full.
	Reserve int
	// Spares is how many empty files are kept besides, to be begun without a wait.
	Spares int
	Logger *slog.Logger // nil: slog.Default
}

// Default fills in what is zero.
func (o Options) Default() Options {
	setInt := func(v *int64, def int64) {
		if *v == 0 {
			*v = def
		}
	}
	setInt(&o.SegmentBytes, 16<<20)
	setInt(&o.CacheBytes, 8<<20)
	setInt(&o.MaxBatchBytes, min(4<<20, o.SegmentBytes/4))
	if o.MaxInFlight == 0 {
		o.MaxInFlight = 2
	}
	if o.Reserve == 0 {
		o.Reserve = 2
	}
	if o.Spares == 0 {
		o.Spares = 1
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o
}

// Validate reports every setting that cannot work. Call it on what Default returned.
func (o Options) Validate() error {
	var problems []error
	if o.SegmentBytes < 64<<10 || o.SegmentBytes > 1<<30 || o.SegmentBytes%blockBytes != 0 {
		problems = append(problems, fmt.Errorf("SegmentBytes is %d: between 64 KiB and 1 GiB, in blocks of 4 KiB", o.SegmentBytes))
	}
	if o.MaxBatchBytes < blockBytes || o.MaxBatchBytes > o.SegmentBytes/2 {
		problems = append(problems, fmt.Errorf("MaxBatchBytes is %d: between 4 KiB and half of SegmentBytes", o.MaxBatchBytes))
	}
	if o.CacheBytes < 0 {
		problems = append(problems, fmt.Errorf("CacheBytes is %d: not negative", o.CacheBytes))
	}
	if o.MaxInFlight < 1 || o.MaxInFlight > 64 {
		problems = append(problems, fmt.Errorf("MaxInFlight is %d: between 1 and 64", o.MaxInFlight))
	}
	if o.Reserve < 2 || o.Spares < 1 {
		problems = append(problems, fmt.Errorf("options Reserve and Spares are %d and %d: at least 2 and 1", o.Reserve, o.Spares))
	}
	return errors.Join(problems...)
}

// MaxEntryBytes bounds the data and extensions of one entry. One that is larger than a file of the log
// gets a file of its own size.
const MaxEntryBytes = 64 << 20

// Entry is one entry of a group's log.
type Entry struct {
	Index      uint64 // from 1
	Term       uint64
	Type       uint8
	Time       int64 // nanoseconds since 1970 when it was made; 0: unknown
	Data       []byte
	Extensions []byte
}

// Damage tells what a group lost.
type Damage struct {
	// Any tells that records are missing, and any of the entries may be another than was written last.
	Any bool
	// First is the first entry that is missing or not what was written; 0: none is known.
	First uint64
	// Values tells that the newest values, such as the vote, may be lost too.
	Values bool
}

// String describes the damage for people.
func (d Damage) String() string {
	var parts []string
	if d.Any {
		parts = append(parts, "records are missing, so that no entry is certain")
	}
	if d.First > 0 {
		parts = append(parts, fmt.Sprintf("entry %d is lost", d.First))
	}
	if d.Values {
		parts = append(parts, "the newest vote may be lost")
	}
	return strings.Join(parts, "; ")
}

// Stats are counts since the log was opened, and its size.
type Stats struct {
	Syncs, Batches, Records uint64
	BytesWritten            uint64
	Segments, SpareSegments int
	LiveBytes               int64 // of entries that are not truncated
	Full                    bool
}
