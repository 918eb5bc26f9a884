package cloudevent

import (
	"strconv"
	"strings"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Append appends an event in JSON, as Structured reads it. Its subject is the one it named itself, else whom it
// is about.
func Append(dst []byte, e *nba.Event) []byte {
	member := func(name, value string) {
		dst = append(append(append(dst, ',', '"'), name...), `":`...)
		dst = appendText(dst, value)
	}
	dst = append(dst, `{"specversion":"1.0"`...)
	member("id", e.ID)
	member("source", e.Source)
	member("type", e.Type)
	switch {
	case e.SubjectName != "":
		member("subject", e.SubjectName)
	case e.Subject.ID != "":
		member("subject", string(e.Subject.Type)+":"+e.Subject.ID)
	}
	if !e.Time.IsZero() {
		dst = append(dst, `,"time":"`...)
		dst = append(e.Time.UTC().AppendFormat(dst, time.RFC3339Nano), '"')
	}
	if len(e.Extensions) > 2 {
		dst = append(append(dst, ','), e.Extensions[1:len(e.Extensions)-1]...)
	}
	media, bytes := strings.CutSuffix(e.MediaType, inBase64)
	if media != "" {
		member("datacontenttype", media)
	}
	if e.Data != nil {
		name := `,"data":`
		if bytes {
			name = `,"data_base64":`
		}
		dst = append(append(dst, name...), e.Data...)
	}
	return append(dst, '}')
}

// appendText appends a text that is valid UTF-8 as a JSON string.
func appendText(dst []byte, text string) []byte {
	dst = append(dst, '"')
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < 0x20:
			dst = append(dst, `\u00`...)
			if c < 0x10 {
				dst = append(dst, '0')
			}
			dst = strconv.AppendUint(dst, uint64(c), 16)
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}
