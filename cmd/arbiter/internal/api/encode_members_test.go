package api

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// fill gives every member of a value something to write, so that none can be left out by the encoder: whoever
// adds a member to a decision adds it there too.
func fill(v reflect.Value, n *int) {
	*n++
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(memTime.Add(time.Duration(*n) * time.Second)))
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(v.Index(i), n)
		}
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key, n)
		fill(value, n)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.String:
		v.SetString("text " + time.Duration(*n).String())
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.Uint64:
		v.SetUint(uint64(*n))
	case reflect.Float64:
		v.SetFloat(float64(*n) / 4)
	default:
		panic("a decision has a member of kind " + v.Kind().String())
	}
}

func TestAppendDecisionWritesEveryMember(t *testing.T) {
	var d nba.Decision
	n := 0
	fill(reflect.ValueOf(&d).Elem(), &n)
	got, err := appendDecision(nil, &d)
	want, wantErr := standard(&d)
	if err != nil || wantErr != nil || !bytes.Equal(got, want) {
		t.Errorf("got  %s (%v)\nwant %s (%v)", got, err, want, wantErr)
	}
}
