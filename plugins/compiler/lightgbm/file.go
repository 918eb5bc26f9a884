package lightgbm

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
)

// modelFile is what the reader keeps of a model file.
type modelFile struct {
	lines
	header      map[string]string
	parameters  map[string]string // of the training, since v3
	columns     int               // that the model was trained on
	categories  [][]json.RawMessage
	raw         rawTree // reused from tree to tree
	trees       ir.Trees
	sets        map[string]int32
	nodes       int
	members     int  // of the sets
	categorical bool // a split on categories whose missing values older releases took for category 0
}

const (
	maxHeaderLines = 64
	maxParameters  = 1024
	maxPandasBytes = 8 << 20
	maxMembers     = 16 << 20 // of all sets of categories together
)

// read reads the start of the file, the trees, and what follows them.
func (f *modelFile) read() error {
	f.sets = map[string]int32{}
	if err := f.readHeader(); err != nil {
		return err
	}
	if err := f.readTrees(); err != nil {
		return err
	}
	return f.readRest()
}

// readHeader reads lines of key=value up to the first tree, whose line it leaves.
func (f *modelFile) readHeader() error {
	for {
		from, number := f.at, f.number
		line, ok := f.next()
		if !ok {
			return f.malformed("there are no trees")
		}
		text := string(line)
		if strings.HasPrefix(text, "Tree=") {
			f.at, f.number = from, number
			last, err := f.headerNumber("max_feature_idx", 0, maxColumns-1)
			if err != nil {
				return err
			}
			f.columns = last + 1
			return f.checkSizes(from)
		}
		if text == "" {
			continue
		}
		if len(f.header) >= maxHeaderLines {
			return f.malformed("there are more than %d lines before the trees", maxHeaderLines)
		}
		key, value, _ := strings.Cut(text, "=")
		if _, twice := f.header[key]; twice {
			return f.malformed("a key is there twice")
		}
		f.header[key] = value
	}
}

// checkSizes holds tree_sizes against the file: LightGBM itself reads trees at these places, and aborts
// on a file that was cut or edited. Lines that end in carriage return and line feed, as a copy to
// Windows makes them, are left alone.
func (f *modelFile) checkSizes(from int) error {
	sizes, ok := f.header["tree_sizes"]
	if !ok || strings.Contains(string(f.file[:from]), "\r\n") {
		return nil
	}
	words, ok := fields(sizes, ir.MaxTrees)
	if !ok {
		return ir.Invalid("the model has more than %d trees; train fewer", ir.MaxTrees)
	}
	at := from
	for _, text := range words {
		size, err := strconv.Atoi(text)
		if err != nil || size < 1 || at > len(f.file) || !strings.HasPrefix(string(f.file[at:min(at+5, len(f.file))]), "Tree=") || size > len(f.file)-at {
			return ir.Invalid("the model file was cut or edited: its trees do not lie where tree_sizes says; %s, or take the tree_sizes line out if the change is meant", remedy)
		}
		at += size
	}
	return nil
}

// readTrees reads the trees and what ends them.
func (f *modelFile) readTrees() error {
	for {
		line, ok := f.next()
		if !ok {
			break
		}
		text := string(line)
		if strings.HasPrefix(text, "Tree=") {
			if err := f.readTree(); err != nil {
				return err
			}
			continue
		}
		if text != "" {
			break // "end of trees", or feature importances in files of v2
		}
	}
	if sizes, ok := f.header["tree_sizes"]; ok {
		if words, ok := fields(sizes, ir.MaxTrees); !ok || len(words) != len(f.trees.Trees) {
			return ir.Invalid("the model file was cut or edited: tree_sizes names %d trees and there are %d; %s", len(words), len(f.trees.Trees), remedy)
		}
	}
	return nil
}

// readRest reads the parameters of the training and the categories of the data frame.
func (f *modelFile) readRest() error {
	const pandas = "pandas_categorical:"
	inside := false
	for {
		line, ok := f.next()
		if !ok {
			return nil
		}
		switch text := string(line); {
		case text == "parameters:":
			inside = true
		case text == "end of parameters":
			inside = false
		case inside && len(f.parameters) < maxParameters:
			key, value, _ := strings.Cut(strings.Trim(text, "[]"), ": ")
			f.parameters[key] = value
		case strings.HasPrefix(text, pandas):
			text = strings.TrimSpace(text[len(pandas):])
			if text == "null" || text == "" {
				continue
			}
			if len(text) > maxPandasBytes {
				return f.malformed("pandas_categorical has more than %d bytes; group rare categories before training", maxPandasBytes)
			}
			if err := json.Unmarshal([]byte(text), &f.categories); err != nil {
				return f.malformed("pandas_categorical is no list of lists")
			}
		}
	}
}

// headerNumber is a whole number of the header.
func (f *modelFile) headerNumber(key string, least, most int) (int, error) {
	n, err := strconv.Atoi(f.header[key])
	if err != nil || n < least || n > most {
		return 0, ir.Invalid("%s is missing or not between %d and %d; %s", key, least, most, remedy)
	}
	return n, nil
}
