package api

import (
	"context"
	_ "embed"
	"net/http"
)

// healthStatus answers /healthz (the process answers) and /readyz (it may be sent requests).
type healthStatus struct {
	Status string `json:"status"`
}

func health(context.Context, Core, *request) (reply, error) {
	return jsonReply(http.StatusOK, healthStatus{Status: "ok"})
}

func ready(ctx context.Context, core Core, _ *request) (reply, error) {
	if err := core.Ready(ctx); err != nil {
		return reply{}, err
	}
	return jsonReply(http.StatusOK, healthStatus{Status: "ready"})
}

// cluster tells which nodes there are, who leads which group, and how the replicas here stand.
func cluster(ctx context.Context, core Core, _ *request) (reply, error) {
	return jsonReply(http.StatusOK, core.Cluster(ctx))
}

//go:embed openapi.yaml
var openAPI []byte

// OpenAPI is the contract: an OpenAPI 3.1 document in YAML. The caller must not change it.
func OpenAPI() []byte { return openAPI }

func getOpenAPI(context.Context, Core, *request) (reply, error) {
	return reply{status: http.StatusOK, contentType: contentTypeYAML, body: openAPI}, nil
}
