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
// their memory belong to the sink. An *nba.Error whose details all point into the batch, as /3, means
// that those writes were refused and the others are durable; any other error ends the import.
// *router.Router is a Sink.
type Sink interface {
	Import(ctx context.Context, writes []router.SubjectWrite) error
}

// Run reads body to its end and imports its records into sink. onResult is called from the calling
// goroutine for each line that Result describes, in the order of the file but for lines that the sink
// refuses, which follow later; an error from it ends the import. dict must hold every attribute the body uses: Mapping.Declarations lists them.
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
	in := &importing{onResult: onResult, committer: startCommitter(ctx, sink), seen: newSeen(), batch: newBatch(spec.merge())}
	err = in.pump(records)
	accepted, commitErr := in.committer.close()
	in.sum.Accepted, in.sum.Bytes = accepted, src.consumed
	if commitErr != nil {
		return in.sum, commitErr // the cause; err at most says that the committer gave up
	}
	if err == nil {
		err = in.reportRefused()
	}
	return in.sum, err
}

func (s *Spec) merge() bool { return s.Mapping != nil && s.Mapping.merge }

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

// importing is one run.
type importing struct {
	sum       Summary
	onResult  func(Result) error
	committer *committer
	seen      *seen
	batch     *batch
}

// pump moves records into batches until the body ends or something fails.
func (in *importing) pump(records reader) error {
	for {
		line, bad, err := records.next(in.batch)
		in.sum.Blank = in.batch.blanks
		if errors.Is(err, io.EOF) {
			return in.committer.commit(in.batch.take())
		}
		if err != nil {
			return err
		}
		in.sum.Read++
		duplicate := false
		if bad == nil {
			duplicate, bad = in.keep(line)
		}
		switch {
		case bad != nil:
			in.sum.Rejected++
			err = in.report(Result{Line: line, Column: bad.column, Code: bad.code, Reason: bad.reason})
		case duplicate:
			in.sum.Duplicates++
			err = in.report(Result{Line: line, Code: nba.CodeConflict, Reason: repeatedReason})
		}
		if err != nil {
			return err
		}
		if in.batch.full() {
			if err := in.committer.commit(in.batch.take()); err != nil {
				return err
			}
			if err := in.reportRefused(); err != nil {
				return err
			}
		}
	}
}

const repeatedReason = "the subject occurred on an earlier line: the last line wins and was imported"

// keep adds the current record to the batch and tells whether its subject occurred before.
func (in *importing) keep(line int) (duplicate bool, bad *problem) {
	hash := in.seen.hash(&in.batch.current)
	replaced, err := in.batch.keep(line, hash)
	if errors.Is(err, record.ErrTooLarge) || errors.Is(err, record.ErrConsents) {
		return false, &problem{code: nba.CodeTooLarge, reason: err.Error()}
	}
	if err != nil {
		return false, &problem{code: nba.CodeInternal, reason: "the record cannot be encoded"}
	}
	return in.seen.insert(hash) || replaced, nil
}

func (in *importing) report(r Result) error {
	if err := in.onResult(r); err != nil {
		return fmt.Errorf("reporting an import result: %w", err)
	}
	return nil
}

// reportRefused reports what the store refused meanwhile.
func (in *importing) reportRefused() error {
	for _, r := range in.committer.takeRefused() {
		in.sum.Rejected++
		if err := in.report(r); err != nil {
			return err
		}
	}
	return nil
}
