package journey

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var rewrite = flag.Bool("rewrite", false, "write what the cases give into their files")

// TestCases runs the scripts in testdata. A line is one of
//
//	journey NAME [instances=N] [replace] [again=DURATION|never]
//	stage NAME [final] [emits[=WITHIN]] [timeout=AFTER,TO]
//	event|response|person TIME [key=KEY|every] [now=TIME] RULE... [FIELD:=VALUE...]
//	fire TIME
//
// where a rule is enter:TO, exit:TO, FROM>TO or jump:FROM>TO (FROM * for any, - for none), and times are
// durations since the beginning. What became of it stands behind each, indented. Written anew with -rewrite.
func TestCases(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := (&script{t: t, definitions: map[[DigestBytes]byte]*Definition{}}).run(string(want))
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(want) {
				t.Errorf("%s differs, run with -rewrite and look at the difference:\n%s", file, got)
			}
		})
	}
}

// begin is when scripts begin.
const begin = 1_700_000_000_000

// script is one case: one subject.
type script struct {
	t           *testing.T
	state       State
	building    *Definition
	definitions map[[DigestBytes]byte]*Definition
}

func (s *script) run(text string) string {
	var out strings.Builder
	for _, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		if strings.HasPrefix(line, "  ") {
			continue
		}
		fmt.Fprintln(&out, line)
		if line != "" && !strings.HasPrefix(line, "#") {
			s.line(&out, strings.Fields(line))
		}
		s.roundTrip()
	}
	return out.String()
}

// roundTrip demands that the state survives its bytes, which are one form of it.
func (s *script) roundTrip() {
	b := s.state.Append(nil)
	var back State
	if err := back.Decode(b); err != nil || !bytes.Equal(back.Append(nil), b) {
		s.t.Fatalf("the state does not survive its bytes: %v", err)
	}
	s.state = back
}

func (s *script) line(out *strings.Builder, words []string) {
	switch words[0] {
	case "journey":
		s.building = &Definition{Name: words[1], Instances: 1}
		for _, word := range words[2:] {
			key, value, _ := strings.Cut(word, "=")
			switch key {
			case "instances":
				s.building.Instances, _ = strconv.Atoi(value)
			case "replace":
				s.building.Replace = true
			case "again":
				if s.building.AgainMS = Never; value != "never" {
					s.building.AgainMS = s.duration(value)
				}
			}
		}
	case "stage":
		s.stage(words)
	case "fire":
		s.fire(out, s.duration(words[1]))
	default:
		s.effect(out, words)
	}
}

func (s *script) duration(text string) int64 {
	d, err := time.ParseDuration(text)
	if err != nil {
		s.t.Fatal(err)
	}
	return d.Milliseconds()
}

func (s *script) stage(words []string) {
	stage := Stage{Name: words[1]}
	for _, word := range words[2:] {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "final":
			stage.Final = true
		case "emits":
			if stage.Emits = true; value != "" {
				stage.WithinMS = s.duration(value)
			}
		case "timeout":
			after, to, _ := strings.Cut(value, ",")
			stage.TimeoutMS = s.duration(after)
			stage.To, _ = strconv.Atoi(to)
		}
	}
	s.building.Stages = append(s.building.Stages, stage)
}

// digest registers the definition that is being built.
func (s *script) digest() (digest [DigestBytes]byte) {
	b := s.building.Append(nil)
	def := new(Definition)
	if err := def.Decode(b); err != nil || !bytes.Equal(def.Append(nil), b) {
		s.t.Fatalf("the definition does not survive its bytes: %v", err)
	}
	for i, c := range b {
		digest[i%DigestBytes] = digest[i%DigestBytes]*31 + c
	}
	s.definitions[digest] = def
	return digest
}

