package apitest

import (
	"testing"
	"time"
)

// deliveries exercises the operations on deliveries. Where what happens to a subject leads to one, it is the one
// that an event of the demo catalog makes. It comes after events.
func (s *suite) deliveries(t *testing.T) {
	const structured = "application/cloudevents+json"
	s.do(t, call{op: "acceptEvents", media: structured, want: 200, body: `{"specversion":"1.0","id":"contract-90","source":"contract",` +
		`"type":"org.camaraproject.device-data-volume-subscriptions.v0.data-90-percent","subject":"contract-event","data":{}}`})
	var list struct {
		Items []struct {
			DeliveryID string `json:"deliveryId"`
			State      string `json:"state"`
		} `json:"items"`
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		_, body := s.do(t, call{op: "listDeliveries", path: "/v1/deliveries?limit=5", want: 200})
		s.decode(t, body, &list)
		if len(list.Items) > 0 && list.Items[0].State != "pending" {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the event led to no delivery: %s", body)
		}
	}
	path := "/v1/deliveries/" + list.Items[0].DeliveryID
	s.do(t, call{op: "getDelivery", path: path, want: 200})
	if list.Items[0].State == "dead" {
		s.do(t, call{op: "replayDelivery", path: path + "/replay", want: 200})
	} else {
		s.do(t, call{op: "replayDelivery", path: path + "/replay", want: 409, code: "CONFLICT"})
	}
	s.do(t, call{op: "cancelDelivery", path: path + "/cancel", want: 409, code: "CONFLICT"})
	const none = "/v1/deliveries/00000000000000000000000000"
	s.do(t, call{op: "getDelivery", path: none, want: 404, code: "NOT_FOUND"})
	s.do(t, call{op: "replayDelivery", path: none + "/replay", want: 404, code: "NOT_FOUND"})
	s.do(t, call{op: "cancelDelivery", path: none + "/cancel", want: 404, code: "NOT_FOUND"})
	s.do(t, call{op: "listDeliveries", path: "/v1/deliveries?subject=contract-event&state=sent,dead", want: 200})
	s.do(t, call{op: "listDeliveries", path: "/v1/deliveries?limit=0", want: 422, code: "INVALID"})
	s.do(t, call{op: "listClosedTriggers", path: "/v1/triggers/closed?subject=contract-event&type=subscriber", want: 200})
	s.do(t, call{op: "listClosedTriggers", path: "/v1/triggers/closed?type=subscriber", want: 422, code: "INVALID"})
}
