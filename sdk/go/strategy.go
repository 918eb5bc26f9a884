package arbiter

import "strconv"

// Input is what a strategy is told of a decision; sdk/abi/README.md describes every member. It and all texts
// in it are valid until the strategy has answered.
type Input struct {
	NowMS              int64
	Channel, Direction string
	Contexts           []Context
	// Subject holds the attributes that the manifest lists, as far as the customer consented and has them.
	Subject Fields
	// Features holds the features that the manifest lists, without the missing ones.
	Features   Fields
	Placements []Placement
	// Candidates are in the order of arbitration, best first.
	Candidates []Candidate
}

// Context is one situational value of the request.
type Context struct{ Type, Key, Value string }

// Placement is a slot to be filled with up to Limit propositions.
type Placement struct {
	Name  string
	Limit int
}

// Candidate is an action that passed every policy, with its factors.
type Candidate struct {
	Action, Issue, Group, Model                       string
	Propensity, ContextWeight, Value, Lever, Priority float64
	Properties                                        Fields
	// Treatments holds for each placement the names of the treatments there are; the first is used
	// unless a Pick names another.
	Treatments [][]string
}

// Answer is what a strategy wants.
type Answer struct {
	// Picks are the candidates to go on with, best first. The others are not proposed.
	Picks []Pick
	// ByPriority asks the host to rank the picks by priority times weight instead.
	ByPriority bool
}

// Pick is one candidate of an answer.
type Pick struct {
	// Candidate is its position in Input.Candidates.
	Candidate int
	// Weight multiplies its priority: above 0 and at most 100; 0 stands for 1.
	Weight float64
	// Treatment, unless empty, names one of its Treatments to use instead of the first.
	Treatment string
	// Content adds fields to what the channel shows.
	Content []Text
}

// Text is a field of a Pick's content.
type Text struct{ Name, Text string }

// Fields are named values.
type Fields []Field

// Field is one of them. Its value is a number, a text or a truth value.
type Field struct {
	Name   string
	kind   byte // 'n', 't' or 'b'
	number float64
	text   string
}

func (f Fields) find(name string, kind byte) *Field {
	for i := range f {
		if f[i].Name == name && f[i].kind == kind {
			return &f[i]
		}
	}
	return nil
}

// Number is the number of that name; ok is false when there is none.
func (f Fields) Number(name string) (number float64, ok bool) {
	if found := f.find(name, 'n'); found != nil {
		return found.number, true
	}
	return 0, false
}

// Text is the text of that name; ok is false when there is none.
func (f Fields) Text(name string) (text string, ok bool) {
	if found := f.find(name, 't'); found != nil {
		return found.text, true
	}
	return "", false
}

// Bool is the truth value of that name; ok is false when there is none.
func (f Fields) Bool(name string) (value, ok bool) {
	if found := f.find(name, 'b'); found != nil {
		return found.number != 0, true
	}
	return false, false
}

// Context is the first context value of that key.
func (in *Input) Context(key string) (value string, ok bool) {
	for i := range in.Contexts {
		if in.Contexts[i].Key == key {
			return in.Contexts[i].Value, true
		}
	}
	return "", false
}

// readInput reads the JSON of a call into in, whose slices are used again; false when it is not of the form
// of the contract. Texts share the memory of text.
func readInput(in *Input, text []byte) bool {
	r := reader{text: text}
	*in = Input{Contexts: in.Contexts[:0], Subject: in.Subject[:0], Features: in.Features[:0], Placements: in.Placements[:0], Candidates: in.Candidates[:0]}
	for r.enter('{'); r.next('}'); {
		switch r.key() {
		case "nowMs":
			in.NowMS = int64(r.number())
		case "channel":
			in.Channel = r.string()
		case "direction":
			in.Direction = r.string()
		case "contexts":
			for r.enter('['); r.next(']'); {
				in.Contexts = append(in.Contexts, r.context())
			}
		case "subject":
			in.Subject = r.fields(in.Subject)
		case "features":
			in.Features = r.fields(in.Features)
		case "placements":
			for r.enter('['); r.next(']'); {
				in.Placements = append(in.Placements, r.placement())
			}
		case "candidates":
			for r.enter('['); r.next(']'); {
				n := len(in.Candidates)
				if n < cap(in.Candidates) {
					in.Candidates = in.Candidates[:n+1]
				} else {
					in.Candidates = append(in.Candidates, Candidate{})
				}
				r.candidate(&in.Candidates[n])
			}
		default:
			r.skip()
		}
	}
	return r.finish()
}

