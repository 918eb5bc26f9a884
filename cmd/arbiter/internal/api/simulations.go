package api

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

func startSimulation(ctx context.Context, core Core, in *request) (reply, error) {
	var req nba.SimulationRequest
	decoder := json.NewDecoder(bytes.NewReader(in.body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&req); err != nil {
		return reply{}, featuresError(err)
	}
	if decoder.More() {
		return reply{}, nba.Errorf(nba.CodeMalformed, "the body holds more than one JSON value; send one object")
	}
	job, err := core.Simulate(ctx, req)
	if err != nil {
		return reply{}, err
	}
	out, err := jsonReply(http.StatusAccepted, job)
	out.location = locate("/v1/simulations/%s", job.ID)
	return out, err
}

func listSimulations(ctx context.Context, core Core, _ *request) (reply, error) {
	return jsonReply(http.StatusOK, struct {
		Items []nba.Simulation `json:"items"`
	}{core.Simulations(ctx)})
}

func getSimulation(ctx context.Context, core Core, in *request) (reply, error) {
	return simulationReply(ctx, in, core.Simulation)
}

func cancelSimulation(ctx context.Context, core Core, in *request) (reply, error) {
	return simulationReply(ctx, in, core.CancelSimulation)
}

func simulationReply(ctx context.Context, in *request, call func(context.Context, string) (nba.Simulation, error)) (reply, error) {
	id, err := in.param("id")
	if err != nil {
		return reply{}, err
	}
	job, err := call(ctx, id)
	if err != nil {
		return reply{}, err
	}
	return jsonReply(http.StatusOK, job)
}