func (s *script) rule(word string) (rule Rule, ok bool) {
	def := s.building
	if to, found := strings.CutPrefix(word, "enter:"); found {
		return Rule{Kind: Enter, From: None, To: def.stage(to)}, true
	}
	if to, found := strings.CutPrefix(word, "exit:"); found {
		return Rule{Kind: Exit, From: AnyStage, To: def.stage(to)}, true
	}
	kind := Move
	if rest, found := strings.CutPrefix(word, "jump:"); found {
		kind, word = Jump, rest
	}
	from, to, found := strings.Cut(word, ">")
	rule = Rule{Kind: kind, From: def.stage(from), To: def.stage(to)}
	switch from {
	case "*":
		rule.From = AnyStage
	case "-":
		rule.From = None
	}
	return rule, found
}

func (s *script) effect(out *strings.Builder, words []string) {
	e := Effect{Digest: s.digest(), Cause: map[string]Cause{"event": CauseEvent, "response": CauseResponse, "person": CausePerson}[words[0]], Detail: words[0]}
	e.Definition = s.building.Append(nil)
	at := begin + s.duration(words[1])
	now := at
	for _, word := range words[2:] {
		key, value, _ := strings.Cut(word, "=")
		name, data, isData := strings.Cut(word, ":=")
		switch rule, isRule := s.rule(word); {
		case isData:
			v := Value{Kind: Text, Text: data}
			if f, err := strconv.ParseFloat(data, 64); err == nil {
				v, _ = NumberOf(f)
			}
			e.Data = append(e.Data, Field{Name: name, Value: v})
		case isRule:
			e.Rules = append(e.Rules, rule)
		case key == "key":
			e.Key = value
		case key == "every":
			e.Every = true
		case key == "now":
			now = begin + s.duration(value)
		default:
			s.t.Fatalf("what is %q?", word)
		}
	}
	slices.SortFunc(e.Data, func(a, b Field) int { return strings.Compare(a.Name, b.Name) })
	effects, err := DecodeEffects(AppendEffects(nil, []Effect{e}), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	changes, why := s.state.Apply(&effects[0], s.definitions[e.Digest], func(d [DigestBytes]byte) *Definition { return s.definitions[d] }, Times{EventMS: at, NowMS: now})
	if why != Done {
		fmt.Fprintf(out, "  refused: %s\n", [...]string{"", "no rule", "too old", "too soon", "too many", "over"}[why])
	}
	s.show(out, changes)
}

// fire lets fall due what is until a time, in its order.
func (s *script) fire(out *strings.Builder, until int64) {
	for {
		var next *Instance
		for i := range s.state.Open {
			if in := &s.state.Open[i]; in.DueMS != 0 && in.DueMS <= begin+until && (next == nil || in.DueMS < next.DueMS) {
				next = in
			}
		}
		if next == nil {
			return
		}
		changes := s.state.Fire(next.Journey, next.Number, next.DueMS, s.definitions[next.Digest])
		if len(changes) == 0 {
			s.t.Fatal("what is due did not change anything")
		}
		s.show(out, changes)
	}
}

func since(ms int64) time.Duration { return time.Duration(ms-begin) * time.Millisecond }

func (s *script) show(out *strings.Builder, changes []Change) {
	for _, c := range changes {
		fmt.Fprintf(out, "  %s#%d %s %s>%s by %s", c.Journey, c.Number, since(c.AtMS), c.From, c.To, c.Cause)
		if c.Stayed {
			out.WriteString(", stays")
		}
		if c.ClearMS != 0 {
			fmt.Fprintf(out, ", not due at %s", since(c.ClearMS))
		}
		if c.SetMS != 0 {
			fmt.Fprintf(out, ", due at %s", since(c.SetMS))
		}
		if c.Cancel {
			out.WriteString(", cancels")
		}
		if c.Raise {
			out.WriteString(", raises")
			if c.ExpiresMS != 0 {
				fmt.Fprintf(out, " until %s", since(c.ExpiresMS))
			}
		}
		for i := range c.Data {
			fmt.Fprintf(out, ", %s=%s", c.Data[i].Name, c.Data[i].AppendText(nil))
		}
		out.WriteString("\n")
	}
}
