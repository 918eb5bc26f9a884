package node

import (
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// fill gives every field below v a value of its own, so that one that is added later and not sent is
// noticed.
func fill(v reflect.Value, n *int) {
	*n++
	switch v.Kind() {
	case reflect.String:
		v.SetString("text-" + string(rune('a'+*n%26)) + string(rune('a'+*n/26%26)))
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(-*n))
	case reflect.Uint64:
		v.SetUint(uint64(*n) << 40)
	case reflect.Float64:
		v.SetFloat(float64(*n) / 7)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(v.Index(i), n)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range 2 {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(key, n)
			fill(value, n)
			v.SetMapIndex(key, value)
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.UnixMilli(1_750_000_000_123 + int64(*n)).UTC()))
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	default:
		panic(v.Kind().String())
	}
}

func TestEveryFieldTravels(t *testing.T) {
	n := 0
	var req, gotReq nba.DecisionRequest
	fill(reflect.ValueOf(&req).Elem(), &n)
	var p packer
	p.request(&req)
	u := unpacker{rest: string(p.b)}
	u.request(&gotReq)
	if diff := cmp.Diff(req, gotReq); diff != "" || u.err() != nil || u.rest != "" {
		t.Errorf("request: %v\n-sent +got:\n%s", u.err(), diff)
	}

	var d, got nba.Decision
	fill(reflect.ValueOf(&d).Elem(), &n)
	p = packer{}
	if err := p.decision(&d); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time into what the first left
		u = unpacker{rest: string(p.b)}
		u.decision(&got)
		if diff := cmp.Diff(d, got); diff != "" || u.err() != nil || u.rest != "" {
			t.Errorf("decision: %v\n-sent +got:\n%s", u.err(), diff)
		}
	}
	empty := nba.Decision{DecidedAt: time.UnixMilli(0).UTC(), Propositions: []nba.PlacementPropositions{}}
	p = packer{}
	if err := p.decision(&empty); err != nil {
		t.Fatal(err)
	}
	u = unpacker{rest: string(p.b)}
	if u.decision(&got); !cmp.Equal(empty, got) || u.err() != nil {
		t.Errorf("an empty decision after a full one: %+v %v", got, u.err())
	}
}

func FuzzDecisionOnTheWire(f *testing.F) {
	n := 0
	var d nba.Decision
	fill(reflect.ValueOf(&d).Elem(), &n)
	var p packer
	if err := p.decision(&d); err != nil {
		f.Fatal(err)
	}
	f.Add(p.b)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, message []byte) {
		var d nba.Decision
		u := unpacker{rest: string(message)}
		if u.decision(&d); u.err() != nil {
			return
		}
		var again packer
		if err := again.decision(&d); err != nil {
			return // numbers that JSON does not know
		}
		var second nba.Decision
		v := unpacker{rest: string(again.b)}
		if v.decision(&second); v.err() != nil {
			t.Fatalf("written again it cannot be read")
		}
	})
}

func FuzzRequestOnTheWire(f *testing.F) {
	n := 0
	var req nba.DecisionRequest
	fill(reflect.ValueOf(&req).Elem(), &n)
	var p packer
	p.request(&req)
	f.Add(p.b)
	f.Fuzz(func(t *testing.T, message []byte) {
		var req, second nba.DecisionRequest
		u := unpacker{rest: string(message)}
		if u.request(&req); u.err() != nil {
			return
		}
		var again packer
		again.request(&req)
		v := unpacker{rest: string(again.b)}
		if v.request(&second); v.err() != nil || !cmp.Equal(req, second) {
			t.Fatalf("read %+v, then %+v", req, second)
		}
	})
}
