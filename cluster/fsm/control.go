package fsm

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/plugins/registry"
	"github.com/arbiterhq/arbiter/plugins/rollout"
	"github.com/arbiterhq/arbiter/runtime/auth"
	"github.com/arbiterhq/arbiter/runtime/campaign"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// ControlState is what the control group agreed on, as of one log index. It is immutable.
type ControlState struct {
	Index      uint64
	Dictionary *nba.Dictionary
	Catalog    CatalogState
	Plugins    *registry.State
	Rollouts   *rollout.State
	Features   Features
	Retention  nba.Retention
	Keys       *auth.Keys
	Signers    *registry.Keys
	Campaigns  *campaign.State
	Audit      AuditHead
	Members    Members
}

// CatalogState tells which catalog documents there are. Zero numbers mean none.
type CatalogState struct {
	// Head is the version of the newest document, Active that of the active one.
	Head, Active uint64
	// CatalogVersion is the index of the entry that activated the active document.
	CatalogVersion uint64
	// Versions are all documents, oldest first.
	Versions []nba.CatalogVersion
	// Activations tell which document each catalogVersion is, oldest first; the first of very many are
	// forgotten.
	Activations []Activation
}

// Activation is one activation of a catalog document.
type Activation struct {
	CatalogVersion uint64 `json:"catalogVersion"`
	Version        uint64 `json:"version"`
	// At and Note are kept by operations of version 2.
	At   time.Time `json:"at,omitzero"`
	Note string    `json:"note,omitempty"`
}

// What is kept of catalogs: the newest MaxActivations activations, and the newest MaxCatalogs documents
// besides the active one. Decisions of documents that were forgotten are shown without what the document
// told of them, and cannot be pinned.
const (
	MaxActivations = 1 << 14
	MaxCatalogs    = 512
)

// Document is the version of the document that a catalogVersion is, or 0.
func (c *CatalogState) Document(catalogVersion uint64) uint64 {
	i, found := slices.BinarySearchFunc(c.Activations, catalogVersion, func(a Activation, of uint64) int { return cmp.Compare(a.CatalogVersion, of) })
	if found {
		return c.Activations[i].Version
	}
	for _, v := range c.Versions { // activated by the first release
		if v.CatalogVersion == catalogVersion {
			return v.Version
		}
	}
	return 0
}

// Version looks a document up by its version.
func (c *CatalogState) Version(version uint64) (nba.CatalogVersion, bool) {
	for _, v := range c.Versions {
		if v.Version == version {
			return v, true
		}
	}
	return nba.CatalogVersion{}, false
}

// Control is the state machine of the control group.
//
//	control   "dictionary", "catalog", "plugins", "features", "retention", "rollouts", "keys", "audit", "signers",
//	          "campaigns", "members" -> JSON
//	history   number of an audit record, big endian -> JSON
//	catalogs  version, big endian                                         -> document
//	control   see volumes.go for the budgets of volumes
//
// ApplyBatch, Apply, Snapshot and Restore are for raft; the rest is safe for concurrent use.
type Control struct {
	machine
	state   atomic.Pointer[ControlState]
	onApply func(*ControlState)

	// Used within one batch.
	next  *ControlState
	dirty [partEnd]bool
}

// The parts of the control state, each stored under its name.
const (
	partDictionary = iota
	partCatalog
	partPlugins
	partFeatures
	partRetention
	partRollouts
	partKeysOfAPI
	partAudit
	partSigners
	partCampaigns
	partMembers
	partEnd
)

var partKeys = [...][]byte{[]byte("dictionary"), []byte("catalog"), []byte("plugins"), []byte("features"), []byte("retention"), []byte("rollouts"),
	[]byte("keys"), []byte("audit"), []byte("signers"), []byte("campaigns"), []byte("members")}

type storedDictionary struct {
	Purposes   []nba.Purpose   `json:"purposes"`
	Attributes []nba.Attribute `json:"attributes"`
}

type storedCatalog struct {
	Head           uint64               `json:"head"`
	Active         uint64               `json:"active"`
	CatalogVersion uint64               `json:"catalogVersion"`
	Versions       []nba.CatalogVersion `json:"versions"`
	Activations    []Activation         `json:"activations,omitempty"`
}

