package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/client"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// importResponses is how many responses are sent at once.
const importResponses = 500

// importedResponses counts what became of the lines of a file.
type importedResponses struct {
	Read       int `json:"read"`
	Recorded   int `json:"recorded"`
	Duplicates int `json:"duplicates"`
	Rejected   int `json:"rejected"`
	// Problems are the first lines that were not taken.
	Problems []rejectedResponse `json:"problems"`
}

type rejectedResponse struct {
	Line   int    `json:"line"`
	Reason string `json:"reason"`
}

const maxShownResponses = 20

func (a *app) respondImportCommand() *cobra.Command {
	return &cobra.Command{
		Use: "import FILE", Short: "Report many outcomes from an NDJSON or CSV file",
		Long: "Each line of NDJSON is a response as POST /v1/responses takes it. The columns of CSV have the same names: decisionId\n" +
			"and action, or responseToken; outcome; treatment, behaviour, value, outcomeTime. A line that was imported before\n" +
			"changes nothing.",
		Example: "  arbiter respond import responses.csv\n  arbiter respond import - < responses.ndjson",
		Args:    args("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			in := a.in
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer f.Close()
				in = f
			}
			return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
				out := &importedResponses{Problems: []rejectedResponse{}}
				if err := out.read(ctx, c, in); err != nil {
					return err
				}
				if err := a.print(out, func(w io.Writer, p paint) {
					fmt.Fprintf(w, "%s recorded, %d known before, %d rejected of %d lines\n", p.bold(strconv.Itoa(out.Recorded)), out.Duplicates, out.Rejected, out.Read)
					for _, problem := range out.Problems {
						fmt.Fprintf(w, "  line %d: %s\n", problem.Line, problem.Reason)
					}
				}); err != nil {
					return err
				}
				if out.Rejected > 0 {
					return fmt.Errorf("%d of %d lines were rejected", out.Rejected, out.Read)
				}
				return nil
			})
		},
	}
}

// read sends the responses of a file. CSV is told from NDJSON by its first character.
func (out *importedResponses) read(ctx context.Context, c apiClient, in io.Reader) error {
	buffered := bufio.NewReaderSize(in, 64<<10)
	var batch []nba.Response
	var lines []int
	flush := func() error {
		err := out.send(ctx, c, batch, lines)
		batch, lines = batch[:0], lines[:0]
		return err
	}
	take := func(line int, r nba.Response, err error) error {
		out.Read++
		if err != nil {
			out.reject(line, err.Error())
			return nil
		}
		if batch, lines = append(batch, r), append(lines, line); len(batch) == importResponses {
			return flush()
		}
		return nil
	}
	head, err := buffered.Peek(1)
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return err
	case head[0] == '{':
		err = responseLines(buffered, take)
	default:
		err = responseRecords(buffered, take)
	}
	return errors.Join(err, flush())
}

func responseLines(in io.Reader, take func(int, nba.Response, error) error) error {
	scanner := bufio.NewScanner(in)
	scanner.Buffer(nil, 1<<20)
	for line := 1; scanner.Scan(); line++ {
		if len(bytes.TrimSpace(scanner.Bytes())) == 0 {
			continue
		}
		var r nba.Response
		decoder := json.NewDecoder(bytes.NewReader(scanner.Bytes()))
		decoder.DisallowUnknownFields()
		err := decoder.Decode(&r)
		if err != nil {
			err = errors.New("this is no response: an object with decisionId and action, or responseToken, and outcome")
		}
		if err := take(line, r, err); err != nil {
			return err
		}
	}
	return scanner.Err()
}

func responseRecords(in io.Reader, take func(int, nba.Response, error) error) error {
	records := csv.NewReader(in)
	header, err := records.Read()
	if err != nil {
		return fmt.Errorf("reading the header: %w", err)
	}
	header[0] = strings.TrimPrefix(header[0], "\ufeff")
	known := []string{"decisionId", "responseToken", "action", "treatment", "outcome", "behaviour", "value", "outcomeTime"}
	for _, column := range header {
		if !slices.Contains(known, column) {
			return fmt.Errorf("unknown column %q: the columns are %s", column, strings.Join(known, ", "))
		}
	}
	for {
		record, err := records.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		line, _ := records.FieldPos(0)
		var r nba.Response
		if err == nil {
			r, err = responseOf(header, record)
		}
		if err := take(line, r, err); err != nil {
			return err
		}
	}
}

func responseOf(header, record []string) (r nba.Response, err error) {
	for i, field := range record {
		if field == "" {
			continue
		}
		switch header[i] {
		case "decisionId":
			r.DecisionID = field
		case "responseToken":
			r.ResponseToken = field
		case "action":
			r.Action = field
		case "treatment":
			r.Treatment = field
		case "outcome":
			r.Outcome = nba.Outcome(field)
		case "behaviour":
			r.Behaviour = field
		case "value":
			if r.Value, err = strconv.ParseFloat(field, 64); err != nil {
				return r, errors.New("value is no number")
			}
		case "outcomeTime":
			if r.OutcomeTime, err = time.Parse(time.RFC3339, field); err != nil {
				return r, errors.New("outcomeTime is no time: use RFC 3339, such as 2026-11-22T10:00:00Z")
			}
		}
	}
	return r, nil
}

func (out *importedResponses) reject(line int, reason string) {
	if out.Rejected++; len(out.Problems) < maxShownResponses {
		out.Problems = append(out.Problems, rejectedResponse{line, reason})
	}
}

// refusalCode is the code of a refusal; of another error CodeInternal.
func refusalCode(err error) nba.Code {
	if err == nil {
		return ""
	}
	if p, ok := errors.AsType[*client.Problem](err); ok {
		return p.Code
	}
	return nba.CodeInternal
}

// send reports a batch. One that is refused is reported one by one, so that the others are taken.
func (out *importedResponses) send(ctx context.Context, c apiClient, batch []nba.Response, lines []int) error {
	if len(batch) == 0 {
		return nil
	}
	receipts, err := c.Respond(ctx, batch)
	if err != nil && len(batch) > 1 {
		for i := range batch {
			if err := out.send(ctx, c, batch[i:i+1], lines[i:i+1]); err != nil {
				return err
			}
		}
		return nil
	}
	switch refusalCode(err) {
	case "":
	case nba.CodeInvalid, nba.CodeDecisionUnknown, nba.CodeActionUnknown, nba.CodeMalformed:
		out.reject(lines[0], err.Error())
		return nil
	default:
		return err
	}
	for _, receipt := range receipts {
		if out.Recorded++; receipt.Duplicate {
			out.Recorded, out.Duplicates = out.Recorded-1, out.Duplicates+1
		}
	}
	return nil
}
