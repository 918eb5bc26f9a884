package delivery

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/runtime/delivery"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/sdk/realdata"
)

func testPayload(t testing.TB) []byte {
	t.Helper()
	expires := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	b, err := json.Marshal(nba.DeliveryMessage{
		Type: nba.DeliveryMessageType, DeliveryID: "01D", Subject: nba.SubjectRef{ID: "S-1", Type: nba.Subscriber}, Channel: "sms", Action: "roaming-2gb",
		Treatment: "text", Content: map[string]string{"text": "2 GB in the USA"}, Offering: &nba.Offering{ID: "po-1"}, ResponseToken: "token",
		DecisionID: "01E", ExpiresAt: &expires, Cause: nba.DeliveryCause{Origin: "strategy:roaming"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func openSink(t testing.TB, s Spec) Sink {
	t.Helper()
	sink, err := Open(s.Default(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sink.Close() })
	return sink
}

// TestWebhookIsSigned: the receiver gets the bytes of the delivery and can check who sent them, as Standard
// Webhooks has it, with each of the keys.
func TestWebhookIsSigned(t *testing.T) {
	var got *http.Request
	var body []byte
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		w.WriteHeader(http.StatusNoContent)
	}))
	defer receiver.Close()
	raw := []byte("0123456789abcdef0123456789abcdef")
	secret := "another-secret-of-old\n" + secretPrefix + base64.StdEncoding.EncodeToString(raw) + "\n"
	sink := openSink(t, Spec{Name: "gateway", Kind: KindWebhook, URL: receiver.URL, Secret: secret})
	payload := testPayload(t)
	if r := sink.Send(t.Context(), []Delivery{{ID: "01D", Payload: payload}}); r[0].Outcome != delivery.Sent {
		t.Fatalf("%+v", r)
	}
	if got.Header.Get(headerID) != "01D" || !bytes.Equal(body, payload) {
		t.Errorf("id %q, body %s", got.Header.Get(headerID), body)
	}
	seconds, err := time.ParseDuration(got.Header.Get(headerTimestamp) + "s")
	if err != nil {
		t.Fatal(err)
	}
	signatures := strings.Split(got.Header.Get(headerSignature), " ")
	want := Sign([][]byte{raw}, "01D", time.Unix(int64(seconds.Seconds()), 0), payload)
	if len(signatures) != 2 || signatures[1] != want {
		t.Errorf("signatures %q, want %q as the second", signatures, want)
	}
}

// TestSignatureOfTheStandard is the example of the specification's libraries.
func TestSignatureOfTheStandard(t *testing.T) {
	keys, err := signingKeys("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	got := Sign(keys, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestAnswers: what a receiver answers decides whether it is tried again; nothing of the message or of the
// answer's body is in the problem.
func TestAnswers(t *testing.T) {
	hits := 0
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hits++
		_, _ = io.Copy(io.Discard, r.Body) // or it would not be seen that the sender is gone
		switch r.URL.Path {
		case "/moved":
			http.Redirect(w, r, "/ok", http.StatusTemporaryRedirect)
		case "/busy":
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusServiceUnavailable)
		case "/bad":
			w.WriteHeader(http.StatusUnprocessableEntity)
			_, _ = w.Write([]byte("S-1 is unknown"))
		case "/endless":
			for range 1000 {
				if _, err := w.Write(bytes.Repeat([]byte("x"), 1<<16)); err != nil {
					return
				}
			}
		case "/slow":
			<-r.Context().Done()
		}
	}))
	defer receiver.Close()
	for path, want := range map[string]Result{
		"/ok":      {Outcome: delivery.Sent},
		"/moved":   {Outcome: delivery.Failed, Problem: "the receiver answered with status 307: redirects are not followed"},
		"/busy":    {Outcome: delivery.Failed, After: 7 * time.Second, Problem: "the receiver answered with status 503"},
		"/bad":     {Outcome: delivery.Refused, Problem: "the receiver answered with status 422"},
		"/endless": {Outcome: delivery.Sent},
		"/slow":    {Outcome: delivery.Failed, Problem: "the receiver did not answer in time"},
	} {
		before := hits
		sink := openSink(t, Spec{Name: "gateway", Kind: KindWebhook, URL: receiver.URL + path, Timeout: 200 * time.Millisecond})
		if got := sink.Send(t.Context(), []Delivery{{ID: "01D", Payload: testPayload(t)}}); got[0] != want || hits != before+1 {
			t.Errorf("%s: got %+v after %d requests, want %+v", path, got[0], hits-before, want)
		}
	}
	gone := openSink(t, Spec{Name: "gateway", Kind: KindWebhook, URL: "http://127.0.0.1:1/x"})
	if got := gone.Send(t.Context(), []Delivery{{ID: "01D"}}); got[0].Problem != "the receiver cannot be reached" {
		t.Errorf("%+v", got[0])
	}
}

