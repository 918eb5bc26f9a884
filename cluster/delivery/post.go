package delivery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/arbiterhq/arbiter/runtime/delivery"
)

// Limits of what a receiver may answer.
const (
	maxAnswer        = 4 << 10 // read and thrown away, so that the connection serves again
	maxAnswerHeaders = 16 << 10
)

// poster sends messages by POST, one a request.
type poster struct {
	url     string
	timeout time.Duration
	client  *http.Client
}

func newPoster(s *Spec) poster {
	dialer := net.Dialer{Timeout: s.Timeout, KeepAlive: 30 * time.Second}
	return poster{url: s.URL, timeout: s.Timeout, client: &http.Client{
		Transport: &http.Transport{
			DialContext: dialer.DialContext, TLSClientConfig: s.TLS, TLSHandshakeTimeout: s.Timeout, ResponseHeaderTimeout: s.Timeout,
			MaxIdleConnsPerHost: s.Concurrency, MaxIdleConns: s.Concurrency, MaxConnsPerHost: s.Concurrency, IdleConnTimeout: time.Minute,
			MaxResponseHeaderBytes: maxAnswerHeaders, DisableCompression: true, ForceAttemptHTTP2: true,
		},
		// What was decided for one receiver is not handed to another.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// post makes one attempt.
func (p *poster) post(ctx context.Context, body []byte, headers func(http.Header)) Result {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(body))
	if err != nil {
		return Result{Outcome: delivery.Failed, Problem: "the request cannot be made"}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "arbiter")
	headers(req.Header)
	res, err := p.client.Do(req)
	if err != nil {
		return Result{Outcome: delivery.Failed, Problem: problemOf(err)}
	}
	defer func() { _ = res.Body.Close() }() // it was read
	_, _ = io.CopyN(io.Discard, res.Body, maxAnswer)
	return judge(res)
}

// judge tells what an answer means.
func judge(res *http.Response) Result {
	r := Result{Outcome: delivery.Failed, Problem: fmt.Sprintf("the receiver answered with status %d", res.StatusCode)}
	switch code := res.StatusCode; {
	case code >= 200 && code < 300:
		return Result{Outcome: delivery.Sent}
	case code >= 300 && code < 400:
		r.Problem += ": redirects are not followed"
	case code == http.StatusBadRequest, code == http.StatusGone, code == http.StatusRequestEntityTooLarge,
		code == http.StatusUnsupportedMediaType, code == http.StatusUnprocessableEntity:
		r.Outcome = delivery.Refused // the same bytes would be refused again
	}
	r.After = retryAfter(res.Header.Get("Retry-After"), time.Now())
	return r
}

// retryAfter reads the header of that name: seconds, or a date.
func retryAfter(value string, now time.Time) time.Duration {
	const longest = 24 * time.Hour
	if seconds, err := strconv.Atoi(value); err == nil {
		return min(max(time.Duration(min(max(seconds, 0), 1<<20))*time.Second, 0), longest)
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(at.Sub(now), 0), longest)
	}
	return 0
}

// problemOf tells what went wrong without naming the address.
func problemOf(err error) string {
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return "the receiver did not answer in time"
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return "the receiver cannot be reached"
	}
	return "the connection to the receiver failed"
}

func (p *poster) close() { p.client.CloseIdleConnections() }
