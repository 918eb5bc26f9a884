package api

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/runtime/auth"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

func listKeys(ctx context.Context, core Core, _ *request) (reply, error) {
	return pageReply(core.Keys(ctx), "")
}

func createKey(ctx context.Context, core Core, in *request) (reply, error) {
	return makeKey(ctx, core, in, false)
}

// createFirstKey makes the first key. It is on the admin listener, which only this machine reaches as
// long as there is no key.
func createFirstKey(ctx context.Context, core Core, in *request) (reply, error) {
	return makeKey(ctx, core, in, true)
}

func makeKey(ctx context.Context, core Core, in *request, first bool) (reply, error) {
	var wanted auth.KeyRequest
	decoder := json.NewDecoder(bytes.NewReader(in.body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&wanted); err != nil {
		return reply{}, featuresError(err)
	}
	if first {
		wanted.Roles = []string{string(auth.Admin)}
	}
	made, err := core.CreateKey(ctx, &wanted, first)
	if err != nil {
		return reply{}, err
	}
	out, err := jsonReply(http.StatusCreated, made)
	out.location = locate("/v1/keys/%s", made.ID)
	return out, err
}

func revokeKey(ctx context.Context, core Core, in *request) (reply, error) {
	id, err := in.param("id")
	if err != nil {
		return reply{}, err
	}
	if err := core.RevokeKey(ctx, id); err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusNoContent}, nil
}

func whoAmI(ctx context.Context, _ Core, _ *request) (reply, error) {
	principal := auth.Local()
	if call := auth.From(ctx); call != nil {
		principal = call.Principal
	}
	return jsonReply(http.StatusOK, principal)
}

// The page sizes of the audit log.
const (
	defaultAuditLimit = 100
	maxAuditLimit     = 1000
)

// auditPage is a part of the audit log, oldest first. Head is the end of the whole chain.
type auditPage struct {
	Items []fsm.AuditRecord `json:"items"`
	Head  fsm.AuditHead     `json:"head"`
}

func listAudit(ctx context.Context, core Core, in *request) (reply, error) {
	after, limit := uint64(0), defaultAuditLimit
	var err error
	if text := in.query.Get("after"); text != "" {
		if after, err = strconv.ParseUint(text, 10, 64); err != nil {
			return reply{}, nba.Errorf(nba.CodeInvalid, "query parameter after must be the number of a record")
		}
	}
	if text := in.query.Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > maxAuditLimit {
			return reply{}, nba.Errorf(nba.CodeInvalid, "query parameter limit must be 1 to %d", maxAuditLimit)
		}
	}
	page := auditPage{Items: []fsm.AuditRecord{}}
	records, head, err := core.Audit(ctx, after, limit)
	if err != nil {
		return reply{}, err
	}
	page.Items, page.Head = append(page.Items, records...), head
	return jsonReply(http.StatusOK, page)
}
