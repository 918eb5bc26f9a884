package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"strconv"

	"github.com/arbiterhq/arbiter/cluster/importer"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// importPlan is what to import and how.
type importPlan struct {
	body io.Reader
	spec importer.Spec
}

// planImport reads the parameters of an import: an NDJSON or CSV body, or a form whose part "mapping"
// comes before its part "file".
func planImport(in *request, body io.Reader) (plan importPlan, err error) {
	if text := in.query.Get("firstLine"); text != "" {
		line, err := strconv.ParseInt(text, 10, 32)
		if err != nil || line < 1 {
			return plan, nba.Errorf(nba.CodeInvalid, "the query parameter firstLine must be a whole number from 1")
		}
		plan.spec.FirstLine = int(line)
	}
	switch in.media {
	case contentTypeCSV:
		plan.spec.Format, plan.body = importer.FormatCSV, body
	case contentTypeNDJSON:
		plan.spec.Format, plan.body = importer.FormatNDJSON, body
	default:
		err = plan.openForm(body, in.params["boundary"])
	}
	return plan, err
}

func (plan *importPlan) openForm(body io.Reader, boundary string) error {
	if boundary == "" {
		return nba.Errorf(nba.CodeMalformed, "the multipart Content-Type has no boundary")
	}
	form := multipart.NewReader(body, boundary)
	for {
		part, err := form.NextPart()
		if errors.Is(err, io.EOF) {
			return nba.Errorf(nba.CodeMalformed, "the form has no part named file")
		}
		if err != nil {
			return nba.Errorf(nba.CodeMalformed, "the multipart form cannot be read: check its boundary and part headers")
		}
		switch part.FormName() {
		case "mapping":
			if plan.spec.Mapping != nil {
				return nba.Errorf(nba.CodeMalformed, "the form has two parts named mapping")
			}
			document, err := io.ReadAll(io.LimitReader(part, importer.MaxMappingBytes+1))
			if err != nil {
				return nba.Errorf(nba.CodeMalformed, "the form ends within the part named mapping")
			}
			if len(document) > importer.MaxMappingBytes {
				return nba.Errorf(nba.CodeTooLarge, "the mapping is larger than %d bytes", importer.MaxMappingBytes)
			}
			if plan.spec.Mapping, err = importer.ParseMapping(document, mappingName(part.FileName())); err != nil {
				return err //nolint:wrapcheck // an *nba.Error with its places
			}
		case "file":
			plan.body = part
			switch part.Header.Get("Content-Type") {
			case contentTypeCSV:
				plan.spec.Format = importer.FormatCSV
			case contentTypeNDJSON:
				plan.spec.Format = importer.FormatNDJSON
			}
			return nil
		default:
			return nba.Errorf(nba.CodeMalformed, "the form has a part that is named neither mapping nor file; mapping comes first")
		}
	}
}

// mappingName is how problems name the mapping: as the caller's file, if its name is fit to be shown.
func mappingName(file string) string {
	if file != "" && plainName(file) {
		return file
	}
	return "mapping"
}

// importSummary is the last line of an import that read its body to the end.
type importSummary struct {
	Summary importer.Summary `json:"summary"`
	// Unlisted counts bad lines beyond the limit of one reply.
	Unlisted int `json:"unlisted,omitempty"`
}

// importFailure is the last line of an import that ended early after results were sent. What Summary
// counts as accepted is durable.
type importFailure struct {
	Problem Problem          `json:"problem"`
	Summary importer.Summary `json:"summary"`
}

// importHandler serves an import whose body has arrived as a whole. The reply lists up to listed bad
// lines.
func importHandler(listed int) handler {
	return func(ctx context.Context, core Core, in *request) (reply, error) {
		plan, err := planImport(in, bytes.NewReader(in.body))
		if err != nil {
			return reply{}, err
		}
		var lines bytes.Buffer
		encoder := newLineEncoder(&lines)
		var fault error
		count := 0
		summary, err := core.ImportSubjects(ctx, plan.body, plan.spec, func(result importer.Result) error {
			if count++; count > listed {
				return nil
			}
			return encoder.Encode(result)
		})
		if err != nil {
			if summary.Accepted == 0 && count == 0 {
				return reply{}, err
			}
			// Lines were sent or stored: the caller must learn which, so the status says nothing bad.
			p, internal := problemOf(err, in.id)
			if internal {
				fault = fmt.Errorf("importing subjects: %w", err)
			}
			err = encoder.Encode(importFailure{Problem: p, Summary: summary})
		} else {
			err = encoder.Encode(importSummary{Summary: summary, Unlisted: max(0, count-listed)})
		}
		return reply{status: http.StatusOK, contentType: contentTypeNDJSON, body: lines.Bytes(), fault: fault}, err
	}
}

func newLineEncoder(w io.Writer) *json.Encoder {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder
}
