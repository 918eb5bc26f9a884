package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/arbiterhq/arbiter/cluster/importer"
	"github.com/arbiterhq/arbiter/cluster/router"
	"github.com/arbiterhq/arbiter/plugins/registry"
	"github.com/arbiterhq/arbiter/plugins/rollout"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// memCore is a Core in memory, as small as the contract lets it be.
type memCore struct {
	memSecurity
	memEvents

	consents map[nba.SubjectRef]nba.ConsentDocument
	mu       sync.Mutex
	dict     *nba.Dictionary
	subjects map[nba.SubjectRef]*nba.SubjectDocument
	history  map[nba.SubjectRef][]nba.Interaction // oldest first
	of       map[string]nba.SubjectRef            // decision id -> subject
	catalogs []nba.CatalogDocument
	plugins  map[string]*nba.PluginVersion
	signers  registry.Keys
	rollouts *rollout.State
	index    uint64

	retention nba.Retention
	decisions map[string]nba.DecisionRecord
	keys      map[string]memAnswer

	// Set by tests.
	decide func(ctx context.Context, req *nba.DecisionRequest, out *nba.Decision) error
	ready  error
	fail   error
}

func newMemCore() *memCore {
	return &memCore{dict: nba.NewDictionary(), subjects: map[nba.SubjectRef]*nba.SubjectDocument{},
		history: map[nba.SubjectRef][]nba.Interaction{}, of: map[string]nba.SubjectRef{}, plugins: map[string]*nba.PluginVersion{},
		retention: nba.DefaultRetention(), decisions: map[string]nba.DecisionRecord{}, keys: map[string]memAnswer{}}
}

// memAnswer is what was answered under an idempotency key.
type memAnswer struct {
	fingerprint [16]byte
	answer      any
}

// memOnce makes a change once for the idempotency key in ctx.
func memOnce[T any](ctx context.Context, m *memCore, scope string, change func() (T, error)) (out T, err error) {
	key := nba.IdempotencyOf(ctx)
	if key == nil {
		return change()
	}
	m.mu.Lock()
	known, ok := m.keys[scope+key.Key]
	m.mu.Unlock()
	if ok {
		if known.fingerprint != key.Fingerprint {
			return out, nba.Errorf(nba.CodeKeyReused, "the key was used for another request")
		}
		key.SetReplayed()
		return known.answer.(T), nil
	}
	if out, err = change(); err == nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.keys[scope+key.Key] = memAnswer{key.Fingerprint, out}
	}
	return out, err
}

func (m *memCore) Decision(_ context.Context, id string, _ *nba.Read) (nba.DecisionRecord, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	rec, ok := m.decisions[id]
	if !ok {
		return rec, nba.Errorf(nba.CodeDecisionUnknown, "no such decision")
	}
	for _, line := range m.history[rec.Subject] {
		if line.DecisionID == id && line.Outcome != "" {
			rec.Responses = append(rec.Responses, nba.RecordedResponse{Action: line.Action, Placement: "hero", Outcome: line.Outcome, Behaviour: "banner", Value: 1, Time: line.Time})
		}
	}
	return rec, nil
}

func (m *memCore) ReplayDecision(ctx context.Context, id string, catalogVersion uint64) (again nba.Replay, err error) {
	rec, err := m.Decision(ctx, id, nil)
	if err != nil {
		return again, err
	}
	again = nba.Replay{Decision: rec.Decision, Identical: catalogVersion == 0, Differences: []nba.Difference{}}
	if catalogVersion != 0 {
		again.Decision.CatalogVersion = catalogVersion
		again.Differences = append(again.Differences, nba.Difference{Placement: "hero", Rank: 1, Field: "lever", Was: 1.0, Now: 1.1},
			nba.Difference{Field: "controlGroup", Was: "", Now: nil})
		again.Assumed = []string{"contacts"}
	}
	return again, nil
}

func (m *memCore) WhyNot(_ context.Context, req *nba.DecisionRequest, action string) (why nba.WhyNot, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.subjects[req.Subject] == nil:
		return why, nba.Errorf(nba.CodeSubjectUnknown, "no such subject: import or put it first")
	case req.Channel == "":
		return why, nba.Invalid("/channel", "a channel is required")
	case action == "none":
		return why, nba.Errorf(nba.CodeActionUnknown, "the catalog has no such action")
	}
	return nba.WhyNot{Subject: req.Subject, Action: action, Channel: req.Channel, CatalogVersion: 42, At: memTime, Stage: "arbitration", Code: "OUTRANKED",
		Label: "rank 2 of 2", Clause: "x", Parts: []nba.WhyNotPart{{Clause: "priority", Actual: "1", Required: "more than 2"}}, Changes: []string{"a priority above 2"},
		Ranking: &nba.WhyNotRanking{Rank: 2, Of: 2, BeatenBy: []nba.WhyNotRival{{Action: "b", Placement: "hero", Rank: 1, Priority: 2}}}}, nil
}

