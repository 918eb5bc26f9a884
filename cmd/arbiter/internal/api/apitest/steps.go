package apitest

import (
	"bytes"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func (s *suite) operation(t *testing.T) {
	s.do(t, call{op: "health", want: 200})
	s.do(t, call{op: "ready", want: 200})
	s.do(t, call{op: "getCluster", want: 200})
	s.do(t, call{op: "listStreams", want: 200})
	_, body := s.do(t, call{op: "getOpenAPI", want: 200})
	if !bytes.Equal(body, s.document) {
		t.Error("/openapi.yaml is not the document the suite was given")
	}
	header, _ := s.do(t, call{op: "health", want: 200, headers: map[string]string{"X-Request-Id": "contract-1"}})
	if got := header.Get("X-Request-Id"); got != "contract-1" {
		t.Errorf("X-Request-Id is %q, want the caller's own", got)
	}
	if status, err := s.request(t, http.MethodHead, "/healthz"); status != http.StatusOK || err != nil {
		t.Errorf("HEAD /healthz: status %d, %v", status, err)
	}
	header, _ = s.do(t, call{op: "health", want: 200, headers: map[string]string{"X-Request-Id": "a b"}})
	if got := header.Get("X-Request-Id"); got == "a b" {
		t.Error("an X-Request-Id that is unfit for a log line was taken")
	}
}

func (s *suite) attributes(t *testing.T) {
	const own = `{"attributes":[{"name":"contractTenure","type":"int"},{"name":"contractPlan","type":"string","purposes":["service"]},{"name":"contractSince","type":"time"},{"name":"contractLoyal","type":"bool"},{"name":"contractCharges","type":"float"}]}`
	s.do(t, call{op: "getAttributes", want: 200})
	if s.fixture.Attributes != nil {
		s.do(t, call{op: "declareAttributes", media: jsonMedia, body: string(s.fixture.Attributes), want: 200})
	}
	s.do(t, call{op: "declareAttributes", media: jsonMedia, body: own, want: 200})
	_, first := s.do(t, call{op: "getAttributes", want: 200})
	_, second := s.do(t, call{op: "declareAttributes", media: jsonMedia, body: own, want: 200})
	if !bytes.Equal(first, second) {
		t.Error("declaring the same attributes again changed the dictionary")
	}
	for _, c := range []call{
		{body: `{"attributes":[{"name":"contractTenure","type":"string"}]}`, want: 409, code: "CONFLICT"},
		{body: `{"attributes":[{"name":"9` + canary + `","type":"int"}]}`, invalid: true, want: 422, code: "INVALID"},
		{body: `{"attributes":[{"name":"a","type":"` + canary + `"}]}`, invalid: true, want: 422, code: "INVALID"},
		{body: `{"attributes":[{"name":"a","type":"int","purposes":["` + canary + `"]}]}`, invalid: true, want: 422, code: "INVALID"},
		{body: `{}`, invalid: true, want: 422, code: "INVALID"},
		{body: `{"attributes":[`, invalid: true, want: 400, code: "MALFORMED"},
		{body: ``, invalid: true, want: 400, code: "MALFORMED"},
		{body: own, media: "text/plain", invalid: true, want: 415, code: "UNSUPPORTED_MEDIA"},
		{body: own + strings.Repeat(" ", 1<<20), invalid: true, want: 413, code: "TOO_LARGE"},
	} {
		c.op = "declareAttributes"
		if c.media == "" {
			c.media = jsonMedia
		}
		s.do(t, c)
	}
}

func (s *suite) plugins(t *testing.T) {
	const media = "application/wasm"
	s.do(t, call{op: "listPlugins", want: 200})
	s.do(t, call{op: "pushPlugin", media: media, body: "garbage", want: 422, code: "PLUGIN_REFUSED"})
	s.do(t, call{op: "pushPlugin", media: jsonMedia, body: "{}", invalid: true, want: 415})
	s.do(t, call{op: "pushPlugin", path: "/v1/plugins?activate=" + canary, media: media, body: "garbage", want: 422, code: "INVALID"})
	s.do(t, call{op: "pushPlugin", path: "/v1/plugins?x=1", media: media, body: "garbage", want: 422, code: "INVALID"})
	header, body := s.do(t, call{op: "pushPlugin", path: "/v1/plugins?activate=false", media: media, body: string(s.fixture.Plugin), want: 201})
	var pushed struct{ Name, Version, Digest string }
	s.decode(t, body, &pushed)
	location := header.Get("Location")
	_, body = s.do(t, call{op: "getPlugin", path: location, want: 200})
	got := pushed
	s.decode(t, body, &got)
	if got != pushed {
		t.Errorf("the plugin at Location is %v, want %v", got, pushed)
	}
	s.do(t, call{op: "listPlugins", want: 200})
	s.do(t, call{op: "activatePlugin", path: location + "/activate", want: 200})
	features := `{"features":[{"name":"contacts","recipe":{"history":{"aggregate":"contacts"}}}],"rows":[{"subject":{"id":"contract-none"}}]}`
	s.do(t, call{op: "makeFeatures", media: jsonMedia, body: features, want: 200})
	s.do(t, call{op: "makeFeatures", media: jsonMedia, body: `{"rows":[]}`, want: 422, code: "INVALID"})
	s.do(t, call{op: "makeFeatures", media: jsonMedia, body: `{"rows":7}`, invalid: true, want: 422, code: "INVALID"})
	s.do(t, call{op: "makeFeatures", media: jsonMedia, body: `{`, invalid: true, want: 400, code: "MALFORMED"})
	s.do(t, call{op: "makeFeatures", media: media, body: features, invalid: true, want: 415})
	s.do(t, call{op: "getPlugin", path: "/v1/plugins/contract-none/versions/1.0.0", want: 404, code: "PLUGIN_UNKNOWN"})
	s.do(t, call{op: "activatePlugin", path: "/v1/plugins/contract-none/versions/1.0.0/activate", want: 404, code: "PLUGIN_UNKNOWN"})
}

func (s *suite) catalog(t *testing.T) {
	const media = "application/yaml"
	document := string(s.fixture.Catalog)
	s.do(t, call{op: "validateCatalog", media: media, body: document, want: 200})
	_, body := s.do(t, call{op: "validateCatalog", media: media, body: string(s.fixture.BadCatalog), want: 422, code: "CATALOG_INVALID"})
	var problem struct{ Errors []struct{ Line int } }
	s.decode(t, body, &problem)
	if len(problem.Errors) == 0 || problem.Errors[0].Line == 0 {
		t.Errorf("a mistake in a catalog has no line: %s", body)
	}
	s.do(t, call{op: "validateCatalog", media: jsonMedia, body: "{}", invalid: true, want: 415})

	etag := s.firstCatalog(t, document)
	s.do(t, call{op: "putCatalog", media: media, body: document, want: 428, code: "PRECONDITION_REQUIRED"})
	s.do(t, call{op: "putCatalog", media: media, body: document, headers: map[string]string{"If-Match": `"v999999999"`}, want: 412, code: "PRECONDITION_FAILED"})
	s.do(t, call{op: "putCatalog", media: media, body: document, headers: map[string]string{"If-None-Match": "*"}, want: 412, code: "PRECONDITION_FAILED"})
	s.do(t, call{op: "putCatalog", media: media, body: document, headers: map[string]string{"If-Match": "v1"}, want: 422, code: "INVALID"})
	s.do(t, call{op: "putCatalog", media: media, body: string(s.fixture.BadCatalog), headers: map[string]string{"If-Match": etag}, want: 422, code: "CATALOG_INVALID"})
	s.do(t, call{op: "putCatalog", media: media, body: document + "# again\n", headers: map[string]string{"If-Match": etag}, want: 201})
	header, _ := s.do(t, call{op: "putCatalog", media: media, body: document, headers: map[string]string{"If-Match": "*"}, want: 201})
	location := header.Get("Location")

	header, body = s.do(t, call{op: "getCatalog", want: 200})
	if string(body) != document {
		t.Error("the catalog that was read is not the one that was put")
	}
	s.do(t, call{op: "getCatalog", headers: map[string]string{"If-None-Match": header.Get("ETag")}, want: 304})
	s.do(t, call{op: "listCatalogVersions", want: 200})
	s.do(t, call{op: "getCatalogVersion", path: location, want: 200})
	s.do(t, call{op: "activateCatalog", path: location + "/activate?note=spring%20offers", want: 200})
	s.do(t, call{op: "listCatalogActivations", want: 200})
	header, body = s.do(t, call{op: "getCatalogVersion", path: "/v1/catalog/versions/active", want: 200})
	if string(body) != document {
		t.Error("the active catalog is not the one that was activated")
	}
	s.do(t, call{op: "getCatalogVersion", path: location, headers: map[string]string{"If-None-Match": header.Get("ETag")}, want: 304})
	s.do(t, call{op: "getCatalogVersion", path: "/v1/catalog/versions/999999999", want: 404, code: "CATALOG_UNKNOWN"})
	s.do(t, call{op: "getCatalogVersion", path: "/v1/catalog/versions/" + canary + "x", want: 404, code: "CATALOG_UNKNOWN"})
	s.do(t, call{op: "activateCatalog", path: "/v1/catalog/versions/999999999/activate", want: 404, code: "CATALOG_UNKNOWN"})
}

// firstCatalog puts document, with a precondition if the server holds one already.
func (s *suite) firstCatalog(t *testing.T, document string) (etag string) {
	t.Helper()
	headers := map[string]string{}
	response, err := s.client.Get(s.baseURL + "/v1/catalog")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode == http.StatusOK {
		headers["If-Match"] = response.Header.Get("ETag")
	} else {
		s.do(t, call{op: "getCatalog", want: 404, code: "CATALOG_UNKNOWN"})
	}
	header, _ := s.do(t, call{op: "putCatalog", media: "application/yaml", body: document + "# first\n", headers: headers, want: 201})
	return header.Get("ETag")
}

func (s *suite) subjects(t *testing.T) {
	path := "/v1/subjects/" + subjectPath
	_, _ = s.request(t, http.MethodDelete, path) // of an earlier run
	put := func(body string, headers map[string]string, want int, code string) http.Header {
		t.Helper()
		header, _ := s.do(t, call{op: "putSubject", path: path, media: jsonMedia, body: body, headers: headers, want: want, code: code, invalid: want == 400 || want == 422})
		return header
	}
	const attributes = `{"attributes":{"contractTenure":12,"contractPlan":"gold","contractSince":"2024-02-29T12:00:00Z","contractLoyal":true,"contractCharges":70.5},"consents":{"marketing":true,"profiling":false}}`
	s.do(t, call{op: "getSubject", path: path, want: 404, code: "SUBJECT_UNKNOWN"})
	put(attributes, map[string]string{"If-Match": "*"}, 412, "PRECONDITION_FAILED")
	first := put(attributes, map[string]string{"If-None-Match": "*"}, 201, "")
	header, body := s.do(t, call{op: "getSubject", path: first.Get("Location"), want: 200})
	var read struct {
		ID         string
		Attributes map[string]any
		Consents   map[string]bool
	}
	s.decode(t, body, &read)
	if read.ID != subjectID || read.Attributes["contractTenure"] != 12.0 || read.Attributes["contractPlan"] != "gold" ||
		read.Attributes["contractLoyal"] != true || read.Attributes["contractCharges"] != 70.5 || !read.Consents["marketing"] || read.Consents["profiling"] {
		t.Errorf("the subject that was read is not the one that was put: %s", body)
	}
	s.do(t, call{op: "getSubject", path: path, headers: map[string]string{"If-None-Match": header.Get("ETag")}, want: 304})
	put(attributes, map[string]string{"If-None-Match": "*"}, 412, "PRECONDITION_FAILED")
	put(string(body), map[string]string{"If-Match": first.Get("ETag")}, 200, "") // what was read can be put
	put(attributes, map[string]string{"If-Match": first.Get("ETag")}, 412, "PRECONDITION_FAILED")
	put(attributes, map[string]string{"If-Match": "*"}, 200, "")
	put(attributes, nil, 200, "")
	put(`{"attributes":{"contractTenure":"`+canary+`"}}`, nil, 422, "")
	put(`{"attributes":{"contractUnknown":1}}`, nil, 422, "ATTRIBUTE_UNKNOWN")
	put(`{"attributes":{},"consents":{"contractUnknown":true}}`, nil, 422, "")
	put(`{"attributes":{"contractTenure":null}}`, nil, 422, "INVALID")
	put(`{"attributes":{"contractTenure":1,"contractTenure":2}}`, nil, 422, "INVALID")
	put(`{"attributes":{"contractTenure":[1]}}`, nil, 422, "INVALID")
	put(`{"id":"other","attributes":{}}`, nil, 422, "INVALID")
	put(`{}`, nil, 422, "INVALID")
	put(`{"attributes":{}} x`, nil, 400, "MALFORMED")
	s.do(t, call{op: "putSubject", path: path + "?type=account", media: jsonMedia, body: `{"attributes":{}}`, want: 201})
	s.do(t, call{op: "getSubject", path: path + "?type=account", want: 200})
	s.do(t, call{op: "getSubject", path: path + "?type=" + canary, want: 422, code: "INVALID"})
	s.patches(t, path)
}

func (s *suite) patches(t *testing.T, path string) {
	const merge = "application/merge-patch+json"
	header, body := s.do(t, call{op: "patchSubject", path: path, media: merge, body: `{"attributes":{"contractTenure":13,"contractPlan":null},"consents":{"profiling":null}}`, want: 200})
	var doc struct {
		Attributes map[string]any
		Consents   map[string]bool
	}
	s.decode(t, body, &doc)
	_, hasPlan := doc.Attributes["contractPlan"]
	_, hasProfiling := doc.Consents["profiling"]
	if doc.Attributes["contractTenure"] != 13.0 || hasPlan || hasProfiling || doc.Attributes["contractLoyal"] != true || !doc.Consents["marketing"] {
		t.Errorf("the patched subject is %s", body)
	}
	ifMatch := map[string]string{"If-Match": header.Get("ETag")}
	s.do(t, call{op: "patchSubject", path: path, media: jsonMedia, body: `{"consents":{"profiling":true}}`, headers: ifMatch, want: 200})
	s.do(t, call{op: "patchSubject", path: path, media: jsonMedia, body: `{}`, headers: ifMatch, want: 412, code: "PRECONDITION_FAILED"})
	s.do(t, call{op: "patchSubject", path: path, media: merge, body: `{"attributes":{"contractUnknown":1}}`, want: 422, code: "ATTRIBUTE_UNKNOWN"})
	s.do(t, call{op: "patchSubject", path: path, media: merge, body: `{"attributes":`, invalid: true, want: 400})
	s.do(t, call{op: "patchSubject", path: path, media: "text/plain", body: `{}`, invalid: true, want: 415})
	s.do(t, call{op: "patchSubject", path: "/v1/subjects/contract-none", media: merge, body: `{}`, want: 404, code: "SUBJECT_UNKNOWN"})
}

func (s *suite) imports(t *testing.T) {
	type line struct {
		Line    int
		Column  string
		Code    string
		Summary *struct{ Read, Accepted, Rejected int }
		Problem *struct{ Code string }
	}
	send := func(c call) (lines []line) {
		t.Helper()
		c.op, c.want = "importSubjects", 200
		_, body := s.do(t, c)
		for _, text := range bytes.Split(bytes.TrimSpace(body), []byte("\n")) {
			var l line
			s.decode(t, text, &l)
			lines = append(lines, l)
		}
		return lines
	}
	check := func(lines []line, bad []int, read int) {
		t.Helper()
		last := lines[len(lines)-1].Summary
		if last == nil || last.Read != read || last.Rejected != len(bad) || last.Accepted != read-len(bad) || len(lines) != len(bad)+1 {
			t.Errorf("got %+v with summary %+v, want %d read and bad lines %v", lines, last, read, bad)
			return
		}
		for i, want := range bad {
			if lines[i].Line != want {
				t.Errorf("bad line %d is reported as %d, want %d", i, lines[i].Line, want)
			}
		}
	}
	check(send(call{media: "application/x-ndjson", body: `{"id":"contract-1","attributes":{"contractTenure":1}}
{"id":"contract-2","attributes":{"contractTenure":"` + canary + `"}}
{"id":"contract-3","attributes":{"contractTenure":3},"consents":{"marketing":true}}
`}), []int{2}, 3)
	check(send(call{media: "text/csv", path: "/v1/subjects/import?firstLine=100", body: "id,contractTenure\ncontract-4,4\ncontract-5,x\n"}), []int{102}, 2)
	form := "--b\r\nContent-Disposition: form-data; name=\"mapping\"\r\n\r\nformat: csv\nsubject: {id: customer}\nattributes:\n- {name: contractTenure, column: months, type: int}\n" +
		"\r\n--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f.csv\"\r\nContent-Type: text/csv\r\n\r\ncustomer,months\ncontract-6,6\n\r\n--b--\r\n"
	check(send(call{media: "multipart/form-data; boundary=b", body: form}), nil, 1)
	for _, id := range []string{"contract-1", "contract-3", "contract-4", "contract-6"} {
		s.do(t, call{op: "getSubject", path: "/v1/subjects/" + id, want: 200})
	}
	s.do(t, call{op: "getSubject", path: "/v1/subjects/contract-2", want: 404})
	for _, c := range []call{
		{media: "text/plain", invalid: true, want: 415},
		{media: "text/csv", path: "/v1/subjects/import?firstLine=0", body: "id\n", want: 422, code: "INVALID"},
		{media: "multipart/form-data; boundary=b", body: "--b--\r\n", want: 400, code: "MALFORMED"},
		{media: "multipart/form-data; boundary=b", body: strings.Replace(form, "subject:", "subjekt:", 1), want: 422},
		{media: "multipart/form-data", body: form, want: 400, code: "MALFORMED"},
	} {
		c.op = "importSubjects"
		if c.body == "" {
			c.body = "x"
		}
		s.do(t, c)
	}
}

func (s *suite) decisions(t *testing.T) {
	request := func(options string) string {
		return fmt.Sprintf(`{"subject":{"id":%q},"channel":%q,"placements":[{"id":%q,"limit":2}],"contexts":[{"type":"page","key":"contract","value":"x"}]%s}`,
			subjectID, s.fixture.Channel, s.fixture.Placement, options)
	}
	var decision struct {
		DecisionID   string
		Propositions []struct {
			Items []struct{ Action string }
		}
		Explanation *struct{ Stages []any }
	}
	_, body := s.do(t, call{op: "decide", media: jsonMedia, body: request(""), want: 200})
	s.decode(t, body, &decision)
	if len(decision.Propositions) == 0 || len(decision.Propositions[0].Items) == 0 {
		t.Fatalf("the decision proposes nothing: %s", body)
	}
	s.decisionID, s.action = decision.DecisionID, decision.Propositions[0].Items[0].Action
	for _, level := range []string{"reasons", "full"} {
		_, body = s.do(t, call{op: "decide", media: jsonMedia, body: request(`,"options":{"explain":"` + level + `","simulate":true,"timeoutMs":900}`),
			headers: map[string]string{"X-Arbiter-Timeout-Ms": "800"}, want: 200})
		s.decode(t, body, &decision)
		if decision.Explanation == nil || len(decision.Explanation.Stages) == 0 {
			t.Errorf("explain %s: the decision has no stages: %s", level, body)
		}
	}
	s.do(t, call{op: "decide", media: "application/json; charset=utf-8", body: request(""), want: 200})
	for _, c := range []call{
		{body: strings.Replace(request(""), "contract+", canary, 1), want: 404, code: "SUBJECT_UNKNOWN"},
		{body: `{"subject":{"id":"` + canary + `"}}`, want: 422, code: "INVALID"},
		{body: `{"channel":"web"}`, want: 422, code: "INVALID"},
		{body: request(`,"` + canary + `":1`), want: 422, code: "INVALID"},
		{body: request(`,"channel":"web"`), want: 422, code: "INVALID"},
		{body: request(`,"options":{"explain":"` + canary + `"}`), want: 422, code: "INVALID"},
		{body: request(`,"options":{"timeoutMs":-1}`), want: 422, code: "INVALID"},
		{body: request(`,"direction":null`), want: 422, code: "INVALID"},
		{body: request("") + canary, want: 400, code: "MALFORMED"},
		{body: `{"subject":{"id":"` + canary, want: 400, code: "MALFORMED"},
		{body: strings.Repeat("[", 100000), want: 400, code: "MALFORMED"},
		{body: `[]`, want: 422, code: "INVALID"},
		{body: request(""), media: "application/x-www-form-urlencoded", want: 415, code: "UNSUPPORTED_MEDIA"},
		{body: request(""), headers: map[string]string{"Content-Encoding": "gzip"}, want: 415, code: "UNSUPPORTED_MEDIA"},
		{body: request(""), headers: map[string]string{"X-Arbiter-Timeout-Ms": "soon"}, want: 422, code: "INVALID"},
		{body: request(strings.Repeat(" ", 1<<20)), want: 413, code: "TOO_LARGE"},
	} {
		c.op, c.invalid = "decide", true
		if c.media == "" {
			c.media = jsonMedia
		}
		s.do(t, c)
	}
}

// recorded reads decisions again: by their id, and with the key of the request.
func (s *suite) simulations(t *testing.T) {
	_, body := s.do(t, call{op: "startSimulation", media: jsonMedia, body: `{"from":{},"to":{},"sample":5,"seed":3,"channels":["` + s.fixture.Channel + `"]}`, want: 202})
	var job struct{ ID, State string }
	s.decode(t, body, &job)
	path := "/v1/simulations/" + job.ID
	for range 200 {
		_, body = s.do(t, call{op: "getSimulation", path: path, want: 200})
		if s.decode(t, body, &job); job.State != "running" {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if job.State != "done" {
		t.Errorf("the simulation ended as %s", body)
	}
	s.do(t, call{op: "listSimulations", want: 200})
	s.do(t, call{op: "cancelSimulation", path: path, want: 200})
	s.do(t, call{op: "getSimulation", path: "/v1/simulations/none", want: 404, code: "NOT_FOUND"})
	s.do(t, call{op: "cancelSimulation", path: "/v1/simulations/none", want: 404, code: "NOT_FOUND"})
	s.do(t, call{op: "startSimulation", media: jsonMedia, body: `{"from":{},"to":{},"sample":-1}`, want: 422, code: "INVALID", invalid: true})
	s.do(t, call{op: "startSimulation", media: jsonMedia, body: `{"from":{"catalogVersion":1099511627776},"to":{}}`, want: 404, code: "CATALOG_UNKNOWN"})
}

func (s *suite) recorded(t *testing.T) {
	request := fmt.Sprintf(`{"subject":{"id":%q},"channel":%q,"placements":[{"id":%q,"limit":2}],"decisionRequestId":"contract","options":{"explain":"full"}}`,
		subjectID, s.fixture.Channel, s.fixture.Placement)
	key := map[string]string{"Idempotency-Key": "contract-decide"}
	header, first := s.do(t, call{op: "decide", media: jsonMedia, body: request, headers: key, want: 200})
	if header.Get("Idempotency-Replayed") != "" {
		t.Error("the first answer is marked as a repetition")
	}
	header, again := s.do(t, call{op: "decide", media: jsonMedia, body: request, headers: key, want: 200})
	if !bytes.Equal(first, again) || header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("the same key got %s, first %s", again, first)
	}
	s.do(t, call{op: "decide", media: jsonMedia, body: strings.Replace(request, "contract\"", "other\"", 1), headers: key, want: 422, code: "IDEMPOTENCY_KEY_REUSED"})
	for _, bad := range []string{canary + " x", strings.Repeat("k", 256)} {
		s.do(t, call{op: "decide", media: jsonMedia, body: request, headers: map[string]string{"Idempotency-Key": bad}, want: 422, code: "INVALID", invalid: true})
		s.do(t, call{op: "respond", media: jsonMedia, body: "{}", headers: map[string]string{"Idempotency-Key": bad}, want: 422, code: "INVALID", invalid: true})
	}
	var decision struct{ DecisionID string }
	s.decode(t, first, &decision)
	_, stored := s.do(t, call{op: "getDecision", path: "/v1/decisions/" + decision.DecisionID, want: 200})
	if !bytes.HasPrefix(stored, first[:len(first)-1]) || !bytes.HasSuffix(stored, []byte(`"responses":[]}`)) {
		t.Errorf("the decision is %s, it was answered as %s", stored, first)
	}
	s.do(t, call{op: "getDecision", path: "/v1/decisions/" + decision.DecisionID + "?consistency=linearizable", want: 200})
	s.do(t, call{op: "getDecision", path: "/v1/decisions/" + decision.DecisionID + "?consistency=stale&maxAge=10s", want: 200})
	s.do(t, call{op: "getDecision", path: "/v1/decisions/" + decision.DecisionID + "?consistency=" + canary, want: 422, code: "INVALID"})
	header, replayed := s.do(t, call{op: "replayDecision", path: "/v1/decisions/" + decision.DecisionID + "/replay", want: 200})
	if !bytes.Equal(first, replayed) || header.Get("Arbiter-Replay") != "identical" {
		t.Errorf("replayed as %s, it was answered as %s", replayed, first)
	}
	version := regexp.MustCompile(`"catalogVersion":([0-9]+)`).FindSubmatch(first)
	s.do(t, call{op: "replayDecision", path: "/v1/decisions/" + decision.DecisionID + "/replay?catalogVersion=" + string(version[1]), want: 200})
	s.do(t, call{op: "replayDecision", path: "/v1/decisions/" + decision.DecisionID + "/replay?catalogVersion=x", want: 422, code: "INVALID"})
	s.do(t, call{op: "replayDecision", path: "/v1/decisions/01AN4Z07BY79KA1307SR9X4MV3/replay", want: 404, code: "DECISION_UNKNOWN"})
	s.do(t, call{op: "getDecision", path: "/v1/decisions/01AN4Z07BY79KA1307SR9X4MV3", want: 404, code: "DECISION_UNKNOWN"})
	s.do(t, call{op: "getDecision", path: "/v1/decisions/" + canary, want: 404, code: "DECISION_UNKNOWN"})

	put := call{op: "putSubject", path: "/v1/subjects/contract-keyed", media: jsonMedia, body: `{"attributes":{"contractTenure":1}}`,
		headers: map[string]string{"Idempotency-Key": "contract-put"}, want: 201}
	s.do(t, put)
	header, _ = s.do(t, put)
	if header.Get("Idempotency-Replayed") != "true" || header.Get("ETag") != `"v1"` {
		t.Errorf("a put with the same key: %v", header)
	}
	for _, want := range []string{"", "true"} {
		header, _ = s.do(t, call{op: "deleteSubject", path: "/v1/subjects/contract-keyed", headers: map[string]string{"Idempotency-Key": "contract-delete"}, want: 204})
		if got := header.Get("Idempotency-Replayed"); got != want {
			t.Errorf("a deletion is marked %q, want %q", got, want)
		}
	}
}

func (s *suite) retention(t *testing.T) {
	_, before := s.do(t, call{op: "getRetention", want: 200})
	s.do(t, call{op: "setRetention", media: jsonMedia, body: `{"maxPerSubject":500}`, want: 200})
	var now struct{ MaxAgeDays, MaxPerSubject, IdempotencyHours int }
	_, body := s.do(t, call{op: "getRetention", want: 200})
	if s.decode(t, body, &now); now.MaxPerSubject != 500 || now.IdempotencyHours == 0 {
		t.Errorf("the retention is %s after it was set", body)
	}
	if _, body = s.do(t, call{op: "setRetention", media: jsonMedia, body: string(before), want: 200}); !bytes.Equal(body, before) {
		t.Errorf("the retention is %s, was %s", body, before)
	}
	for _, c := range []call{
		{body: `{"maxAgeDays":-1}`, want: 422, code: "INVALID"},
		{body: `{"idempotencyHours":0}`, want: 422, code: "INVALID"},
		{body: `{"` + canary + `":1}`, want: 422, code: "INVALID"},
		{body: `{`, want: 400, code: "MALFORMED"},
		{body: `{}`, media: "text/plain", want: 415, code: "UNSUPPORTED_MEDIA"},
	} {
		c.op, c.invalid = "setRetention", true
		if c.media == "" {
			c.media = jsonMedia
		}
		s.do(t, c)
	}
}

func (s *suite) responses(t *testing.T) {
	if s.decisionID == "" {
		t.Skip("no decision was made")
	}
	response := func(outcome string) string {
		return fmt.Sprintf(`{"decisionId":%q,"action":%q,"outcome":%q}`, s.decisionID, s.action, outcome)
	}
	s.do(t, call{op: "respond", media: jsonMedia, body: response("Impression"), want: 200})
	_, body := s.do(t, call{op: "respond", media: jsonMedia, body: "[" + response("Impression") + "," + response("Rejected") + "]", want: 200})
	var receipts []struct{ Duplicate bool }
	s.decode(t, body, &receipts)
	if len(receipts) != 2 || !receipts[0].Duplicate || receipts[1].Duplicate {
		t.Errorf("got %s, want a duplicate and a new receipt", body)
	}
	const unknown = "01AN4Z07BY79KA1307SR9X4MV3"
	for _, c := range []call{
		{body: fmt.Sprintf(`{"decisionId":%q,"action":%q,"outcome":"Clicked"}`, unknown, s.action), want: 404, code: "DECISION_UNKNOWN"},
		{body: fmt.Sprintf(`{"decisionId":%q,"action":"contract-none","outcome":"Clicked"}`, s.decisionID), want: 404, code: "ACTION_UNKNOWN"},
		{body: response(canary), want: 422, code: "INVALID", invalid: true},
		{body: `{"outcome":"Clicked"}`, want: 422, code: "INVALID", invalid: true},
		{body: `[]`, want: 422, code: "INVALID", invalid: true},
		{body: `[` + strings.Repeat(response("Clicked")+",", 1000) + response("Clicked") + `]`, want: 422, code: "INVALID", invalid: true},
		{body: `[`, want: 400, code: "MALFORMED", invalid: true},
	} {
		c.op, c.media = "respond", jsonMedia
		s.do(t, c)
	}
}

func (s *suite) history(t *testing.T) {
	path := "/v1/subjects/" + subjectPath + "/history"
	type page struct {
		Items      []struct{ Time, Action, Outcome string }
		NextCursor string
	}
	var whole page
	_, body := s.do(t, call{op: "getHistory", path: path, want: 200})
	s.decode(t, body, &whole)
	var paged []struct{ Time, Action, Outcome string }
	for cursor, pages := "", 0; pages < 100; pages++ {
		var p page
		_, body := s.do(t, call{op: "getHistory", path: path + "?limit=1&cursor=" + cursor, want: 200})
		s.decode(t, body, &p)
		paged = append(paged, p.Items...)
		if cursor = p.NextCursor; cursor == "" {
			break
		}
	}
	if !slices.Equal(paged, whole.Items) || len(whole.Items) < 2 {
		t.Errorf("page by page the history is %v, at once %v; want them equal and at least 2", paged, whole.Items)
	}
	s.do(t, call{op: "getHistory", path: path + "?limit=0", want: 422, code: "INVALID"})
	whyNot := strings.TrimSuffix(path, "/history") + "/why-not/"
	s.do(t, call{op: "whyNot", path: whyNot + s.action + "?channel=web&context=page=plans,reason=complaint", want: 200})
	s.do(t, call{op: "whyNot", path: whyNot + s.action, want: 422, code: "INVALID"})
	s.do(t, call{op: "whyNot", path: whyNot + s.action + "?channel=web&context=x", want: 422, code: "INVALID"})
	s.do(t, call{op: "whyNot", path: whyNot + "none?channel=web", want: 404, code: "ACTION_UNKNOWN"})
	s.do(t, call{op: "whyNot", path: "/v1/subjects/contract-none/why-not/x?channel=web", want: 404})
	s.do(t, call{op: "getHistory", path: path + "?cursor=" + canary + "!", want: 422, code: "INVALID"})
	s.do(t, call{op: "getHistory", path: path + "?offset=1", want: 422, code: "INVALID"})
	s.do(t, call{op: "getHistory", path: "/v1/subjects/contract-none/history", want: 404, code: "SUBJECT_UNKNOWN"})
}

func (s *suite) deleteSubjects(t *testing.T) {
	path := "/v1/subjects/" + subjectPath
	s.do(t, call{op: "deleteSubject", path: path, headers: map[string]string{"If-Match": `"v999999"`}, want: 412, code: "PRECONDITION_FAILED"})
	s.do(t, call{op: "deleteSubject", path: path, want: 204})
	s.do(t, call{op: "deleteSubject", path: path, want: 404, code: "SUBJECT_UNKNOWN"})
	s.do(t, call{op: "deleteSubject", path: path + "?type=account", want: 204})
	s.do(t, call{op: "getSubject", path: path, want: 404, code: "SUBJECT_UNKNOWN"})
	for _, id := range []string{"contract-1", "contract-3", "contract-4", "contract-6"} {
		s.do(t, call{op: "deleteSubject", path: "/v1/subjects/" + id, want: 204})
	}
}

// framework checks what belongs to no operation.
func (s *suite) framework(t *testing.T) {
	for _, path := range []string{"/", "/v1", "/v1/decisions/", "/V1/decisions", "/v1/nothing", "/v1//catalog"} {
		s.do(t, call{op: "health", path: path, want: 404, code: "NOT_FOUND"})
	}
	for path, allow := range map[string]string{"/v1/decisions": "POST", "/v1/catalog": "GET, PUT", "/v1/subjects/x": "GET, PUT, PATCH, DELETE"} {
		header, _ := s.do(t, call{op: "health", method: http.MethodOptions, path: path, want: 405, code: "METHOD_NOT_ALLOWED"})
		for _, method := range strings.Split(allow, ", ") {
			if !strings.Contains(header.Get("Allow"), method) {
				t.Errorf("OPTIONS %s: Allow is %q, want it to hold %s", path, header.Get("Allow"), method)
			}
		}
	}
}
