package serving

import (
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// redacted stands for what was taken out of a line.
const redacted = "[redacted]"

// longDigits is how many digits in a row are taken for an id or a phone number.
const longDigits = 5

// redactor takes out of a guest's line what the host knows of the subject: its id, the texts and numbers
// among its attributes, the values of the request's contexts. It also takes out what looks like an id or
// an address whatever it is: five digits in a row, and words with an @. Truth values stay.
//
// It is there against carelessness. A guest that wants to can write a value in another way, so who may
// write logs is granted by the capability log.
type redactor struct {
	texts   []string // in lower case
	numbers []float64
}

func (r *redactor) reset() { r.texts, r.numbers = r.texts[:0], r.numbers[:0] }

func (r *redactor) addText(text string) {
	if text = strings.ToLower(strings.TrimSpace(text)); text == "" {
		return
	}
	if f, err := strconv.ParseFloat(text, 64); err == nil {
		r.numbers = append(r.numbers, f)
	}
	r.texts = append(r.texts, text)
}

func (r *redactor) add(value nba.Value) {
	switch value.Kind() {
	case nba.KindString:
		r.addText(value.Str())
	case nba.KindInt, nba.KindFloat, nba.KindTime:
		if f, ok := value.Number(); ok {
			r.numbers = append(r.numbers, f)
		}
	}
}

// clean is a line without what it must not hold.
func (r *redactor) clean(line string) string {
	line = strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return ' '
		}
		return c
	}, line)
	for _, text := range r.texts {
		line = replaceFold(line, text)
	}
	return r.words(line)
}

// replaceFold takes every occurrence of text, which is in lower case, out of line. Short texts count as
// whole words only, or "no" would take letters out of "not".
func replaceFold(line, text string) string {
	lower := strings.ToLower(line)
	if len(lower) != len(line) { // a letter whose lower case has another size: better too much than too little
		line = lower
	}
	var out strings.Builder
	for {
		at := strings.Index(lower, text)
		if at < 0 {
			break
		}
		end := at + len(text)
		if len(text) < 4 && (inWord(lower, at) || inWord(lower, end)) {
			_, size := utf8.DecodeRuneInString(lower[at:])
			out.WriteString(line[:at+size])
			line, lower = line[at+size:], lower[at+size:]
			continue
		}
		out.WriteString(line[:at])
		out.WriteString(redacted)
		line, lower = line[end:], lower[end:]
	}
	out.WriteString(line)
	return out.String()
}

// inWord tells whether the characters before and at a place belong to one word.
func inWord(text string, at int) bool {
	before, _ := utf8.DecodeLastRuneInString(text[:at])
	after, _ := utf8.DecodeRuneInString(text[at:])
	return letter(before) && letter(after)
}

func letter(c rune) bool { return c != utf8.RuneError && (unicode.IsLetter(c) || unicode.IsDigit(c)) }

// words takes out numbers that were handed over, long ones, and addresses.
func (r *redactor) words(line string) string {
	var out strings.Builder
	for len(line) > 0 {
		end := strings.IndexFunc(line, func(c rune) bool { return c == ' ' })
		if end < 0 {
			end = len(line)
		}
		word := line[:end]
		if strings.Contains(strings.Trim(word, "@"), "@") {
			word = redacted
		}
		r.numbersOf(&out, word)
		if line = line[end:]; line != "" {
			out.WriteByte(' ')
			line = line[1:]
		}
	}
	return out.String()
}

func (r *redactor) numbersOf(out *strings.Builder, word string) {
	for len(word) > 0 {
		begin := strings.IndexAny(word, "0123456789")
		if begin < 0 {
			out.WriteString(word)
			return
		}
		if begin > 0 && (word[begin-1] == '-' || word[begin-1] == '+') {
			begin--
		}
		end := begin + 1
		for end < len(word) && strings.IndexByte("0123456789.eE+-_,/:", word[end]) >= 0 {
			end++
		}
		for word[end-1] < '0' || word[end-1] > '9' { // what ends the sentence is no part of the number
			end--
		}
		out.WriteString(word[:begin])
		if number := word[begin:end]; r.telling(number) {
			out.WriteString(redacted)
		} else {
			out.WriteString(number)
		}
		word = word[end:]
	}
}

// telling tells whether a number must not be shown.
func (r *redactor) telling(number string) bool {
	digits := 0
	for i := range len(number) {
		if c := number[i]; c >= '0' && c <= '9' {
			digits++
		}
	}
	if digits >= longDigits && strings.IndexByte(number, '.') < 0 {
		return true
	}
	for _, part := range strings.FieldsFunc(number, func(c rune) bool { return c == ',' || c == ':' || c == '/' || c == '_' }) {
		f, err := strconv.ParseFloat(part, 64)
		if err != nil {
			continue
		}
		for _, handed := range r.numbers {
			if f == handed || math.Abs(f-handed) <= 1e-6*math.Abs(handed) {
				return true
			}
		}
	}
	return false
}
