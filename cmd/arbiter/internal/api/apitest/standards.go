package apitest

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"strconv"
	"testing"
)

// standards: recommendations of TMF680 and inference of KServe v2.
func (s *suite) standards(t *testing.T) {
	t.Run("recommendations", s.recommendations)
	t.Run("inference", s.inference)
}

func (s *suite) recommendations(t *testing.T) {
	party := `"relatedParty":{"id":"` + subjectID + `","@referredType":"Customer","role":"customer"}`
	create := func(body string, want int) []byte {
		t.Helper()
		_, answer := s.do(t, call{op: "createRecommendation", media: jsonMedia, body: body, want: want, invalid: want >= 400})
		return answer
	}
	header, body := s.do(t, call{op: "createRecommendation", media: jsonMedia, want: 201,
		body: `{"name":"contract","channel":[{"id":"` + s.fixture.Channel + `"}],"place":{"id":"` + s.fixture.Placement + `","role":"placement"},"@type":"QueryProductRecommendation",` + party + `}`})
	var made struct {
		ID, Href, State    string
		RecommendationItem []json.RawMessage
	}
	s.decode(t, body, &made)
	if made.State != "done" || header.Get("Location") != made.Href || len(made.RecommendationItem) == 0 {
		t.Errorf("the recommendation is %s at %s", body, header.Get("Location"))
	}
	if _, read := s.do(t, call{op: "getRecommendation", path: made.Href, want: 200}); len(read) == 0 {
		t.Error("the recommendation cannot be read")
	}
	_, some := s.do(t, call{op: "getRecommendation", path: made.Href + "?fields=state,name", want: 200})
	var members map[string]any
	s.decode(t, some, &members)
	if len(members) != 4 {
		t.Errorf("asked for state and name: %s", some)
	}
	s.do(t, call{op: "getDecision", path: "/v1/decisions/" + made.ID, want: 200})
	header, _ = s.do(t, call{op: "listRecommendations", path: "/tmf-api/recommendationManagement/v4/queryProductRecommendation?limit=2&relatedParty.id=" + subjectPath, want: 200})
	if n, err := strconv.Atoi(header.Get("X-Result-Count")); err != nil || n < 1 {
		t.Errorf("X-Result-Count is %s", header.Get("X-Result-Count"))
	}
	create(`{"channel":[{"id":"`+s.fixture.Channel+`"}]}`, 400)
	create(`{`+party+`}`, 400)
	create(`{"channel":[{"id":"web"}],"recommendationItem":[{}],`+party+`}`, 400)
	create(`{"channel":[{"id":"web"}],"instantSyncRecommendation":false,`+party+`}`, 400)
	create(`{"channel":`, 400)
	s.do(t, call{op: "listRecommendations", want: 400})
	s.do(t, call{op: "getRecommendation", path: "/tmf-api/recommendationManagement/v4/queryProductRecommendation/none", want: 404})
}

