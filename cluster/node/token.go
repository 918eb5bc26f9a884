package node

import (
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"

	"github.com/oklog/ulid/v2"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// A response token names one proposition so that a channel can report its outcome without keeping
// anything else. It is base64url of: decision ULID (16 bytes), length of the action name (1 byte),
// action, treatment, CRC-32C of all that (4 bytes). The checksum finds typing and truncation errors;
// a token gives no right that the decision id does not give.
const tokenOverhead = 16 + 1 + 4

// maxTokenText is the longest token that newToken makes, in base64url.
const maxTokenText = (tokenOverhead + 2*nba.MaxTextBytes + 2) / 3 * 4

// tokenWriter makes the tokens of one decision. It is not safe for concurrent use.
type tokenWriter struct{ raw, text []byte }

// token is the response token of one proposition. Names beyond 255 bytes have no token; the catalog
// does not let such names in.
func (w *tokenWriter) token(decision ulid.ULID, action, treatment string) string {
	if len(action) > 255 || len(treatment) > nba.MaxTextBytes {
		return ""
	}
	raw := append(w.raw[:0], decision[:]...)
	raw = append(raw, byte(len(action)))
	raw = append(raw, action...)
	raw = append(raw, treatment...)
	raw = binary.LittleEndian.AppendUint32(raw, checksum(raw))
	w.raw = raw
	w.text = base64.RawURLEncoding.AppendEncode(w.text[:0], raw)
	return string(w.text)
}

// parseToken reads a token back. The error is shown to callers.
func parseToken(token string) (decision, action, treatment string, err error) {
	bad := nba.Invalid("/responseToken", "the response token is damaged: send it back exactly as it came with the proposition")
	if len(token) > maxTokenText {
		return "", "", "", bad
	}
	raw, decodeErr := base64.RawURLEncoding.DecodeString(token)
	if decodeErr != nil || len(raw) < tokenOverhead {
		return "", "", "", bad
	}
	body, sum := raw[:len(raw)-4], binary.LittleEndian.Uint32(raw[len(raw)-4:])
	n := int(body[16])
	if checksum(body) != sum || 17+n > len(body) {
		return "", "", "", bad
	}
	return ulid.ULID(body[:16]).String(), string(body[17 : 17+n]), string(body[17+n:]), nil
}

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }
