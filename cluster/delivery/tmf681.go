package delivery

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/arbiterhq/arbiter/runtime/delivery"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// The parts of a CommunicationMessage_Create of TMF681 Communication Management 4.0.0 that a delivery fills in.
type (
	communicationMessage struct {
		Type        string           `json:"@type"`
		MessageType string           `json:"messageType"`
		Content     string           `json:"content"`
		Subject     string           `json:"subject,omitempty"`
		Description string           `json:"description,omitempty"`
		Sender      sender           `json:"sender"`
		Receiver    []receiver       `json:"receiver"`
		TryTimes    int              `json:"tryTimes"`
		LogFlag     bool             `json:"logFlag"`
		Attributes  []characteristic `json:"characteristic"`
	}
	sender struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	}
	receiver struct {
		ID    string       `json:"id"`
		Party relatedParty `json:"party"`
	}
	relatedParty struct {
		ID           string `json:"id"`
		Role         string `json:"role"`
		ReferredType string `json:"@referredType"`
	}
	characteristic struct {
		Name      string `json:"name"`
		ValueType string `json:"valueType"`
		Value     any    `json:"value"`
	}
)

// tmf681 posts communication messages.
type tmf681 struct {
	poster
	token string
}

func newTMF681(s *Spec) *tmf681 { return &tmf681{poster: newPoster(s), token: s.Secret} }

// Send implements Sink.
func (t *tmf681) Send(ctx context.Context, deliveries []Delivery) []Result {
	results := make([]Result, len(deliveries))
	for i := range deliveries {
		d := &deliveries[i]
		body, err := communication(d.Payload)
		if err != nil {
			results[i] = Result{Outcome: delivery.Refused, Problem: "the message cannot be read"}
			continue
		}
		results[i] = t.post(ctx, body, func(h http.Header) {
			h.Set(headerID, d.ID)
			h.Set("Idempotency-Key", d.ID)
			if t.token != "" {
				h.Set("Authorization", "Bearer "+t.token)
			}
		})
	}
	return results
}

// Close implements Sink.
func (t *tmf681) Close() error {
	t.close()
	return nil
}

// The fields of a treatment's content that are the text and the title of a message, the first that is there.
func contentFields() (text, title []string) {
	return []string{"text", "body", "message", "headline", "title"}, []string{"subject", "title", "headline"}
}

// communication renders the payload of a delivery.
func communication(payload []byte) ([]byte, error) {
	var m nba.DeliveryMessage
	if err := json.Unmarshal(payload, &m); err != nil {
		return nil, err
	}
	text, title := contentFields()
	out := communicationMessage{
		Type: "CommunicationMessage", MessageType: m.Channel, Description: m.Label, Sender: sender{ID: "arbiter", Name: "arbiter"}, TryTimes: 1,
		Content: firstOf(m.Content, text), Subject: firstOf(m.Content, title),
		Receiver: []receiver{{ID: m.Subject.ID, Party: relatedParty{ID: m.Subject.ID, Role: string(m.Subject.Type), ReferredType: "Individual"}}},
	}
	if out.Content == "" {
		content, err := json.Marshal(m.Content)
		if err != nil {
			return nil, err
		}
		out.Content = string(content)
	}
	add := func(name, value string) {
		if value != "" {
			out.Attributes = append(out.Attributes, characteristic{Name: name, ValueType: "string", Value: value})
		}
	}
	add("deliveryId", m.DeliveryID)
	add("decisionId", m.DecisionID)
	add("action", m.Action)
	add("treatment", m.Treatment)
	add("responseToken", m.ResponseToken)
	add("origin", m.Cause.Origin)
	if m.Offering != nil {
		add("productOffering", m.Offering.ID)
	}
	if m.ExpiresAt != nil {
		add("expiresAt", m.ExpiresAt.Format("2006-01-02T15:04:05.000Z07:00"))
	}
	out.Attributes = append(out.Attributes, characteristic{Name: "content", ValueType: "object", Value: m.Content})
	return json.Marshal(&out)
}

func firstOf(content map[string]string, names []string) string {
	for _, name := range names {
		if text := content[name]; text != "" {
			return text
		}
	}
	return ""
}
