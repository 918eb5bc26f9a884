package api

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/arbiterhq/arbiter/plugins/rollout"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Rollouts is what the HTTP layer needs of a node to roll plugin versions out.
type Rollouts interface {
	// StartRollout begins a rollout. Asking for the one that is under way answers with it.
	StartRollout(ctx context.Context, req rollout.Request) (rollout.View, error)
	// Rollouts lists all rollouts, the newest first.
	Rollouts(ctx context.Context) ([]rollout.View, error)
	// Rollout reads one; an unknown id has CodeNotFound.
	Rollout(ctx context.Context, id string) (rollout.View, error)
	// ChangeRollout promotes, pauses, resumes, aborts or undoes a rollout. force promotes one although
	// nodes are missing.
	ChangeRollout(ctx context.Context, id string, verb rollout.Verb, force bool) (rollout.View, error)
}

func startRollout(ctx context.Context, core Core, in *request) (reply, error) {
	var req rollout.Request
	decoder := json.NewDecoder(bytes.NewReader(in.body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&req); err != nil {
		return reply{}, featuresError(err)
	}
	if decoder.More() {
		return reply{}, nba.Errorf(nba.CodeMalformed, "the body holds more than one JSON value; send one object")
	}
	if req.Plugin == "" || req.Version == "" {
		return reply{}, nba.Invalid("/plugin", "name the plugin and the version that is to be rolled out")
	}
	view, err := core.StartRollout(ctx, req)
	if err != nil {
		return reply{}, err
	}
	out, err := jsonReply(http.StatusCreated, view)
	out.location = locate("/v1/rollouts/%s", view.ID)
	return out, err
}

func listRollouts(ctx context.Context, core Core, _ *request) (reply, error) {
	views, err := core.Rollouts(ctx)
	if err != nil {
		return reply{}, err
	}
	return pageReply(views, "")
}

func getRollout(ctx context.Context, core Core, in *request) (reply, error) {
	id, err := in.param("id")
	if err != nil {
		return reply{}, err
	}
	view, err := core.Rollout(ctx, id)
	if err != nil {
		return reply{}, err
	}
	return jsonReply(http.StatusOK, view)
}

// changeRollout serves POST /v1/rollouts/{id}/VERB.
func changeRollout(verb rollout.Verb) handler {
	return func(ctx context.Context, core Core, in *request) (reply, error) {
		id, err := in.param("id")
		if err != nil {
			return reply{}, err
		}
		force, err := strconv.ParseBool(in.query.Get("force"))
		if in.query.Has("force") && err != nil {
			return reply{}, nba.Errorf(nba.CodeInvalid, "the query parameter force must be true or false")
		}
		view, err := core.ChangeRollout(ctx, id, verb, force)
		if err != nil {
			return reply{}, err
		}
		return jsonReply(http.StatusOK, view)
	}
}

// rolloutOperations are the operations on rollouts.
func rolloutOperations() []operation {
	table := []operation{
		{id: "startRollout", method: http.MethodPost, path: "/v1/rollouts", consumes: []string{contentTypeJSON}, handle: startRollout, budget: budgetAdmin},
		{id: "listRollouts", method: http.MethodGet, path: "/v1/rollouts", handle: listRollouts, budget: budgetAdmin},
		{id: "getRollout", method: http.MethodGet, path: "/v1/rollouts/{id}", handle: getRollout, budget: budgetAdmin},
	}
	for _, c := range []struct {
		id   string
		verb rollout.Verb
	}{{"promoteRollout", rollout.Promote}, {"pauseRollout", rollout.Pause}, {"resumeRollout", rollout.Resume}, {"abortRollout", rollout.Abort}, {"undoRollout", rollout.Undo}} {
		op := operation{id: c.id, method: http.MethodPost, path: "/v1/rollouts/{id}/" + string(c.verb), handle: changeRollout(c.verb), budget: budgetAdmin}
		if c.verb == rollout.Promote {
			op.query = []string{"force"}
		}
		table = append(table, op)
	}
	return table
}
