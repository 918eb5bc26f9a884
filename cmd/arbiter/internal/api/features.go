package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// makeFeatures answers rows of features for those who train models.
func makeFeatures(ctx context.Context, core Core, in *request) (reply, error) {
	req := &nba.FeatureRequest{}
	decoder := json.NewDecoder(bytes.NewReader(in.body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(req); err != nil {
		return reply{}, featuresError(err)
	}
	if decoder.More() {
		return reply{}, nba.Errorf(nba.CodeMalformed, "the body holds more than one JSON value; send one object")
	}
	for i := range req.Rows {
		for k := range req.Rows[i].Contexts {
			if req.Rows[i].Contexts[k].Key == "" {
				return reply{}, nba.Invalid(fmt.Sprintf("/rows/%d/contexts/%d/key", i, k), "the key of a context is missing")
			}
		}
	}
	table, err := core.Features(ctx, req)
	if err != nil {
		return reply{}, err
	}
	return jsonReply(http.StatusOK, table)
}

// featuresError tells what is wrong with the JSON, without quoting it.
func featuresError(err error) error {
	if kind, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return nba.Errorf(nba.CodeInvalid, "the field %s is not of the right type; see /openapi.yaml", kind.Field)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nba.Errorf(nba.CodeMalformed, "the body is not JSON: it ends too early")
	}
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return nba.Errorf(nba.CodeMalformed, "the body is not JSON at byte %d", syntax.Offset)
	}
	return nba.Errorf(nba.CodeInvalid, "the body is not an object of this form; see /openapi.yaml")
}
