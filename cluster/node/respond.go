package node

import (
	"context"
	"fmt"
	"math"
	"sync"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// respondWorkers is how many responses of one call wait for the log at the same time, so that they
// share its entries.
const respondWorkers = 64

// Respond records responses and returns a receipt for each once they are in the log. All are checked
// before any is recorded; an error names the first that failed. Sending the same again is harmless:
// what was recorded already is recognised as a duplicate.
func (n *Node) Respond(ctx context.Context, responses []nba.Response) ([]nba.ResponseReceipt, error) {
	if err := n.serving(); err != nil {
		return nil, err
	}
	if len(responses) > n.cfg.MaxResponses {
		return nil, nba.Errorf(nba.CodeTooLarge, "at most %d responses in one call", n.cfg.MaxResponses)
	}
	commands := make([]command.Response, len(responses))
	for i := range responses {
		c, err := n.responseCommand(&responses[i])
		if err != nil {
			return nil, at(err, i, len(responses))
		}
		n.moveByResponse(&c)
		commands[i] = c
	}
	receipts := make([]nba.ResponseReceipt, len(commands))
	errs := make([]error, len(commands))
	var workers sync.WaitGroup
	for w := range min(respondWorkers, len(commands)) {
		workers.Go(func() {
			for i := w; i < len(commands); i += respondWorkers {
				receipts[i], errs[i] = n.router.RecordResponse(partOf(ctx, i, &responses[i]), commands[i])
			}
		})
	}
	workers.Wait()
	for i, err := range errs {
		if err != nil {
			return nil, at(err, i, len(responses))
		}
		n.metrics.responses.WithLabelValues(string(receipts[i].Outcome)).Inc()
		n.acceptedOne(&responses[i], &receipts[i])
	}
	return receipts, nil
}

func (n *Node) responseCommand(r *nba.Response) (command.Response, error) {
	decision, action, treatment := r.DecisionID, r.Action, r.Treatment
	if r.ResponseToken != "" {
		var err error
		if decision, action, treatment, err = parseToken(r.ResponseToken); err != nil {
			return command.Response{}, err
		}
		if r.DecisionID != "" && r.DecisionID != decision || r.Action != "" && r.Action != action {
			return command.Response{}, nba.Invalid("/responseToken", "the token names another proposition than decisionId and action: send one or the other")
		}
	}
	switch {
	case decision == "":
		return command.Response{}, nba.Invalid("/decisionId", "say which proposition is meant: responseToken, or decisionId with action")
	case action == "":
		return command.Response{}, nba.Invalid("/action", "say which action of the decision is meant")
	case r.Outcome.Index() < 0:
		return command.Response{}, nba.Invalid("/outcome", "an outcome is one of Impression, Clicked, Accepted, Rejected, Dismissed, Converted")
	case len(action) > nba.MaxTextBytes || len(treatment) > nba.MaxTextBytes || len(r.Behaviour) > nba.MaxTextBytes:
		return command.Response{}, nba.Invalid("", fmt.Sprintf("action, treatment and behaviour have at most %d bytes", nba.MaxTextBytes))
	case math.IsNaN(r.Value) || math.IsInf(r.Value, 0):
		return command.Response{}, nba.Invalid("/value", "the value is not a finite number")
	}
	now := n.clock.Now()
	when := r.OutcomeTime
	if when.IsZero() {
		when = now
	}
	if when.After(now.Add(maxClockSkew)) || when.Year() < 2000 {
		return command.Response{}, nba.Invalid("/outcomeTime", "the outcome time lies in the future or before the year 2000")
	}
	return command.Response{DecisionID: decision, Action: action, Treatment: treatment, Outcome: r.Outcome,
		Behaviour: r.Behaviour, Value: r.Value, Time: when}, nil
}

// at points an error at one response of an array.
func at(err error, i, n int) error {
	e, ok := err.(*nba.Error)
	if !ok || n == 1 {
		return err
	}
	pointed := &nba.Error{Code: e.Code, Message: e.Message}
	for _, d := range e.Details {
		d.Pointer = fmt.Sprintf("/%d%s", i, d.Pointer)
		pointed.Details = append(pointed.Details, d)
	}
	if len(pointed.Details) == 0 {
		pointed.Details = []nba.Detail{{Pointer: fmt.Sprintf("/%d", i), Code: e.Code, Detail: e.Message}}
	}
	return pointed
}
