// Package strategy writes what a strategy plugin is told and reads what it answers: the JSON of plugin
// contract version 1, which sdk/abi describes field by field.
//
// Both directions are bounded, and neither depends on the order of a map: the same decision gives the
// same bytes.
package strategy

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/arbiterhq/arbiter/runtime/engine"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Field is something that a strategy is told of the subject.
type Field struct {
	Name string
	// Value is left out when it is the zero Value, which stands for a missing one.
	Value nba.Value
}

// AppendInput appends the input for a call: its first candidates, with the subject's attributes and
// features, each in their order.
func AppendInput(dst []byte, call *engine.StrategyCall, candidates int, attributes, features []Field) []byte {
	dst = append(dst, `{"nowMs":`...)
	dst = strconv.AppendInt(dst, call.Now.UnixMilli(), 10)
	dst = appendMember(dst, `,"channel":`, call.Channel)
	dst = appendMember(dst, `,"direction":`, string(call.Direction))
	dst = append(dst, `,"contexts":[`...)
	for i := range call.Contexts {
		c := &call.Contexts[i]
		dst = appendComma(dst, i)
		dst = appendMember(dst, `{"type":`, c.Type)
		dst = appendMember(dst, `,"key":`, c.Key)
		dst = append(appendMember(dst, `,"value":`, c.Value), '}')
	}
	dst = appendFields(append(dst, `],"subject":`...), attributes)
	dst = appendFields(append(dst, `,"features":`...), features)
	dst = append(dst, `,"placements":[`...)
	for i := range call.Placements {
		dst = appendComma(dst, i)
		dst = appendMember(dst, `{"name":`, call.Placements[i].Name)
		dst = append(strconv.AppendInt(append(dst, `,"limit":`...), int64(call.Placements[i].Limit), 10), '}')
	}
	dst = append(dst, `],"candidates":[`...)
	for i := range candidates {
		dst = appendCandidate(appendComma(dst, i), call, i)
	}
	return append(dst, ']', '}')
}

func appendCandidate(dst []byte, call *engine.StrategyCall, position int) []byte {
	c := &call.Candidates[position]
	dst = appendMember(dst, `{"action":`, c.Action.Name)
	dst = appendMember(dst, `,"issue":`, c.Action.Issue)
	dst = appendMember(dst, `,"group":`, c.Action.Group)
	dst = appendNumber(append(dst, `,"propensity":`...), c.Propensity)
	dst = appendNumber(append(dst, `,"contextWeight":`...), c.ContextWeight)
	dst = appendNumber(append(dst, `,"value":`...), c.Value)
	dst = appendNumber(append(dst, `,"lever":`...), c.Lever)
	dst = appendNumber(append(dst, `,"priority":`...), c.Priority)
	if c.Model != nil {
		dst = appendMember(dst, `,"model":`, c.Model.Name)
	}
	dst = append(dst, `,"properties":{`...)
	if properties := c.Action.Properties(); len(properties) > 0 {
		for i, name := range slices.Sorted(maps.Keys(properties)) {
			dst = appendText(appendComma(dst, i), name)
			dst = appendNumber(append(dst, ':'), properties[name])
		}
	}
	dst = append(dst, `},"treatments":[`...)
	for placement := range call.Placements {
		dst = append(appendComma(dst, placement), '[')
		for i, t := range call.Treatments(position, placement) {
			dst = appendText(appendComma(dst, i), t.Name)
		}
		dst = append(dst, ']')
	}
	return append(dst, ']', '}')
}

func appendFields(dst []byte, fields []Field) []byte {
	dst = append(dst, '{')
	written := 0
	for i := range fields {
		value := fields[i].Value
		if f, ok := value.Number(); value.Kind() == nba.KindInvalid || ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
			continue
		}
		dst = append(appendText(appendComma(dst, written), fields[i].Name), ':')
		written++
		switch value.Kind() {
		case nba.KindBool:
			dst = strconv.AppendBool(dst, value.Bool())
		case nba.KindInt, nba.KindTime:
			dst = strconv.AppendInt(dst, value.Int(), 10)
		case nba.KindFloat:
			dst = appendNumber(dst, value.Float())
		default:
			dst = appendText(dst, value.Str())
		}
	}
	return append(dst, '}')
}

