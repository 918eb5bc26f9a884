package api

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Deliveries is what the HTTP layer needs of a node for deliveries. An unknown id has CodeNotFound, and what
// cannot be done in the state that a delivery is in CodeConflict.
type Deliveries interface {
	// Deliveries lists deliveries, or triggers that led to none, the newest first.
	Deliveries(ctx context.Context, q nba.DeliveryQuery) (nba.DeliveryList, error)
	// Delivery is one with what it sends.
	Delivery(ctx context.Context, id string) (nba.Delivery, error)
	// ReplayDelivery has a dead one sent again.
	ReplayDelivery(ctx context.Context, id string) (nba.Delivery, error)
	// CancelDelivery takes back one that was not sent.
	CancelDelivery(ctx context.Context, id string) (nba.Delivery, error)
}

func deliveryOperations() []operation {
	const path = "/v1/deliveries"
	return []operation{
		{id: "listDeliveries", method: http.MethodGet, path: path, query: []string{"subject", "type", "state", "limit"}, handle: listDeliveries},
		{id: "getDelivery", method: http.MethodGet, path: path + "/{id}", handle: ofDelivery(Core.Delivery)},
		{id: "replayDelivery", method: http.MethodPost, path: path + "/{id}/replay", handle: ofDelivery(Core.ReplayDelivery)},
		{id: "cancelDelivery", method: http.MethodPost, path: path + "/{id}/cancel", handle: ofDelivery(Core.CancelDelivery)},
		{id: "listClosedTriggers", method: http.MethodGet, path: "/v1/triggers/closed", query: []string{"subject", "type", "limit"}, handle: listClosedTriggers},
	}
}

func deliveryQuery(in *request) (q nba.DeliveryQuery, err error) {
	if id := in.query.Get("subject"); id != "" {
		q.Subject = &nba.SubjectRef{ID: id, Type: nba.SubjectType(in.query.Get("type"))}
		ref, err := q.Subject.Normalize()
		if err != nil {
			return q, err
		}
		q.Subject = &ref
	} else if in.query.Get("type") != "" {
		return q, nba.Invalid("/type", "type is that of the subject, whose id is missing")
	}
	if states := in.query.Get("state"); states != "" {
		q.States = strings.Split(states, ",")
	}
	if limit := in.query.Get("limit"); limit != "" {
		if q.Limit, err = strconv.Atoi(limit); err != nil || q.Limit < 1 || q.Limit > nba.MaxDeliveries {
			return q, nba.Invalid("/limit", "the limit is a number from 1 to "+strconv.Itoa(nba.MaxDeliveries))
		}
	}
	return q, nil
}

func listDeliveries(ctx context.Context, core Core, in *request) (reply, error) {
	q, err := deliveryQuery(in)
	if err != nil {
		return reply{}, err
	}
	list, err := core.Deliveries(ctx, q)
	if err != nil {
		return reply{}, err
	}
	return pageReply(list.Deliveries, "")
}

func listClosedTriggers(ctx context.Context, core Core, in *request) (reply, error) {
	q, err := deliveryQuery(in)
	if err != nil {
		return reply{}, err
	}
	q.Closed = true
	list, err := core.Deliveries(ctx, q)
	if err != nil {
		return reply{}, err
	}
	if list.Closed == nil {
		list.Closed = []nba.ClosedTrigger{}
	}
	return pageReply(list.Closed, "")
}

// ofDelivery serves an operation on one delivery.
func ofDelivery(call func(core Core, ctx context.Context, id string) (nba.Delivery, error)) handler {
	return func(ctx context.Context, core Core, in *request) (reply, error) {
		id, err := in.param("id")
		if err != nil {
			return reply{}, err
		}
		d, err := call(core, ctx, id)
		if err != nil {
			return reply{}, err
		}
		return jsonReply(http.StatusOK, d)
	}
}
