// Package consent decides what personal data may be used for which purpose.
//
// An attribute carries the purposes it may serve at all; a subject grants purposes. What is not both
// is absent: to policies and to models it looks as if the attribute had never been stored. The
// functions are pure.
package consent

import "github.com/arbiterhq/arbiter/runtime/nba"

// Mask is the set of purposes data of a subject may be used for: those the subject granted and those
// that need no consent because they rest on another legal basis.
func Mask(d *nba.Dictionary, granted nba.PurposeSet) nba.PurposeSet {
	return granted | d.WithoutConsent()
}

// Visible tells whether an attribute with the purposes attribute may be used for purpose under mask.
func Visible(attribute nba.PurposeSet, purpose nba.PurposeID, mask nba.PurposeSet) bool {
	return attribute.Has(purpose) && mask.Has(purpose)
}
