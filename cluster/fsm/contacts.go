package fsm

import (
	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/runtime/contact"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// contactLimitReached refuses a decision whose contacts a limit leaves no room for any more: another
// decision was quicker. It is to be made again.
func contactLimitReached() error {
	return nba.Errorf(nba.CodeContactLimit, "another decision used the contact limit up meanwhile: decide again")
}

// allow lets a decision make its contacts and take its part of volumes, or refuses it whole.
func (d *Data) allow(u *update, p *command.Recorded) (refused, err error) {
	if lost, err := d.lost(u, p); err != nil || lost {
		return decisionLost(), err
	}
	take, refused, err := d.charge(u, p)
	if err != nil || refused != nil {
		return refused, err
	}
	if refused, err := d.grant(u, p); err != nil || refused != nil {
		return refused, err
	}
	return nil, take()
}

// grant enters the contacts of a decision into the ledger of its subject, unless a limit is reached:
// here, in the order of the log, is where contact policies are kept.
func (d *Data) grant(u *update, p *command.Recorded) (refused, err error) {
	if p.Claim.Empty() {
		return nil, nil
	}
	stored := u.Get(store.Contacts, p.Key)
	ledger := contact.Ledger(stored)
	if err := ledger.Check(); err != nil {
		return nil, err
	}
	next, _, ok := ledger.Grant(&p.Claim, p.ID, p.TimeMS, p.KeepContactsMS)
	if !ok {
		return contactLimitReached(), nil
	}
	return nil, u.replace(store.Contacts, p.Key, stored, d.arena.keep(append(d.arena.room(len(next)), next...)))
}

// respondContact enters an outcome into the ledger of the subject, if the contact is in it.
func (d *Data) respondContact(u *update, subjectKey []byte, p *command.Responded, position int) error {
	stored := u.Get(store.Contacts, subjectKey)
	if stored == nil {
		return nil
	}
	ledger := contact.Ledger(d.arena.keep(append(d.arena.room(len(stored)), stored...)))
	if err := ledger.Check(); err != nil {
		return err
	}
	if !ledger.Respond(p.ID, uint16(position), 1<<p.Outcome, p.TimeMS) {
		return nil
	}
	return u.replace(store.Contacts, subjectKey, stored, ledger)
}
