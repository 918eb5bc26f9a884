package telemetry

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// Format is how log lines are written.
type Format string

// The formats: one key=value line, or one JSON object, a record.
const (
	FormatText Format = "text"
	FormatJSON Format = "json"
)

// ParseLevel reads debug, info, warn or error.
func ParseLevel(name string) (slog.Level, error) {
	switch name {
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("not a log level: expected debug, info, warn or error")
}

// ParseFormat reads text or json.
func ParseFormat(name string) (Format, error) {
	switch f := Format(name); f {
	case FormatText, FormatJSON:
		return f, nil
	}
	return "", fmt.Errorf("not a log format: expected text or json")
}

// NewLogger writes records of at least level to w. Attributes whose key names customer data or a
// secret (see Sensitive) are written as "[redacted]", at any depth of groups. w must be safe for the
// writers it has; the handler serialises its own writes.
func NewLogger(w io.Writer, level slog.Leveler, format Format) *slog.Logger {
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: redactAttr}
	if format == FormatJSON {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// Discard is a logger that writes nothing.
func Discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func redactAttr(groups []string, a slog.Attr) slog.Attr {
	if Sensitive(a.Key) {
		return slog.String(a.Key, redacted)
	}
	for _, group := range groups {
		if Sensitive(group) {
			return slog.String(a.Key, redacted)
		}
	}
	return a
}

const redacted = "[redacted]"

// Redacted is a text that was withheld: every way of printing, logging or encoding it gives
// "[redacted]", and the text itself is gone.
type Redacted struct{}

// Redact stands in for a customer identifier or a secret in an error or a log line. The text is
// dropped, not hashed: the ids of a telephone network are few enough to be tried one by one.
func Redact(string) Redacted { return Redacted{} }

// String is "[redacted]".
func (Redacted) String() string { return redacted }

// LogValue implements slog.LogValuer.
func (Redacted) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements encoding.TextMarshaler.
func (Redacted) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// sensitiveWords are looked for in keys after case, '-', '_' and '.' are taken away.
var sensitiveWords = [...]string{
	"subjectid", "msisdn", "imsi", "phone", "email", "password", "secret", "token", "authorization",
	"cookie", "apikey", "credential", "attributevalue", "contextvalue",
}

// sensitiveKeys are whole keys.
var sensitiveKeys = [...]string{"subject", "subjects", "attributes", "contexts", "consents", "body"}

// Sensitive tells whether a log attribute of this key holds customer data or a secret.
func Sensitive(key string) bool {
	plain := strings.Map(func(r rune) rune {
		switch {
		case r == '-' || r == '_' || r == '.':
			return -1
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return r
	}, key)
	for _, known := range sensitiveKeys {
		if plain == known {
			return true
		}
	}
	for _, word := range sensitiveWords {
		if strings.Contains(plain, word) {
			return true
		}
	}
	return false
}