func (m *memCore) Retention(context.Context) nba.Retention {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.retention
}

func (m *memCore) SetRetention(_ context.Context, retention nba.Retention) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.retention = retention
	return nil
}

var memTime = time.Date(2026, 11, 22, 9, 30, 0, 123e6, time.UTC)

const memDigest = "sha256:6a2da20943931e9834fc12cfe5bb47bbd9ae43489a30726962b576f4e3993e50"

func (m *memCore) Decide(ctx context.Context, req *nba.DecisionRequest, out *nba.Decision) error {
	if m.decide != nil {
		return m.decide(ctx, req, out)
	}
	d, err := memOnce(ctx, m, "decide "+req.Subject.ID, func() (nba.Decision, error) { return m.newDecision(req) })
	*out = d
	return err
}

func (m *memCore) newDecision(req *nba.DecisionRequest) (out nba.Decision, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.subjects[req.Subject] == nil {
		return out, nba.Errorf(nba.CodeSubjectUnknown, "no such subject: import or put it first")
	}
	m.index++
	id := fmt.Sprintf("01KAN3Z1X2QK8Z0T5N4B%06d", m.index)
	out = sampleDecision(id, req)
	if !req.Options.Simulate {
		m.of[id] = req.Subject
		m.decisions[id] = nba.DecisionRecord{Decision: out, Subject: req.Subject, Channel: req.Channel, Direction: nba.Inbound, DecisionRequestID: req.DecisionRequestID}
		m.history[req.Subject] = append(m.history[req.Subject], nba.Interaction{Time: memTime, DecisionID: id, Action: "family-plan",
			Channel: req.Channel, Rank: 1, CatalogVersion: 42, Direction: nba.Inbound, ModelDigest: memDigest})
	}
	return out, nil
}

func sampleDecision(id string, req *nba.DecisionRequest) nba.Decision {
	model := &nba.ModelInfo{Name: "churn", Version: "1.0.0", Digest: memDigest}
	d := nba.Decision{DecisionID: id, CatalogVersion: 42, DecidedAt: memTime}
	for _, p := range req.Placements {
		items := []nba.Proposition{}
		for i, action := range []string{"family-plan", "roaming-pass", "device-renewal"}[:min(3, max(1, p.Limit))] {
			items = append(items, nba.Proposition{Rank: i + 1, Action: action, Label: "Family plan", Issue: "Grow", Group: "Plans", Treatment: action + "-web-hero",
				Offering: &nba.Offering{ID: "PO-FAM-01"}, Propensity: 0.3104862, ContextWeight: 1, Value: 120, Lever: 1.1, Priority: 40.98417,
				SelectionProbability: 1, Reason: nba.Reason{Code: "PRIORITY", Label: "highest priority"}, Model: model,
				Content: map[string]string{"headline": "One plan for “all” of you", "cta": "See plans"}})
		}
		d.Propositions = append(d.Propositions, nba.PlacementPropositions{Placement: p.ID, Items: items})
	}
	if req.Options.Explain != nba.ExplainNone {
		d.Explanation = &nba.Explanation{Stages: []nba.Stage{{Stage: "consent", In: 12, Out: 12},
			{Stage: "eligibility", In: 12, Out: 11, Removed: []nba.Removal{{Action: "x", Code: "NOT_A_FAMILY", Label: "no family"}}}}}
	}
	if req.Options.Explain == nba.ExplainFull {
		d.Explanation.Candidates = []nba.CandidateExplanation{{Action: "family-plan", Propensity: 0.3, Value: 120, Lever: 1.1, Model: model,
			Features: map[string]float64{"tenure": 12, "charges": 70.35}, WithheldAttributes: []string{"lastLocation"}}}
	}
	return d
}

func (m *memCore) Respond(ctx context.Context, responses []nba.Response) ([]nba.ResponseReceipt, error) {
	return memOnce(ctx, m, "respond", func() ([]nba.ResponseReceipt, error) { return m.respond(responses) })
}

