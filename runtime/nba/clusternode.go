package nba

import "strings"

// Limits of what is said of a node.
const (
	MaxNodeIDBytes   = 32
	MaxNodeAddrBytes = 255 + 6
	MaxZoneBytes     = 32
)

// ValidateNode checks the name of a node, where others reach it, and its zone, which may be empty. The
// error is an *Error with CodeInvalid. Names are of a-z, 0-9 and -, those of zones of . too, beginning with a
// letter or digit.
func ValidateNode(id, addr, zone string) error {
	if !plainName(id, MaxNodeIDBytes) || strings.Contains(id, ".") {
		return Errorf(CodeInvalid, "the name of a node has 1 to %d of the characters a-z, 0-9 and -, and begins with a letter or digit", MaxNodeIDBytes)
	}
	if zone != "" && !plainName(zone, MaxZoneBytes) {
		return Errorf(CodeInvalid, "a zone has at most %d of the characters a-z, 0-9, - and ., and begins with a letter or digit", MaxZoneBytes)
	}
	colon := strings.LastIndexByte(addr, ':')
	if colon < 1 || len(addr) > MaxNodeAddrBytes || strings.Trim(addr[colon+1:], "0123456789") != "" || strings.Trim(addr[colon+1:], "0") == "" {
		return Errorf(CodeInvalid, "the address of a node is host:port, as the other nodes reach it")
	}
	return nil
}

func plainName(name string, most int) bool {
	if name == "" || len(name) > most {
		return false
	}
	for i, c := range []byte(name) {
		letter := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		if !letter && (i == 0 || !strings.ContainsRune("-.", rune(c))) {
			return false
		}
	}
	return true
}
