package api

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// TMF680 Recommendation Management v4: a queryProductRecommendation is a view of a decision. docs/tmf680.md
// tells what is mapped to what, and what has no place on either side.

const (
	tmfPrefix = "/tmf-api/"
	tmfPath   = "/tmf-api/recommendationManagement/v4/queryProductRecommendation"

	tmfType         = "QueryProductRecommendation"
	defaultTMFLimit = 10
	maxTMFLimit     = 50
	maxTMFOffset    = 1000
	maxTMFDecisions = 5000 // that a list counts
)

// The parts of a recommendation query as TMF680 names them.
type (
	tmfRef struct {
		ID           string `json:"id,omitempty"`
		Href         string `json:"href,omitempty"`
		Name         string `json:"name,omitempty"`
		Role         string `json:"role,omitempty"`
		ReferredType string `json:"@referredType,omitempty"`
	}
	tmfItemRef struct {
		EntityID string `json:"entityId,omitempty"`
		ItemID   string `json:"itemId,omitempty"`
	}
	tmfCharacteristic struct {
		Name      string `json:"name"`
		ValueType string `json:"valueType"`
		Value     any    `json:"value"`
	}
	tmfProduct struct {
		Name            string              `json:"name"`
		Description     string              `json:"description,omitempty"`
		Characteristics []tmfCharacteristic `json:"productCharacteristic"`
		Offering        *tmfRef             `json:"productOffering,omitempty"`
		Type            string              `json:"@type"`
	}
	tmfItem struct {
		ID       string     `json:"id"`
		Priority int        `json:"priority"`
		Product  tmfProduct `json:"product"`
		Offering *tmfRef    `json:"productOffering,omitempty"`
	}
	tmfQuery struct {
		ID          string          `json:"id"`
		Href        string          `json:"href"`
		Name        string          `json:"name,omitempty"`
		InstantSync bool            `json:"instantSyncRecommendation"`
		Channel     []tmfRef        `json:"channel"`
		Party       tmfRef          `json:"relatedParty"`
		Items       []tmfItem       `json:"recommendationItem"`
		State       string          `json:"state"`
		ValidFor    *nba.TimePeriod `json:"validFor"`
		Type        string          `json:"@type"`
	}
	// tmfCreate is what a caller sends.
	tmfCreate struct {
		Name             string            `json:"name"`
		Description      string            `json:"description"`
		InstantSync      *bool             `json:"instantSyncRecommendation"`
		Type             string            `json:"recommendationType"`
		Category         []tmfRef          `json:"category"`
		Channel          []tmfRef          `json:"channel"`
		Place            *tmfRef           `json:"place"`
		ProductOrder     []tmfRef          `json:"productOrder"`
		ProductOrderItem []tmfItemRef      `json:"productOrderItem"`
		ShoppingCart     []tmfRef          `json:"shoppingCart"`
		ShoppingCartItem []tmfItemRef      `json:"shoppingCartItem"`
		Party            *tmfRef           `json:"relatedParty"`
		Items            []json.RawMessage `json:"recommendationItem"`
	}
)

// createRecommendation makes a decision and shows it as a recommendation query that is done.
func createRecommendation(ctx context.Context, core Core, in *request) (reply, error) {
	var body tmfCreate
	if err := json.Unmarshal(in.body, &body); err != nil { // unknown members are extensions, which TMF allows
		return reply{}, featuresError(err)
	}
	req, err := body.decisionRequest()
	if err != nil {
		return reply{}, err
	}
	rec := nba.DecisionRecord{Subject: req.Subject, Channel: req.Channel, DecisionRequestID: req.DecisionRequestID}
	if rec.Subject, err = req.Subject.Normalize(); err != nil {
		return reply{}, err //nolint:wrapcheck // an *nba.Error with its pointer
	}
	if err := core.Decide(ctx, req, &rec.Decision); err != nil {
		return reply{}, err
	}
	out, err := jsonReply(http.StatusCreated, queryOf(&rec))
	out.location = locate(tmfPath+"/%s", rec.DecisionID)
	return out, err
}

