// Package consent tells which attributes of a subject may be used for which purpose.
//
// A subject's consent mask is the set of purposes for which its data may be used now: those the
// subject granted and those that rest on another legal basis than consent. An attribute may be read
// for a purpose when it was declared for that purpose and the mask holds it. An attribute that may not
// be read is absent to whoever asked: a policy, a model, an explanation. The package holds no state.
package consent

import "github.com/arbiterhq/arbiter/runtime/nba"

// Mask is the set of purposes for which a subject's data may be used: those it granted, and those
// that need no consent according to d.
func Mask(d *nba.Dictionary, granted nba.PurposeSet) nba.PurposeSet {
	return granted | d.WithoutConsent()
}

// Visible tells whether an attribute that was declared for the purposes attr may be read for purpose
// under mask, the result of Mask.
func Visible(attr nba.PurposeSet, purpose nba.PurposeID, mask nba.PurposeSet) bool {
	return attr.Has(purpose) && mask.Has(purpose)
}