// NewControl is the control state machine over s. onApply, if not nil, is called with every new
// state after its commit, in order, by the goroutine that applies.
func NewControl(s *store.Store, onApply func(*ControlState)) (*Control, error) {
	c := &Control{onApply: onApply}
	c.machine = machine{store: s, rules: c}
	if err := c.open(); err != nil {
		return nil, fmt.Errorf("opening the control state: %w", err)
	}
	return c, nil
}

// State is the state as of the last batch.
func (c *Control) State() *ControlState { return c.state.Load() }

// Document is the text of a stored catalog document; ok is false if there is none of this version.
func (c *Control) Document(version uint64) (document []byte, ok bool, err error) {
	r, err := c.store.Acquire()
	if err != nil {
		return nil, false, err
	}
	defer r.Release()
	stored := r.Get(store.Catalogs, catalogKey(version))
	return slices.Clone(stored), stored != nil, nil
}

func catalogKey(version uint64) []byte { return binary.BigEndian.AppendUint64(nil, version) }

func (c *Control) reloadState() error {
	r, err := c.store.Acquire()
	if err != nil {
		return err
	}
	defer r.Release()
	state := &ControlState{Index: c.Position().Index, Dictionary: nba.NewDictionary(), Plugins: &registry.State{}, Rollouts: &rollout.State{},
		Features: Features{Level: command.LevelFirst}, Retention: nba.DefaultRetention(), Keys: &auth.Keys{}, Signers: &registry.Keys{}, Campaigns: &campaign.State{}}
	if raw := r.Get(store.Control, partKeys[partDictionary]); raw != nil {
		var d storedDictionary
		if err := json.Unmarshal(raw, &d); err != nil {
			return fmt.Errorf("reading the dictionary: %w", err)
		}
		if state.Dictionary, err = nba.RestoreDictionary(d.Purposes, d.Attributes); err != nil {
			return fmt.Errorf("reading the dictionary: %w", err)
		}
	}
	if raw := r.Get(store.Control, partKeys[partCatalog]); raw != nil {
		var stored storedCatalog
		if err := json.Unmarshal(raw, &stored); err != nil {
			return fmt.Errorf("reading the catalog versions: %w", err)
		}
		state.Catalog = CatalogState(stored)
	}
	if raw := r.Get(store.Control, partKeys[partPlugins]); raw != nil {
		if state.Plugins, err = registry.Parse(raw); err != nil {
			return err
		}
	}
	if raw := r.Get(store.Control, partKeys[partRollouts]); raw != nil {
		if state.Rollouts, err = rollout.Parse(raw); err != nil {
			return err
		}
	}
	for part, into := range [partEnd]any{partFeatures: &state.Features, partRetention: &state.Retention,
		partKeysOfAPI: state.Keys, partAudit: &state.Audit, partSigners: state.Signers, partCampaigns: state.Campaigns, partMembers: &state.Members} {
		if into == nil {
			continue // one of those above
		}
		if raw := r.Get(store.Control, partKeys[part]); raw != nil {
			if err := json.Unmarshal(raw, into); err != nil {
				return fmt.Errorf("reading the %s: %w", partKeys[part], err)
			}
		}
	}
	c.state.Store(state)
	return nil
}

func (c *Control) beginBatch() {
	next := *c.state.Load()
	next.Catalog.Versions = slices.Clone(next.Catalog.Versions)
	next.Catalog.Activations = slices.Clip(next.Catalog.Activations)
	c.next, c.dirty = &next, [partEnd]bool{}
}

func (c *Control) finishBatch(u *update) error {
	parts := [partEnd]any{
		storedDictionary{Purposes: c.next.Dictionary.Purposes(), Attributes: c.next.Dictionary.Attributes()},
		storedCatalog(c.next.Catalog),
		c.next.Plugins,
		c.next.Features,
		c.next.Retention,
		c.next.Rollouts,
		c.next.Keys,
		c.next.Audit,
		c.next.Signers,
		c.next.Campaigns,
		c.next.Members,
	}
	for i, part := range parts {
		if !c.dirty[i] {
			continue
		}
		raw, err := json.Marshal(part)
		if err != nil {
			return fmt.Errorf("encoding the %s: %w", partKeys[i], err)
		}
		if err := u.replace(store.Control, partKeys[i], u.Get(store.Control, partKeys[i]), raw); err != nil {
			return err
		}
		c.dirty[i] = false
	}
	return nil
}