// decisionRequest is what a recommendation query asks for.
func (q *tmfCreate) decisionRequest() (*nba.DecisionRequest, error) {
	switch {
	case q.Party == nil || q.Party.ID == "":
		return nil, nba.Invalid("/relatedParty", "the relatedParty is missing: it is whom the recommendation is for, with its id")
	case len(q.Channel) != 1 || q.Channel[0].ID == "":
		return nil, nba.Invalid("/channel", "a recommendation is for one channel: give it by its id, as the catalog names it")
	case q.InstantSync != nil && !*q.InstantSync:
		return nil, nba.Invalid("/instantSyncRecommendation", "recommendations are made at once: leave instantSyncRecommendation out, or true")
	case len(q.Items) > 0:
		return nil, nba.Invalid("/recommendationItem", "recommendationItem is what is answered: leave it out")
	}
	req := &nba.DecisionRequest{Subject: nba.SubjectRef{ID: q.Party.ID, Type: subjectTypeOf(q.Party.ReferredType)},
		Channel: q.Channel[0].ID, DecisionRequestID: q.Name}
	add := func(key, value string) {
		if value != "" {
			req.Contexts = append(req.Contexts, nba.ContextValue{Type: "tmf680", Key: key, Value: value})
		}
	}
	if q.Place != nil {
		if strings.EqualFold(q.Place.Role, "placement") {
			req.Placements = []nba.PlacementRequest{{ID: q.Place.ID, Limit: 1}}
		} else {
			add("place", q.Place.ID)
		}
	}
	add("recommendationType", q.Type)
	for key, refs := range map[string][]tmfRef{"category": q.Category, "productOrder": q.ProductOrder, "shoppingCart": q.ShoppingCart} {
		if len(refs) > 0 {
			add(key, refs[0].ID)
		}
	}
	for key, items := range map[string][]tmfItemRef{"productOrderItem": q.ProductOrderItem, "shoppingCartItem": q.ShoppingCartItem} {
		if len(items) > 0 {
			add(key, items[0].ItemID)
		}
	}
	slices.SortFunc(req.Contexts, func(a, b nba.ContextValue) int { return strings.Compare(a.Key, b.Key) })
	for i := range req.Contexts {
		if len(req.Contexts[i].Value) > nba.MaxTextBytes {
			return nil, nba.Invalid("/"+req.Contexts[i].Key, fmt.Sprintf("an id has at most %d bytes", nba.MaxTextBytes))
		}
	}
	return req, nil
}

// subjectTypeOf is the type of subject that a kind of party is.
func subjectTypeOf(referred string) nba.SubjectType {
	switch strings.ToLower(referred) {
	case "account", "billingaccount", "partyaccount":
		return nba.Account
	case "device", "resource":
		return nba.Device
	default: // Individual, Organization, Customer, PartyRole…
		return nba.Subscriber
	}
}

// referredTypeOf is the kind of party that a subject is shown as.
func referredTypeOf(t nba.SubjectType) string {
	switch t {
	case nba.Account:
		return "Account"
	case nba.Device:
		return "Device"
	default:
		return "Customer"
	}
}

// queryOf shows a decision as a recommendation query.
func queryOf(rec *nba.DecisionRecord) *tmfQuery {
	q := &tmfQuery{
		ID: rec.DecisionID, Href: tmfPath + "/" + rec.DecisionID, Name: rec.DecisionRequestID, InstantSync: true, State: "done", Type: tmfType,
		Channel: []tmfRef{{ID: rec.Channel}}, Party: tmfRef{ID: rec.Subject.ID, Role: "customer", ReferredType: referredTypeOf(rec.Subject.Type)},
		Items: []tmfItem{}, ValidFor: &nba.TimePeriod{StartDateTime: &rec.DecidedAt},
	}
	for i := range rec.Propositions {
		p := &rec.Propositions[i]
		for j := range p.Items {
			item := &p.Items[j]
			q.Items = append(q.Items, itemOf(rec, p.Placement, item, len(q.Items)+1))
			if end := item.ExpiresAt; end != nil && (q.ValidFor.EndDateTime == nil || end.Before(*q.ValidFor.EndDateTime)) {
				q.ValidFor.EndDateTime = end
			}
		}
	}
	return q
}

// itemOf shows a proposition. What TMF680 has no place for is a characteristic.
func itemOf(rec *nba.DecisionRecord, placement string, item *nba.Proposition, priority int) tmfItem {
	product := tmfProduct{Name: item.Label, Description: item.Reason.Label, Type: "Product"}
	if product.Name == "" {
		product.Name = item.Action
	}
	if item.Offering != nil {
		product.Offering = &tmfRef{ID: item.Offering.ID, Href: item.Offering.Href, Name: product.Name}
	}
	text := func(name, value string) {
		if value != "" {
			product.Characteristics = append(product.Characteristics, tmfCharacteristic{Name: name, ValueType: "string", Value: value})
		}
	}
	number := func(name string, value float64) {
		product.Characteristics = append(product.Characteristics, tmfCharacteristic{Name: name, ValueType: "number", Value: value})
	}
	text("action", item.Action)
	text("issue", item.Issue)
	text("group", item.Group)
	text("treatment", item.Treatment)
	text("placement", placement)
	number("propensity", item.Propensity)
	number("priority", item.Priority)
	number("value", item.Value)
	number("selectionProbability", item.SelectionProbability)
	text("reasonCode", item.Reason.Code)
	text("responseToken", item.ResponseToken)
	text("catalogVersion", strconv.FormatUint(rec.CatalogVersion, 10))
	if item.Model != nil {
		text("model", item.Model.Name+" "+item.Model.Version)
	}
	for _, name := range slices.Sorted(maps.Keys(item.Content)) {
		text("content."+name, item.Content[name])
	}
	return tmfItem{ID: placement + "-" + strconv.Itoa(item.Rank), Priority: priority, Product: product, Offering: product.Offering}
}

