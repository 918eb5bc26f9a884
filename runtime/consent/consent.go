// Package consent tells which attributes of a subject may be used for which purpose, and whether it may
// be addressed in a channel.
//
// A subject's consent mask is the set of purposes for which its data may be used now: those the
// subject granted, those that rest on another legal basis than consent, and, where the catalog says
// so, those it said nothing about. An attribute may be read for a purpose when it was declared for that
// purpose and the mask holds it. An attribute that may not be read is absent to whoever asked: a policy,
// a model, an explanation. So is the interaction history, to models. The package holds no state.
package consent

import (
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Mask is the set of purposes for which a subject's data may be used: those it granted, and those
// that need no consent according to d.
func Mask(d *nba.Dictionary, granted nba.PurposeSet) nba.PurposeSet {
	return granted | d.WithoutConsent()
}

// MaskAt is Mask at a moment. Where allowUnanswered is true, a purpose the subject said nothing about
// counts as granted; one it refused, withdrew, or granted for another time does not.
func MaskAt(d *nba.Dictionary, subject nba.Subject, now time.Time, allowUnanswered bool) nba.PurposeSet {
	var refused nba.PurposeSet
	granted := subject.Granted()
	if who, ok := subject.(nba.Consenting); ok {
		granted, refused = who.PurposesAt(now.UnixMilli())
	}
	if allowUnanswered {
		granted |= all(d) &^ refused
	}
	return Mask(d, granted)
}

// all is the set of the purposes of d.
func all(d *nba.Dictionary) nba.PurposeSet {
	if n := len(d.Purposes()); n < nba.MaxPurposes {
		return 1<<n - 1
	}
	return ^nba.PurposeSet(0)
}

// Channel is what the subject said to being addressed in a channel, at a moment, and whether it may be
// for purposes that need consent: where it said nothing, if allowUnanswered is true.
func Channel(subject nba.Subject, channel string, now time.Time, allowUnanswered bool) (said nba.ConsentState, allowed bool) {
	if who, ok := subject.(nba.Consenting); ok {
		said = who.ChannelAt(channel, now.UnixMilli())
	}
	return said, said == nba.Granted || said == nba.Unanswered && allowUnanswered
}

// Visible tells whether an attribute that was declared for the purposes attr may be read for purpose
// under mask, the result of Mask.
func Visible(attr nba.PurposeSet, purpose nba.PurposeID, mask nba.PurposeSet) bool {
	return attr.Has(purpose) && mask.Has(purpose)
}