func (c *Control) commitBatch() {
	c.next.Index = c.Position().Index
	c.state.Store(c.next)
}

// Announce calls onApply with the state of the last batch. Whoever calls ApplyBatch calls it after.
func (c *Control) Announce() {
	if c.onApply != nil {
		c.onApply(c.State())
	}
}

func (c *Control) applyOp(u *update, at At, op command.Op) (Result, error) {
	if _, known := command.Needs(op.Kind, op.Version); !known {
		return Result{}, unknownKind(op)
	}
	if refused := c.closed(op.Kind); refused != nil {
		return refuse(refused)
	}
	switch op.Kind {
	case command.RestoreBegun, command.PairsLoaded, command.RestoreEnded:
		return c.restore(u, op)
	case command.AttributesDeclared:
		return c.declare(op.Body)
	case command.CatalogStored:
		return c.storeCatalog(u, at, op.Body)
	case command.CatalogActivated:
		return c.activateCatalog(at, op)
	case command.PluginStaged:
		return c.stagePlugin(at, op.Body)
	case command.PluginActivated:
		return c.activatePlugin(at, op.Body)
	case command.NodeAnnounced:
		return c.announce(op.Body)
	case command.RetentionSet:
		return c.setRetention(op.Body)
	case command.RolloutStarted:
		return c.startRollout(at, op.Body)
	case command.RolloutAcknowledged:
		return c.acknowledgeRollout(at, op.Body)
	case command.RolloutChanged:
		return c.changeRollout(at, op.Body)
	case command.RolloutCounted:
		return c.countRollout(at, op.Body)
	case command.Attributed:
		return c.attributed(u, at, op.Body)
	case command.KeyCreated:
		return c.createKey(at, op.Body)
	case command.KeyRevoked:
		return c.revokeKey(at, op.Body)
	case command.SignerTrusted:
		return c.trustKey(at, op.Body)
	case command.SignerDistrusted:
		return c.distrustKey(op.Body)
	case command.PluginRemoved:
		return c.removePlugin(op.Body)
	case command.PluginDeactivated:
		return c.deactivatePlugin(at, op.Body)
	case command.CampaignStarted:
		return c.startCampaign(at, op.Body)
	case command.CampaignChanged:
		return c.changeCampaign(at, op.Body)
	case command.CampaignFinished:
		return c.finishCampaign(at, op.Body)
	case command.NodesFounded:
		return c.foundNodes(at, op.Body)
	case command.NodeJoined:
		return c.joinNode(at, op.Body)
	case command.NodeChanged:
		return c.changeNode(at, op.Body)
	case command.NodeRemoved:
		return c.removeNode(at, op.Body)
	case command.GroupsPlaced:
		return c.placeGroups(at, op.Body)
	case command.VolumeLeased:
		return c.leaseVolume(u, at, op.Body)
	case command.VolumeGivenBack:
		return c.giveBackVolume(u, op.Body)
	default:
		return Result{}, unknownKind(op)
	}
}

func (c *Control) declare(body []byte) (Result, error) {
	var op command.DeclareAttributes
	if err := command.DecodeControl(body, &op); err != nil {
		return Result{}, err
	}
	next, changed, err := c.next.Dictionary.Declare(op.Attributes)
	if err != nil {
		return Result{Err: err}, nil
	}
	if changed {
		c.next.Dictionary, c.dirty[partDictionary] = next, true
	}
	return Result{Value: next}, nil
}

