// Package lightgbm reads model files of LightGBM, text versions v2 to v4: what booster.save_model
// writes. All objectives, several classes, dart, random forests, categorical splits, zero_as_missing,
// linear trees, and the categories of a pandas data frame.
//
// Every score is exact: rows, thresholds and sums in 64 bits, trees in their order. Where releases of
// LightGBM differ, the present one (4.6) is followed, as if it had loaded the file.
//
// The format is described in docs/format/model-files.md; it comes from gbdt_model_text.cpp and
// tree.cpp of LightGBM.
package lightgbm

import (
	"bytes"
	"strings"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// MaxFileBytes bounds a model file.
const MaxFileBytes = 64 << 20

// remedy is the way to export a model rightly.
const remedy = "save the booster again with booster.save_model(\"model.txt\")"

// Read makes a model of a file. Errors are *nba.Error with CodeModelInvalid or CodeTooLarge; they name
// the reason and the way to export the model rightly, and never quote the file.
func Read(file []byte) (*ir.Model, error) {
	if err := recognise(file); err != nil {
		return nil, err
	}
	f := &modelFile{lines: lines{file: file}, header: map[string]string{}, parameters: map[string]string{}}
	if err := f.read(); err != nil {
		return nil, err
	}
	m, err := f.model()
	if err != nil {
		return nil, err
	}
	if err := m.Validate(); err != nil {
		return nil, err
	}
	return m, nil
}

// Detect tells whether a file looks like one that this package reads or refuses with a reason: a model
// in text, a tree without its header, or a model dumped to JSON.
func Detect(file []byte) bool {
	text := bytes.TrimLeft(file, " \t\r\n")
	return isText(text) || bytes.HasPrefix(text, []byte("Tree=")) || isDump(text)
}

func isText(text []byte) bool {
	return bytes.HasPrefix(text, []byte("tree\n")) || bytes.HasPrefix(text, []byte("tree\r\n"))
}

// isDump tells whether text is what booster.dump_model gives.
func isDump(text []byte) bool {
	return bytes.HasPrefix(text, []byte("{")) && bytes.Contains(text, []byte(`"tree_info"`)) && !bytes.Contains(text, []byte(`"learner"`))
}

// recognise refuses files that are not LightGBM's text, naming what they look like and what to do.
func recognise(file []byte) error {
	text := bytes.TrimLeft(file, " \t\r\n")
	switch {
	case len(file) > MaxFileBytes:
		return nba.Errorf(nba.CodeTooLarge, "the model file has more than %d bytes; train fewer or smaller trees", MaxFileBytes)
	case len(text) == 0:
		return ir.Invalid("the model file is empty; %s", remedy)
	case isText(text):
		return nil
	case bytes.HasPrefix(text, []byte("Tree=")):
		return ir.Invalid("the file has trees but not the start of a LightGBM model, which names its objective and features; %s", remedy)
	case isDump(text):
		return ir.Invalid("this is LightGBM's dump_model, which leaves out what is needed to score exactly; %s instead", remedy)
	default:
		return ir.Invalid("this is no LightGBM text model, which starts with a line \"tree\"; %s", remedy)
	}
}

// lines walks the lines of a file.
type lines struct {
	file   []byte
	at     int
	number int // of the last line, from 1
}

// next is the next line without its end; ok is false at the end of the file.
func (l *lines) next() (line []byte, ok bool) {
	if l.at >= len(l.file) {
		return nil, false
	}
	line = l.file[l.at:]
	if end := bytes.IndexByte(line, '\n'); end >= 0 {
		line = line[:end]
		l.at++
	}
	l.at += len(line)
	l.number++
	return bytes.TrimSuffix(line, []byte("\r")), true
}

// malformed is a mistake at the line that was read last.
func (l *lines) malformed(format string, args ...any) error {
	return ir.Invalid("the model file is malformed at line %d: "+format+"; "+remedy, append([]any{l.number}, args...)...)
}

// fields are the words of a line, which single spaces separate. There are none of more than most words,
// so that a line cannot make many times its size of memory; ok tells whether there are as few.
func fields(text string, most int) (words []string, ok bool) {
	text = strings.TrimSuffix(text, " ")
	if text == "" {
		return nil, true
	}
	if strings.Count(text, " ") >= most {
		return nil, false
	}
	return strings.Split(text, " "), true
}
