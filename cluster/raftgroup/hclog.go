package raftgroup

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// hcLogger hands what raft and its log say to a slog.Logger, from warnings up: below that they
// speak of every snapshot and election.
type hcLogger struct {
	to   *slog.Logger
	many bool // the group has several voters
	name string
	args []any
}

func newHCLog(to *slog.Logger) hclog.Logger { return &hcLogger{to: to} }

// newVoterLog is for a group of several voters.
func newVoterLog(to *slog.Logger) hclog.Logger { return &hcLogger{to: to, many: true} }

// ordinary tells which of raft's errors are but the signs that another node is down or an election
// took place. With many groups there would be many of them; the port tells of each node once.
func ordinary(msg string) bool {
	switch msg {
	case "failed to make requestVote RPC", "failed to appendEntries to", "failed to pipeline appendEntries", "failed to heartbeat to",
		"failed to start pipeline replication to", "peer has newer term, stopping replication", "failed to send snapshot to":
		return true
	}
	return false
}

var _ hclog.Logger = (*hcLogger)(nil)

// Log implements hclog.Logger.
func (l *hcLogger) Log(level hclog.Level, msg string, args ...any) {
	if level < hclog.Warn || l.many && (level == hclog.Warn || ordinary(msg)) {
		return
	}
	to := slog.LevelWarn
	if level >= hclog.Error {
		to = slog.LevelError
	}
	if l.name != "" {
		msg = l.name + ": " + msg
	}
	l.to.Log(context.Background(), to, msg, plain(args)...)
}

// plain resolves the lazy formats of hclog and whatever slog would print as a pointer.
func plain(args []any) []any {
	out := make([]any, len(args))
	for i, a := range args {
		switch v := a.(type) {
		case hclog.Format:
			if len(v) > 0 {
				if format, ok := v[0].(string); ok {
					out[i] = fmt.Sprintf(format, v[1:]...)
					continue
				}
			}
			out[i] = fmt.Sprint(v...)
		case fmt.Stringer:
			out[i] = v.String()
		default:
			out[i] = a
		}
	}
	return out
}

func (l *hcLogger) Trace(msg string, args ...any) {}
func (l *hcLogger) Debug(msg string, args ...any) {}
func (l *hcLogger) Info(msg string, args ...any)  {}
func (l *hcLogger) Warn(msg string, args ...any)  { l.Log(hclog.Warn, msg, args...) }
func (l *hcLogger) Error(msg string, args ...any) { l.Log(hclog.Error, msg, args...) }

func (l *hcLogger) IsTrace() bool { return false }
func (l *hcLogger) IsDebug() bool { return false }
func (l *hcLogger) IsInfo() bool  { return false }
func (l *hcLogger) IsWarn() bool  { return true }
func (l *hcLogger) IsError() bool { return true }

func (l *hcLogger) ImpliedArgs() []any { return l.args }
func (l *hcLogger) Name() string       { return l.name }

// With implements hclog.Logger.
func (l *hcLogger) With(args ...any) hclog.Logger {
	all := append(append([]any(nil), l.args...), args...)
	return &hcLogger{to: l.to.With(plain(args)...), many: l.many, name: l.name, args: all}
}

// Named implements hclog.Logger.
func (l *hcLogger) Named(name string) hclog.Logger {
	if l.name != "" {
		name = l.name + "." + name
	}
	return l.ResetNamed(name)
}

// ResetNamed implements hclog.Logger.
func (l *hcLogger) ResetNamed(name string) hclog.Logger {
	return &hcLogger{to: l.to, many: l.many, name: name, args: l.args}
}

func (l *hcLogger) SetLevel(hclog.Level)  {}
func (l *hcLogger) GetLevel() hclog.Level { return hclog.Warn }

// StandardLogger implements hclog.Logger.
func (l *hcLogger) StandardLogger(*hclog.StandardLoggerOptions) *log.Logger {
	return log.New(l.StandardWriter(nil), "", 0)
}

// StandardWriter implements hclog.Logger.
func (l *hcLogger) StandardWriter(*hclog.StandardLoggerOptions) io.Writer { return io.Discard }
