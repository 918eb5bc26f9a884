package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// headerReplay tells whether a decision that was made again is what was answered then: identical or
// differs.
const headerReplay = "Arbiter-Replay"

// replayDecision serves POST /v1/decisions/{id}/replay: with the decision itself, byte for byte as it was
// answered, or with what another catalog version would have said and the differences.
func replayDecision(ctx context.Context, core Core, in *request) (reply, error) {
	id, err := in.param("id")
	if err != nil {
		return reply{}, err
	}
	version, err := catalogVersionOf(in)
	if err != nil {
		return reply{}, err
	}
	again, err := core.ReplayDecision(ctx, id, version)
	if err != nil {
		return reply{}, err
	}
	out := reply{status: http.StatusOK, contentType: contentTypeJSON, replay: "differs"}
	if again.Identical {
		out.replay = "identical"
	}
	if version == 0 {
		out.body, err = appendDecision(nil, &again.Decision)
		return out, err
	}
	out.body, err = appendReplay(nil, &again)
	return out, err
}

// catalogVersionOf is the catalogVersion of the query; 0 if none is given.
func catalogVersionOf(in *request) (version uint64, err error) {
	text := in.query.Get("catalogVersion")
	if text == "" {
		return 0, nil
	}
	if version, err = strconv.ParseUint(text, 10, 64); err != nil || version == 0 {
		return 0, nba.Errorf(nba.CodeInvalid, "the query parameter catalogVersion must be a number: GET /v1/catalog/versions lists them")
	}
	return version, nil
}

// appendReplay appends the JSON of a decision that another catalog made.
func appendReplay(dst []byte, again *nba.Replay) ([]byte, error) {
	w := jsonWriter{dst: dst}
	w.raw(`{"decision":`)
	w.decision(&again.Decision)
	w.raw(`,"identical":`)
	w.dst = strconv.AppendBool(w.dst, again.Identical)
	rest, err := json.Marshal(struct {
		Differences []nba.Difference `json:"differences"`
		Assumed     []string         `json:"assumed"`
	}{again.Differences, append([]string{}, again.Assumed...)})
	if err != nil {
		return nil, err
	}
	w.raw(`,`)
	w.dst = append(w.dst, rest[1:]...)
	return w.dst, w.err
}
