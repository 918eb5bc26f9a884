package catalog

import (
	"cmp"

	"go.yaml.in/yaml/v3"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// The words for what holds where a subject said nothing.
const (
	consentDeny  = "deny"
	consentAllow = "allow"
)

// Consent tells what holds where a subject said nothing. What it said counts either way.
type Consent struct {
	// AllowPurposes is true where a purpose counts as granted until it is refused or withdrawn.
	AllowPurposes bool
}

// consentSpec is what is allowed by default: purposes and channels for themselves, or both.
type consentSpec struct{ both, purposes, channels text }

func (d *decoder) consent(to *consentSpec) func(*yaml.Node) {
	return func(n *yaml.Node) {
		d.object(n, "the consent",
			optional("default", d.oneOf(&to.both, consentDeny, consentAllow)),
			optional("purposes", d.oneOf(&to.purposes, consentDeny, consentAllow)),
			optional("channels", d.oneOf(&to.channels, consentDeny, consentAllow)),
		)
	}
}

// consentDefaults resolves what holds where a subject said nothing. A document that does not tell denies
// purposes and allows channels.
func (c *compiler) consentDefaults() {
	spec := &c.doc.consent
	c.catalog.Consent.AllowPurposes = cmp.Or(spec.purposes.value, spec.both.value, consentDeny) == consentAllow
	byDefault := cmp.Or(spec.channels.value, spec.both.value, consentAllow)
	for i := range c.doc.channels {
		if channel, ok := c.catalog.channels[c.doc.channels[i].name.value]; ok {
			channel.AllowUnanswered = cmp.Or(c.doc.channels[i].consent.value, byDefault) == consentAllow
		}
	}
}

// Addressable tells whether a subject may be addressed in c for a purpose, if allowed is what its answer
// to the channel came to: a purpose that rests on another basis than consent needs none to the channel.
func (c *Channel) Addressable(purpose nba.Purpose, allowed bool) bool {
	return allowed || !purpose.ConsentRequired
}