// storeCatalog is idempotent: the document that is the newest already is not stored again.
func (c *Control) storeCatalog(u *update, at At, body []byte) (Result, error) {
	var op command.StoreCatalog
	if err := command.DecodeControl(body, &op); err != nil {
		return Result{}, err
	}
	catalog := &c.next.Catalog
	if op.IfHead != nil && *op.IfHead != catalog.Head {
		return refuse(headMoved(*op.IfHead, catalog.Head))
	}
	if head, ok := catalog.Version(catalog.Head); ok && head.Digest == op.Digest {
		return Result{Version: head.Version, Value: head, Duplicate: true}, nil
	}
	if catalog.Head == at.Index {
		return refuse(nba.Errorf(nba.CodeConflict, "another catalog document was stored at the same time: read it and repeat the change"))
	}
	stored := nba.CatalogVersion{Version: at.Index, Name: op.Name, Digest: op.Digest, State: nba.StateStaged, StoredAt: atTime(at)}
	catalog.Head = at.Index
	catalog.Versions = append(catalog.Versions, stored)
	c.dirty[partCatalog] = true
	if err := c.forgetCatalogs(u); err != nil {
		return Result{}, err
	}
	return Result{Version: at.Index, Value: stored, Created: true}, u.insert(store.Catalogs, catalogKey(at.Index), op.Document)
}

// forgetCatalogs removes the oldest documents beyond MaxCatalogs, with their activations. Releases before
// rollouts kept all, so it waits until there are none of them.
func (c *Control) forgetCatalogs(u *update) error {
	catalog := &c.next.Catalog
	if c.next.Features.Level < command.LevelRollouts {
		return nil
	}
	for i := 0; i < len(catalog.Versions) && len(catalog.Versions) > MaxCatalogs; {
		v := catalog.Versions[i]
		if v.Version == catalog.Active || v.Version == catalog.Head {
			i++
			continue
		}
		key := catalogKey(v.Version)
		if err := u.remove(store.Catalogs, key, u.Get(store.Catalogs, key)); err != nil {
			return err
		}
		catalog.Versions = slices.Delete(catalog.Versions, i, i+1)
		catalog.Activations = slices.DeleteFunc(slices.Clone(catalog.Activations), func(a Activation) bool { return a.Version == v.Version })
	}
	return nil
}

func headMoved(want, head uint64) *nba.Error {
	switch {
	case head == 0:
		return nba.Errorf(nba.CodePrecondition, "no catalog document is stored yet: leave If-Match out")
	case want == 0:
		return nba.Errorf(nba.CodePrecondition, "a catalog document is stored already, version %d: read it and repeat the change", head)
	default:
		return nba.Errorf(nba.CodePrecondition, "the newest catalog document is version %d, not %d: read it and repeat the change", head, want)
	}
}

// activateCatalog is idempotent: the active document stays active under its catalogVersion.
func (c *Control) activateCatalog(at At, encoded command.Op) (Result, error) {
	var op command.ActivateCatalog
	if err := command.DecodeControl(encoded.Body, &op); err != nil {
		return Result{}, err
	}
	if len(op.Note) > nba.MaxNoteBytes {
		return refuse(nba.Errorf(nba.CodeTooLarge, "a note has at most %d bytes", nba.MaxNoteBytes))
	}
	catalog := &c.next.Catalog
	i := slices.IndexFunc(catalog.Versions, func(v nba.CatalogVersion) bool { return v.Version == op.Version })
	if i < 0 {
		return refuse(nba.Errorf(nba.CodeCatalogUnknown, "no catalog document has this version: GET /v1/catalog/versions lists them"))
	}
	if catalog.Active == op.Version {
		return Result{Version: catalog.CatalogVersion, Value: catalog.Versions[i], Duplicate: true}, nil
	}
	for j := range catalog.Versions {
		if catalog.Versions[j].State == nba.StateActive {
			catalog.Versions[j].State = nba.StateRetired
		}
	}
	now := atTime(at)
	v := &catalog.Versions[i]
	v.State, v.CatalogVersion, v.ActivatedAt = nba.StateActive, at.Index, &now
	catalog.Active, catalog.CatalogVersion = op.Version, at.Index
	activation := Activation{CatalogVersion: at.Index, Version: op.Version}
	if encoded.Version > 1 {
		activation.At, activation.Note = now, op.Note
	}
	catalog.Activations = append(catalog.Activations[max(0, len(catalog.Activations)+1-MaxActivations):], activation)
	c.dirty[partCatalog] = true
	return Result{Version: at.Index, Value: *v, Created: true}, nil
}

// atTime is the time the proposer stamped.
func atTime(at At) time.Time { return time.UnixMilli(at.ProposedMS).UTC() }
