package api

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/config"
	"github.com/arbiterhq/arbiter/runtime/telemetry"
)

// operation is one method of one path. The table of operations is the router of both listeners;
// a test keeps it equal to openapi.yaml.
type operation struct {
	id       string // operationId in openapi.yaml and label of its metrics
	method   string
	path     string // as in openapi.yaml, with {name} for parameters
	handle   handler
	consumes []string // media types of the body; none means that a body is ignored
	query    []string // names of the query parameters
	budget   budget
	limit    limit
	admin    bool // also on the admin listener
	quick    bool // answers without a core, also before the node is ready
	local    bool // needs no proof from callers on this machine, and is refused to all others
	// idempotent operations take an Idempotency-Key. POST /v1/decisions does too.
	idempotent bool
	// stream, if there is one, answers on the admin listener in place of handle.
	stream func(a *Admin, op *operation) netHandler
	// anyMedia tells of requests whose body may be of any type.
	anyMedia func(in *request) bool
	// untyped operations take a body without a Content-Type for the first of consumes.
	untyped bool
}

// budget chooses the deadline of an operation among Timeouts.
type budget uint8

const (
	budgetRequest budget = iota
	budgetAdmin
	budgetImport
)

// timeout is the deadline of an operation of this budget.
func (b budget) timeout(t *config.Timeouts) time.Duration {
	switch b {
	case budgetAdmin:
		return t.Admin
	case budgetImport:
		return t.Import
	default:
		return t.Request
	}
}

// limit chooses the body limit of an operation among Limits.
type limit uint8

const (
	limitBody limit = iota
	limitCatalog
	limitPlugin
	limitImport
)

// bytes is the body limit of an operation.
func (which limit) bytes(l *config.Limits) int {
	switch which {
	case limitCatalog:
		return l.CatalogBytes
	case limitPlugin:
		return l.PluginBytes
	case limitImport:
		return l.ImportBytes
	default:
		return l.BodyBytes
	}
}

