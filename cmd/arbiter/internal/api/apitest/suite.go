package apitest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Fixture is what the suite cannot know of the server it is run against.
type Fixture struct {
	// Attributes is a body of PUT /v1/attributes that declares what Catalog needs; nil for none.
	Attributes []byte
	// Catalog is a valid document that can be activated once Plugin is active; BadCatalog has mistakes.
	Catalog, BadCatalog []byte
	// Plugin is an artifact that admission accepts.
	Plugin []byte
	// Channel and Placement are those of a decision that proposes at least one action.
	Channel, Placement string
}

// Run sends every operation to the API at baseURL, such as http://127.0.0.1:8080, and checks the
// answers against the contract in document. The server may hold data: the suite uses subjects,
// attributes and plugins whose names begin with "contract".
func Run(t *testing.T, baseURL string, document []byte, fixture Fixture) {
	t.Helper()
	contract, err := ParseContract(document)
	if err != nil {
		t.Fatal(err)
	}
	s := &suite{contract: contract, baseURL: strings.TrimSuffix(baseURL, "/"), fixture: fixture, document: document,
		client: &http.Client{Timeout: time.Minute}, statuses: map[string]map[int]bool{}}
	for _, step := range []struct {
		name string
		run  func(t *testing.T)
	}{
		{"operation", s.operation}, {"members", s.members}, {"attributes", s.attributes}, {"plugins", s.plugins}, {"plugin administration", s.pluginAdmin}, {"catalog", s.catalog},
		{"subjects", s.subjects}, {"consents", s.consents}, {"contacts", s.contacts}, {"events", s.events}, {"deliveries", s.deliveries}, {"journeys", s.journeys}, {"aggregates", s.aggregates}, {"import", s.imports}, {"rollouts", s.rollouts}, {"decisions", s.decisions}, {"recorded", s.recorded}, {"simulations", s.simulations}, {"campaigns", s.campaigns}, {"standards", s.standards}, {"responses", s.responses}, {"retention", s.retention}, {"security", s.security},
		{"history", s.history}, {"delete", s.deleteSubjects}, {"framework", s.framework},
	} {
		t.Run(step.name, step.run)
	}
	s.report(t)
}

// suite is one run.
type suite struct {
	contract *Contract
	baseURL  string
	fixture  Fixture
	document []byte
	client   *http.Client
	statuses map[string]map[int]bool // operation id -> statuses seen
	alone    bool                    // the node has no cluster around it

	decisionID, action string // of a decision on subjectID
}

// subjectID needs escaping in a path: a plus, a slash and a letter beyond ASCII.
const (
	subjectID   = "contract+44/7é"
	subjectPath = "contract%2B44%2F7%C3%A9"
)

// call is one request.
type call struct {
	op      string // operationId
	path    string // with query; empty means the operation's own path
	method  string // empty means the operation's own
	media   string // Content-Type; empty for none
	body    string
	headers map[string]string
	// invalid tells that the body breaks the contract on purpose.
	invalid bool
	want    int
	code    string // expected problem code
}

// do sends c, checks the answer against the contract and returns it.
func (s *suite) do(t *testing.T, c call) (http.Header, []byte) {
	t.Helper()
	op := s.contract.operations[c.op]
	if op == nil {
		t.Fatalf("the contract has no operation %s", c.op)
	}
	if c.path == "" {
		c.path = op.Path
	}
	method := op.Method
	if c.method != "" {
		method = c.method
	}
	if c.media != "" && !c.invalid {
		if err := s.contract.CheckRequest(op, c.media, []byte(c.body)); err != nil {
			t.Errorf("%s %s: the request of the suite: %v", method, c.path, err)
		}
	}
	request, err := http.NewRequestWithContext(context.Background(), method, s.baseURL+c.path, strings.NewReader(c.body))
	if err != nil {
		t.Fatal(err)
	}
	if c.media != "" {
		request.Header.Set("Content-Type", c.media)
	}
	for name, value := range c.headers {
		request.Header.Set(name, value)
	}
	response, err := s.client.Do(request)
	if err != nil {
		t.Fatalf("%s %s: %v", method, c.path, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%s %s: reading the answer: %v", method, c.path, err)
	}
	s.judge(t, c, op, response, body)
	return response.Header, body
}

func (s *suite) judge(t *testing.T, c call, op *Operation, response *http.Response, body []byte) {
	t.Helper()
	if s.statuses[op.ID] == nil {
		s.statuses[op.ID] = map[int]bool{}
	}
	s.statuses[op.ID][response.StatusCode] = true
	if response.StatusCode != c.want {
		t.Errorf("%s %s: status %d, want %d: %s", op.Method, c.path, response.StatusCode, c.want, body)
		return
	}
	if err := s.contract.CheckResponse(op, response, body); err != nil {
		t.Errorf("%s %s: %v\n%s", op.Method, c.path, err, body)
	}
	if response.StatusCode < http.StatusBadRequest {
		return
	}
	if bytes.Contains(body, []byte(canary)) {
		t.Errorf("%s %s: the problem repeats a value of the request: %s", op.Method, c.path, body)
	}
	if strings.HasPrefix(op.Path, "/v2") || strings.HasPrefix(op.Path, "/tmf-api/") {
		return // which have errors of their own
	}
	var problem struct {
		Status   int
		Code     string
		Instance string
	}
	if err := json.Unmarshal(body, &problem); err != nil {
		t.Errorf("%s %s: %v", op.Method, c.path, err)
	}
	if problem.Status != response.StatusCode || c.code != "" && problem.Code != c.code {
		t.Errorf("%s %s: problem of status %d and code %s, want %d and %s", op.Method, c.path, problem.Status, problem.Code, c.want, c.code)
	}
	if id := response.Header.Get("X-Request-Id"); problem.Instance != "urn:arbiter:request:"+id {
		t.Errorf("%s %s: instance %s, want that of request %s", op.Method, c.path, problem.Instance, id)
	}
}

// canary stands in values that a problem must not repeat.
const canary = "447700900123"

const jsonMedia = "application/json"

// request sends a request whose answer does not matter.
func (s *suite) request(t *testing.T, method, path string) (int, error) {
	t.Helper()
	request, err := http.NewRequestWithContext(context.Background(), method, s.baseURL+path, nil)
	if err != nil {
		return 0, fmt.Errorf("%s %s: %w", method, path, err)
	}
	response, err := s.client.Do(request)
	if err != nil {
		return 0, fmt.Errorf("%s %s: %w", method, path, err)
	}
	return response.StatusCode, response.Body.Close()
}

func (s *suite) decode(t *testing.T, body []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(body, into); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
}

// report fails for operations that were never exercised with success, and logs the documented
// statuses that were never seen.
func (s *suite) report(t *testing.T) {
	t.Helper()
	for _, op := range s.contract.Operations() {
		if op.body["x-listener"] == "admin" {
			continue // the suite is run against the API port
		}
		seen, good := s.statuses[op.ID], false
		for status := range seen {
			good = good || status < http.StatusMultipleChoices || s.alone && status == http.StatusConflict && op.body["x-needs"] == "cluster" ||
				status == http.StatusConflict && op.body["x-needs"] == "state"
		}
		if !good {
			t.Errorf("operation %s was never exercised with success", op.ID)
		}
		var missing []string
		for _, status := range keys(object(op.body["responses"])) {
			var n int
			if _, err := fmt.Sscan(status, &n); err == nil && !seen[n] {
				missing = append(missing, status)
			}
		}
		if len(missing) > 0 {
			t.Logf("%s: documented and not seen: %s", op.ID, strings.Join(missing, " "))
		}
	}
}
