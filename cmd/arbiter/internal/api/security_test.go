package api

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/telemetry"
)

// rawExchange sends raw bytes and returns all that comes back until the server closes the connection or
// is silent for a while.
func rawExchange(t *testing.T, addr, request string) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(500 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if netErr, ok := errors.AsType[net.Error](err); err != nil && (!ok || !netErr.Timeout()) {
		t.Fatalf("reading the answer: %v", err)
	}
	return string(answer)
}

// TestRequestSmuggling sends requests whose end two servers may see in two places. Each carries
// GET /openapi.yaml inside what the other reading takes for the body: it must never be answered.
func TestRequestSmuggling(t *testing.T) {
	addr := start(t, newMemCore(), nil)
	const smuggled = "GET /openapi.yaml HTTP/1.1\r\nHost: x\r\n\r\n"
	const head = "POST /v1/decisions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
	for _, c := range []struct{ name, request string }{
		{"newline in a chunk extension", head + "Transfer-Encoding: chunked\r\n\r\n2;\nxx\r\n{}\r\n0\r\n\r\n" + smuggled},
		{"bare newline ends a chunk size", head + "Transfer-Encoding: chunked\r\n\r\n2\n{}\r\n0\r\n\r\n" + smuggled},
		{"two content lengths", head + "Content-Length: 2\r\nContent-Length: " + fmt.Sprint(2+len(smuggled)) + "\r\n\r\n{}" + smuggled},
		{"list of content lengths", head + "Content-Length: 2, 2\r\n\r\n{}" + smuggled},
		{"signed content length", head + "Content-Length: +2\r\n\r\n{}" + smuggled},
		{"two transfer encodings", head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + smuggled},
		{"unknown transfer encoding", head + "Transfer-Encoding: xchunked\r\nContent-Length: 2\r\n\r\n{}" + smuggled},
		{"length and chunked", head + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled},
		{"chunked and length", head + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + smuggled},
		{"chunked and length in other case", head + "tRANSFER-eNCODING: chunked\r\ncONTENT-lENGTH: 5\r\n\r\n0\r\n\r\n" + smuggled},
		{"length and identity", head + "Content-Length: 2\r\nTransfer-Encoding: identity\r\n\r\n{}" + smuggled},
		{"transfer encoding in HTTP/1.0", strings.Replace(head, "HTTP/1.1", "HTTP/1.0", 1) + "Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled},
		{"space before the colon", head + "Content-Length : 2\r\n\r\n{}" + smuggled},
		{"folded header", head + "X: a\r\n Content-Length: 2\r\n\r\n{}" + smuggled},
		{"bare newlines between headers", strings.ReplaceAll(head, "\r\n", "\n") + "Content-Length: 2\n\n{}" + smuggled},
		{"no host", "POST /v1/decisions HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}" + smuggled},
		{"empty host list", "POST /v1/decisions HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 2\r\n\r\n{}" + smuggled},
		{"GET with length and chunked", "GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled},
	} {
		t.Run(c.name, func(t *testing.T) {
			answer := rawExchange(t, addr, c.request)
			if strings.Contains(answer, "openapi: 3.1") {
				t.Fatalf("the smuggled request was answered: %.600s", answer)
			}
			if !strings.HasPrefix(answer, "HTTP/1.1 400 ") || !strings.Contains(answer, `"code":"MALFORMED"`) {
				t.Errorf("got %.400q, want the problem 400", answer)
			}
			if strings.Count(answer, "HTTP/1.1 ") != 1 || !strings.Contains(answer, "Connection: close") {
				t.Errorf("the connection was not closed after the refusal: %.400q", answer)
			}
		})
	}
	// The same requests written in the one valid way are read to their end, so what follows is answered.
	for _, valid := range []string{
		head + "Content-Length: 2\r\n\r\n{}" + smuggled,
		head + "Transfer-Encoding: chunked\r\n\r\n2;ext=1\r\n{}\r\n0\r\n\r\n" + smuggled,
		"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: " + fmt.Sprint(len(smuggled)) + "\r\n\r\n" + smuggled + smuggled,
	} {
		if answer := rawExchange(t, addr, valid); strings.Count(answer, "HTTP/1.1 ") != 2 || !strings.Contains(answer, "openapi: 3.1") {
			t.Errorf("two valid requests were not answered twice: %.300q", answer)
		}
	}
}

func TestSlowHeaderIsCutOff(t *testing.T) {
	addr := start(t, newMemCore(), func(o *Options) { o.Timeouts.Read = 200 * time.Millisecond })
	for name, request := range map[string]string{
		"half a header": "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: a",
		"half a body":   "POST /v1/decisions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
	} {
		begin := time.Now()
		answer := rawExchangeUntilClose(t, addr, request)
		if !strings.HasPrefix(answer, "HTTP/1.1 408 ") || !strings.Contains(answer, `"code":"REQUEST_TIMEOUT"`) {
			t.Errorf("%s: got %.300q, want the problem 408", name, answer)
		}
		if took := time.Since(begin); took < 150*time.Millisecond || took > 3*time.Second {
			t.Errorf("%s: cut off after %v, want about 200ms", name, took)
		}
	}
}

// rawExchangeUntilClose waits for the server to close.
func rawExchangeUntilClose(t *testing.T, addr, request string) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Fatalf("the server did not close the connection: %v", err)
	}
	return string(answer)
}

