package node

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/arbiterhq/arbiter/cluster/store/record"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// decodeAttributes turns the attributes of an API document into typed ones, in the order of their
// ids. A nil value means "remove" and is returned in unset. Every mistake is reported at once.
func decodeAttributes(dict *nba.Dictionary, in map[string]any) (set []record.Attr, unset []nba.AttributeID, err error) {
	var mistakes []nba.Detail
	set = make([]record.Attr, 0, len(in))
	for name, raw := range in {
		attribute, ok := dict.Attribute(name)
		if !ok {
			mistakes = append(mistakes, unknownAttribute(dict, name))
			continue
		}
		if raw == nil {
			unset = append(unset, attribute.ID)
			continue
		}
		value, reason := decodeValue(attribute.Type, raw)
		if reason != "" {
			mistakes = append(mistakes, nba.Detail{Pointer: "/attributes/" + name, Code: nba.CodeInvalid,
				Detail: fmt.Sprintf("attribute %s is of type %s: %s", name, attribute.Type, reason)})
			continue
		}
		set = append(set, record.Attr{ID: attribute.ID, Value: value})
	}
	if len(mistakes) > 0 {
		slices.SortFunc(mistakes, func(a, b nba.Detail) int { return strings.Compare(a.Pointer, b.Pointer) })
		code := mistakes[0].Code
		for _, m := range mistakes {
			if m.Code != code {
				code = nba.CodeInvalid
			}
		}
		return nil, nil, &nba.Error{Code: code, Message: "the attributes were not accepted", Details: mistakes}
	}
	slices.Sort(unset)
	return record.Sort(set), unset, nil
}

// unknownAttribute names the place and the nearest known attribute. A key that cannot be an
// attribute name is not repeated: it may be a value put in the wrong place.
func unknownAttribute(dict *nba.Dictionary, name string) nba.Detail {
	detail := "no such attribute in the dictionary; declare it with PUT /v1/attributes"
	if near := dict.Nearest(name); near != "" {
		detail = fmt.Sprintf("no such attribute in the dictionary; did you mean %s?", near)
	}
	pointer := "/attributes"
	if isName(name) {
		pointer += "/" + name
	}
	return nba.Detail{Pointer: pointer, Code: nba.CodeAttributeUnknown, Detail: detail}
}

func isName(s string) bool {
	return s != "" && len(s) <= nba.MaxAttributeNameSize && !strings.ContainsFunc(s, func(c rune) bool {
		return c != '_' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z')
	})
}

// decodeValue converts one JSON value; reason is empty on success and never holds the value.
func decodeValue(kind nba.Kind, raw any) (v nba.Value, reason string) {
	switch kind {
	case nba.KindBool:
		if b, ok := raw.(bool); ok {
			return nba.Bool(b), ""
		}
		return v, "expected true or false"
	case nba.KindInt:
		if i, ok := wholeNumber(raw); ok {
			return nba.Int(i), ""
		}
		return v, "expected a whole number of at most 64 bits"
	case nba.KindFloat:
		if f, ok := number(raw); ok {
			return nba.Float(f), ""
		}
		return v, "expected a finite number"
	case nba.KindString:
		s, ok := raw.(string)
		if !ok {
			return v, "expected a string"
		}
		if len(s) > nba.MaxStringBytes {
			return v, fmt.Sprintf("longer than %d bytes", nba.MaxStringBytes)
		}
		return nba.String(s), ""
	case nba.KindTime:
		if s, ok := raw.(string); ok {
			if t, err := nba.ParseValue(nba.KindTime, s); err == nil {
				return t, ""
			}
		}
		if t, ok := raw.(time.Time); ok {
			return nba.Time(t), ""
		}
		return v, "expected an RFC 3339 time or YYYY-MM-DD"
	default:
		return v, "unknown type"
	}
}

