package node

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/cluster/router"
	"github.com/arbiterhq/arbiter/runtime/cloudevent"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// MaxEventPage bounds the events and the dead letters of one page, and maxPageBytes about what they take.
const (
	MaxEventPage = 1000
	maxPageBytes = 16 << 20
)

// EventsNow is the cursor of a list of events that begins with those that are applied after the call.
const EventsNow = "now"

// numbered is an event or a letter with its number.
type numbered struct {
	group  int
	number uint64
	bytes  []byte
	// received orders events and letters of several groups, in milliseconds since 1970.
	received int64
}

// page is what one data group gives, and where it goes on.
type page struct {
	items []numbered
	next  uint64
}

// Events lists the events that are kept, in the order they were accepted, at most limit of them: those behind
// cursor, "" for the oldest. With a subject they are its own. next is where to go on, also when there are no
// more: asked again, it gives what has come meanwhile.
func (n *Node) Events(ctx context.Context, subject *nba.SubjectRef, limit int, cursor string) (events []nba.StoredEvent, next string, err error) {
	if err := n.serving(); err != nil {
		return nil, "", err
	}
	if limit < 1 || limit > MaxEventPage {
		return nil, "", nba.Invalid("/limit", "the limit is between 1 and 1000")
	}
	var key []byte
	if subject != nil {
		ref, err := subject.Normalize()
		if err != nil {
			return nil, "", err
		}
		key = command.AppendSubjectKey(nil, ref)
	}
	positions, now, err := n.parseCursor(cursor)
	if err != nil {
		return nil, "", err
	}
	items, err := n.pages(positions, limit, func(group int) (page, error) {
		if key != nil && n.router.GroupOfKey(key) != group {
			return page{next: positions[group]}, nil
		}
		return n.eventPage(ctx, group, key, positions[group], limit, now)
	})
	if err != nil {
		return nil, "", err
	}
	events = make([]nba.StoredEvent, len(items))
	at := slices.Clone(positions)
	for i, item := range items {
		kept, _, ok := command.NextKept(item.bytes)
		if !ok {
			return nil, "", errWire
		}
		at[item.group] = item.number + 1
		if events[i].Event, err = kept.Event(); err != nil {
			return nil, "", err
		}
		events[i].Cursor = formatCursor(at)
	}
	return events, formatCursor(positions), nil
}

// pages reads a page of every group at once and merges them. positions become where the list goes on.
func (n *Node) pages(positions []uint64, limit int, read func(group int) (page, error)) ([]numbered, error) {
	got := make([]page, len(positions))
	var groups errgroup.Group
	for group := range positions {
		groups.Go(func() (err error) {
			got[group], err = read(group)
			return err
		})
	}
	if err := groups.Wait(); err != nil {
		return nil, err
	}
	var items []numbered
	for group := range got {
		items = append(items, got[group].items...)
	}
	inOrder(items)
	for group := range got {
		positions[group] = got[group].next
	}
	if len(items) > limit {
		for _, left := range slices.Backward(items[limit:]) {
			positions[left.group] = left.number
		}
		items = items[:limit]
	}
	return items, nil
}

// inOrder merges the groups, which follow each other, by time and keeps the order within each of them.
func inOrder(items []numbered) {
	for i := 1; i < len(items); i++ { // a clock that was set back must not turn the order of a group around
		if items[i].group == items[i-1].group {
			items[i].received = max(items[i].received, items[i-1].received)
		}
	}
	slices.SortStableFunc(items, func(a, b numbered) int { return int(a.received - b.received) })
}

// eventPage reads a page of a data group where it is led, so that it has what was acknowledged before.
func (n *Node) eventPage(ctx context.Context, group int, key []byte, from uint64, limit int, now bool) (p page, err error) {
	err = n.router.AtGroup(ctx, groupNumber(group), func() (err error) {
		p, err = n.eventPageHere(group, key, from, limit, now)
		return err
	}, func(node string) (err error) {
		p, err = n.eventPageFrom(ctx, node, group, key, from, limit, now)
		return err
	})
	return p, err
}

func (n *Node) eventPageHere(group int, key []byte, from uint64, limit int, now bool) (p page, err error) {
	d, err := n.router.EventReader(group)
	if err != nil {
		return p, err
	}
	if now {
		p.next, err = d.EventsEnd()
		return p, router.StoreError(err)
	}
	var events []fsm.KeptEvent
	if key != nil {
		events, p.next, err = d.EventsOf(key, from, limit, n.pageBytes())
	} else {
		events, p.next, err = d.EventsFrom(from, limit, n.pageBytes())
	}
	for _, e := range events {
		kept, _, _ := command.NextKept(e.Kept)
		p.items = append(p.items, numbered{group: group, number: e.Number, bytes: e.Kept, received: kept.ReceivedMS})
	}
	return p, router.StoreError(err)
}