func TestOversizeHeader(t *testing.T) {
	addr := start(t, newMemCore(), nil)
	if answer := rawExchange(t, addr, "GET /healthz HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+strings.Repeat("a", 12<<10)+"\r\n\r\n"); !strings.HasPrefix(answer, "HTTP/1.1 200 ") {
		t.Errorf("a token of 12 KiB: got %.200q, want 200", answer)
	}
	for name, request := range map[string]string{
		"header": "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Big: " + strings.Repeat("a", 20<<10) + "\r\n\r\n",
		"line":   "GET /healthz?" + strings.Repeat("a", 20<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		answer := rawExchange(t, addr, request)
		if !strings.HasPrefix(answer, "HTTP/1.1 431 ") || !strings.Contains(answer, `"code":"HEADERS_TOO_LARGE"`) {
			t.Errorf("%s: got %.300q, want the problem 431", name, answer)
		}
	}
}

// TestOversizeBody: the answer must reach a client that is still writing its body, so the server must
// not reset the connection.
func TestOversizeBody(t *testing.T) {
	addr := start(t, newMemCore(), nil)
	send := func(t *testing.T, head string, body int) string {
		t.Helper()
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, head); err != nil {
			t.Fatal(err)
		}
		chunk := bytes.Repeat([]byte(" "), 64<<10)
		for sent := 0; sent < body; sent += len(chunk) {
			if _, err := conn.Write(chunk); err != nil {
				t.Fatalf("the server cut the connection while the body was written: %v", err)
			}
		}
		answer, err := io.ReadAll(conn)
		if err != nil {
			t.Fatalf("the answer was lost: %v", err)
		}
		return string(answer)
	}
	const head = "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\n%s\r\n\r\n"
	const mib = 1 << 20
	for _, c := range []struct {
		name, path, media, extra string
		body                     int
		limit                    int
	}{
		{"decision", "/v1/decisions", contentTypeJSON, fmt.Sprintf("Content-Length: %d", 4*mib), 4 * mib, mib},
		{"catalog", "/v1/catalog/validate", contentTypeYAML, fmt.Sprintf("Content-Length: %d", 6*mib), 6 * mib, 4 * mib},
		{"plugin", "/v1/plugins?activate=true", contentTypeWASM, fmt.Sprintf("Content-Length: %d", 20*mib), 20 * mib, 16 * mib},
		{"import", "/v1/subjects/import", contentTypeCSV, fmt.Sprintf("Content-Length: %d", 40*mib), 40 * mib, 32 * mib},
	} {
		t.Run(c.name, func(t *testing.T) {
			answer := send(t, fmt.Sprintf(head, c.path, c.media, c.extra), c.body)
			if !strings.HasPrefix(answer, "HTTP/1.1 413 ") || !strings.Contains(answer, fmt.Sprintf("larger than %d bytes", c.limit)) {
				t.Errorf("got %.400q, want the problem 413 that names %d", answer, c.limit)
			}
		})
	}
	t.Run("chunked", func(t *testing.T) {
		chunk := fmt.Sprintf("%x\r\n%s\r\n", mib/2, strings.Repeat(" ", mib/2))
		answer := rawExchange(t, addr, fmt.Sprintf(head, "/v1/decisions", contentTypeJSON, "Transfer-Encoding: chunked")+strings.Repeat(chunk, 3))
		if !strings.HasPrefix(answer, "HTTP/1.1 413 ") {
			t.Errorf("got %.300q, want 413", answer)
		}
	})
	t.Run("expect", func(t *testing.T) {
		answer := rawExchange(t, addr, fmt.Sprintf(head, "/v1/decisions", contentTypeJSON, "Expect: 100-continue\r\nContent-Length: 2000000"))
		if !strings.HasPrefix(answer, "HTTP/1.1 413 ") || strings.Contains(answer, "100 Continue") || !strings.Contains(answer, `"TOO_LARGE"`) {
			t.Errorf("got %.300q, want the problem 413 before the body", answer)
		}
	})
}