func appendComma(dst []byte, position int) []byte {
	if position > 0 {
		dst = append(dst, ',')
	}
	return dst
}

func appendMember(dst []byte, name, text string) []byte {
	return appendText(append(dst, name...), text)
}

func appendNumber(dst []byte, f float64) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return append(dst, '0')
	}
	return strconv.AppendFloat(dst, f, 'g', digits, 64)
}

// digits of a number: so many can be read exactly by one multiplication or division of 64-bit floats
// (Clinger 1990), which keeps a guest's reader small and quick.
const digits = 15

// appendText appends a JSON string. What is not UTF-8 becomes the replacement character.
func appendText(dst []byte, text string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for i := 0; i < len(text); {
		c := text[i]
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < 0x20 || c == 0x7f:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		case c < utf8.RuneSelf:
			dst = append(dst, c)
		default:
			r, n := utf8.DecodeRuneInString(text[i:])
			dst = utf8.AppendRune(dst, r)
			i += n
			continue
		}
		i++
	}
	return append(dst, '"')
}

// answer is what a strategy returns. Members that version 1 does not know are ignored.
type answer struct {
	Picks []struct {
		Candidate *int              `json:"candidate"`
		Weight    *float64          `json:"weight"`
		Treatment string            `json:"treatment"`
		Content   map[string]string `json:"content"`
	} `json:"picks"`
	ByPriority bool `json:"byPriority"`
}

// ParseAnswer reads an answer over so many candidates into picks. The error tells what is wrong with it
// and holds none of its text.
func ParseAnswer(text []byte, candidates int, picks []engine.StrategyPick) (_ []engine.StrategyPick, byPriority bool, err error) {
	var a answer
	if err := json.Unmarshal(text, &a); err != nil {
		return picks, false, malformed(err)
	}
	if a.Picks == nil {
		return picks, false, errors.New("the answer has no list picks; an empty one proposes nothing")
	}
	if len(a.Picks) > candidates {
		return picks, false, fmt.Errorf("the answer picks %d of %d candidates; each is picked at most once", len(a.Picks), candidates)
	}
	seen := make([]bool, candidates)
	for i := range a.Picks {
		p := &a.Picks[i]
		switch {
		case p.Candidate == nil || *p.Candidate < 0 || *p.Candidate >= candidates:
			return picks, false, fmt.Errorf("pick %d names no candidate: candidate is a position from 0 to %d", i, candidates-1)
		case seen[*p.Candidate]:
			return picks, false, fmt.Errorf("pick %d picks a candidate for the second time", i)
		case p.Weight != nil && !(*p.Weight > 0 && *p.Weight <= engine.MaxStrategyWeight):
			return picks, false, fmt.Errorf("the weight of pick %d is not above 0 and at most %d; leave a candidate out to drop it", i, engine.MaxStrategyWeight)
		}
		if err := checkContent(p.Content); err != nil {
			return picks, false, fmt.Errorf("pick %d: %w", i, err)
		}
		seen[*p.Candidate] = true
		pick := engine.StrategyPick{Candidate: *p.Candidate, Treatment: p.Treatment, Content: p.Content}
		if p.Weight != nil {
			pick.Weight = *p.Weight
		}
		picks = append(picks, pick)
	}
	return picks, a.ByPriority, nil
}

func checkContent(content map[string]string) error {
	if len(content) > engine.MaxStrategyContent {
		return fmt.Errorf("it adds %d fields of content, and %d are allowed", len(content), engine.MaxStrategyContent)
	}
	for name, text := range content {
		if name == "" || len(name) > engine.MaxStrategyContentBytes || len(text) > engine.MaxStrategyContentBytes {
			return fmt.Errorf("a field of content has a name of 1 to %d bytes and a text of at most %d", engine.MaxStrategyContentBytes, engine.MaxStrategyContentBytes)
		}
	}
	return nil
}

// malformed tells where the JSON is wrong; the messages of encoding/json would quote it.
func malformed(err error) error {
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("the answer is not JSON: mistake at byte %d", syntax.Offset)
	}
	if kind, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("the answer is not of the form of the contract: mistake at byte %d, where a %s is expected", kind.Offset, kind.Type)
	}
	return errors.New("the answer is not of the form of the contract")
}
