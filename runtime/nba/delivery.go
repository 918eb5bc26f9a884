package nba

import "time"

// DeliveryMessage is what a delivery carries: one proposition for one subject, complete in itself. The bytes
// of a delivery are made once, when it is decided, and are the same at every attempt.
type DeliveryMessage struct {
	// Type is DeliveryMessageType.
	Type string `json:"type"`
	// DeliveryID is the same however often the delivery is attempted: a receiver that remembers it takes
	// each delivery once.
	DeliveryID string     `json:"deliveryId"`
	Subject    SubjectRef `json:"subject"`
	Channel    string     `json:"channel"`
	Placement  string     `json:"placement"`
	Action     string     `json:"action"`
	Label      string     `json:"label,omitempty"`
	Issue      string     `json:"issue"`
	Group      string     `json:"group"`
	Treatment  string     `json:"treatment"`
	// Content is that of the treatment.
	Content  map[string]string `json:"content,omitempty"`
	Offering *Offering         `json:"offering,omitempty"`
	// ResponseToken reports what came of it, with POST /v1/responses.
	ResponseToken  string    `json:"responseToken"`
	DecisionID     string    `json:"decisionId"`
	CatalogVersion uint64    `json:"catalogVersion"`
	DecidedAt      time.Time `json:"decidedAt"`
	// ExpiresAt is when it is of no use any more; it is not delivered after that.
	ExpiresAt *time.Time    `json:"expiresAt,omitempty"`
	Reason    Reason        `json:"reason"`
	Cause     DeliveryCause `json:"cause"`
	// Contexts are those of the decision.
	Contexts []ContextValue `json:"contexts,omitempty"`
}

// DeliveryMessageType is the type of a DeliveryMessage.
const DeliveryMessageType = "arbiter.delivery"

// DeliveryCause is what a delivery was decided for.
type DeliveryCause struct {
	// Origin is the kind and the name of what asked for the decision, as in strategy:roaming.
	Origin string `json:"origin"`
	// EventType is the type of the event that made it ask; empty for none.
	EventType string `json:"eventType,omitempty"`
	// At is when it asked.
	At time.Time `json:"at"`
}

// Delivery is an entry of the outbox.
type Delivery struct {
	DeliveryID string     `json:"deliveryId"`
	Subject    SubjectRef `json:"subject"`
	// State is pending, sent, dead, expired or cancelled.
	State     string `json:"state"`
	Channel   string `json:"channel"`
	Sink      string `json:"sink"`
	Action    string `json:"action"`
	Treatment string `json:"treatment,omitempty"`
	Origin    string `json:"origin"`
	EventType string `json:"eventType,omitempty"`

	DecisionID string     `json:"decisionId"`
	RaisedAt   *time.Time `json:"raisedAt,omitempty"`
	DecidedAt  time.Time  `json:"decidedAt"`
	// DueAt is when a pending one is attempted, or was last for another.
	DueAt     time.Time  `json:"dueAt"`
	ExpiresAt *time.Time `json:"expiresAt,omitempty"`
	// ChangedAt is when it was attempted or changed last.
	ChangedAt *time.Time `json:"changedAt,omitempty"`
	Attempts  int        `json:"attempts"`
	// Problem is why the last attempt was not taken.
	Problem string `json:"problem,omitempty"`
	// Message is what is sent; only of one that is asked for by its id, and while it may still be sent.
	Message *DeliveryMessage `json:"message,omitempty"`
}

// ClosedTrigger is a trigger that led to no delivery.
type ClosedTrigger struct {
	TriggerID string     `json:"triggerId"`
	Subject   SubjectRef `json:"subject"`
	Origin    string     `json:"origin"`
	EventType string     `json:"eventType,omitempty"`
	RaisedAt  time.Time  `json:"raisedAt"`
	ClosedAt  time.Time  `json:"closedAt"`
	// Reason is why: nothing_to_propose, condition, expired, cancelled, undeclared, failed, crowded or
	// unknown_subject.
	Reason string `json:"reason"`
	// Detail tells more: what took most actions out of the decision, or what failed.
	Detail string `json:"detail,omitempty"`
}

// DeliveryQuery chooses deliveries.
type DeliveryQuery struct {
	Subject *SubjectRef
	// States are those to list; none means all.
	States []string
	// Closed lists triggers that led to no delivery instead.
	Closed bool
	// Limit bounds the answer; 0 means DefaultDeliveries.
	Limit int
}

// Limits of a list of deliveries.
const (
	DefaultDeliveries = 50
	MaxDeliveries     = 1000
)

// DeliveryList answers a DeliveryQuery, the newest first.
type DeliveryList struct {
	Deliveries []Delivery      `json:"deliveries"`
	Closed     []ClosedTrigger `json:"closed,omitempty"`
}