func TestUploadsBeyondTheCommonLimit(t *testing.T) {
	addr := start(t, newMemCore(), nil)
	for path, c := range map[string]struct {
		media string
		size  int
		want  int
	}{
		"/v1/plugins":          {contentTypeWASM, 15 << 20, http.StatusCreated},
		"/v1/catalog/validate": {contentTypeYAML, 3 << 20, http.StatusOK},
		"/v1/subjects/import":  {contentTypeCSV, 30 << 20, http.StatusOK},
	} {
		body := append([]byte("\x00asm"), bytes.Repeat([]byte{' '}, c.size)...)
		if path == "/v1/subjects/import" {
			body = append([]byte("id\n"), bytes.Repeat([]byte{'\n'}, c.size)...)
		}
		response, err := http.Post("http://"+addr+path, c.media, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if response.StatusCode != c.want {
			t.Errorf("%s with %d bytes: status %d, want %d: %s", path, c.size, response.StatusCode, c.want, text)
		}
	}
}

// TestUploadsAreBounded: fasthttp holds each body in memory, so only so many large ones may arrive at
// once, and a place is given back however the request ends.
func TestUploadsAreBounded(t *testing.T) {
	options := DefaultOptions()
	options.Limits.Uploads, options.Timeouts.UploadRead = 2, 5*time.Second
	s := New(newMemCore(), options)
	addr := serveUntilEnd(t, s)
	const size = 2 << 20
	head := fmt.Sprintf("POST /v1/plugins HTTP/1.1\r\nHost: x\r\nContent-Type: application/wasm\r\nContent-Length: %d\r\n", size)
	begin := func() net.Conn {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, head+"\r\n"); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	finish := func(conn net.Conn) string {
		defer conn.Close()
		if _, err := conn.Write(append([]byte("\x00asm"), make([]byte, size-4)...)); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		return line
	}
	for round := range 3 { // the places are given back each time
		first, second := begin(), begin()
		time.Sleep(100 * time.Millisecond)
		for _, extra := range []string{"\r\n" + strings.Repeat("x", 4096), "Expect: 100-continue\r\n\r\n"} {
			answer := rawExchange(t, addr, head+extra)
			if !strings.HasPrefix(answer, "HTTP/1.1 429 ") || !strings.Contains(answer, `"OVERLOADED"`) || !strings.Contains(answer, "Retry-After: 1") {
				t.Errorf("round %d: a third upload got %.300q, want the problem 429", round, answer)
			}
		}
		if answer := rawExchange(t, addr, "POST /v1/plugins HTTP/1.1\r\nHost: x\r\nContent-Type: application/wasm\r\nContent-Length: 4\r\n\r\n\x00asm"); !strings.HasPrefix(answer, "HTTP/1.1 201 ") {
			t.Errorf("round %d: a small upload got %.200q, want 201: it needs no place", round, answer)
		}
		if line := finish(first); !strings.HasPrefix(line, "HTTP/1.1 201 ") {
			t.Errorf("round %d: the first upload got %q", round, line)
		}
		second.Close() // in the middle of its body
		time.Sleep(100 * time.Millisecond)
		if n := s.uploads.taken.Load(); n != 0 {
			t.Errorf("round %d: %d places were not given back", round, n)
		}
	}
}

// keeper is a core that keeps every string it is given.
type keeper struct {
	*memCore

	mu   sync.Mutex
	kept []string
	want []string
}

func (k *keeper) keep(strings ...string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, s := range strings {
		k.kept = append(k.kept, s)
		k.want = append(k.want, string([]byte(s)))
	}
}

func (k *keeper) Subject(ctx context.Context, ref nba.SubjectRef, read *nba.Read) (nba.SubjectDocument, error) {
	k.keep(ref.ID, string(ref.Type))
	return k.memCore.Subject(ctx, ref, read)
}

func (k *keeper) History(ctx context.Context, ref nba.SubjectRef, read *nba.Read, limit int, cursor string) ([]nba.Interaction, string, error) {
	k.keep(ref.ID, cursor)
	return k.memCore.History(ctx, ref, read, limit, cursor)
}

func (k *keeper) PutSubject(ctx context.Context, doc nba.SubjectDocument, ifVersion *uint64) (uint64, bool, error) {
	k.keep(doc.ID)
	for name, value := range doc.Attributes {
		k.keep(name, value.(string))
	}
	return k.memCore.PutSubject(ctx, doc, ifVersion)
}

func (k *keeper) ValidateCatalog(_ context.Context, doc []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.want = append(k.want, string(doc))
	k.kept = append(k.kept, unsafe.String(unsafe.SliceData(doc), len(doc)))
	return nil
}

func (k *keeper) Plugin(ctx context.Context, name, version string) (nba.PluginVersion, error) {
	k.keep(name, version)
	return k.memCore.Plugin(ctx, name, version)
}

// TestStringsOutliveTheirRequest: with Fiber's defaults, an id that a handler keeps turns into that of
// a later request on the same connection.
func TestStringsOutliveTheirRequest(t *testing.T) {
	k := &keeper{memCore: newMemCore()}
	k.memCore.dict, _, _ = k.memCore.dict.Declare([]nba.AttributeDeclaration{{Name: "plan", Type: nba.KindString}})
	k.memCore.decide = func(_ context.Context, req *nba.DecisionRequest, out *nba.Decision) error {
		k.keep(req.Subject.ID, req.Channel, req.Placements[0].ID, req.Contexts[0].Key, req.Contexts[0].Value, req.ExcludedActions[0], req.DecisionRequestID)
		*out = sampleDecision("01KAN3Z1X2QK8Z0T5N4B7C9D0E", req)
		return nil
	}
	addr := start(t, k, nil)
	const clients, rounds = 8, 40
	var group sync.WaitGroup
	for client := range clients {
		group.Go(func() {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			reader := bufio.NewReader(conn)
			for round := range rounds {
				mark := fmt.Sprintf("%c%02d-%03d", 'a'+client, client, round) + strings.Repeat("z", round%7)
				for _, request := range keeperRequests(mark) {
					if _, err := io.WriteString(conn, request); err != nil {
						t.Error(err)
						return
					}
					response, err := http.ReadResponse(reader, nil)
					if err != nil {
						t.Error(err)
						return
					}
					_, _ = io.Copy(io.Discard, response.Body)
				}
			}
		})
	}
	group.Wait()
	k.mu.Lock()
	defer k.mu.Unlock()
	if want := clients * rounds * (7 + 2 + 2 + 3 + 1 + 2); len(k.kept) != want {
		t.Fatalf("%d strings were kept, want %d: a request failed", len(k.kept), want)
	}
	if !slices.Equal(k.kept, k.want) {
		for i := range k.kept {
			if k.kept[i] != k.want[i] {
				t.Fatalf("a string that was %q became %q", k.want[i], k.kept[i])
			}
		}
	}
}

func keeperRequests(mark string) []string {
	get := func(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n" }
	send := func(method, path, media, body string) string {
		return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", method, path, media, len(body), body)
	}
	return []string{
		send("POST", "/v1/decisions", contentTypeJSON, fmt.Sprintf(
			`{"subject":{"id":%q},"channel":%q,"placements":[{"id":%q}],"contexts":[{"key":%q,"value":%q}],"excludedActions":[%q],"decisionRequestId":"\u0041%s"}`,
			"s"+mark, "c"+mark, "p"+mark, "k"+mark, "v"+mark, "x"+mark, mark)),
		get("/v1/subjects/" + mark + "?type=account"),
		get("/v1/subjects/" + mark + "/history?cursor=c" + mark),
		send("PUT", "/v1/subjects/"+mark, contentTypeJSON, fmt.Sprintf(`{"attributes":{"plan":%q}}`, mark)),
		send("POST", "/v1/catalog/validate", contentTypeYAML, "name: "+mark),
		get("/v1/plugins/" + mark + "/versions/v" + mark),
	}
}

func TestPanicBecomesAProblem(t *testing.T) {
	core := newMemCore()
	core.decide = func(context.Context, *nba.DecisionRequest, *nba.Decision) error { panic("secret 447700900123") }
	var log lockedBuffer
	addr := start(t, core, func(o *Options) { o.Logger = telemetry.NewLogger(&log, slog.LevelInfo, telemetry.FormatText) })
	const body = `{"subject":{"id":"S-1"},"channel":"web"}`
	for range 3 {
		response, err := http.Post("http://"+addr+"/v1/decisions", contentTypeJSON, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if response.StatusCode != http.StatusInternalServerError || !bytes.Contains(text, []byte(`"code":"INTERNAL"`)) || bytes.Contains(text, []byte("secret")) {
			t.Errorf("status %d: %s, want a problem 500 without the panic", response.StatusCode, text)
		}
		if id := response.Header.Get(headerRequestID); strings.Count(log.String(), id) != 1 {
			t.Errorf("the panic of request %s is not in the log once: %s", id, log.String())
		}
	}
}

func TestInternalErrorIsLoggedOnceAndNotShown(t *testing.T) {
	core := newMemCore()
	core.fail = fmt.Errorf("opening /var/lib/arbiter: %w", io.ErrUnexpectedEOF)
	var log lockedBuffer
	addr := start(t, core, func(o *Options) { o.Logger = telemetry.NewLogger(&log, slog.LevelInfo, telemetry.FormatText) })
	response, err := http.Get("http://" + addr + "/v1/subjects/S-000123")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(response.Body)
	if response.StatusCode != http.StatusInternalServerError || bytes.Contains(text, []byte("/var/lib")) || bytes.Contains(text, []byte("EOF")) {
		t.Errorf("status %d: %s, want a problem 500 without the cause", response.StatusCode, text)
	}
	if got := log.String(); strings.Count(got, "/var/lib/arbiter") != 1 || !strings.Contains(got, response.Header.Get(headerRequestID)) || strings.Contains(got, "S-000123") {
		t.Errorf("the log is %q, want the cause once, with the request's id and without the subject's", got)
	}
}

// lockedBuffer is a log's writer that a test reads meanwhile.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
