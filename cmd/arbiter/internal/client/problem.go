package client

import (
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// maxProblemBytes bounds what is read of a refusal.
const maxProblemBytes = 4 << 20

// Problem is an answer that is not 2xx, as RFC 9457 puts it. A refusal that is not
// application/problem+json, as a proxy may send it, has Title and Status only.
type Problem struct {
	Type     string       `json:"type,omitempty"`
	Title    string       `json:"title"`
	Status   int          `json:"status"`
	Detail   string       `json:"detail,omitempty"`
	Instance string       `json:"instance,omitempty"`
	Code     nba.Code     `json:"code,omitempty"`
	Errors   []nba.Detail `json:"errors,omitempty"`
}

// Error implements error.
func (p *Problem) Error() string {
	if p.Detail == "" || p.Detail == p.Title {
		return p.Title
	}
	return p.Title + ": " + p.Detail
}

// readProblem reads the body of a refusal.
func readProblem(resp *http.Response) *Problem {
	p := &Problem{}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxProblemBytes))
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil || media != "application/problem+json" || json.Unmarshal(body, p) != nil {
		p = &Problem{}
	}
	p.Status = resp.StatusCode
	if p.Title == "" {
		p.Title = http.StatusText(resp.StatusCode)
	}
	if p.Title == "" {
		p.Title = fmt.Sprintf("HTTP status %d", resp.StatusCode)
	}
	if p.Instance == "" {
		p.Instance = resp.Header.Get("X-Request-Id")
	}
	return p
}
