package consent_test

import (
	"testing"

	"github.com/arbiterhq/arbiter/runtime/consent"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

func TestMask(t *testing.T) {
	d := nba.NewDictionary()
	id := func(name string) nba.PurposeID {
		p, ok := d.Purpose(name)
		if !ok {
			t.Fatalf("no purpose %s", name)
		}
		return p.ID
	}
	service, marketing, profiling := id(nba.PurposeService), id(nba.PurposeMarketing), id(nba.PurposeProfiling)
	tests := []struct {
		name      string
		granted   nba.PurposeSet
		attribute nba.PurposeSet
		purpose   nba.PurposeID
		want      bool
	}{
		{name: "service needs no consent", attribute: nba.PurposeSet(0).With(service), purpose: service, want: true},
		{name: "marketing without consent", attribute: nba.PurposeSet(0).With(marketing), purpose: marketing},
		{name: "marketing with consent", granted: nba.PurposeSet(0).With(marketing),
			attribute: nba.PurposeSet(0).With(marketing), purpose: marketing, want: true},
		{name: "consent to another purpose", granted: nba.PurposeSet(0).With(marketing),
			attribute: nba.PurposeSet(0).With(profiling), purpose: profiling},
		{name: "attribute not declared for the purpose", granted: nba.PurposeSet(0).With(profiling),
			attribute: nba.PurposeSet(0).With(service), purpose: profiling},
		{name: "attribute of no purpose", granted: ^nba.PurposeSet(0), purpose: service},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := consent.Visible(tt.attribute, tt.purpose, consent.Mask(d, tt.granted)); got != tt.want {
				t.Errorf("Visible = %v, want %v", got, tt.want)
			}
		})
	}
}
