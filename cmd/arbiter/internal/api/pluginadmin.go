package api

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

func verifyPlugin(ctx context.Context, core Core, in *request) (reply, error) {
	checked, err := core.VerifyPlugin(ctx, in.body)
	if err != nil {
		return reply{}, err
	}
	return jsonReply(http.StatusOK, checked)
}

func removePlugin(ctx context.Context, core Core, in *request) (reply, error) {
	name, err := in.param("name")
	if err != nil {
		return reply{}, err
	}
	return gone(core.RemovePlugin(ctx, name, ""))
}

func removePluginVersion(ctx context.Context, core Core, in *request) (reply, error) {
	name, err := in.param("name")
	if err != nil {
		return reply{}, err
	}
	version, err := in.param("version")
	if err != nil {
		return reply{}, err
	}
	return gone(core.RemovePlugin(ctx, name, version))
}

func deactivatePlugin(ctx context.Context, core Core, in *request) (reply, error) {
	name, err := in.param("name")
	if err != nil {
		return reply{}, err
	}
	return gone(core.DeactivatePlugin(ctx, name))
}

// gone answers what has no content.
func gone(err error) (reply, error) {
	if err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusNoContent}, nil
}

// maxLogPage is the most lines that one call may ask for.
const maxLogPage = 5000

func getPluginLogs(ctx context.Context, core Core, in *request) (reply, error) {
	name, err := in.param("name")
	if err != nil {
		return reply{}, err
	}
	limit := 0
	if in.query.Has("limit") {
		if limit, err = strconv.Atoi(in.query.Get("limit")); err != nil || limit < 1 || limit > maxLogPage {
			return reply{}, nba.Errorf(nba.CodeInvalid, "the query parameter limit must be a number from 1 to %d", maxLogPage)
		}
	}
	lines, next, err := core.PluginLogs(ctx, name, limit, in.query.Get("cursor"))
	if err != nil {
		return reply{}, err
	}
	if lines == nil {
		lines = []nba.PluginLogLine{}
	}
	return pageReply(lines, next)
}

func listPluginKeys(ctx context.Context, core Core, _ *request) (reply, error) {
	keys, err := core.PluginKeys(ctx)
	if err != nil {
		return reply{}, err
	}
	if keys == nil {
		keys = []nba.PluginKey{}
	}
	return pageReply(keys, "")
}

func trustPluginKey(ctx context.Context, core Core, in *request) (reply, error) {
	var wanted struct {
		Name      string `json:"name"`
		PublicKey []byte `json:"publicKey"`
	}
	decoder := json.NewDecoder(bytes.NewReader(in.body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&wanted); err != nil {
		return reply{}, featuresError(err)
	}
	trusted, err := core.TrustPluginKey(ctx, wanted.Name, wanted.PublicKey)
	if err != nil {
		return reply{}, err
	}
	out, err := jsonReply(http.StatusCreated, trusted)
	out.location = locate("/v1/plugin-keys/%s", trusted.ID)
	return out, err
}

func distrustPluginKey(ctx context.Context, core Core, in *request) (reply, error) {
	key, err := in.param("id")
	if err != nil {
		return reply{}, err
	}
	return gone(core.DistrustPluginKey(ctx, key))
}
