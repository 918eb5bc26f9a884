package api

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Membership is what the HTTP layer needs to show and change who belongs to the cluster and keeps what.
type Membership interface {
	// Members are the nodes of the cluster; none for a node that stands alone.
	Members(ctx context.Context) ([]nba.ClusterMember, error)
	// JoinMember makes a node a member ahead of its start, or takes one back in that was draining.
	JoinMember(ctx context.Context, id, addr, zone string) error
	// DrainMember has a node give away what it keeps and leads, or, with cancel, take its share again.
	DrainMember(ctx context.Context, id string, cancel bool) error
	// RemoveMember ends that an empty node is a member, or, with force, one that is lost.
	RemoveMember(ctx context.Context, id string, force bool) error
	// TransferLead gives the lead of a group to a node, or to whichever can.
	TransferLead(ctx context.Context, group, to string) error
	// TransferAll has a node give away all that it leads, and tells how many groups that were.
	TransferAll(ctx context.Context, from string) (int, error)
	// Balance tells how evenly groups are dealt out and what follows; Rebalance gives leads back at once, too.
	Balance(ctx context.Context) (nba.ClusterBalance, error)
	Rebalance(ctx context.Context) (nba.ClusterBalance, error)
}

func memberOperations() []operation {
	jsonBody := []string{contentTypeJSON}
	return []operation{
		{id: "listMembers", method: http.MethodGet, path: "/v1/cluster/members", handle: listMembers, budget: budgetAdmin, admin: true},
		{id: "joinMember", method: http.MethodPost, path: "/v1/cluster/members", consumes: jsonBody, handle: joinMember, budget: budgetAdmin, admin: true},
		{id: "removeMember", method: http.MethodDelete, path: "/v1/cluster/members/{node}", query: []string{"force"}, handle: removeMember, budget: budgetAdmin, admin: true},
		{id: "drainMember", method: http.MethodPost, path: "/v1/cluster/members/{node}/drain", query: []string{"cancel"}, handle: drainMember, budget: budgetAdmin, admin: true},
		{id: "transferLead", method: http.MethodPost, path: "/v1/cluster/transfers", consumes: jsonBody, handle: transferLead, budget: budgetAdmin, admin: true},
		{id: "getBalance", method: http.MethodGet, path: "/v1/cluster/balance", handle: getBalance, budget: budgetAdmin, admin: true},
		{id: "rebalance", method: http.MethodPost, path: "/v1/cluster/balance", handle: rebalance, budget: budgetAdmin, admin: true},
	}
}

func listMembers(ctx context.Context, core Core, _ *request) (reply, error) {
	members, err := core.Members(ctx)
	if err != nil {
		return reply{}, err
	}
	return pageReply(members, "")
}

// strictly reads a small body.
func strictly(body []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return featuresError(err)
	}
	return nil
}

func joinMember(ctx context.Context, core Core, in *request) (reply, error) {
	var wanted struct {
		ID   string `json:"id"`
		Addr string `json:"addr"`
		Zone string `json:"zone"`
	}
	if err := strictly(in.body, &wanted); err != nil {
		return reply{}, err
	}
	if err := nba.ValidateNode(wanted.ID, wanted.Addr, wanted.Zone); err != nil {
		return reply{}, err
	}
	if err := core.JoinMember(ctx, wanted.ID, wanted.Addr, wanted.Zone); err != nil {
		return reply{}, err
	}
	return listMembers(ctx, core, in)
}

// flag reads a query parameter that is true or false.
func (in *request) flag(name string) (bool, error) {
	if !in.query.Has(name) {
		return false, nil
	}
	on, err := strconv.ParseBool(in.query.Get(name))
	if err != nil {
		return false, nba.Errorf(nba.CodeInvalid, "the query parameter %s is true or false", name)
	}
	return on, nil
}

func drainMember(ctx context.Context, core Core, in *request) (reply, error) {
	node, err := in.param("node")
	if err != nil {
		return reply{}, err
	}
	cancel, err := in.flag("cancel")
	if err == nil {
		err = core.DrainMember(ctx, node, cancel)
	}
	if err != nil {
		return reply{}, err
	}
	return listMembers(ctx, core, in)
}

func removeMember(ctx context.Context, core Core, in *request) (reply, error) {
	node, err := in.param("node")
	if err != nil {
		return reply{}, err
	}
	force, err := in.flag("force")
	if err == nil {
		err = core.RemoveMember(ctx, node, force)
	}
	if err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusNoContent}, nil
}

// transferred tells how many leads moved.
type transferred struct {
	Groups int `json:"groups"`
}

func transferLead(ctx context.Context, core Core, in *request) (reply, error) {
	var wanted struct {
		Group string `json:"group"`
		To    string `json:"to"`
		From  string `json:"from"`
	}
	if err := strictly(in.body, &wanted); err != nil {
		return reply{}, err
	}
	done := transferred{Groups: 1}
	var err error
	switch {
	case wanted.Group != "" && wanted.From == "":
		err = core.TransferLead(ctx, wanted.Group, wanted.To)
	case wanted.From != "" && wanted.Group == "" && wanted.To == "":
		done.Groups, err = core.TransferAll(ctx, wanted.From)
	default:
		err = nba.Errorf(nba.CodeInvalid, "name a group, and to if the lead is to go to a certain node; or from alone, for all groups that a node leads")
	}
	if err != nil {
		return reply{}, err
	}
	return jsonReply(http.StatusOK, done)
}

func getBalance(ctx context.Context, core Core, _ *request) (reply, error) {
	balance, err := core.Balance(ctx)
	if err != nil {
		return reply{}, err
	}
	return jsonReply(http.StatusOK, balance)
}

func rebalance(ctx context.Context, core Core, _ *request) (reply, error) {
	balance, err := core.Rebalance(ctx)
	if err != nil {
		return reply{}, err
	}
	return jsonReply(http.StatusOK, balance)
}