// pageBytes is about how much one data group gives for a page.
func (n *Node) pageBytes() int { return maxPageBytes / n.router.Groups() }

func (n *Node) eventPageFrom(ctx context.Context, node string, group int, key []byte, from uint64, limit int, now bool) (page, error) {
	var p packer
	p.uint(uint64(group))
	p.text(string(key))
	p.uint(from)
	p.uint(uint64(limit))
	p.bool(now)
	u, err := n.ask(ctx, node, methodEventList, p.b)
	if err != nil {
		return page{}, err
	}
	return u.page(group)
}

func (u *unpacker) page(group int) (p page, err error) {
	p.next = u.uint()
	p.items = make([]numbered, u.count())
	for i := range p.items {
		p.items[i] = numbered{group: group, number: u.uint(), received: u.int(), bytes: []byte(u.text())}
	}
	return p, u.err()
}

func (p *packer) page(of *page) {
	p.uint(of.next)
	p.uint(uint64(len(of.items)))
	for i := range of.items {
		p.uint(of.items[i].number)
		p.int(of.items[i].received)
		p.text(string(of.items[i].bytes))
	}
}

func (n *Node) serveEventList(_ context.Context, _ string, request []byte) ([]byte, error) {
	u := unpacker{rest: string(request)}
	group, key, from, limit, now := u.uint(), u.text(), u.uint(), u.uint(), u.bool()
	if u.bad || group >= uint64(n.router.Groups()) || limit > MaxEventPage {
		return nil, errWire
	}
	if err := n.serving(); err != nil {
		return nil, err
	}
	var of []byte
	if key != "" {
		of = []byte(key)
	}
	got, err := n.eventPageHere(int(group), of, from, int(limit), now)
	return answer(err, func(p *packer) error {
		p.page(&got)
		return nil
	})
}

// A cursor is where each data group goes on.
const cursorFormat = 1

