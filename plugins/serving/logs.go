package serving

import (
	"sync"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Limits of the logs of plugins, for each plugin on each node.
const (
	// maxLogLines are kept; the oldest go first.
	maxLogLines = 1000
	// logRate lines a second are taken, and logBurst at once; more are counted and dropped.
	logRate  = 50
	logBurst = 200
	// maxCounters bounds the counters that a plugin may have of its own.
	maxCounters = 32
)

// pluginLog keeps the newest lines of one plugin. It is safe for concurrent use.
type pluginLog struct {
	mu      sync.Mutex
	lines   []nba.PluginLogLine // a ring once it is full; guarded by mu
	written uint64              // of all lines so far; guarded by mu
	tokens  float64             // guarded by mu
	filled  time.Time           // when tokens were counted last; guarded by mu
	dropped uint64              // since the last line that was taken; guarded by mu
}

// take tells whether a line may be written now, and how many were dropped before it.
func (l *pluginLog) take(now time.Time) (ok bool, dropped uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.filled.IsZero() {
		l.tokens = logBurst
	} else {
		l.tokens = min(logBurst, l.tokens+logRate*now.Sub(l.filled).Seconds())
	}
	l.filled = now
	if l.tokens < 1 {
		l.dropped++
		return false, 0
	}
	l.tokens--
	dropped, l.dropped = l.dropped, 0
	return true, dropped
}

func (l *pluginLog) append(line nba.PluginLogLine) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.lines) < maxLogLines {
		l.lines = append(l.lines, line)
	} else {
		l.lines[l.written%maxLogLines] = line
	}
	l.written++
}

// after are the lines that were written after the first so many, oldest first, and how many were written
// in all.
func (l *pluginLog) after(seen uint64) (lines []nba.PluginLogLine, written uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if seen > l.written { // of an earlier run of the node
		seen = 0
	}
	oldest := l.written - uint64(len(l.lines))
	for n := max(seen, oldest); n < l.written; n++ {
		lines = append(lines, l.lines[n%maxLogLines])
	}
	return lines, l.written
}

// logOf is the log of a plugin.
func (h *Host) logOf(name string) *pluginLog {
	h.logsMu.Lock()
	defer h.logsMu.Unlock()
	l, ok := h.logs[name]
	if !ok {
		l = &pluginLog{}
		h.logs[name] = l
	}
	return l
}

// Logs are the lines a plugin wrote on this node after the first seen, oldest first, and how many it wrote
// in all. The newest thousand are kept until the node ends.
func (h *Host) Logs(name string, seen uint64) (lines []nba.PluginLogLine, written uint64) {
	h.logsMu.Lock()
	l, ok := h.logs[name]
	h.logsMu.Unlock()
	if !ok {
		return nil, 0
	}
	return l.after(seen)
}
