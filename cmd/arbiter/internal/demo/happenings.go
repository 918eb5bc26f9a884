package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/client"
	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/load"
)

// What happens to the customers of the demo catalog. The first two are notifications of CAMARA.
const (
	typeLanded   = "org.camaraproject.device-roaming-status-subscriptions.v0.roaming-on"
	typeData90   = "org.camaraproject.device-data-volume-subscriptions.v0.data-90-percent"
	typeCart     = "com.example.cart.updated"
	typePurchase = "com.example.purchase.completed"
	typeOutage   = "com.example.network.outage"
	typeRestored = "com.example.network.restored"
)

// visitsPerHappening is how many customers turn up on a channel for each to whom something happens.
const visitsPerHappening = 5

// happenings are what may happen, with how many of a hundred do. What follows happens to the same customer a
// few events later.
var happenings = [...]struct {
	share   int
	kind    string
	follows string
}{
	{35, typeLanded, ""},
	{25, typeData90, ""},
	{15, typeCart, ""},
	{10, typeCart, typePurchase},
	{15, typeOutage, typeRestored},
}

// happening is one event.
type happening struct {
	kind, subject string
}

// world lets things happen to customers.
type world struct {
	chance      *rand.Rand
	subscribers int64
	pending     []happening // what follows from what happened
	sent        int
	run         string // tells the events of this run from those of others
}

// patience is how many things happen before what follows from one.
const patience = 3

func newWorld(seed uint64, subscribers int) *world {
	return &world{chance: rand.New(rand.NewPCG(seed, ^seed)), subscribers: int64(subscribers), run: fmt.Sprintf("%x-%x", time.Now().UnixMilli(), seed)}
}

// next is what happens next.
func (w *world) next() happening {
	if len(w.pending) >= patience {
		first := w.pending[0]
		w.pending = w.pending[1:]
		return first
	}
	subject := load.SubjectID(1 + w.chance.Int64N(w.subscribers))
	at := w.chance.IntN(100)
	for _, h := range happenings {
		if at -= h.share; at < 0 {
			if h.follows != "" {
				w.pending = append(w.pending, happening{h.follows, subject})
			}
			return happening{h.kind, subject}
		}
	}
	return happening{typeLanded, subject}
}

// happen sends one event.
func (w *world) happen(ctx context.Context, c *client.Client) error {
	h := w.next()
	w.sent++
	event := map[string]any{
		"specversion": "1.0", "id": fmt.Sprintf("%s-%d", w.run, w.sent), "source": "/demo", "type": h.kind, "subject": h.subject,
		"time": time.Now().UTC().Format(time.RFC3339Nano), "data": w.data(h.kind),
	}
	body, err := json.Marshal(event)
	if err != nil {
		return err
	}
	_, err = c.SendEvents(ctx, body)
	return err
}

// data is what an event tells.
func (w *world) data(kind string) map[string]any {
	switch kind {
	case typeLanded:
		return map[string]any{"countryCode": 310, "countryName": []string{"US"}}
	case typeCart:
		return map[string]any{"value": 20 + w.chance.IntN(800), "product": "phone", "channel": "web"}
	case typePurchase:
		return map[string]any{"channel": "store"}
	case typeOutage, typeRestored:
		return map[string]any{"area": "A-" + fmt.Sprint(w.chance.IntN(20)), "minutes": 60 + w.chance.IntN(240)}
	default:
		return map[string]any{}
	}
}