func formatCursor(positions []uint64) string {
	b := []byte{cursorFormat}
	for _, p := range positions {
		b = binary.AppendUvarint(b, p)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func (n *Node) parseCursor(cursor string) (positions []uint64, now bool, err error) {
	positions = make([]uint64, n.router.Groups())
	if cursor == "" || cursor == EventsNow {
		return positions, cursor == EventsNow, nil
	}
	bad := nba.Invalid("/cursor", "the cursor is not one that a list of events gave")
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || len(b) == 0 || b[0] != cursorFormat {
		return nil, false, bad
	}
	b = b[1:]
	for i := range positions {
		p, size := binary.Uvarint(b)
		if size <= 0 {
			return nil, false, bad
		}
		positions[i], b = p, b[size:]
	}
	if len(b) != 0 {
		return nil, false, bad
	}
	return positions, false, nil
}

// A letter is named by its group and its number.
func letterID(group int, number uint64) string {
	return strconv.Itoa(group) + "-" + strconv.FormatUint(number, 10)
}

func (n *Node) parseLetterID(id string) (group int, number uint64, err error) {
	g, rest, ok := strings.Cut(id, "-")
	group, err1 := strconv.Atoi(g)
	number, err2 := strconv.ParseUint(rest, 10, 63)
	if !ok || err1 != nil || err2 != nil || group < 0 || group >= n.router.Groups() || letterID(group, number) != id {
		return 0, 0, errNoLetter()
	}
	return group, number, nil
}

func errNoLetter() error {
	return nba.Errorf(nba.CodeLetterUnknown, "no such dead letter: it was removed or replayed, or is older than what is kept")
}

// Letters lists the dead letters, oldest first; cursor, limit and next are as for Events.
func (n *Node) Letters(ctx context.Context, limit int, cursor string) (letters []nba.DeadLetter, next string, err error) {
	if err := n.serving(); err != nil {
		return nil, "", err
	}
	if limit < 1 || limit > MaxEventPage {
		return nil, "", nba.Invalid("/limit", "the limit is between 1 and 1000")
	}
	positions, _, err := n.parseCursor(cursor)
	if err != nil {
		return nil, "", err
	}
	items, err := n.pages(positions, limit, func(group int) (page, error) {
		return n.letterPage(ctx, group, positions[group], limit)
	})
	if err != nil {
		return nil, "", err
	}
	letters = make([]nba.DeadLetter, len(items))
	for i, item := range items {
		if letters[i], err = deadLetter(item.group, item.number, item.bytes); err != nil {
			return nil, "", err
		}
	}
	return letters, formatCursor(positions), nil
}

func (n *Node) letterPage(ctx context.Context, group int, from uint64, limit int) (p page, err error) {
	err = n.router.AtGroup(ctx, groupNumber(group), func() (err error) {
		p, err = n.letterPageHere(group, from, limit)
		return err
	}, func(node string) error {
		var out packer
		out.uint(uint64(group))
		out.uint(from)
		out.uint(uint64(limit))
		u, err := n.ask(ctx, node, methodLetterList, out.b)
		if err == nil {
			p, err = u.page(group)
		}
		return err
	})
	return p, err
}

func (n *Node) letterPageHere(group int, from uint64, limit int) (p page, err error) {
	d, err := n.router.EventReader(group)
	if err != nil {
		return p, err
	}
	letters, next, err := d.LettersFrom(from, limit, n.pageBytes())
	for _, l := range letters {
		decoded, err := command.DecodeLetter(l.Letter)
		if err != nil {
			return p, err
		}
		p.items = append(p.items, numbered{group: group, number: l.Number, bytes: l.Letter, received: decoded.ReceivedMS})
	}
	p.next = next
	return p, router.StoreError(err)
}

func (n *Node) serveLetterList(_ context.Context, _ string, request []byte) ([]byte, error) {
	u := unpacker{rest: string(request)}
	group, from, limit := u.uint(), u.uint(), u.uint()
	if u.bad || group >= uint64(n.router.Groups()) || limit > MaxEventPage {
		return nil, errWire
	}
	if err := n.serving(); err != nil {
		return nil, err
	}
	got, err := n.letterPageHere(int(group), from, int(limit))
	return answer(err, func(p *packer) error {
		p.page(&got)
		return nil
	})
}

func deadLetter(group int, number uint64, stored []byte) (nba.DeadLetter, error) {
	l, err := command.DecodeLetter(stored)
	if err != nil {
		return nba.DeadLetter{}, err
	}
	out := nba.DeadLetter{ID: letterID(group, number), Received: time.UnixMilli(l.ReceivedMS).UTC(), Code: l.Code, Detail: l.Reason}
	if l.Raw {
		out.Raw = string(l.Body)
		return out, nil
	}
	event, err := command.OpenEvent(l.Body)
	if err != nil {
		return out, err
	}
	event.Time, event.Received = time.UnixMilli(l.TimeMS).UTC(), out.Received
	if ref, ok := command.ParseSubjectKey(l.Key); ok {
		event.Subject = ref
	}
	out.Event = &event
	return out, nil
}

// Letter reads a dead letter.
func (n *Node) Letter(ctx context.Context, id string) (nba.DeadLetter, error) {
	if err := n.serving(); err != nil {
		return nba.DeadLetter{}, err
	}
	group, number, err := n.parseLetterID(id)
	if err != nil {
		return nba.DeadLetter{}, err
	}
	p, err := n.letterPage(ctx, group, number, 1)
	if err != nil {
		return nba.DeadLetter{}, err
	}
	if len(p.items) == 0 || p.items[0].number != number {
		return nba.DeadLetter{}, errNoLetter()
	}
	return deadLetter(group, number, p.items[0].bytes)
}

// ReplayLetter sends the event of a dead letter once more and removes the letter. An event that still cannot be
// applied is another letter then, which the receipt names.
func (n *Node) ReplayLetter(ctx context.Context, id string) (nba.EventReceipt, error) {
	letter, err := n.Letter(ctx, id)
	if err != nil {
		return nba.EventReceipt{}, err
	}
	var incoming nba.IncomingEvent
	if letter.Event != nil {
		incoming.Event = *letter.Event
		incoming.Subject = nba.SubjectRef{} // the catalog may tell another one by now
	} else if incoming.Event, err = cloudevent.Structured(letter.Raw); err != nil {
		incoming.Fault, incoming.Raw = err, letter.Raw
	}
	receipts, err := n.AcceptEvents(ctx, []nba.IncomingEvent{incoming})
	if err != nil {
		return nba.EventReceipt{}, err
	}
	return receipts[0], n.RemoveLetter(ctx, id)
}

// RemoveLetter removes a dead letter.
func (n *Node) RemoveLetter(ctx context.Context, id string) error {
	if err := n.serving(); err != nil {
		return err
	}
	group, number, err := n.parseLetterID(id)
	if err != nil {
		return err
	}
	removed, err := n.router.RemoveLetters(ctx, group, []uint64{number})
	if err == nil && removed == 0 {
		return errNoLetter()
	}
	return err
}
