package fsm

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
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

// facts is the state as lines that people can compare.
func (s *ControlState) facts() map[string]string {
	facts := map[string]string{}
	for _, a := range s.Dictionary.Attributes() {
		raw, _ := json.Marshal(a) // of a struct of plain fields
		facts["attribute "+a.Name] = string(raw)
	}
	for _, v := range s.Catalog.Versions {
		switch v.Version {
		case s.Catalog.Head:
			facts["newest catalog"] = fmt.Sprintf("version %d, %s", v.Version, v.Digest)
		}
		if v.Version == s.Catalog.Active {
			facts["active catalog"] = fmt.Sprintf("version %d as catalogVersion %d, %s", v.Version, s.Catalog.CatalogVersion, v.Digest)
		}
	}
	for _, v := range s.Plugins.Versions() {
		facts["plugin "+v.Name+" "+v.Version] = string(v.State) + ", " + v.Digest
	}
	for i := range s.Rollouts.Rollouts {
		r := &s.Rollouts.Rollouts[i]
		facts["rollout "+r.ID] = fmt.Sprintf("%s, step %d, paused %t", r.Stage, r.Step, r.Paused)
	}
	raw, _ := json.Marshal(s.Retention) // of a struct of plain fields
	facts["retention"] = string(raw)
	for i := range s.Keys.Keys {
		k := &s.Keys.Keys[i]
		raw, _ := json.Marshal(k.View()) // of a struct of plain fields
		facts["key "+k.ID] = string(raw)
	}
	return facts
}

// changesOf lists what differs, sorted by fact.
func changesOf(before, after map[string]string) (changes []Change) {
	names := slices.Collect(maps.Keys(before))
	for name := range after {
		if _, both := before[name]; !both {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if before[name] != after[name] {
			changes = append(changes, Change{Fact: name, Before: before[name], After: after[name]})
		}
	}
	return changes
}