// operations are all operations of the API port. POST /v1/decisions is served by server.decide.
func operations(options *Options) []operation {
	var (
		jsonBody = []string{contentTypeJSON}
		catalog  = []string{contentTypeYAML, "application/x-yaml", "text/yaml", "text/x-yaml"}
		byType   = []string{"type"}

		inference = []string{contentTypeJSON, contentTypeOctets}
	)
	return append(slices.Concat(rolloutOperations(), backupOperations(), memberOperations(), journeyOperations(), deliveryOperations(), eventOperations(), campaignOperations(), segmentOperations()), []operation{
		{id: "decide", method: http.MethodPost, path: "/v1/decisions", consumes: jsonBody},
		{id: "respond", method: http.MethodPost, path: "/v1/responses", consumes: jsonBody, handle: respond, idempotent: true},
		{id: "getDecision", method: http.MethodGet, path: "/v1/decisions/{id}", query: readQuery(), handle: getDecision},
		{id: "replayDecision", method: http.MethodPost, path: "/v1/decisions/{id}/replay", query: []string{"catalogVersion"}, handle: replayDecision},

		{id: "importSubjects", method: http.MethodPost, path: "/v1/subjects/import", handle: importHandler(options.Limits.ImportResults),
			consumes: []string{contentTypeNDJSON, contentTypeCSV, contentTypeMultipart},
			query:    []string{"firstLine"}, budget: budgetImport, limit: limitImport, admin: true},
		{id: "getSubject", method: http.MethodGet, path: "/v1/subjects/{id}", query: readQuery("type"), handle: getSubject},
		{id: "putSubject", method: http.MethodPut, path: "/v1/subjects/{id}", query: byType, consumes: jsonBody, handle: putSubject, idempotent: true},
		{id: "patchSubject", method: http.MethodPatch, path: "/v1/subjects/{id}", query: byType, handle: patchSubject, idempotent: true,
			consumes: []string{contentTypeMergePatch, contentTypeJSON}},
		{id: "deleteSubject", method: http.MethodDelete, path: "/v1/subjects/{id}", query: byType, handle: deleteSubject, idempotent: true},
		{id: "getConsents", method: http.MethodGet, path: "/v1/subjects/{id}/consents", query: readQuery("type"), handle: getConsents},
		{id: "putConsents", method: http.MethodPut, path: "/v1/subjects/{id}/consents", query: byType, consumes: jsonBody, handle: putConsents, idempotent: true},
		{id: "getContacts", method: http.MethodGet, path: "/v1/subjects/{id}/contacts", query: readQuery("type"), handle: getContacts},
		{id: "getAggregates", method: http.MethodGet, path: "/v1/subjects/{id}/aggregates", query: readQuery("type"), handle: getAggregates},
		{id: "getHistory", method: http.MethodGet, path: "/v1/subjects/{id}/history", handle: getHistory,
			query: readQuery("type", "limit", "cursor")},
		{id: "whyNot", method: http.MethodGet, path: "/v1/subjects/{id}/why-not/{action}", handle: whyNot,
			query: []string{"type", "channel", "direction", "placement", "context", "catalogVersion"}},

		{id: "getRetention", method: http.MethodGet, path: "/v1/retention", handle: getRetention, budget: budgetAdmin},
		{id: "setRetention", method: http.MethodPut, path: "/v1/retention", consumes: jsonBody, handle: setRetention, budget: budgetAdmin},

		{id: "getAttributes", method: http.MethodGet, path: "/v1/attributes", handle: getAttributes},
		{id: "declareAttributes", method: http.MethodPut, path: "/v1/attributes", consumes: jsonBody, handle: declareAttributes, budget: budgetAdmin},

		{id: "getCatalog", method: http.MethodGet, path: "/v1/catalog", handle: getCatalog, budget: budgetAdmin},
		{id: "putCatalog", method: http.MethodPut, path: "/v1/catalog", consumes: catalog, handle: putCatalog, budget: budgetAdmin, limit: limitCatalog},
		{id: "validateCatalog", method: http.MethodPost, path: "/v1/catalog/validate", consumes: catalog, handle: validateCatalog,
			budget: budgetAdmin, limit: limitCatalog},
		{id: "listCatalogVersions", method: http.MethodGet, path: "/v1/catalog/versions", handle: listCatalogVersions, budget: budgetAdmin},
		{id: "getCatalogVersion", method: http.MethodGet, path: "/v1/catalog/versions/{version}", handle: getCatalogVersion, budget: budgetAdmin},
		{id: "activateCatalog", method: http.MethodPost, path: "/v1/catalog/versions/{version}/activate", handle: activateCatalog, budget: budgetAdmin,
			query: []string{"note"}},
		{id: "listCatalogActivations", method: http.MethodGet, path: "/v1/catalog/activations", handle: listCatalogActivations, budget: budgetAdmin},

		{id: "pushPlugin", method: http.MethodPost, path: "/v1/plugins", handle: pushPlugin, query: []string{"activate"},
			consumes: []string{contentTypeWASM}, budget: budgetAdmin, limit: limitPlugin, admin: true},
		{id: "listPlugins", method: http.MethodGet, path: "/v1/plugins", handle: listPlugins, budget: budgetAdmin},
		{id: "getPlugin", method: http.MethodGet, path: "/v1/plugins/{name}/versions/{version}", handle: getPlugin, budget: budgetAdmin},
		{id: "verifyPlugin", method: http.MethodPost, path: "/v1/plugins/verify", handle: verifyPlugin,
			consumes: []string{contentTypeWASM}, budget: budgetAdmin, limit: limitPlugin, admin: true},
		{id: "removePlugin", method: http.MethodDelete, path: "/v1/plugins/{name}", handle: removePlugin, budget: budgetAdmin},
		{id: "removePluginVersion", method: http.MethodDelete, path: "/v1/plugins/{name}/versions/{version}", handle: removePluginVersion, budget: budgetAdmin},
		{id: "deactivatePlugin", method: http.MethodPost, path: "/v1/plugins/{name}/deactivate", handle: deactivatePlugin, budget: budgetAdmin},
		{id: "getPluginLogs", method: http.MethodGet, path: "/v1/plugins/{name}/logs", handle: getPluginLogs, query: []string{"limit", "cursor"}, budget: budgetAdmin},
		{id: "listPluginKeys", method: http.MethodGet, path: "/v1/plugin-keys", handle: listPluginKeys, budget: budgetAdmin},
		{id: "trustPluginKey", method: http.MethodPost, path: "/v1/plugin-keys", consumes: jsonBody, handle: trustPluginKey, budget: budgetAdmin},
		{id: "distrustPluginKey", method: http.MethodDelete, path: "/v1/plugin-keys/{id}", handle: distrustPluginKey, budget: budgetAdmin},
		{id: "activatePlugin", method: http.MethodPost, path: "/v1/plugins/{name}/versions/{version}/activate", handle: activatePlugin, budget: budgetAdmin},

		{id: "startSimulation", method: http.MethodPost, path: "/v1/simulations", consumes: jsonBody, handle: startSimulation, budget: budgetAdmin, limit: limitCatalog},
		{id: "listSimulations", method: http.MethodGet, path: "/v1/simulations", handle: listSimulations},
		{id: "getSimulation", method: http.MethodGet, path: "/v1/simulations/{id}", handle: getSimulation},
		{id: "cancelSimulation", method: http.MethodDelete, path: "/v1/simulations/{id}", handle: cancelSimulation},

		{id: "makeFeatures", method: http.MethodPost, path: "/v1/features", consumes: jsonBody, handle: makeFeatures, budget: budgetAdmin},

		{id: "listKeys", method: http.MethodGet, path: "/v1/keys", handle: listKeys, budget: budgetAdmin},
		{id: "createKey", method: http.MethodPost, path: "/v1/keys", consumes: jsonBody, handle: createKey, budget: budgetAdmin},
		{id: "createFirstKey", method: http.MethodPost, path: "/v1/keys/first", consumes: jsonBody, handle: createFirstKey, budget: budgetAdmin,
			admin: true, local: true},
		{id: "revokeKey", method: http.MethodDelete, path: "/v1/keys/{id}", handle: revokeKey, budget: budgetAdmin},
		{id: "whoAmI", method: http.MethodGet, path: "/v1/whoami", handle: whoAmI},
		{id: "listAudit", method: http.MethodGet, path: "/v1/audit", query: []string{"after", "limit"}, handle: listAudit, budget: budgetAdmin},

		{id: "createRecommendation", method: http.MethodPost, path: tmfPath, consumes: jsonBody, handle: createRecommendation, idempotent: true},
		{id: "listRecommendations", method: http.MethodGet, path: tmfPath, handle: listRecommendations,
			query: []string{"fields", "offset", "limit", "relatedParty.id", "relatedParty.@referredType"}},
		{id: "getRecommendation", method: http.MethodGet, path: tmfPath + "/{id}", handle: getRecommendation, query: []string{"fields"}},

		{id: "inferenceServer", method: http.MethodGet, path: "/v2", handle: kserveServer(telemetry.Build().Version), quick: true},
		{id: "inferenceLive", method: http.MethodGet, path: "/v2/health/live", handle: kserveLive, quick: true},
		{id: "inferenceReady", method: http.MethodGet, path: "/v2/health/ready", handle: ready, quick: true},
		{id: "inferenceModel", method: http.MethodGet, path: "/v2/models/{model}", handle: kserveModel},
		{id: "inferenceModelReady", method: http.MethodGet, path: "/v2/models/{model}/ready", handle: kserveModelReady},
		{id: "infer", method: http.MethodPost, path: "/v2/models/{model}/infer", consumes: inference, handle: kserveInfer, untyped: true},
		{id: "inferenceVersion", method: http.MethodGet, path: "/v2/models/{model}/versions/{version}", handle: kserveModel},
		{id: "inferenceVersionReady", method: http.MethodGet, path: "/v2/models/{model}/versions/{version}/ready", handle: kserveModelReady},
		{id: "inferVersion", method: http.MethodPost, path: "/v2/models/{model}/versions/{version}/infer", consumes: inference, handle: kserveInfer, untyped: true},

		{id: "listStreams", method: http.MethodGet, path: "/v1/streams", handle: listStreams, budget: budgetAdmin},
		{id: "getCluster", method: http.MethodGet, path: "/v1/cluster", handle: cluster, admin: true},
		{id: "health", method: http.MethodGet, path: "/healthz", handle: health, admin: true, quick: true},
		{id: "ready", method: http.MethodGet, path: "/readyz", handle: ready, admin: true, quick: true},
		{id: "getOpenAPI", method: http.MethodGet, path: "/openapi.yaml", handle: getOpenAPI, quick: true},
	}...)
}

// fiberPath writes {name} as :name.
func (op *operation) fiberPath() string {
	return strings.NewReplacer("{", ":", "}", "").Replace(op.path)
}

// paramNames are the names in the braces of the path.
func (op *operation) paramNames() (names []string) {
	for _, segment := range strings.Split(op.path, "/") {
		if strings.HasPrefix(segment, "{") {
			names = append(names, strings.Trim(segment, "{}"))
		}
	}
	return names
}