// TestTMF681 checks the message against the definition of the TM Forum.
func TestTMF681(t *testing.T) {
	body, err := communication(testPayload(t))
	if err != nil {
		t.Fatal(err)
	}
	var message map[string]any
	if err := json.Unmarshal(body, &message); err != nil {
		t.Fatal(err)
	}
	if message["content"] != "2 GB in the USA" || message["messageType"] != "sms" {
		t.Errorf("%s", body)
	}
	var definitions struct {
		Definitions map[string]struct {
			Required   []string                  `json:"required"`
			Properties map[string]map[string]any `json:"properties"`
		} `json:"definitions"`
	}
	swagger, err := os.ReadFile(realdata.Path(t, "tmforum/TMF681_Communication_Management_API_v4.0.0_swagger.json"))
	if err == nil {
		err = json.Unmarshal(swagger, &definitions)
	}
	if err != nil {
		t.Fatal(err)
	}
	check := func(name string, value map[string]any) {
		t.Helper()
		of := definitions.Definitions[name]
		for _, field := range of.Required {
			if value[field] == nil {
				t.Errorf("%s: %s is missing", name, field)
			}
		}
		for field := range value {
			if of.Properties[field] == nil {
				t.Errorf("%s has no field %s", name, field)
			}
		}
	}
	check("CommunicationMessage_Create", message)
	check("Sender", message["sender"].(map[string]any))
	check("Receiver", message["receiver"].([]any)[0].(map[string]any))
	for _, c := range message["characteristic"].([]any) {
		check("Characteristic", c.(map[string]any))
	}
}

func TestTMF681IsSent(t *testing.T) {
	var got http.Header
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header
		w.WriteHeader(http.StatusCreated)
	}))
	defer receiver.Close()
	sink := openSink(t, Spec{Name: "bss", Kind: KindTMF681, URL: receiver.URL, Secret: "a-token"})
	r := sink.Send(t.Context(), []Delivery{{ID: "01D", Payload: testPayload(t)}, {ID: "02D", Payload: []byte("x")}})
	if r[0].Outcome != delivery.Sent || r[1].Outcome != delivery.Refused || got.Get("Authorization") != "Bearer a-token" || got.Get("Idempotency-Key") != "01D" {
		t.Errorf("%+v %v", r, got)
	}
}

func TestSpecs(t *testing.T) {
	for name, s := range map[string]Spec{
		"no name": {Kind: KindLog}, "kind": {Name: "a", Kind: "fax"}, "url": {Name: "a", Kind: KindWebhook, URL: "ftp://x"},
		"password in the url": {Name: "a", Kind: KindWebhook, URL: "https://u:hunter2@x"}, "secret": {Name: "a", Kind: KindWebhook, URL: "https://x", Secret: "hunter2"},
		"timeout": {Name: "a", Kind: KindLog, Timeout: time.Hour}, "concurrency": {Name: "a", Kind: KindLog, Concurrency: 1000},
		"topic": {Name: "a", Kind: KindKafka}, "breaker": {Name: "a", Kind: KindLog, BreakAfter: -1},
	} {
		err := s.Default().Validate()
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
	var log bytes.Buffer
	sink, err := Open(Spec{Name: LogSink, Kind: KindLog}.Default(), slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	sink.Send(context.Background(), []Delivery{{ID: "01D", Channel: "sms", Payload: testPayload(t)}})
	if text := log.String(); !strings.Contains(text, "01D") || strings.Contains(text, "S-1") {
		t.Errorf("logged: %s", text)
	}
}