func (m *memCore) respond(responses []nba.Response) (receipts []nba.ResponseReceipt, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, r := range responses {
		at := func(code nba.Code, detail string) error {
			return &nba.Error{Code: code, Message: detail, Details: []nba.Detail{{Pointer: "/" + strconv.Itoa(i), Code: code, Detail: detail}}}
		}
		ref, ok := m.of[r.DecisionID]
		if !ok {
			return nil, at(nba.CodeDecisionUnknown, "no such decision")
		}
		if r.Action != "family-plan" && r.Action != "roaming-pass" {
			return nil, at(nba.CodeActionUnknown, "the decision did not propose this action")
		}
		receipt := nba.ResponseReceipt{DecisionID: r.DecisionID, Action: r.Action, Outcome: r.Outcome}
		receipt.Duplicate = slices.ContainsFunc(m.history[ref], func(known nba.Interaction) bool {
			return known.DecisionID == r.DecisionID && known.Action == r.Action && known.Outcome == r.Outcome
		})
		if !receipt.Duplicate {
			m.history[ref] = append(m.history[ref], nba.Interaction{Time: memTime, DecisionID: r.DecisionID, Action: r.Action, Outcome: r.Outcome})
		}
		receipts = append(receipts, receipt)
	}
	return receipts, nil
}

func (m *memCore) Subject(_ context.Context, ref nba.SubjectRef, _ *nba.Read) (nba.SubjectDocument, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return nba.SubjectDocument{}, m.fail
	}
	doc := m.subjects[ref]
	if doc == nil {
		return nba.SubjectDocument{}, nba.Errorf(nba.CodeSubjectUnknown, "no such subject")
	}
	return *doc, nil
}

// check types attributes and consents against the dictionary.
func (m *memCore) check(attributes map[string]any, purposes []string) error {
	for name, value := range attributes {
		a, ok := m.dict.Attribute(name)
		if !ok {
			return nba.Errorf(nba.CodeAttributeUnknown, "an attribute is not in the dictionary: declare it first")
		}
		valid := value == nil
		switch value.(type) {
		case bool:
			valid = a.Type == nba.KindBool
		case int64:
			valid = a.Type == nba.KindInt || a.Type == nba.KindFloat
		case float64:
			valid = a.Type == nba.KindFloat
		case string:
			valid = a.Type == nba.KindString || a.Type == nba.KindTime
		}
		if !valid {
			return nba.Invalid("/attributes/"+name, "the attribute must be of type "+a.Type.String())
		}
	}
	for _, purpose := range purposes {
		if !slices.Contains(m.dict.PurposeNames(), purpose) {
			return nba.Invalid("/consents", "unknown purpose")
		}
	}
	return nil
}

func (m *memCore) precondition(ref nba.SubjectRef, ifVersion *uint64) error {
	var current uint64
	if doc := m.subjects[ref]; doc != nil {
		current = doc.Version
	}
	if ifVersion != nil && *ifVersion != current {
		return nba.Errorf(nba.CodePrecondition, "the subject is at another version: read it again")
	}
	return nil
}

func (m *memCore) PutSubject(ctx context.Context, doc nba.SubjectDocument, ifVersion *uint64) (version uint64, created bool, err error) {
	type answer struct {
		version uint64
		created bool
	}
	out, err := memOnce(ctx, m, "put "+doc.ID, func() (out answer, err error) {
		out.version, out.created, err = m.putSubject(doc, ifVersion)
		return out, err
	})
	return out.version, out.created, err
}

func (m *memCore) putSubject(doc nba.SubjectDocument, ifVersion *uint64) (version uint64, created bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.check(doc.Attributes, slices.Collect(maps.Keys(doc.Consents))); err != nil {
		return 0, false, err
	}
	if err := m.precondition(doc.SubjectRef, ifVersion); err != nil {
		return 0, false, err
	}
	old := m.subjects[doc.SubjectRef]
	doc.Version = 1
	if old != nil {
		doc.Version = old.Version + 1
	}
	m.subjects[doc.SubjectRef] = &doc
	return doc.Version, old == nil, nil
}

