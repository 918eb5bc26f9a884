package consent

import (
	"testing"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

func TestMaskAndVisible(t *testing.T) {
	d := nba.NewDictionary()
	purpose := func(name string) nba.PurposeID {
		p, ok := d.Purpose(name)
		if !ok {
			t.Fatalf("no purpose %s", name)
		}
		return p.ID
	}
	service, marketing, profiling := purpose(nba.PurposeService), purpose(nba.PurposeMarketing), purpose(nba.PurposeProfiling)
	var none nba.PurposeSet
	for _, test := range []struct {
		name      string
		granted   nba.PurposeSet
		attribute nba.PurposeSet
		purpose   nba.PurposeID
		want      bool
	}{
		{name: "service needs no consent", granted: none, attribute: none.With(service), purpose: service, want: true},
		{name: "marketing needs consent", granted: none, attribute: none.With(marketing), purpose: marketing, want: false},
		{name: "granted", granted: none.With(marketing), attribute: none.With(marketing), purpose: marketing, want: true},
		{name: "granted for another purpose", granted: none.With(profiling), attribute: none.With(marketing).With(profiling), purpose: marketing, want: false},
		{name: "attribute not meant for it", granted: none.With(marketing), attribute: none.With(service), purpose: marketing, want: false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := Visible(test.attribute, test.purpose, Mask(d, test.granted)); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}