func getRecommendation(ctx context.Context, core Core, in *request) (reply, error) {
	id, err := in.param("id")
	if err != nil {
		return reply{}, err
	}
	rec, err := core.Decision(ctx, id, nil)
	if err != nil {
		return reply{}, err
	}
	return selected(in, queryOf(&rec))
}

// selected answers with the members that the query parameter fields names; id and href are always there.
func selected(in *request, q *tmfQuery) (reply, error) {
	whole, err := onlyFields(in, q)
	if err != nil {
		return reply{}, err
	}
	return jsonReply(http.StatusOK, whole)
}

func onlyFields(in *request, q *tmfQuery) (any, error) {
	fields := in.query.Get("fields")
	if fields == "" {
		return q, nil
	}
	encoded, err := json.Marshal(q)
	if err != nil {
		return nil, fmt.Errorf("encoding a recommendation: %w", err)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(encoded, &members); err != nil {
		return nil, fmt.Errorf("choosing the fields of a recommendation: %w", err)
	}
	wanted := append(strings.Split(fields, ","), "id", "href")
	maps.DeleteFunc(members, func(name string, _ json.RawMessage) bool { return !slices.Contains(wanted, name) })
	return members, nil
}

// listRecommendations lists the recommendations of one party, newest first. There is no list of everybody's:
// decisions are kept with their subject.
func listRecommendations(ctx context.Context, core Core, in *request) (reply, error) {
	ref := nba.SubjectRef{ID: in.query.Get("relatedParty.id"), Type: subjectTypeOf(in.query.Get("relatedParty.@referredType"))}
	if ref.ID == "" {
		return reply{}, nba.Errorf(nba.CodeInvalid, "name whose recommendations to list with the query parameter relatedParty.id")
	}
	limit, err := countOf(in, "limit", defaultTMFLimit, maxTMFLimit)
	if err != nil {
		return reply{}, err
	}
	offset, err := countOf(in, "offset", 0, maxTMFOffset)
	if err != nil {
		return reply{}, err
	}
	ids, err := decisionsOf(ctx, core, ref)
	if err != nil {
		return reply{}, err
	}
	list := []any{}
	for _, id := range ids[min(offset, len(ids)):min(offset+limit, len(ids))] {
		rec, err := core.Decision(ctx, id, nil)
		if nba.CodeOf(err) == nba.CodeDecisionUnknown {
			continue // it expired meanwhile
		}
		if err != nil {
			return reply{}, err
		}
		shown, err := onlyFields(in, queryOf(&rec))
		if err != nil {
			return reply{}, err
		}
		list = append(list, shown)
	}
	out, err := jsonReply(http.StatusOK, list)
	out.resultCount, out.totalCount = strconv.Itoa(len(list)), strconv.Itoa(len(ids))
	return out, err
}

// decisionsOf are the decisions of a subject, newest first, at most maxTMFDecisions.
func decisionsOf(ctx context.Context, core Core, ref nba.SubjectRef) (ids []string, err error) {
	seen := map[string]bool{}
	for cursor := ""; ; {
		items, next, err := core.History(ctx, ref, nil, maxHistoryLimit, cursor)
		if err != nil {
			return nil, err
		}
		for i := range items {
			if id := items[i].DecisionID; !seen[id] && len(ids) < maxTMFDecisions {
				seen[id] = true
				ids = append(ids, id)
			}
		}
		if cursor = next; cursor == "" || len(ids) == maxTMFDecisions {
			return ids, nil
		}
	}
}

func countOf(in *request, name string, otherwise, most int) (int, error) {
	text := in.query.Get(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > most {
		return 0, nba.Errorf(nba.CodeInvalid, "the query parameter %s must be a whole number from 0 to %d", name, most)
	}
	return n, nil
}

// tmfError is an error as TMF630 has it.
type tmfError struct {
	Code    string `json:"code"`
	Reason  string `json:"reason"`
	Message string `json:"message,omitempty"`
	Status  string `json:"status"`
}

// tmfProblem is a problem in the words of TM Forum. An input that breaks the contract is 400 there.
func tmfProblem(p *Problem) reply {
	status := p.Status
	if status == http.StatusUnprocessableEntity || status == http.StatusUnsupportedMediaType {
		status = http.StatusBadRequest
	}
	message := p.Detail
	for _, d := range p.Errors {
		message += "; " + strings.TrimSpace(d.Pointer+" "+d.Detail)
	}
	out, err := jsonReply(status, tmfError{Code: string(p.Code), Reason: p.Title, Message: message, Status: strconv.Itoa(status)})
	if err != nil {
		panic(err) // a bug of ours: text can be JSON
	}
	out.retryAfter, out.challenge = p.reply().retryAfter, p.reply().challenge
	return out
}

// replyFor is the problem in the form of the API that path belongs to.
func (p Problem) replyFor(path string) reply {
	switch {
	case strings.HasPrefix(path, tmfPrefix):
		return tmfProblem(&p)
	case path == kservePrefix || strings.HasPrefix(path, kservePrefix+"/"):
		return kserveProblem(&p)
	default:
		return p.reply()
	}
}