func (s *suite) inference(t *testing.T) {
	s.do(t, call{op: "inferenceServer", want: 200})
	s.do(t, call{op: "inferenceLive", want: 200})
	s.do(t, call{op: "inferenceReady", want: 200})
	_, listed := s.do(t, call{op: "listPlugins", want: 200})
	var plugins struct {
		Items []struct{ Name, Version, State, Kind string }
	}
	s.decode(t, listed, &plugins)
	base, version := "", ""
	for _, p := range plugins.Items {
		if p.State == "active" && p.Kind == "scorer" {
			base, version = "/v2/models/"+url.PathEscape(p.Name), url.PathEscape(p.Version)
		}
	}
	if base == "" {
		t.Fatal("no scorer is active")
	}
	var model struct {
		Inputs []struct{ Name string }
	}
	_, body := s.do(t, call{op: "inferenceModel", path: base, want: 200})
	s.decode(t, body, &model)
	s.do(t, call{op: "inferenceModelReady", path: base + "/ready", want: 200})
	s.do(t, call{op: "inferenceVersion", path: base + "/versions/" + version, want: 200})
	s.do(t, call{op: "inferenceVersionReady", path: base + "/versions/" + version + "/ready", want: 200})
	s.do(t, call{op: "inferenceModel", path: "/v2/models/" + canary, want: 404})

	width := len(model.Inputs)
	zeros := make([]float64, 2*width)
	data, _ := json.Marshal(zeros)
	matrix := fmt.Sprintf(`{"id":"1","inputs":[{"name":"features","datatype":"FP64","shape":[2,%d],"data":%s}],"outputs":[{"name":"score"}]}`, width, data)
	_, body = s.do(t, call{op: "infer", path: base + "/infer", media: jsonMedia, body: matrix, want: 200})
	if scores := s.scores(t, body); len(scores) != 2 || scores[0] != scores[1] {
		t.Errorf("two equal rows have the scores %v", scores)
	}
	_, one := s.do(t, call{op: "inferVersion", path: base + "/versions/" + version + "/infer", media: jsonMedia,
		body: fmt.Sprintf(`{"inputs":[{"name":"%s","datatype":"INT64","shape":[1,1],"data":[[12]]}]}`, model.Inputs[0].Name), want: 200})
	s.scores(t, one)
	// The same matrix behind the JSON.
	head := fmt.Sprintf(`{"inputs":[{"name":"features","datatype":"FP64","shape":[2,%d],"parameters":{"binary_data_size":%d}}]}`, width, 16*width)
	binaryBody := []byte(head)
	for _, f := range zeros {
		binaryBody = binary.LittleEndian.AppendUint64(binaryBody, math.Float64bits(f))
	}
	_, again := s.do(t, call{op: "infer", path: base + "/infer", media: "application/octet-stream", body: string(binaryBody),
		headers: map[string]string{"Inference-Header-Content-Length": strconv.Itoa(len(head))}, want: 200})
	if first, second := s.scores(t, body), s.scores(t, again); first[0] != second[0] {
		t.Errorf("as JSON %v, as bytes %v", first, second)
	}
	for name, bad := range map[string]string{
		"an unknown feature":       `{"inputs":[{"name":"` + canary + `","datatype":"FP64","shape":[1],"data":[1]}]}`,
		"a shape that is wrong":    `{"inputs":[{"name":"features","datatype":"FP64","shape":[1,9999],"data":[1]}]}`,
		"too few values":           fmt.Sprintf(`{"inputs":[{"name":"features","datatype":"FP64","shape":[2,%d],"data":[1]}]}`, width),
		"text":                     `{"inputs":[{"name":"` + model.Inputs[0].Name + `","datatype":"BYTES","shape":[1],"data":["a"]}]}`,
		"no inputs":                `{"inputs":[]}`,
		"an output it has not":     `{"inputs":[{"name":"` + model.Inputs[0].Name + `","datatype":"FP64","shape":[1],"data":[1]}],"outputs":[{"name":"prob"}]}`,
		"a negative dimension":     `{"inputs":[{"name":"features","datatype":"FP64","shape":[-1,2],"data":[1,2]}]}`,
		"a binary size without it": `{"inputs":[{"name":"features","datatype":"FP64","shape":[1,2],"parameters":{"binary_data_size":16}}]}`,
	} {
		want := 422
		if name == "a binary size without it" {
			want = 400
		}
		t.Log(name)
		s.do(t, call{op: "infer", path: base + "/infer", media: jsonMedia, body: bad, invalid: true, want: want})
	}
	s.do(t, call{op: "infer", path: base + "/infer", media: jsonMedia, body: `{"inputs":[{"name":"` + model.Inputs[0].Name + `","datatype":"FP64","shape":[2000],"data":[]}]}`, invalid: true, want: 422})
	s.do(t, call{op: "infer", path: base + "/infer", media: jsonMedia, body: `{`, invalid: true, want: 400})
	s.do(t, call{op: "infer", path: "/v2/models/none/infer", media: jsonMedia, body: matrix, want: 404})
}

func (s *suite) scores(t *testing.T, body []byte) []float64 {
	t.Helper()
	var answer struct {
		Outputs []struct{ Data []float64 }
	}
	s.decode(t, body, &answer)
	if len(answer.Outputs) != 1 || len(answer.Outputs[0].Data) == 0 {
		t.Fatalf("no scores: %s", body)
	}
	return answer.Outputs[0].Data
}
