package importer

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/arbiterhq/arbiter/cluster/router"
	"github.com/arbiterhq/arbiter/cluster/store/record"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// The formats of a body.
const (
	FormatCSV    = "csv"
	FormatNDJSON = "ndjson"
)

// Limits of an import. A batch ends at whichever of its limits comes first.
const (
	MaxRecordBytes = 1 << 20 // one record, with its quoted newlines
	MaxColumns     = nba.MaxAttributes + 2 + nba.MaxPurposes
	BatchRecords   = 8192
	batchBytes     = 4 << 20 // of encoded records
)

// Spec tells how to read a body.
type Spec struct {
	// Format is FormatCSV or FormatNDJSON; empty means the mapping's, or else FormatNDJSON.
	Format string
	// Mapping tells which column becomes which attribute. Without one the columns are canonical: id,
	// type, consent:<purpose> and attribute names in CSV, subject documents in NDJSON.
	Mapping *Mapping
	// FirstLine is the number, in the user's file, of the first line of the body; 0 means 1. A CSV
	// body always begins with the header: whoever sends a file in pieces repeats the header before
	// each piece and sets FirstLine to the number of the first record less the lines of the header.
	FirstLine int
}

// Result reports one line that was not imported, or, with nba.CodeConflict, one that was imported
// and replaced an earlier line of the same subject. Reason never holds a value of the file.
type Result struct {
	// Line is the line of the user's file on which the record begins.
	Line int `json:"line"`
	// Column is the name of the column; empty when the whole line is meant.
	Column string   `json:"column,omitempty"`
	Code   nba.Code `json:"code"`
	Reason string   `json:"reason"`
}

// Summary counts one import. Read = Accepted + Rejected once Run returned without an error.
type Summary struct {
	Read     int `json:"read"`     // records, without header and empty lines
	Accepted int `json:"accepted"` // records that are durable
	Rejected int `json:"rejected"` // records with a Result of their own
	// Blank counts values that were blank and became absent or a default by rule, in accepted and
	// in rejected records.
	Blank int `json:"blank"`
	// Duplicates counts accepted records that replaced an earlier one of the same body.
	Duplicates int   `json:"duplicates"`
	Bytes      int64 `json:"bytes"` // of the body, as far as it was read
}

// Sink stores subject writes. Run calls Import from one goroutine of its own, one batch at a time
// and in the order of the file. Import returns when the batch is durable. Where a subject occurs twice
// in a batch, which is with merged writes only, the later write follows the earlier. The writes and
// their memory belong to the sink. *router.Router is a Sink.
type Sink interface {
	Import(ctx context.Context, writes []router.SubjectWrite) error
}

// Run reads body to its end and imports its records into sink. onResult is called from the calling
// goroutine for each line that Result describes, in the order of the file; an error from it ends the
// import. dict must hold every attribute the body uses: Mapping.Declarations lists them.
//
// The error is an *nba.Error when the body as a whole is at fault, such as an unknown column in
// the header, and is the sink's or the reader's own otherwise. Batches committed before an error
// stay; Summary.Accepted counts them. Run returns after its goroutine ended. It cannot interrupt a
// read: whoever cancels ctx must also end the body's Read.
func Run(ctx context.Context, body io.Reader, spec Spec, dict *nba.Dictionary, sink Sink, onResult func(Result) error) (Summary, error) {
	src := newSource(body, max(spec.FirstLine, 1))
	records, err := open(spec, dict, src)
	if err != nil {
		return Summary{Bytes: src.consumed}, err
	}
	committer := startCommitter(ctx, sink)
	summary, err := pump(committer, records, spec.Mapping != nil && spec.Mapping.merge, onResult)
	accepted, commitErr := committer.close()
	summary.Accepted, summary.Bytes = accepted, src.consumed
	if commitErr != nil {
		return summary, commitErr // the cause; err at most says that the committer gave up
	}
	return summary, err
}

var _ Sink = (*router.Router)(nil)

// reader yields one record at a time. next reads it into b.current, or returns a non-nil problem with
// the line. It returns io.EOF at the end and any other error when reading cannot go on.
type reader interface {
	next(b *batch) (line int, problem *problem, err error)
}

// problem is why a record is refused.
type problem struct {
	column string
	code   nba.Code
	reason string
}

func open(spec Spec, dict *nba.Dictionary, src *source) (reader, error) {
	format := spec.Format
	if format == "" && spec.Mapping != nil {
		format = spec.Mapping.format
	}
	switch format {
	case FormatCSV:
		return newCSVRecords(spec.Mapping, dict, src)
	case FormatNDJSON, "":
		return newNDJSONRecords(spec.Mapping, dict, src)
	default:
		return nil, nba.Errorf(nba.CodeInvalid, "unknown import format: use csv or ndjson")
	}
}

// pump moves records into batches until the body ends or something fails.
func pump(c *committer, records reader, merge bool, onResult func(Result) error) (Summary, error) {
	var sum Summary
	seen, b, kept := newSeen(), newBatch(merge), 0
	report := func(line int, p *problem) error {
		if err := onResult(Result{Line: line, Column: p.column, Code: p.code, Reason: p.reason}); err != nil {
			return fmt.Errorf("reporting an import result: %w", err)
		}
		return nil
	}
	for {
		line, bad, err := records.next(b)
		sum.Blank = b.blanks
		if errors.Is(err, io.EOF) {
			return sum, c.commit(parcel{b.take(), kept})
		}
		if err != nil {
			return sum, err
		}
		sum.Read++
		var duplicate bool
		if bad == nil {
			duplicate, bad = seen.keep(b)
		}
		switch {
		case bad != nil:
			sum.Rejected++
			if err := report(line, bad); err != nil {
				return sum, err
			}
			continue
		case duplicate:
			sum.Duplicates++
			if err := report(line, repeated); err != nil {
				return sum, err
			}
		}
		if kept++; b.full() {
			if err := c.commit(parcel{b.take(), kept}); err != nil {
				return sum, err
			}
			kept = 0
		}
	}
}

// keep adds the current record to its batch and tells whether its subject occurred before.
func (s *seen) keep(b *batch) (duplicate bool, bad *problem) {
	hash := s.hash(&b.current)
	replaced, err := b.keep(hash)
	if errors.Is(err, record.ErrTooLarge) {
		return false, &problem{code: nba.CodeTooLarge, reason: err.Error()}
	}
	if err != nil {
		return false, &problem{code: nba.CodeInternal, reason: "the record cannot be encoded"}
	}
	return s.insert(hash) || replaced, nil
}

var repeated = &problem{code: nba.CodeConflict, reason: "the subject occurred on an earlier line: the last line wins and was imported"}