func (r *reader) context() (c Context) {
	for r.enter('{'); r.next('}'); {
		switch r.key() {
		case "type":
			c.Type = r.string()
		case "key":
			c.Key = r.string()
		case "value":
			c.Value = r.string()
		default:
			r.skip()
		}
	}
	return c
}

func (r *reader) placement() (p Placement) {
	for r.enter('{'); r.next('}'); {
		switch r.key() {
		case "name":
			p.Name = r.string()
		case "limit":
			p.Limit = int(r.number())
		default:
			r.skip()
		}
	}
	return p
}

func (r *reader) candidate(c *Candidate) {
	*c = Candidate{Properties: c.Properties[:0], Treatments: c.Treatments[:0]}
	for r.enter('{'); r.next('}'); {
		switch r.key() {
		case "action":
			c.Action = r.string()
		case "issue":
			c.Issue = r.string()
		case "group":
			c.Group = r.string()
		case "model":
			c.Model = r.string()
		case "propensity":
			c.Propensity = r.number()
		case "contextWeight":
			c.ContextWeight = r.number()
		case "value":
			c.Value = r.number()
		case "lever":
			c.Lever = r.number()
		case "priority":
			c.Priority = r.number()
		case "properties":
			c.Properties = r.fields(c.Properties)
		case "treatments":
			for r.enter('['); r.next(']'); {
				n := len(c.Treatments)
				if n < cap(c.Treatments) {
					c.Treatments = c.Treatments[:n+1]
				} else {
					c.Treatments = append(c.Treatments, nil)
				}
				names := c.Treatments[n][:0]
				for r.enter('['); r.next(']'); {
					names = append(names, r.string())
				}
				c.Treatments[n] = names
			}
		default:
			r.skip()
		}
	}
}

func (r *reader) fields(list Fields) Fields {
	for r.enter('{'); r.next('}'); {
		f := Field{Name: r.key()}
		switch r.peek() {
		case '"':
			f.kind, f.text = 't', r.string()
		case 't', 'f':
			f.kind = 'b'
			if r.bool() {
				f.number = 1
			}
		default:
			f.kind, f.number = 'n', r.number()
		}
		list = append(list, f)
	}
	return list
}

// append appends the JSON of the answer.
func (a *Answer) append(dst []byte) []byte {
	dst = append(dst, `{"picks":[`...)
	for i := range a.Picks {
		p := &a.Picks[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendInt(append(dst, `{"candidate":`...), int64(p.Candidate), 10)
		if p.Weight != 0 {
			dst = strconv.AppendFloat(append(dst, `,"weight":`...), p.Weight, 'g', -1, 64)
		}
		if p.Treatment != "" {
			dst = appendText(append(dst, `,"treatment":`...), p.Treatment)
		}
		for n := range p.Content {
			if n == 0 {
				dst = append(dst, `,"content":{`...)
			} else {
				dst = append(dst, ',')
			}
			dst = append(appendText(dst, p.Content[n].Name), ':')
			dst = appendText(dst, p.Content[n].Text)
		}
		if len(p.Content) > 0 {
			dst = append(dst, '}')
		}
		dst = append(dst, '}')
	}
	dst = append(dst, `],"byPriority":`...)
	return append(strconv.AppendBool(dst, a.ByPriority), '}')
}
