package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/google/go-cmp/cmp"
)

func newTestClient(t *testing.T, handler http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	c, err := New(server.URL, "test/1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestNewChecksTheAddress(t *testing.T) {
	for addr, want := range map[string]string{
		"127.0.0.1:8080": "http://127.0.0.1:8080", "http://[::1]:80/": "http://[::1]:80", "https://arbiter.example": "https://arbiter.example",
		"": "", "ftp://x": "", "http://": "", "http://a/v1": "", "http://user:secret@a": "", "http://a?x=1": "", "http://[::1": "",
	} {
		c, err := New(addr, "test")
		if (err == nil) != (want != "") {
			t.Errorf("New(%q): %v", addr, err)
			continue
		}
		if err == nil && c.Addr() != want {
			t.Errorf("New(%q) talks to %s, want %s", addr, c.Addr(), want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the error repeats the password: %v", err)
		}
	}
}

func TestIdsAreEscapedInPaths(t *testing.T) {
	var got string
	c := newTestClient(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.URL.RequestURI()
		fmt.Fprint(w, "{}")
	})
	for id, want := range map[string]string{
		"S-1": "/v1/subjects/S-1", "tel:+44/7": "/v1/subjects/tel:+44%2F7", "a b%?#": "/v1/subjects/a%20b%25%3F%23", "..": "/v1/subjects/..", "é": "/v1/subjects/%C3%A9",
	} {
		if _, err := c.Subject(t.Context(), nba.SubjectRef{ID: id}); err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("id %q: asked for %s, want %s", id, got, want)
		}
	}
}

func TestProblems(t *testing.T) {
	for _, c := range []struct {
		name, contentType, body string
		want                    Problem
	}{
		{"problem", "application/problem+json", `{"type":"t","title":"No","status":1,"detail":"d","instance":"i","code":"INVALID","errors":[{"pointer":"/a","code":"INVALID","detail":"x"}]}`,
			Problem{Type: "t", Title: "No", Status: 422, Detail: "d", Instance: "i", Code: nba.CodeInvalid, Errors: []nba.Detail{{Pointer: "/a", Code: nba.CodeInvalid, Detail: "x"}}}},
		{"with charset", "application/problem+json; charset=utf-8", `{"title":"No"}`, Problem{Title: "No", Status: 422, Instance: "header"}},
		{"html", "text/html", `<p>`, Problem{Title: "Unprocessable Entity", Status: 422, Instance: "header"}},
		{"torn", "application/problem+json", `{"title":"No"`, Problem{Title: "Unprocessable Entity", Status: 422, Instance: "header"}},
		{"empty", "application/problem+json", ``, Problem{Title: "Unprocessable Entity", Status: 422, Instance: "header"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := newTestClient(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", c.contentType)
				w.Header().Set("X-Request-Id", "header")
				w.WriteHeader(422)
				io.WriteString(w, c.body)
			})
			_, err := client.Attributes(t.Context())
			p, ok := errors.AsType[*Problem](err)
			if !ok {
				t.Fatalf("got %v", err)
			}
			if diff := cmp.Diff(*p, c.want); diff != "" {
				t.Errorf("problem (-got +want):\n%s", diff)
			}
		})
	}
}

func TestUnreachable(t *testing.T) {
	c, err := New("127.0.0.1:1", "test")
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Attributes(t.Context())
	u, ok := errors.AsType[*Unreachable](err)
	if !ok || u.Addr != "http://127.0.0.1:1" || strings.Contains(err.Error(), `Get "`) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Attributes(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want canceled", err)
	}
	if _, _, err := c.ImportSubjects(ctx, ImportRequest{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want canceled", err)
	}
}

func TestImportAnswers(t *testing.T) {
	for _, c := range []struct {
		name, body string
		summary    ImportSummary
		results    []ImportResult
		wants      string // of the error
	}{
		{"fine", "{\"line\":2,\"column\":\"c\",\"code\":\"INVALID\",\"reason\":\"r\"}\n\n{\"summary\":{\"read\":2,\"accepted\":1,\"rejected\":1}}\n",
			ImportSummary{Read: 2, Accepted: 1, Rejected: 1}, []ImportResult{{Line: 2, Column: "c", Code: nba.CodeInvalid, Reason: "r"}}, ""},
		{"cut off", "{\"line\":2,\"code\":\"INVALID\",\"reason\":\"r\"}\n", ImportSummary{}, nil, "the answer ended before its summary"},
		{"failed midway", "{\"problem\":{\"title\":\"No leader\",\"status\":503},\"summary\":{\"read\":2}}\n", ImportSummary{}, nil, "No leader"},
		{"no JSON", "<html>\n", ImportSummary{}, nil, "not one JSON object a line"},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := newTestClient(t, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				if string(body) != "id\n1\n" || r.Header.Get("Content-Type") != "text/csv" || r.ContentLength != 5 {
					t.Errorf("got %q as %s", body, r.Header.Get("Content-Type"))
				}
				io.WriteString(w, c.body)
			})
			summary, results, err := client.ImportSubjects(t.Context(), ImportRequest{ContentType: "text/csv", Header: []byte("id\n"), Data: []byte("1\n")})
			if (err == nil) != (c.wants == "") || err != nil && !strings.Contains(err.Error(), c.wants) {
				t.Fatalf("got %v, want %q", err, c.wants)
			}
			if diff := cmp.Diff(summary, c.summary); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(results, c.results); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestImportWithMappingIsAForm(t *testing.T) {
	client := newTestClient(t, func(w http.ResponseWriter, r *http.Request) {
		form, err := r.MultipartReader()
		if err != nil {
			t.Error(err)
			return
		}
		for _, want := range []struct{ name, media, body string }{{"mapping", "application/yaml", "m: 1"}, {"file", "text/csv", "id\n1\n"}} {
			part, err := form.NextPart()
			if err != nil {
				t.Error(err)
				return
			}
			body, _ := io.ReadAll(part)
			if part.FormName() != want.name || part.Header.Get("Content-Type") != want.media || string(body) != want.body {
				t.Errorf("part %s, %s: %q", part.FormName(), part.Header.Get("Content-Type"), body)
			}
		}
		if _, err := form.NextPart(); !errors.Is(err, io.EOF) {
			t.Errorf("after the last part: %v", err)
		}
		io.WriteString(w, `{"summary":{}}`)
	})
	if _, _, err := client.ImportSubjects(t.Context(), ImportRequest{ContentType: "text/csv", Mapping: []byte("m: 1"), Header: []byte("id\n"), Data: []byte("1\n")}); err != nil {
		t.Error(err)
	}
}

func TestTimeout(t *testing.T) {
	client := newTestClient(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	client.http.Timeout = 20 * time.Millisecond
	if _, err := client.Attributes(t.Context()); err == nil {
		t.Error("a silent server was waited for")
	} else if _, ok := errors.AsType[*Unreachable](err); !ok {
		t.Errorf("got %v, want unreachable", err)
	}
}
