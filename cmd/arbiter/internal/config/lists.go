package config

import (
	"strconv"

	"github.com/arbiterhq/arbiter/runtime/nba"
	"go.yaml.in/yaml/v3"
)

// maxListed bounds the entries of one list.
const maxListed = 64

// list is a setting that is a list of groups of settings. Its entries are in the file. Their keys are those of
// their settings after the list's key and the entry's number, such as streams.0.topic; ARBITER_STREAMS_0_TOPIC
// changes that.
type list struct {
	key string
	// add appends an entry with its defaults and gives its settings, whose keys are those within the entry.
	add func() []setting
}

// lists are those of c.
func (c *Config) lists() []list {
	return []list{
		{"streams", func() []setting {
			s := defaultStream()
			c.Streams = append(c.Streams, s)
			return s.settings()
		}},
		{"sinks", func() []setting {
			s := defaultSink()
			c.Sinks = append(c.Sinks, s)
			return s.settings()
		}},
	}
}

// entries reads the entries of a list.
func (l *loader) entries(path, key string, add func() []setting, node *yaml.Node) {
	at := nba.Detail{File: path, Line: node.Line, Column: node.Column}
	if node.Kind != yaml.SequenceNode {
		at.Detail = key + " must be a list, each entry with a - before it"
		l.add(at)
		return
	}
	if len(node.Content) > maxListed {
		at.Detail = key + " has more than " + strconv.Itoa(maxListed) + " entries"
		l.add(at)
		return
	}
	for i, entry := range node.Content {
		prefix := entryKey(key, i) + "."
		for _, s := range add() {
			l.byKey[prefix+s.key] = s.value
			l.keys = append(l.keys, prefix+s.key)
		}
		l.places[entryKey(key, i)] = nba.Detail{File: path, Line: entry.Line, Column: entry.Column}
		l.mapping(path, prefix, entry)
	}
}

// entryKey is the key of an entry of a list.
func entryKey(key string, i int) string { return key + "." + strconv.Itoa(i) }