func wholeNumber(raw any) (int64, bool) {
	switch n := raw.(type) {
	case int64:
		return n, true
	case int:
		return int64(n), true
	case json.Number:
		if i, err := n.Int64(); err == nil {
			return i, true
		}
		f, err := n.Float64()
		return int64(f), err == nil && exactInt(f)
	case float64:
		return int64(n), exactInt(n)
	}
	return 0, false
}

// exactInt tells whether f is a whole number that converts to int64 without loss.
func exactInt(f float64) bool { return f == math.Trunc(f) && math.Abs(f) <= 1<<53 }

func number(raw any) (float64, bool) {
	var f float64
	switch n := raw.(type) {
	case float64:
		f = n
	case int64:
		f = float64(n)
	case int:
		f = float64(n)
	case json.Number:
		parsed, err := n.Float64()
		if err != nil {
			return 0, false
		}
		f = parsed
	default:
		return 0, false
	}
	return f, !math.IsNaN(f) && !math.IsInf(f, 0)
}

// decodeConsents splits consents into purposes granted, refused and, where the value is nil,
// cleared.
func decodeConsents(dict *nba.Dictionary, in map[string]*bool) (granted, refused, cleared nba.PurposeSet, err error) {
	var mistakes []nba.Detail
	for name, answer := range in {
		purpose, ok := dict.Purpose(name)
		switch {
		case !ok:
			pointer := "/consents"
			if isName(name) {
				pointer += "/" + name
			}
			mistakes = append(mistakes, nba.Detail{Pointer: pointer, Code: nba.CodeInvalid,
				Detail: "no such purpose; the purposes are " + strings.Join(dict.PurposeNames(), ", ")})
		case answer == nil:
			cleared = cleared.With(purpose.ID)
		case *answer:
			granted = granted.With(purpose.ID)
		default:
			refused = refused.With(purpose.ID)
		}
	}
	if len(mistakes) > 0 {
		slices.SortFunc(mistakes, func(a, b nba.Detail) int { return strings.Compare(a.Pointer, b.Pointer) })
		return 0, 0, 0, &nba.Error{Code: nba.CodeInvalid, Message: "the consents were not accepted", Details: mistakes}
	}
	return granted, refused, cleared, nil
}

// documentOf is the subject as the API shows it. A record may have been written under a newer dictionary
// than the one here, when a leader of a data group is behind in the control group; leaving out what it
// cannot name would pass for a subject without it.
func (n *Node) documentOf(ctx context.Context, r *record.Record) (nba.SubjectDocument, error) {
	dict := n.Dictionary(ctx)
	if !names(dict, r) {
		n.catchUp(ctx)
		if dict = n.Dictionary(ctx); !names(dict, r) {
			return nba.SubjectDocument{}, nba.Errorf(nba.CodeUnavailable, "the node does not know all attributes of the subject yet: retry shortly")
		}
	}
	return document(dict, r, n.clock.Now()), nil
}

// names tells whether dict has every attribute of r. Both number them from 0, in order.
func names(dict *nba.Dictionary, r *record.Record) bool {
	return r.Len() == 0 || int(r.At(r.Len()-1).ID) < len(dict.Attributes())
}

// document shows a stored subject. It copies everything: the record's memory is not kept.
func document(dict *nba.Dictionary, r *record.Record, now time.Time) nba.SubjectDocument {
	doc := nba.SubjectDocument{SubjectRef: r.Ref(), Version: r.Version(), Attributes: make(map[string]any, r.Len())}
	doc.ID = strings.Clone(doc.ID)
	for i := range r.Len() {
		a := r.At(i)
		attribute, ok := dict.AttributeByID(a.ID)
		if !ok {
			continue // documentOf has seen to it that there is none
		}
		value := a.Value.Any()
		if s, ok := value.(string); ok {
			value = strings.Clone(s)
		}
		doc.Attributes[attribute.Name] = value
	}
	doc.Consents, doc.ChannelConsents = plainConsents(dict, r, now)
	return doc
}
