// Package contact keeps the promise of contact policies: how often, and when, a subject is contacted.
//
// A Ledger is what a subject was contacted with, as bytes in the replicated state. A Policy of the
// catalog becomes, for one proposition at one time, a Limit: at most so many contacts of a Scope
// since a moment. The engine asks Ledger.Reached for limits while it decides; the state machine asks
// again when it applies the decision and appends the new contacts, so that of two decisions made at
// the same time the second sees the first.
//
// A contact that may not happen, because it was proposed and no impression was reported yet, is a
// reservation: limits that count impressions count it until it expires. All times are arguments:
// nothing here reads a clock, and equal arguments give equal bytes. docs/format/contact-ledger.md
// specifies the bytes.
//
// A Volume is a budget over all subjects, which no single ledger can keep: its Budget is parted into
// Leases, one for each data group, and a decision takes its Charges off the lease of its group.
package contact
