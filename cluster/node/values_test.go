package node

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

func testDictionary(t *testing.T) *nba.Dictionary {
	t.Helper()
	d, _, err := nba.NewDictionary().Declare([]nba.AttributeDeclaration{
		{Name: "tenure", Type: nba.KindInt}, {Name: "charges", Type: nba.KindFloat}, {Name: "partner", Type: nba.KindBool},
		{Name: "contract", Type: nba.KindString}, {Name: "until", Type: nba.KindTime},
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDecodeAttributes(t *testing.T) {
	dict := testDictionary(t)
	set, unset, err := decodeAttributes(dict, map[string]any{
		"until": "2026-11-22", "tenure": json.Number("12"), "charges": float64(3), "partner": true, "contract": nil})
	if err != nil || len(set) != 4 || len(unset) != 1 || unset[0] != 3 {
		t.Fatalf("got %v, %v, %v", set, unset, err)
	}
	for i := 1; i < len(set); i++ {
		if set[i-1].ID >= set[i].ID {
			t.Error("attributes are not in the order of their ids")
		}
	}

	for name, c := range map[string]struct {
		value any
		code  nba.Code
	}{
		"tenure":   {1.5, nba.CodeInvalid},
		"charges":  {math.Inf(1), nba.CodeInvalid},
		"partner":  {"yes-secret", nba.CodeInvalid},
		"contract": {strings.Repeat("x", nba.MaxStringBytes+1), nba.CodeInvalid},
		"until":    {"22.11.2026", nba.CodeInvalid},
		"tenur":    {1, nba.CodeAttributeUnknown},
	} {
		_, _, err := decodeAttributes(dict, map[string]any{name: c.value})
		e, ok := errors.AsType[*nba.Error](err)
		if !ok || e.Code != c.code || len(e.Details) != 1 || e.Details[0].Pointer != "/attributes/"+name {
			t.Errorf("%s: got %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error repeats the value", name)
		}
	}
	_, _, err = decodeAttributes(dict, map[string]any{"+44 7700 900123": 1})
	if err == nil || strings.Contains(err.Error(), "7700") {
		t.Errorf("a key that is no name must not be repeated: %v", err)
	}
}
