package api

import (
	"context"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

const memDelivery = "01M0000000000000000000000D"

func memDeliveryOf(state string) nba.Delivery {
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	return nba.Delivery{
		DeliveryID: memDelivery, Subject: nba.SubjectRef{ID: "S-1", Type: nba.Subscriber}, State: state, Channel: "sms", Sink: "gateway", Action: "roaming-pass",
		Treatment: "roaming-sms", Origin: "strategy:abroad", EventType: "landed", DecisionID: "01M0000000000000000000000E", RaisedAt: &at, DecidedAt: at,
		DueAt: at, ExpiresAt: &at, ChangedAt: &at, Attempts: 3, Problem: "the receiver answered with status 503",
	}
}

func (m *memCore) Deliveries(_ context.Context, q nba.DeliveryQuery) (nba.DeliveryList, error) {
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	if q.Closed {
		return nba.DeliveryList{Closed: []nba.ClosedTrigger{{TriggerID: memDelivery, Subject: nba.SubjectRef{ID: "S-1", Type: nba.Subscriber},
			Origin: "strategy:abroad", EventType: "landed", RaisedAt: at, ClosedAt: at, Reason: "nothing_to_propose", Detail: "ONE_A_DAY"}}}, nil
	}
	return nba.DeliveryList{Deliveries: []nba.Delivery{memDeliveryOf("dead")}}, nil
}

func (m *memCore) Delivery(_ context.Context, id string) (nba.Delivery, error) {
	if id != memDelivery {
		return nba.Delivery{}, nba.Errorf(nba.CodeNotFound, "no such delivery")
	}
	d := memDeliveryOf("dead")
	d.Message = &nba.DeliveryMessage{
		Type: nba.DeliveryMessageType, DeliveryID: d.DeliveryID, Subject: d.Subject, Channel: d.Channel, Placement: "message", Action: d.Action, Issue: "Grow",
		Group: "Roaming", Treatment: d.Treatment, Content: map[string]string{"text": "2 GB"}, Offering: &nba.Offering{ID: "po-1"}, ResponseToken: "token",
		DecisionID: d.DecisionID, CatalogVersion: 7, DecidedAt: d.DecidedAt, Reason: nba.Reason{Code: "RANKED_FIRST", Label: "ranked first of 1"},
		Cause: nba.DeliveryCause{Origin: d.Origin, EventType: d.EventType, At: *d.RaisedAt}, Contexts: []nba.ContextValue{{Key: "location", Value: "abroad"}},
	}
	return d, nil
}

func (m *memCore) ReplayDelivery(ctx context.Context, id string) (nba.Delivery, error) {
	d, err := m.Delivery(ctx, id)
	d.State = "pending"
	return d, err
}

func (m *memCore) CancelDelivery(ctx context.Context, id string) (nba.Delivery, error) {
	if _, err := m.Delivery(ctx, id); err != nil {
		return nba.Delivery{}, err
	}
	return nba.Delivery{}, nba.Errorf(nba.CodeConflict, "the delivery is dead already")
}
