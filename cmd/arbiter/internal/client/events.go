package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// EventReceipts are what became of the events of a request.
type EventReceipts struct {
	Accepted     int                `json:"accepted"`
	Duplicates   int                `json:"duplicates"`
	DeadLettered int                `json:"deadLettered"`
	Receipts     []nba.EventReceipt `json:"receipts"`
}

// EventLine is a line that was not applied.
type EventLine struct {
	Line int `json:"line"`
	nba.EventReceipt
}

// EventSummary counts what became of lines.
type EventSummary struct {
	Lines        int `json:"lines"`
	Accepted     int `json:"accepted"`
	Duplicates   int `json:"duplicates"`
	DeadLettered int `json:"deadLettered"`
}

// StoredEvent is an event that was applied, in JSON as CloudEvents have it.
type StoredEvent struct {
	Cursor     string          `json:"cursor"`
	ReceivedAt time.Time       `json:"receivedAt"`
	Subject    nba.SubjectRef  `json:"subject"`
	Event      json.RawMessage `json:"event"`
}

// DeadLetter is an event that could not be applied; Raw is what came if it is no event.
type DeadLetter struct {
	ID         string          `json:"id"`
	ReceivedAt time.Time       `json:"receivedAt"`
	Code       nba.Code        `json:"code"`
	Detail     string          `json:"detail"`
	Subject    *nba.SubjectRef `json:"subject,omitempty"`
	Event      json.RawMessage `json:"event,omitempty"`
	Raw        string          `json:"raw,omitempty"`
}

const eventsPath = "/v1/events"

// SendEvents sends one event or an array of them, in JSON as CloudEvents have it.
func (c *Client) SendEvents(ctx context.Context, body []byte) (EventReceipts, error) {
	var out EventReceipts
	media := "application/cloudevents+json"
	if bytes.HasPrefix(bytes.TrimSpace(body), []byte("[")) {
		media = "application/cloudevents-batch+json"
	}
	_, err := c.doJSON(ctx, request{method: http.MethodPost, path: eventsPath, contentType: media, body: bytes.NewReader(body)}, nil, &out)
	return out, err
}

// ImportEvents sends events, one a line, and returns when all of them are durable. It may be repeated: what was
// applied is a duplicate.
func (c *Client) ImportEvents(ctx context.Context, lines []byte) (EventSummary, []EventLine, error) {
	resp, err := c.send(ctx, request{method: http.MethodPost, path: eventsPath, contentType: "application/x-ndjson",
		accept: "application/x-ndjson, application/problem+json", body: bytes.NewReader(lines)})
	if err != nil {
		return EventSummary{}, nil, err
	}
	defer resp.Body.Close()
	return c.readEventLines(ctx, resp.Body)
}

func (c *Client) readEventLines(ctx context.Context, body io.Reader) (EventSummary, []EventLine, error) {
	var results []EventLine
	lines := bufio.NewScanner(body)
	lines.Buffer(make([]byte, 0, 64<<10), maxResultLineBytes)
	for lines.Scan() {
		var line struct {
			EventLine
			Summary *EventSummary `json:"summary"`
			Problem *Problem      `json:"problem"`
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return EventSummary{}, nil, &Unreachable{Addr: c.Addr(), Cause: errors.New("the answer is not one JSON object a line")}
		}
		switch {
		case line.Problem != nil:
			return EventSummary{}, nil, line.Problem
		case line.Summary != nil:
			return *line.Summary, results, nil
		default:
			results = append(results, line.EventLine)
		}
	}
	if ctx.Err() != nil {
		return EventSummary{}, nil, ctx.Err()
	}
	return EventSummary{}, nil, &Unreachable{Addr: c.Addr(), Cause: errors.New("the answer ended before its summary")}
}

// Events lists events behind a cursor, of a subject or (nil) of all; next is where to go on.
func (c *Client) Events(ctx context.Context, subject *nba.SubjectRef, limit int, cursor string) (events []StoredEvent, next string, err error) {
	q := page(limit, cursor)
	if subject != nil {
		q.Set("subject", subject.ID)
		if subject.Type != "" {
			q.Set("type", string(subject.Type))
		}
	}
	var out struct {
		Items      []StoredEvent `json:"items"`
		NextCursor string        `json:"nextCursor"`
	}
	_, err = c.doJSON(ctx, request{method: http.MethodGet, path: eventsPath, query: q}, nil, &out)
	return out.Items, out.NextCursor, err
}

func page(limit int, cursor string) url.Values {
	q := url.Values{"limit": {strconv.Itoa(limit)}}
	if cursor != "" {
		q.Set("cursor", cursor)
	}
	return q
}

// Letters lists dead letters behind a cursor; next is where to go on.
func (c *Client) Letters(ctx context.Context, limit int, cursor string) (letters []DeadLetter, next string, err error) {
	var out struct {
		Items      []DeadLetter `json:"items"`
		NextCursor string       `json:"nextCursor"`
	}
	_, err = c.doJSON(ctx, request{method: http.MethodGet, path: eventsPath + "/letters", query: page(limit, cursor)}, nil, &out)
	return out.Items, out.NextCursor, err
}

// Letter reads a dead letter.
func (c *Client) Letter(ctx context.Context, id string) (*DeadLetter, error) {
	out := &DeadLetter{}
	_, err := c.doJSON(ctx, request{method: http.MethodGet, path: letterPath(id)}, nil, out)
	return out, err
}

// ReplayLetter has the event of a dead letter applied now.
func (c *Client) ReplayLetter(ctx context.Context, id string) (nba.EventReceipt, error) {
	var out nba.EventReceipt
	_, err := c.doJSON(ctx, request{method: http.MethodPost, path: letterPath(id) + "/replay"}, nil, &out)
	return out, err
}

// RemoveLetter removes a dead letter.
func (c *Client) RemoveLetter(ctx context.Context, id string) error {
	_, err := c.doJSON(ctx, request{method: http.MethodDelete, path: letterPath(id)}, nil, nil)
	return err
}

func letterPath(id string) string { return eventsPath + "/letters/" + url.PathEscape(id) }