func (m *memCore) PatchSubject(_ context.Context, patch nba.SubjectPatch, ifVersion *uint64) (nba.SubjectDocument, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.subjects[patch.SubjectRef]
	if old == nil {
		return nba.SubjectDocument{}, nba.Errorf(nba.CodeSubjectUnknown, "no such subject")
	}
	if err := m.check(patch.Attributes, slices.Collect(maps.Keys(patch.Consents))); err != nil {
		return nba.SubjectDocument{}, err
	}
	if err := m.precondition(patch.SubjectRef, ifVersion); err != nil {
		return nba.SubjectDocument{}, err
	}
	next := nba.SubjectDocument{SubjectRef: old.SubjectRef, Version: old.Version + 1, Attributes: maps.Clone(old.Attributes), Consents: maps.Clone(old.Consents)}
	for name, value := range patch.Attributes {
		if value == nil {
			delete(next.Attributes, name)
		} else {
			next.Attributes[name] = value
		}
	}
	for purpose, given := range patch.Consents {
		if given == nil {
			delete(next.Consents, purpose)
		} else {
			next.Consents[purpose] = *given
		}
	}
	m.subjects[patch.SubjectRef] = &next
	return next, nil
}

func (m *memCore) Model(_ context.Context, name, version string) (nba.ModelMetadata, error) {
	if name != "contract-churn" || version != "" && version != "1.0.0+é:1" {
		return nba.ModelMetadata{}, nba.Errorf(nba.CodePluginUnknown, "no such plugin")
	}
	return nba.ModelMetadata{Name: name, Version: "1.0.0+é:1", Digest: "sha256:00", Versions: []string{"1.0.0+é:1"}, Output: "probability",
		Features: []string{"tenure", "charges"}, Ready: true}, nil
}

func (m *memCore) Infer(ctx context.Context, name, version string, rows [][]float64) (nba.Inference, error) {
	out := nba.Inference{Name: name, Version: "1.0.0+é:1"}
	for _, row := range rows {
		out.Scores = append(out.Scores, row[0]+10*row[1])
	}
	_, err := m.Model(ctx, name, version)
	return out, err
}

func (m *memCore) Consents(_ context.Context, ref nba.SubjectRef, _ *nba.Read) (nba.ConsentDocument, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	doc := m.subjects[ref]
	if doc == nil {
		return nba.ConsentDocument{}, nba.Errorf(nba.CodeSubjectUnknown, "no such subject")
	}
	out := m.consents[ref]
	out.SubjectRef, out.Version = ref, doc.Version
	out.Effective = &nba.EffectiveConsents{At: memTime, Purposes: map[string]bool{"service": true}, Channels: map[string]bool{"web": true}}
	if out.Purposes == nil {
		out.Purposes, out.Channels = []nba.PurposeConsent{}, []nba.ChannelConsent{}
	}
	return out, nil
}

func (m *memCore) Contacts(_ context.Context, ref nba.SubjectRef, _ *nba.Read) (nba.SubjectContacts, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.subjects[ref] == nil {
		return nba.SubjectContacts{}, nba.Errorf(nba.CodeSubjectUnknown, "no such subject")
	}
	until := memTime.Add(time.Hour)
	return nba.SubjectContacts{
		SubjectRef: ref, CatalogVersion: 7, At: memTime,
		Policies: []nba.ContactStanding{{Policy: "weekly", Kind: "limit", Code: "CONTACT_LIMIT", Label: "contact limit weekly is reached",
			On: &nba.SubjectRef{ID: "A-1", Type: nba.Account}, Channel: "sms", Max: 3, Used: 3, Reserved: 1, Reached: true, Since: &memTime, FreeAt: &until}},
		Contacts: []nba.Contact{{Time: memTime, DecisionID: "01KB0000000000000000000000", Channel: "sms", Direction: nba.Outbound, Issue: "Grow", Group: "Plans",
			Action: "family-plan", Outcomes: []nba.Outcome{nba.Impression}}},
	}, nil
}

func (m *memCore) PutConsents(_ context.Context, doc nba.ConsentDocument, ifVersion *uint64) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.subjects[doc.SubjectRef]
	if old == nil {
		return 0, nba.Errorf(nba.CodeSubjectUnknown, "no such subject")
	}
	if err := m.precondition(doc.SubjectRef, ifVersion); err != nil {
		return 0, err
	}
	for i := range doc.Purposes {
		if _, ok := m.dict.Purpose(doc.Purposes[i].PrivacyUsagePurpose); !ok {
			return 0, nba.Invalid(fmt.Sprintf("/purposes/%d/privacyUsagePurpose", i), "no such purpose")
		}
	}
	if m.consents == nil {
		m.consents = map[nba.SubjectRef]nba.ConsentDocument{}
	}
	m.consents[doc.SubjectRef] = doc
	old.Version++
	return old.Version, nil
}

