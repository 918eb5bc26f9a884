package fsm

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/store"
)

// MaxAuditRecords are kept; older ones are forgotten.
const MaxAuditRecords = 100_000

// AuditRecord is one change of what the control group agrees on, made on somebody's behalf. Records form
// a chain: whoever keeps the hash of one can tell whether any before it was changed or left out.
type AuditRecord struct {
	// Seq counts the records from 1. Index is the place of the change in the log.
	Seq   uint64    `json:"seq"`
	Index uint64    `json:"index"`
	At    time.Time `json:"at"`
	command.Attribution
	Changes []Change `json:"changes"`
	// Previous is the hash of the record before, empty for the first. Hash is SHA-256, in hexadecimal, of
	// this record in the JSON form of RFC 8259 that it is given in, without the hash.
	Previous string `json:"previous,omitempty"`
	Hash     string `json:"hash,omitempty"`
}

// Change is one fact that became another. An empty text means that there was, or is, none.
type Change struct {
	Fact   string `json:"fact"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}

// Chain computes the hash of a record from all else in it.
func (r *AuditRecord) Chain() (string, error) {
	bare := *r
	bare.Hash = ""
	raw, err := json.Marshal(&bare)
	if err != nil {
		return "", fmt.Errorf("encoding an audit record: %w", err)
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:]), nil
}

// AuditHead is the end of the chain.
type AuditHead struct {
	Seq  uint64 `json:"seq"`
	Hash string `json:"hash"`
}

// attributed applies the operation in body and records what it changed.
func (c *Control) attributed(u *update, at At, body []byte) (Result, error) {
	var op command.AttributedOp
	inner, err := op.Decode(body)
	if err != nil {
		return Result{}, err
	}
	before := c.next.facts()
	result, err := c.applyOp(u, at, inner)
	if err != nil || result.Err != nil {
		return result, err
	}
	changes := changesOf(before, c.next.facts())
	if inner.Kind == command.RestoreEnded && !result.Duplicate {
		changes = restoredChange(inner.Body)
	}
	if len(changes) == 0 {
		return result, nil
	}
	return result, c.audit(u, AuditRecord{Index: at.Index, At: atTime(at), Attribution: op.By, Changes: changes})
}

// audit appends a record to the chain. The control group has no interactions: their bucket holds the
// records, by number, big endian.
func (c *Control) audit(u *update, r AuditRecord) (err error) {
	head := &c.next.Audit
	r.Seq, r.Previous = head.Seq+1, head.Hash
	if r.Hash, err = r.Chain(); err != nil {
		return err
	}
	raw, err := json.Marshal(&r)
	if err != nil {
		return fmt.Errorf("encoding an audit record: %w", err)
	}
	*head = AuditHead{Seq: r.Seq, Hash: r.Hash}
	c.dirty[partAudit] = true
	if r.Seq > MaxAuditRecords {
		old := auditKey(r.Seq - MaxAuditRecords)
		if raw := u.Get(store.History, old); raw != nil {
			if err := u.remove(store.History, old, raw); err != nil {
				return err
			}
		}
	}
	return u.insert(store.History, auditKey(r.Seq), raw)
}

func auditKey(seq uint64) []byte { return binary.BigEndian.AppendUint64(nil, seq) }

// Audit gives up to limit records after one of them, oldest first, and the end of the chain.
func (c *Control) Audit(after uint64, limit int) (records []AuditRecord, head AuditHead, err error) {
	head = c.State().Audit
	r, err := c.store.Acquire()
	if err != nil {
		return nil, head, err
	}
	defer r.Release()
	if head.Seq > MaxAuditRecords {
		after = max(after, head.Seq-MaxAuditRecords)
	}
	r.ScanBetween(store.History, auditKey(after+1), auditKey(head.Seq+1), func(_, value []byte) bool {
		if len(records) == limit {
			return false
		}
		var record AuditRecord
		if err = json.Unmarshal(value, &record); err != nil {
			err = fmt.Errorf("reading an audit record: %w", err)
			return false
		}
		records = append(records, record)
		return true
	})
	return records, head, err
}

// fact is one line about the state.
type fact struct{ name, text string }

// facts is the state as lines that people can compare, sorted by name.
func (s *ControlState) facts() (facts []fact) {
	add := func(name string, text any) {
		line, ok := text.(string)
		if !ok {
			raw, _ := json.Marshal(text) // of a struct of plain fields
			line = string(raw)
		}
		facts = append(facts, fact{name, line})
	}
	for _, a := range s.Dictionary.Attributes() {
		add("attribute "+a.Name, a)
	}
	for _, v := range s.Catalog.Versions {
		if v.Version == s.Catalog.Head {
			add("newest catalog", fmt.Sprintf("version %d, %s", v.Version, v.Digest))
		}
		if v.Version == s.Catalog.Active {
			add("active catalog", fmt.Sprintf("version %d as catalogVersion %d, %s", v.Version, s.Catalog.CatalogVersion, v.Digest))
		}
	}
	for _, v := range s.Plugins.Versions() {
		add("plugin "+v.Name+" "+v.Version, string(v.State)+", "+v.Digest)
	}
	for i := range s.Rollouts.Rollouts {
		r := &s.Rollouts.Rollouts[i]
		add("rollout "+r.ID, fmt.Sprintf("%s, step %d, paused %t", r.Stage, r.Step, r.Paused))
	}
	add("retention", s.Retention)
	s.Members.memberFacts(add)
	for i := range s.Keys.Keys {
		add("key "+s.Keys.Keys[i].ID, s.Keys.Keys[i].View())
	}
	slices.SortFunc(facts, func(a, b fact) int { return strings.Compare(a.name, b.name) })
	return facts
}

// changesOf lists what differs between two sorted lists.
func changesOf(before, after []fact) (changes []Change) {
	for len(before) > 0 || len(after) > 0 {
		switch {
		case len(after) == 0 || len(before) > 0 && before[0].name < after[0].name:
			changes = append(changes, Change{Fact: before[0].name, Before: before[0].text})
			before = before[1:]
		case len(before) == 0 || after[0].name < before[0].name:
			changes = append(changes, Change{Fact: after[0].name, After: after[0].text})
			after = after[1:]
		default:
			if before[0].text != after[0].text {
				changes = append(changes, Change{Fact: before[0].name, Before: before[0].text, After: after[0].text})
			}
			before, after = before[1:], after[1:]
		}
	}
	return changes
}
