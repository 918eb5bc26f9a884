package examples

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// telecomFile is one file of the data set: who, how much, when.
type telecomFile struct {
	name, source, kind, field, id string
}

// telecomFiles are the recharges and the mobile data of a data set of generated telecom events
// (Cider, a thousand subscribers over two months).
func telecomFiles() []telecomFile {
	return []telecomFile{
		{name: "mobiledata.csv", source: "/network/data", kind: "com.example.data.used", field: "megabytes", id: "D-"},
		{name: "recharges.csv", source: "/billing/recharges", kind: "com.example.recharge", field: "amount", id: "R-"},
	}
}

type telecomEvent struct {
	at      time.Time
	subject string
	line    string
}

// WriteTelecomEvents writes the recharges and the mobile data of the data set in folder as CloudEvents, one
// a line, in the order they happened. Unless end is zero, all of them are moved in time together, so that the
// last one happens then.
func WriteTelecomEvents(w io.Writer, folder string, end time.Time) error {
	events, err := readTelecomEvents(folder)
	if err != nil {
		return err
	}
	shift := time.Duration(0)
	if !end.IsZero() && len(events) > 0 {
		shift = end.Sub(events[len(events)-1].at)
	}
	out := bufio.NewWriter(w)
	for i := range events {
		if _, err := fmt.Fprintf(out, events[i].line, events[i].at.Add(shift).UTC().Format(time.RFC3339)); err != nil {
			return err
		}
	}
	return out.Flush()
}

// WriteTelecomSubjects writes the subscribers of those events as NDJSON for an import.
func WriteTelecomSubjects(w io.Writer, folder string) error {
	events, err := readTelecomEvents(folder)
	if err != nil {
		return err
	}
	var subjects []string
	for i := range events {
		subjects = append(subjects, events[i].subject)
	}
	slices.Sort(subjects)
	out := bufio.NewWriter(w)
	for _, subject := range slices.Compact(subjects) {
		if _, err := fmt.Fprintf(out, `{"id": %q, "type": "subscriber", "attributes": {}, "consents": {"marketing": true}}`+"\n", subject); err != nil {
			return err
		}
	}
	return out.Flush()
}

func readTelecomEvents(folder string) (events []telecomEvent, err error) {
	for _, file := range telecomFiles() {
		f, err := os.Open(filepath.Join(folder, file.name))
		if err != nil {
			return nil, err
		}
		read, err := file.read(f)
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("%s: %w", file.name, err)
		}
		events = append(events, read...)
	}
	slices.SortStableFunc(events, func(a, b telecomEvent) int { return a.at.Compare(b.at) })
	return events, nil
}

func (file *telecomFile) read(r io.Reader) (events []telecomEvent, err error) {
	rows := csv.NewReader(r)
	rows.FieldsPerRecord = 3
	if _, err := rows.Read(); err != nil { // the names of the columns
		return nil, err
	}
	for n := 1; ; n++ {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			return events, nil
		}
		if err != nil {
			return nil, err
		}
		amount, err := strconv.ParseFloat(row[1], 64)
		if err != nil {
			return nil, fmt.Errorf("row %d has no number in its second column", n)
		}
		at, err := time.Parse(time.DateTime, row[2])
		if err != nil {
			return nil, fmt.Errorf("row %d has no time in its third column", n)
		}
		events = append(events, telecomEvent{at: at, subject: row[0], line: fmt.Sprintf(
			`{"specversion":"1.0","id":"%s%d","source":%q,"type":%q,"subject":%s,"time":"%%s","data":{%q:%s}}`+"\n",
			file.id, n, file.source, file.kind, strings.ReplaceAll(strconv.Quote(row[0]), "%", "%%"), file.field, strconv.FormatFloat(amount, 'f', 2, 64))})
	}
}