func (m *memCore) DeleteSubject(ctx context.Context, ref nba.SubjectRef, ifVersion *uint64) error {
	_, err := memOnce(ctx, m, "delete "+ref.ID, func() (struct{}, error) { return struct{}{}, m.deleteSubject(ref, ifVersion) })
	return err
}

func (m *memCore) deleteSubject(ref nba.SubjectRef, ifVersion *uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.subjects[ref] == nil {
		return nba.Errorf(nba.CodeSubjectUnknown, "no such subject")
	}
	if err := m.precondition(ref, ifVersion); err != nil {
		return err
	}
	delete(m.subjects, ref)
	delete(m.history, ref)
	return nil
}

func (m *memCore) History(_ context.Context, ref nba.SubjectRef, _ *nba.Read, limit int, cursor string) (items []nba.Interaction, next string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.subjects[ref] == nil {
		return nil, "", nba.Errorf(nba.CodeSubjectUnknown, "no such subject")
	}
	from := 0
	if cursor != "" {
		if from, err = strconv.Atoi(cursor); err != nil {
			return nil, "", nba.Errorf(nba.CodeInvalid, "the cursor is not one that a listing gave")
		}
	}
	newest := slices.Clone(m.history[ref])
	slices.Reverse(newest)
	to := min(from+limit, len(newest))
	if to < len(newest) {
		next = strconv.Itoa(to)
	}
	return newest[from:to], next, nil
}

// memSink keeps which subjects the importer accepted; what it reads is its own tests' business.
type memSink struct{ core *memCore }

func (s memSink) Import(_ context.Context, writes []router.SubjectWrite) error {
	s.core.mu.Lock()
	defer s.core.mu.Unlock()
	for _, w := range writes {
		s.core.subjects[w.Ref] = &nba.SubjectDocument{SubjectRef: w.Ref, Version: 1, Attributes: map[string]any{}}
	}
	return nil
}

func (m *memCore) ImportSubjects(ctx context.Context, body io.Reader, spec importer.Spec, result func(importer.Result) error) (importer.Summary, error) {
	if spec.Mapping != nil {
		if _, err := m.DeclareAttributes(ctx, spec.Mapping.Declarations()); err != nil {
			return importer.Summary{}, err
		}
	}
	return importer.Run(ctx, body, spec, m.Dictionary(ctx), memSink{m}, result)
}

func (m *memCore) Dictionary(context.Context) *nba.Dictionary {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.dict
}

func (m *memCore) DeclareAttributes(_ context.Context, declarations []nba.AttributeDeclaration) (*nba.Dictionary, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	next, _, err := m.dict.Declare(declarations)
	if err != nil {
		return nil, err
	}
	m.dict = next
	return next, nil
}

func (m *memCore) Catalog(_ context.Context, version string) (nba.CatalogDocument, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, doc := range slices.Backward(m.catalogs) {
		if version == "" || version == "active" && doc.State == nba.StateActive || version == strconv.FormatUint(doc.Version, 10) {
			return doc, nil
		}
	}
	return nba.CatalogDocument{}, nba.Errorf(nba.CodeCatalogUnknown, "no such catalog version")
}

func (m *memCore) CatalogVersions(context.Context) (list []nba.CatalogVersion, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, doc := range slices.Backward(m.catalogs) {
		list = append(list, doc.CatalogVersion)
	}
	return list, nil
}

func (m *memCore) CatalogActivations(context.Context) (list []nba.CatalogActivation, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, doc := range slices.Backward(m.catalogs) {
		if doc.CatalogVersion.CatalogVersion != 0 {
			list = append(list, nba.CatalogActivation{CatalogVersion: doc.CatalogVersion.CatalogVersion, Version: doc.Version, Name: doc.Name,
				Digest: doc.Digest, ActivatedAt: doc.ActivatedAt, Note: "spring offers", Active: doc.State == nba.StateActive})
		}
	}
	return list, nil
}

func (m *memCore) ValidateCatalog(_ context.Context, doc []byte) error {
	if bytes.Contains(doc, []byte("mistake")) {
		return &nba.Error{Code: nba.CodeCatalogInvalid, Message: "the catalog has 1 mistake",
			Details: []nba.Detail{{File: "catalog.yaml", Line: 3, Column: 1, Code: nba.CodeCatalogInvalid, Detail: "unknown key"}}}
	}
	return nil
}

