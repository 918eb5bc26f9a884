package api

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

func TestShutdownFinishesWhatIsUnderWay(t *testing.T) {
	core := newMemCore()
	entered := make(chan struct{})
	core.decide = func(_ context.Context, req *nba.DecisionRequest, out *nba.Decision) error {
		close(entered)
		time.Sleep(200 * time.Millisecond)
		*out = sampleDecision("01KAN3Z1X2QK8Z0T5N4B7C9D0E", req)
		return nil
	}
	s := New(core, DefaultOptions())
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	answered := make(chan *http.Response, 1)
	go func() {
		response, err := http.Post("http://"+ln.Addr().String()+"/v1/decisions", contentTypeJSON, strings.NewReader(`{"subject":{"id":"S-1"},"channel":"web"}`))
		if err != nil {
			t.Error(err)
		}
		answered <- response
	}()
	<-entered
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if response := <-answered; response == nil || response.StatusCode != http.StatusOK || !response.Close {
		t.Errorf("the request under way was answered with %+v, want 200 and Connection: close", response)
	}
	if err := <-served; err != nil {
		t.Errorf("Serve returned %v", err)
	}
	if _, err := net.Dial("tcp", ln.Addr().String()); err == nil {
		t.Error("the port still accepts after Shutdown")
	}
}

// TestShutdownCutsOffWhenItsTimeIsOver: a stuck handler and a silent connection must not hold up the
// process.
func TestShutdownCutsOffWhenItsTimeIsOver(t *testing.T) {
	core := newMemCore()
	entered, released := make(chan struct{}), make(chan struct{})
	core.decide = func(ctx context.Context, _ *nba.DecisionRequest, _ *nba.Decision) error {
		close(entered)
		<-ctx.Done() // ends with the server, long before its own deadline
		close(released)
		return ctx.Err()
	}
	s := New(core, DefaultOptions())
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	silent, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	go func() {
		response, err := http.Post("http://"+ln.Addr().String()+"/v1/decisions", contentTypeJSON,
			strings.NewReader(`{"subject":{"id":"S-1"},"channel":"web","options":{"timeoutMs":20000}}`))
		if err == nil {
			response.Body.Close()
		}
	}()
	<-entered
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown returned %v, want the deadline", err)
	}
	select {
	case <-released:
	case <-time.After(5 * time.Second):
		t.Error("the stuck handler was not told")
	}
	if err := <-served; err != nil {
		t.Errorf("Serve returned %v", err)
	}
	if err := silent.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := silent.Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the silent connection is still open: %v", err)
	}
}

func TestServeAfterShutdown(t *testing.T) {
	s := New(newMemCore(), DefaultOptions())
	if err := s.Shutdown(context.Background()); err != nil {
		t.Errorf("Shutdown before Serve: %v", err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(ln); err != nil {
		t.Errorf("Serve after Shutdown: %v", err)
	}
}
