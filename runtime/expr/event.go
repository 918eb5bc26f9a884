package expr

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// What an expression reads of an event.
const (
	varEvent = "event"

	eventType   = "arbiter.Event"
	fieldID     = "id"
	fieldSource = "source"
	fieldType   = "type"
	fieldTime   = "time"
	fieldData   = "data"
)

// MaxEventPaths bounds the different places in the data of events that the expressions of an Env read.
const MaxEventPaths = 1024

// Event is an event as expressions read it. What was found in its data is kept, so that what several
// expressions ask for is looked for once. It belongs to one goroutine and to the programs of one Env; Reset
// makes it ready for the next event and keeps its memory.
type Event struct {
	event *nba.Event
	found []found // by the number of the path
}

type found struct {
	value nba.Value
	state uint8
}

// The states of found.
const (
	unread uint8 = iota
	absent       // the last step of the path leads nowhere
	broken       // an earlier one does
	present
)

// Reset makes e the given event, which must not change while e is read. nil forgets the last one.
func (e *Event) Reset(event *nba.Event) {
	clear(e.found)
	e.event = event
}

// at reads a place in the data.
func (e *Event) at(p *place) found {
	if p.number < len(e.found) {
		if known := e.found[p.number]; known.state != unread {
			return known
		}
	} else {
		e.found = append(e.found, make([]found, p.number+1-len(e.found))...)
	}
	f := found{state: present}
	if raw, missing := find(e.event.Data, p.steps); raw != nil {
		f.value = scalar(raw)
	} else if f.state = broken; missing {
		f.state = absent
	}
	e.found[p.number] = f
	return f
}

// place is a path into the data, with its number in an Env.
type place struct {
	number int
	steps  []step
}

// places number the paths of an Env. It is safe for concurrent use.
type places struct {
	mu    sync.Mutex
	known map[string]*place
}

func (p *places) of(steps []step) (*place, bool) {
	key := ""
	for _, s := range steps {
		key += strconv.Quote(s.name) + strconv.Itoa(s.at) + strconv.FormatBool(s.list)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	at, ok := p.known[key]
	if !ok {
		if len(p.known) == MaxEventPaths {
			return nil, false
		}
		at = &place{number: len(p.known), steps: steps}
		p.known[key] = at
	}
	return at, true
}

// event is a selection that begins with event: one of its fields, or a path into its data.
func (b *builder) event(e ast.Expr) (node, bool) {
	steps, testOnly, ok := eventPath(e)
	if !ok || b.places == nil {
		return node{}, false
	}
	if len(steps) == 1 {
		return eventField(steps[0].name, testOnly)
	}
	at, ok := b.places.of(steps[1:])
	switch {
	case !ok:
		return node{}, false
	case testOnly:
		return boolNode(func(v *Vars) (bool, bool) {
			if v.Event == nil || v.Event.event == nil {
				return false, false
			}
			state := v.Event.at(at).state
			return state == present, state != broken
		})
	}
	return dynNode(func(v *Vars) (nba.Value, bool) {
		if v.Event == nil || v.Event.event == nil {
			return nba.Value{}, false
		}
		f := v.Event.at(at)
		return f.value, f.state == present
	})
}

func eventField(name string, testOnly bool) (node, bool) {
	if testOnly || name == fieldData {
		return node{}, false
	}
	if name == fieldTime {
		return timeNode(func(v *Vars) (time.Time, bool) {
			if v.Event == nil || v.Event.event == nil {
				return time.Time{}, false
			}
			return v.Event.event.Time, true
		})
	}
	return textNode(func(v *Vars) (string, bool) {
		if v.Event == nil || v.Event.event == nil {
			return "", false
		}
		switch name {
		case fieldID:
			return v.Event.event.ID, true
		case fieldSource:
			return v.Event.event.Source, true
		default:
			return v.Event.event.Type, true
		}
	})
}

// isEvent tells whether e is event, or a selection of it.
func isEvent(e ast.Expr) bool {
	for {
		switch {
		case e.Kind() == ast.SelectKind:
			e = e.AsSelect().Operand()
		case e.Kind() == ast.CallKind && e.AsCall().FunctionName() == operators.Index && len(e.AsCall().Args()) == 2:
			e = e.AsCall().Args()[0]
		default:
			return e.Kind() == ast.IdentKind && e.AsIdent() == varEvent
		}
	}
}

// eventPath are the steps of event.data.a["b"][0], without event. ok is false where a step is computed.
func eventPath(e ast.Expr) (steps []step, testOnly, ok bool) {
	var reversed []step
	for first := true; e.Kind() != ast.IdentKind; first = false {
		if e.Kind() == ast.SelectKind {
			s := e.AsSelect()
			if s.IsTestOnly() && !first {
				return nil, false, false
			}
			testOnly = testOnly || s.IsTestOnly()
			reversed, e = append(reversed, step{name: s.FieldName()}), s.Operand()
			continue
		}
		args := e.AsCall().Args()
		if args[1].Kind() != ast.LiteralKind {
			return nil, false, false
		}
		switch key := args[1].AsLiteral().(type) {
		case types.String:
			reversed = append(reversed, step{name: string(key)})
		case types.Int:
			if key < 0 || key > math.MaxInt32 {
				return nil, false, false
			}
			reversed = append(reversed, step{at: int(key), list: true})
		default:
			return nil, false, false
		}
		e = args[0]
	}
	for i := len(reversed) - 1; i >= 0; i-- {
		steps = append(steps, reversed[i])
	}
	return steps, testOnly, len(steps) > 0 && !steps[0].list && (len(steps) == 1 || steps[0].name == fieldData)
}

// eventFieldType is the type of a field of an event; nil: there is none.
func eventFieldType(field string) *types.Type {
	switch field {
	case fieldID, fieldSource, fieldType:
		return types.StringType
	case fieldTime:
		return types.TimestampType
	case fieldData:
		return types.DynType
	default:
		return nil
	}
}

func eventFieldNames() []string {
	return []string{fieldID, fieldSource, fieldType, fieldTime, fieldData}
}

// eventField reports a field that events do not have.
func (w *walker) eventField(e ast.Expr) {
	name := e.AsSelect().FieldName()
	if eventFieldType(name) != nil {
		return
	}
	known := eventFieldNames()
	detail := fmt.Sprintf("an event has no %s", quoteName(name))
	if near := nba.Nearest(name, known); near != "" {
		detail += fmt.Sprintf(": did you mean event.%s?", near)
	} else {
		detail += ": it has " + strings.Join(known, ", ") + "; what it carries is in event.data"
	}
	w.report(e, nba.CodeInvalid, detail)
}

// celEvent reads a field for cel-go.
func celEvent(target any, field string) (any, error) {
	vars, ok := target.(*Vars)
	if !ok || vars.Event == nil || vars.Event.event == nil {
		return nil, errAbsent
	}
	e := vars.Event.event
	switch field {
	case fieldID:
		return types.String(e.ID), nil
	case fieldSource:
		return types.String(e.Source), nil
	case fieldType:
		return types.String(e.Type), nil
	case fieldTime:
		return types.Timestamp{Time: e.Time}, nil
	default:
		var data any
		if len(e.Data) == 0 || json.Unmarshal(e.Data, &data) != nil {
			return nil, errAbsent
		}
		return types.DefaultTypeAdapter.NativeToValue(data), nil
	}
}