func (m *memCore) PutCatalog(ctx context.Context, doc []byte, ifMatch string) (nba.CatalogVersion, error) {
	if err := m.ValidateCatalog(ctx, doc); err != nil {
		return nba.CatalogVersion{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := len(m.catalogs); n > 0 {
		switch {
		case ifMatch == "":
			return nba.CatalogVersion{}, nba.Errorf(nba.CodePreconditionNeeds, "a catalog is stored: send its ETag in If-Match")
		case ifMatch != "*" && ifMatch != fmt.Sprintf("v%d", m.catalogs[n-1].Version):
			return nba.CatalogVersion{}, nba.Errorf(nba.CodePrecondition, "another catalog was stored meanwhile")
		}
	}
	m.index++
	v := nba.CatalogVersion{Version: m.index, Name: "demo", Digest: fmt.Sprintf("sha256:%x", sha256.Sum256(doc)), State: nba.StateStaged, StoredAt: memTime}
	m.catalogs = append(m.catalogs, nba.CatalogDocument{CatalogVersion: v, Document: doc})
	return v, nil
}

func (m *memCore) ActivateCatalog(_ context.Context, version uint64, _ string) (nba.CatalogVersion, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := slices.IndexFunc(m.catalogs, func(doc nba.CatalogDocument) bool { return doc.Version == version })
	if i < 0 {
		return nba.CatalogVersion{}, nba.Errorf(nba.CodeCatalogUnknown, "no such catalog version")
	}
	for j := range m.catalogs {
		if m.catalogs[j].State == nba.StateActive {
			m.catalogs[j].State = nba.StateRetired
		}
	}
	m.index++
	c := &m.catalogs[i]
	c.State, c.CatalogVersion.CatalogVersion, c.ActivatedAt = nba.StateActive, m.index, &memTime
	return c.CatalogVersion, nil
}

func (m *memCore) PushPlugin(_ context.Context, module []byte, activate bool) (nba.PluginVersion, error) {
	if !bytes.HasPrefix(module, []byte("\x00asm")) {
		return nba.PluginVersion{}, nba.Errorf(nba.CodePluginRefused, "the artifact is not a WebAssembly module")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	p := &nba.PluginVersion{Name: "contract-churn", Version: "1.0.0+é:1", Kind: "scorer", Digest: fmt.Sprintf("sha256:%x", sha256.Sum256(module)),
		State: nba.StateStaged, SizeBytes: len(module), Features: 2, PushedAt: memTime, Manifest: json.RawMessage(`{"abi":1}`)}
	if activate {
		p.State = nba.StateActive
	}
	m.plugins[p.Name+"@"+p.Version] = p
	return *p, nil
}

func (m *memCore) Plugins(context.Context) (list []nba.PluginVersion, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.plugins {
		list = append(list, *p)
	}
	return list, nil
}

func (m *memCore) Plugin(_ context.Context, name, version string) (nba.PluginVersion, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.plugins[name+"@"+version]
	if p == nil {
		return nba.PluginVersion{}, nba.Errorf(nba.CodePluginUnknown, "no such plugin version")
	}
	return *p, nil
}

func (m *memCore) ActivatePlugin(ctx context.Context, name, version string) (nba.PluginVersion, error) {
	p, err := m.Plugin(ctx, name, version)
	if err != nil {
		return p, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	p.State, p.ActivatedAt = nba.StateActive, &memTime
	m.plugins[name+"@"+version] = &p
	return p, nil
}

func (m *memCore) Features(_ context.Context, req *nba.FeatureRequest) (*nba.FeatureTable, error) {
	if (req.Plugin == "") == (len(req.Features) == 0) {
		return nil, nba.Invalid("/features", "name a plugin or list features, one of the two")
	}
	one, table := 1.5, &nba.FeatureTable{Names: []string{"a", "b"}, Rows: [][]*float64{}}
	for i := range req.Rows {
		var row []*float64
		if i%2 == 0 {
			row = []*float64{&one, nil}
		}
		table.Rows = append(table.Rows, row)
	}
	return table, nil
}

func (m *memCore) Ready(context.Context) error { return m.ready }

func (m *memCore) Cluster(context.Context) nba.Cluster {
	age := int64(3)
	return nba.Cluster{ID: "cluster-1", Node: "n1", Nodes: []nba.ClusterNode{{ID: "n1", Up: true, Leads: 1}, {ID: "n2"}},
		Groups: []nba.ClusterGroup{
			{Name: "control", Nodes: []string{"n1", "n2"}, Preferred: "n1", Leader: "n1", Role: "leader", Term: 2, Committed: 9, Applied: 9, AgeMS: &age},
			{Name: "data-00", Nodes: []string{"n2"}, Preferred: "n2"},
		}}
}
