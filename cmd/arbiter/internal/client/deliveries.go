package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

func deliveryQuery(q *nba.DeliveryQuery) url.Values {
	values := url.Values{}
	if q.Subject != nil {
		values.Set("subject", q.Subject.ID)
		if q.Subject.Type != "" {
			values.Set("type", string(q.Subject.Type))
		}
	}
	if len(q.States) > 0 {
		values.Set("state", strings.Join(q.States, ","))
	}
	if q.Limit > 0 {
		values.Set("limit", strconv.Itoa(q.Limit))
	}
	return values
}

// Deliveries lists deliveries, the newest first.
func (c *Client) Deliveries(ctx context.Context, q nba.DeliveryQuery) ([]nba.Delivery, error) {
	var out struct {
		Items []nba.Delivery `json:"items"`
	}
	_, err := c.doJSON(ctx, request{method: http.MethodGet, path: "/v1/deliveries", query: deliveryQuery(&q)}, nil, &out)
	return out.Items, err
}

// ClosedTriggers lists triggers that led to no delivery, the newest first.
func (c *Client) ClosedTriggers(ctx context.Context, q nba.DeliveryQuery) ([]nba.ClosedTrigger, error) {
	var out struct {
		Items []nba.ClosedTrigger `json:"items"`
	}
	_, err := c.doJSON(ctx, request{method: http.MethodGet, path: "/v1/triggers/closed", query: deliveryQuery(&q)}, nil, &out)
	return out.Items, err
}

// Delivery reads a delivery with what it sends.
func (c *Client) Delivery(ctx context.Context, id string) (*nba.Delivery, error) {
	out := &nba.Delivery{}
	_, err := c.doJSON(ctx, request{method: http.MethodGet, path: "/v1/deliveries/" + url.PathEscape(id)}, nil, out)
	return out, err
}

// ReplayDelivery has a dead delivery sent again.
func (c *Client) ReplayDelivery(ctx context.Context, id string) (*nba.Delivery, error) {
	return c.changeDelivery(ctx, id, "replay")
}

// CancelDelivery takes back a delivery that was not sent.
func (c *Client) CancelDelivery(ctx context.Context, id string) (*nba.Delivery, error) {
	return c.changeDelivery(ctx, id, "cancel")
}

func (c *Client) changeDelivery(ctx context.Context, id, verb string) (*nba.Delivery, error) {
	out := &nba.Delivery{}
	_, err := c.doJSON(ctx, request{method: http.MethodPost, path: "/v1/deliveries/" + url.PathEscape(id) + "/" + verb}, nil, out)
	return out, err
}
