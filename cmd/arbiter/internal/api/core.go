package api

import (
	"context"
	"io"

	"github.com/arbiterhq/arbiter/cluster/importer"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Core is what the HTTP layer needs of a node. All methods are called from many goroutines at once.
// Every ctx carries a deadline. An error that is an *nba.Error is shown to the caller with its code,
// message and details; any other error is logged and shown as CodeInternal. Strings and slices handed
// in may be kept, except where a method says otherwise.
type Core interface {
	// Decide answers req into out. Both are reused: neither, nor any slice in them, may be kept after
	// Decide returns; strings may be. out arrives with the lengths of an earlier decision: Decide
	// overwrites every field and may reuse the slices.
	Decide(ctx context.Context, req *nba.DecisionRequest, out *nba.Decision) error
	// Respond commits all responses and returns a receipt for each, or commits none of those at and
	// after the first failing one and returns its error with a Detail pointer /i.
	Respond(ctx context.Context, responses []nba.Response) ([]nba.ResponseReceipt, error)

	// Decision reads a stored decision as it was answered; read is as for Subject. The errors have
	// CodeDecisionUnknown.
	Decision(ctx context.Context, id string, read *nba.Read) (nba.DecisionRecord, error)

	// ReplayDecision makes a stored decision again: as it was made or, unless catalogVersion is 0, as that
	// catalog would have made it. The errors have CodeDecisionUnknown, CodeSubjectErased,
	// CodeReplayUnavailable and CodeCatalogUnknown.
	ReplayDecision(ctx context.Context, id string, catalogVersion uint64) (nba.Replay, error)

	// WhyNot tells why an action is not proposed to the subject of req, of which the subject, channel,
	// direction, placements, contexts and catalog version count. The errors have CodeSubjectUnknown,
	// CodeActionUnknown, CodeCatalogUnknown and CodeInvalid.
	WhyNot(ctx context.Context, req *nba.DecisionRequest, action string) (nba.WhyNot, error)

	// Simulate begins a simulation, which goes on after it returned; the others find it by its id on the node
	// that took it. The errors have CodeInvalid, CodeCatalogUnknown, CodeCatalogInvalid, CodePluginUnknown,
	// CodeOverloaded and CodeNotFound.
	Simulate(ctx context.Context, req nba.SimulationRequest) (nba.Simulation, error)
	Simulation(ctx context.Context, id string) (nba.Simulation, error)
	Simulations(ctx context.Context) []nba.Simulation
	CancelSimulation(ctx context.Context, id string) (nba.Simulation, error)

	// An nba.Idempotency in the ctx of Decide, Respond, PutSubject, PatchSubject and DeleteSubject makes the
	// change once; again, it gives the answer it gave first and marks the key as replayed. Used for another
	// request the key is refused with CodeKeyReused.

	// Subject reads one subject as current as read asks, and sets read.Age. A nil read asks the leader.
	Subject(ctx context.Context, ref nba.SubjectRef, read *nba.Read) (nba.SubjectDocument, error)
	// PutSubject replaces or creates a subject. ifVersion nil means whatever is there, 0 that the
	// subject must not exist, any other that it must be at that version; else CodePrecondition.
	PutSubject(ctx context.Context, doc nba.SubjectDocument, ifVersion *uint64) (version uint64, created bool, err error)
	// PatchSubject applies a JSON merge patch to an existing subject.
	PatchSubject(ctx context.Context, patch nba.SubjectPatch, ifVersion *uint64) (nba.SubjectDocument, error)
	// Consents is what a subject said to purposes and channels; read is as for Subject.
	Consents(ctx context.Context, ref nba.SubjectRef, read *nba.Read) (nba.ConsentDocument, error)
	// PutConsents replaces all of that for an existing subject; ifVersion is as for PutSubject.
	PutConsents(ctx context.Context, doc nba.ConsentDocument, ifVersion *uint64) (version uint64, err error)
	// Contacts tells where a subject stands with each contact policy; read is as for Subject.
	Contacts(ctx context.Context, ref nba.SubjectRef, read *nba.Read) (nba.SubjectContacts, error)
	// DeleteSubject removes a subject with its history and decision records.
	DeleteSubject(ctx context.Context, ref nba.SubjectRef, ifVersion *uint64) error
	// History lists interactions, newest first. next is "" on the last page; it is opaque to callers.
	// read is as for Subject.
	History(ctx context.Context, ref nba.SubjectRef, read *nba.Read, limit int, cursor string) (items []nba.Interaction, next string, err error)
	// ImportSubjects reads body to its end and writes every good line. result is called once a bad
	// line, in order, from one goroutine; an error of result aborts the import. What was accepted is
	// durable when ImportSubjects returns, also when it returns an error.
	ImportSubjects(ctx context.Context, body io.Reader, spec importer.Spec, result func(importer.Result) error) (importer.Summary, error)

	// Retention tells how long interactions and idempotency keys are kept, as this node has applied it.
	Retention(ctx context.Context) nba.Retention
	// SetRetention sets it for the cluster.
	SetRetention(ctx context.Context, retention nba.Retention) error

	// Dictionary is the attribute dictionary as this node has applied it.
	Dictionary(ctx context.Context) *nba.Dictionary
	// DeclareAttributes adds attributes; all or none.
	DeclareAttributes(ctx context.Context, declarations []nba.AttributeDeclaration) (*nba.Dictionary, error)

	// Catalog reads a stored document: version "" is the head (the one stored last), "active" the
	// active one, else a decimal version number.
	Catalog(ctx context.Context, version string) (nba.CatalogDocument, error)
	// CatalogVersions lists all stored versions, newest first.
	CatalogVersions(ctx context.Context) ([]nba.CatalogVersion, error)
	// ValidateCatalog reports every mistake of a document as CodeCatalogInvalid.
	ValidateCatalog(ctx context.Context, doc []byte) error
	// PutCatalog validates and stores a document as the new head, state staged. ifMatch is "" (no
	// If-Match header: CodePreconditionNeeds if a document exists), "*" (whatever is there) or
	// "v<version>" without quotes (CodePrecondition unless that is the head).
	PutCatalog(ctx context.Context, doc []byte, ifMatch string) (nba.CatalogVersion, error)
	// ActivateCatalog makes a stored version the active one, once every node that answers has prepared it. The
	// note is kept with the activation.
	ActivateCatalog(ctx context.Context, version uint64, note string) (nba.CatalogVersion, error)
	// CatalogActivations lists the activations that are kept, newest first.
	CatalogActivations(ctx context.Context) ([]nba.CatalogActivation, error)

	// PushPlugin admits an artifact and stages it, and activates it if told. module may be kept.
	PushPlugin(ctx context.Context, module []byte, activate bool) (nba.PluginVersion, error)
	// Plugins lists all versions of all plugins by name and version.
	Plugins(ctx context.Context) ([]nba.PluginVersion, error)
	// Plugin reads one version.
	Plugin(ctx context.Context, name, version string) (nba.PluginVersion, error)
	// ActivatePlugin makes a staged or retired version the active one of its plugin.
	ActivatePlugin(ctx context.Context, name, version string) (nba.PluginVersion, error)
	// VerifyPlugin runs what PushPlugin runs and keeps nothing. module may be kept.
	VerifyPlugin(ctx context.Context, module []byte) (nba.PluginVersion, error)
	// RemovePlugin forgets a version, or with version "" the plugin; CodeConflict for what is in use.
	RemovePlugin(ctx context.Context, name, version string) error
	// DeactivatePlugin retires the active version of a plugin; CodeConflict while the catalog names it.
	DeactivatePlugin(ctx context.Context, name string) error
	// PluginLogs are lines that a plugin wrote on all nodes, oldest first: at most limit (0: a default) of
	// those after the cursor; next continues behind them.
	PluginLogs(ctx context.Context, name string, limit int, cursor string) (lines []nba.PluginLogLine, next string, err error)
	// PluginKeys are the keys whose signatures of artifacts are trusted.
	PluginKeys(ctx context.Context) ([]nba.PluginKey, error)
	// TrustPluginKey adds an ed25519 public key; one that is there stays as it is.
	TrustPluginKey(ctx context.Context, name string, public []byte) (nba.PluginKey, error)
	// DistrustPluginKey removes a key by its id or name.
	DistrustPluginKey(ctx context.Context, key string) error

	// Features makes rows of features as a model would be handed them.
	Features(ctx context.Context, req *nba.FeatureRequest) (*nba.FeatureTable, error)

	// Model describes a version of a plugin that scores; version "" is the active one.
	Model(ctx context.Context, name, version string) (nba.ModelMetadata, error)
	// Infer has a version score rows of features as they are, to try it; NaN is missing.
	Infer(ctx context.Context, name, version string, rows [][]float64) (nba.Inference, error)

	// Streams tells how far the node's Kafka streams were read, by all nodes together.
	Streams(ctx context.Context) ([]nba.StreamStatus, error)
	// Cluster is the nodes and the groups as this node sees them.
	Cluster(ctx context.Context) nba.Cluster

	Security
	Rollouts
	Campaigns
	Segments
	Events
	Journeys
	Deliveries
	Aggregates
	Backups
	Membership

	// Ready is nil when the node can serve, else CodeUnavailable with the reason.
	Ready(ctx context.Context) error
}
