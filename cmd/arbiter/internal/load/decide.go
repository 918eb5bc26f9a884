package load

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/valyala/fasthttp"
)

// maxResponseBytes bounds one answer.
const maxResponseBytes = 4 << 20

// DecideOptions describe the decision requests.
type DecideOptions struct {
	// Addr is the server, on this machine.
	Addr string
	// Subjects is the number of subject ids, S-000001 to S-(Subjects), asked about in an order that
	// looks random and repeats exactly. 0 means DefaultSubjects.
	Subjects int
	// Channel and Placements are those of every request.
	Channel    string
	Placements []nba.PlacementRequest
	// Simulate asks for decisions that are not recorded.
	Simulate bool
	// Also are further nodes of the same cluster, among which the clients are shared.
	Also []string
	// Timeout bounds one exchange; 0 means DefaultTimeout.
	Timeout time.Duration
	// Clients bounds the connections; it must be that of the Plan.
	Clients int
}

// Decider sends POST /v1/decisions. Close it when done.
type Decider struct {
	hosts         []*fasthttp.HostClient // clients are dealt out over them
	before, after []byte                 // the request around the subject id
	subjects      int64
	timeout       time.Duration
	clients       []deciderClient
	multiplier    int64
}

// deciderClient is what one client reuses from request to request.
type deciderClient struct {
	req  *fasthttp.Request
	resp *fasthttp.Response
	body []byte
}

// NewDecider makes a Sender of decision requests.
func NewDecider(opts DecideOptions) (*Decider, error) {
	var addrs []string
	for _, text := range append([]string{opts.Addr}, opts.Also...) {
		addr, err := Loopback(text)
		if err != nil {
			return nil, err
		}
		addrs = append(addrs, addr)
	}
	if opts.Clients == 0 {
		opts.Clients = DefaultClients
	}
	if opts.Subjects == 0 {
		opts.Subjects = DefaultSubjects
	}
	if opts.Subjects < 1 || opts.Subjects > 1_000_000_000 {
		return nil, errors.New("the subjects are between 1 and 1000000000")
	}
	if opts.Timeout == 0 {
		opts.Timeout = DefaultTimeout
	}
	before, after, err := requestAround(opts)
	if err != nil {
		return nil, err
	}
	d := &Decider{
		before: before, after: after, subjects: int64(opts.Subjects), timeout: opts.Timeout, multiplier: coprime(int64(opts.Subjects)),
		clients: make([]deciderClient, opts.Clients),
	}
	for _, addr := range addrs {
		d.hosts = append(d.hosts, &fasthttp.HostClient{
			Addr: addr, MaxConns: opts.Clients, Name: "arbiter-bench",
			ReadTimeout: opts.Timeout, WriteTimeout: opts.Timeout, MaxIdleConnDuration: 30 * time.Second,
			MaxIdemponentCallAttempts: 1, MaxResponseBodySize: maxResponseBytes,
			RetryIfErr: func(*fasthttp.Request, int, error) (bool, bool) { return false, false },
		})
	}
	for i := range d.clients {
		c := &d.clients[i]
		c.req, c.resp = &fasthttp.Request{}, &fasthttp.Response{}
		c.req.SetRequestURI("http://" + d.host(i).Addr + "/v1/decisions")
		c.req.Header.SetMethod(fasthttp.MethodPost)
		c.req.Header.SetContentType("application/json")
	}
	return d, nil
}

// requestAround encodes one request and cuts it where the subject id goes.
func requestAround(opts DecideOptions) (before, after []byte, err error) {
	const marker = "\u0001"
	body, err := json.Marshal(nba.DecisionRequest{
		Subject: nba.SubjectRef{ID: marker}, Channel: opts.Channel, Placements: opts.Placements,
		Options: nba.DecisionOptions{Simulate: opts.Simulate},
	})
	if err != nil {
		return nil, nil, fmt.Errorf("encoding the request: %w", err)
	}
	before, after, ok := bytes.Cut(body, []byte(`\u0001`))
	if !ok {
		return nil, nil, errors.New("the request has no place for the subject id")
	}
	return before, after, nil
}

// coprime is a multiplier that visits every id below n once before it repeats one.
func coprime(n int64) int64 {
	for m := int64(2_654_435_761); ; m += 2 {
		a, b := m, n
		for b != 0 {
			a, b = b, a%b
		}
		if a == 1 {
			return m % max(n, 2)
		}
	}
}

// SubjectID is the id of the n-th generated subject, from 1.
func SubjectID(n int64) string { return string(appendSubjectID(nil, n)) }

func appendSubjectID(b []byte, n int64) []byte {
	b = append(b, "S-"...)
	for width := int64(100_000); width > n && width > 1; width /= 10 {
		b = append(b, '0')
	}
	return strconv.AppendInt(b, n, 10)
}

// send implements Sender.
func (d *Decider) send(client int, n int64) outcome {
	c := &d.clients[client]
	c.body = append(c.body[:0], d.before...)
	c.body = appendSubjectID(c.body, 1+n%d.subjects*d.multiplier%d.subjects)
	c.body = append(c.body, d.after...)
	c.req.SetBodyRaw(c.body)
	c.resp.Reset()
	if err := d.host(client).DoTimeout(c.req, c.resp, d.timeout); err != nil {
		return outcome{failure: failureKind(err)}
	}
	if status := c.resp.StatusCode(); status/100 != 2 {
		return outcome{failure: strconv.Itoa(status)}
	}
	body := c.resp.Body()
	// A quote inside a JSON string is escaped, so these bytes are keys wherever they stand. Scanning
	// costs about a microsecond, decoding would cost as much as the server's whole decision.
	return outcome{
		bytes:    len(body),
		degraded: bytes.Contains(body, []byte(`"degraded":true`)),
		fallback: bytes.Contains(body, []byte(`"code":"FALLBACK"`)),
		empty:    !bytes.Contains(body, []byte(`"rank":`)),
	}
}

func failureKind(err error) string {
	if errors.Is(err, fasthttp.ErrTimeout) || errors.Is(err, fasthttp.ErrDialTimeout) {
		return "timeout"
	}
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		return "timeout"
	}
	return "connection"
}

// Probe sends one request and returns the answer's body, to see that the server decides at all.
func (d *Decider) Probe() ([]byte, error) {
	c := &d.clients[0]
	o := d.send(0, 0)
	switch {
	case o.failure == "":
		return bytes.Clone(c.resp.Body()), nil
	case o.failure == "timeout" || o.failure == "connection":
		return nil, fmt.Errorf("no answer from %s", d.host(0).Addr)
	default:
		return nil, fmt.Errorf("the server answers status %s: %s", o.failure, c.resp.Body())
	}
}

// Close closes the connections.
func (d *Decider) Close() {
	for _, h := range d.hosts {
		h.CloseIdleConnections()
	}
}

// host is the node that a client asks.
func (d *Decider) host(client int) *fasthttp.HostClient { return d.hosts[client%len(d.hosts)] }
