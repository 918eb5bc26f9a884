package apitest

import (
	"net/http"
	"strings"
	"testing"
)

const document = `
openapi: 3.1.0
paths:
  /things/{id}:
    parameters: [{name: id, in: path}]
    get:
      operationId: getThing
      parameters: [{$ref: '#/components/parameters/Limit'}]
      responses:
        '200':
          headers: {X-Request-Id: {schema: {type: string, pattern: '^r'}}}
          content:
            application/json:
              schema: {$ref: '#/components/schemas/Thing'}
              examples: {bad: {value: {name: 7}}}
            application/x-ndjson: {schema: {$ref: '#/components/schemas/Thing'}}
            text/plain: {schema: {type: string}}
        '204': {description: none}
        default: {$ref: '#/components/responses/Problem'}
    put:
      operationId: putThing
      requestBody: {content: {application/json: {schema: {$ref: '#/components/schemas/Thing'}}, text/plain: {schema: {type: string}}}}
      responses: {default: {$ref: '#/components/responses/Problem'}}
components:
  parameters: {Limit: {name: limit, in: query}}
  responses: {Problem: {content: {application/problem+json: {schema: {type: object, required: [status]}}}}}
  schemas: {Thing: {type: object, additionalProperties: false, required: [name], properties: {name: {type: string}, at: {type: string, format: date-time}}}}
`

func parse(t *testing.T) *Contract {
	t.Helper()
	c, err := ParseContract([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestCheckResponse: each way in which an answer can break the contract is found. A suite that finds
// nothing proves nothing.
func TestCheckResponse(t *testing.T) {
	c := parse(t)
	for _, test := range []struct {
		name, media, body, id string
		status                int
		want                  string // part of the error; "" means that the answer is fine
	}{
		{"good", "application/json; charset=utf-8", `{"name":"x","at":"2026-11-22T09:30:00Z"}`, "r1", 200, ""},
		{"good problem", "application/problem+json", `{"status":418}`, "", 418, ""},
		{"good lines", "application/x-ndjson", "{\"name\":\"a\"}\n{\"name\":\"b\"}\n", "r1", 200, ""},
		{"good empty", "", "", "", 204, ""},
		{"text", "text/plain", "anything", "r1", 200, ""},
		{"undocumented success", "application/json", `{}`, "r1", 201, "status 201 is not documented"},
		{"missing header", "application/json", `{"name":"x"}`, "", 200, "header X-Request-Id is missing"},
		{"bad header", "application/json", `{"name":"x"}`, "x", 200, "header X-Request-Id"},
		{"undocumented type", "text/html", `x`, "r1", 200, "text/html is not documented"},
		{"no type", "", `x`, "r1", 200, "content type"},
		{"unknown member", "application/json", `{"name":"x","extra":1}`, "r1", 200, "extra"},
		{"missing member", "application/json", `{}`, "r1", 200, "name"},
		{"bad format", "application/json", `{"name":"x","at":"yesterday"}`, "r1", 200, "date-time"},
		{"not JSON", "application/json", `{`, "r1", 200, "not JSON"},
		{"bad line", "application/x-ndjson", "{\"name\":\"a\"}\n{}\n", "r1", 200, "line 2"},
		{"body of no content", "", "x", "", 204, "must not"},
		{"problem in another type", "application/json", `{"status":400}`, "", 400, "not documented"},
		{"problem without status", "application/problem+json", `{}`, "", 400, "status"},
	} {
		header := http.Header{}
		if test.media != "" {
			header.Set("Content-Type", test.media)
		}
		if test.id != "" {
			header.Set("X-Request-Id", test.id)
		}
		err := c.CheckResponse(c.operations["getThing"], &http.Response{StatusCode: test.status, Header: header}, []byte(test.body))
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", test.name, err, test.want)
		}
	}
}

func TestCheckRequest(t *testing.T) {
	c := parse(t)
	op := c.operations["putThing"]
	for _, test := range []struct {
		media, body string
		ok          bool
	}{
		{"application/json", `{"name":"x"}`, true}, {"text/plain", "x", true},
		{"application/json", `{}`, false}, {"application/xml", `<x/>`, false}, {"", "", false},
	} {
		if err := c.CheckRequest(op, test.media, []byte(test.body)); (err == nil) != test.ok {
			t.Errorf("%s %s: got %v, want ok %v", test.media, test.body, err, test.ok)
		}
	}
}

func TestContractParts(t *testing.T) {
	c := parse(t)
	op := c.operations["getThing"]
	if got := strings.Join(c.Parameters(op, "query"), " ") + "," + strings.Join(c.Parameters(op, "path"), " "); got != "limit,id" {
		t.Errorf("parameters are %s", got)
	}
	if got := strings.Join(c.Consumes(c.operations["putThing"]), " "); got != "application/json text/plain" {
		t.Errorf("consumes %s", got)
	}
	if problems := c.CheckExamples(); len(problems) != 1 {
		t.Errorf("got %v, want the one bad example", problems)
	}
	for _, bad := range []string{"", "openapi: 3.0.0", "openapi: [", "openapi: 3.1.0\npaths: {/x: {get: {}}}"} {
		if _, err := ParseContract([]byte(bad)); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
