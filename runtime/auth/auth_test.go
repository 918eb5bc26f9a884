package auth

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

func newKey(t *testing.T, name string, roles ...Role) (*Token, Key) {
	t.Helper()
	token, err := NewToken(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return token, Key{ID: token.ID, Name: name, Roles: roles, Hash: token.Hash(), CreatedAt: 1000}
}

func TestTokens(t *testing.T) {
	token, err := NewToken(bytes.NewReader(bytes.Repeat([]byte{7}, idBytes+secretBytes)))
	if err != nil {
		t.Fatal(err)
	}
	text := token.Text()
	again, ok := ParseToken(text)
	if !ok || again.ID != token.ID || again.Hash() != token.Hash() || again.Text() != text {
		t.Fatalf("%s does not survive", text)
	}
	if strings.Contains(fmt.Sprint(token), strings.Split(text, "_")[2]) || strings.Contains(fmt.Sprintf("%v %s", token, token), strings.Split(text, "_")[2]) {
		t.Error("printing a token shows its secret")
	}
	for i := range text {
		wrong := []byte(text)
		wrong[i]++
		if _, ok := ParseToken(string(wrong)); ok {
			t.Errorf("a token with another byte %d is taken for one", i)
		}
	}
	for _, bad := range []string{"", "arb", "arb___", "arb_a_b_c", text + "_", strings.ToUpper(text), text[:len(text)-1]} {
		if _, ok := ParseToken(bad); ok {
			t.Errorf("%q is taken for a token", bad)
		}
	}
}

func FuzzParseToken(f *testing.F) {
	token, err := NewToken(rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(token.Text())
	f.Add("arb___")
	f.Fuzz(func(t *testing.T, text string) {
		if token, ok := ParseToken(text); ok && token.Text() != text {
			t.Errorf("%q reads as another token", text)
		}
	})
}

func TestKeys(t *testing.T) {
	keys := &Keys{}
	token, admin := newKey(t, "first", Admin)
	keys, err := keys.Add(admin, true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Add(admin, false); nba.CodeOf(err) != nba.CodeConflict {
		t.Errorf("the same id twice: %v", err)
	}
	_, second := newKey(t, "second", Admin)
	if _, err := keys.Add(second, true); nba.CodeOf(err) != nba.CodeConflict {
		t.Errorf("founding twice: %v", err)
	}
	if _, err := keys.Remove(admin.ID, 2000); nba.CodeOf(err) != nba.CodeConflict {
		t.Errorf("the last admin was removed: %v", err)
	}
	second.ExpiresAt = 1500
	keys, err = keys.Add(second, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Remove(admin.ID, 2000); err == nil {
		t.Error("the last admin whose key is not over was removed")
	}
	if key, ok := keys.Authenticate(token, 2000); !ok || key.Name != "first" {
		t.Error("the key is not recognised")
	}
	stranger := &Token{ID: token.ID, secret: make([]byte, secretBytes)}
	if _, ok := keys.Authenticate(stranger, 2000); ok {
		t.Error("a wrong secret is taken")
	}
	if _, ok := keys.Authenticate(&Token{ID: "nobody", secret: token.secret}, 2000); ok {
		t.Error("an unknown id is taken")
	}
	left, err := keys.Remove(second.ID, 2000)
	if err != nil || len(left.Keys) != 1 || len(keys.Keys) != 2 {
		t.Errorf("removing: %v, %d left, %d before", err, len(left.Keys), len(keys.Keys))
	}
	if _, err := left.Remove(second.ID, 2000); nba.CodeOf(err) != nba.CodeNotFound {
		t.Errorf("removing twice: %v", err)
	}
}

func TestExpiry(t *testing.T) {
	token, key := newKey(t, "short", Channel)
	key.ExpiresAt = 5000
	keys, err := (&Keys{}).Add(key, false)
	if err != nil {
		t.Fatal(err)
	}
	for now, want := range map[int64]bool{4999: true, 5000: false, 9000: false} {
		if _, ok := keys.Authenticate(token, now); ok != want {
			t.Errorf("at %d: %v", now, ok)
		}
	}
}

func TestValidate(t *testing.T) {
	for name, change := range map[string]func(*Key){
		"no name":      func(k *Key) { k.Name = "" },
		"long name":    func(k *Key) { k.Name = strings.Repeat("x", 101) },
		"newline":      func(k *Key) { k.Name = "a\nb" },
		"no role":      func(k *Key) { k.Roles = nil },
		"unknown role": func(k *Key) { k.Roles = []Role{"king"} },
		"rate":         func(k *Key) { k.Rate = -1 },
		"over":         func(k *Key) { k.ExpiresAt = k.CreatedAt },
	} {
		_, key := newKey(t, "name", Channel)
		change(&key)
		if _, err := (&Keys{}).Add(key, false); nba.CodeOf(err) != nba.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRoles keeps the table of the documentation.
func TestRoles(t *testing.T) {
	for _, test := range []struct {
		role    Role
		can     []Permission
		cannot  []Permission
		summary string
	}{
		{Channel, []Permission{Decide, ReadSubjects}, []Permission{WriteSubjects, ReadCatalog, ManageKeys, ReadAudit}, "decide, readSubjects"},
		{Analyst, []Permission{WriteCatalog, Simulate}, []Permission{WritePlugins, WriteSubjects, Operate, ManageKeys}, ""},
		{Scientist, []Permission{WritePlugins}, []Permission{WriteCatalog, WriteSubjects, Operate, ManageKeys}, ""},
		{Operator, []Permission{Operate, WriteSubjects, ReadCluster}, []Permission{WriteCatalog, WritePlugins, ManageKeys}, ""},
		{Auditor, []Permission{ReadAudit, ReadSubjects}, []Permission{Decide, WriteSubjects, WriteCatalog, WritePlugins, Operate, ManageKeys}, ""},
		{Admin, []Permission{everything}, nil, ""},
	} {
		p := &Principal{Kind: KindKey, Roles: []Role{test.role}}
		for _, want := range test.can {
			if !p.May(want) {
				t.Errorf("%s cannot %s", test.role, want)
			}
		}
		for _, want := range test.cannot {
			if p.May(want) {
				t.Errorf("%s can %s", test.role, want)
			}
		}
		if test.summary != "" && test.role.Permissions().String() != test.summary {
			t.Errorf("%s: %s", test.role, test.role.Permissions())
		}
	}
	if !Local().May(everything) || (&Principal{Kind: KindKey}).May(Decide) {
		t.Error("local may everything, a key without roles nothing")
	}
	if roles, err := ParseRoles([]string{"channel", "admin", "channel"}); err != nil || fmt.Sprint(roles) != "[admin channel]" {
		t.Errorf("%v, %v", roles, err)
	}
}

func TestLifetimes(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	for text, want := range map[string]time.Duration{"": DefaultLifetime, "never": 0, "90d": 90 * 24 * time.Hour, "12h": 12 * time.Hour, "30m": 30 * time.Minute,
		"5s": 5 * time.Second, "3650d": MaxLifetime, "3651d": -1, "0d": -1, "d": -1, "-1d": -1, "1.5h": -1, "99999999999999999999s": -1, "1w": -1} {
		token, _ := newKey(t, "x", Channel)
		request := KeyRequest{Name: "x", Roles: []string{"channel"}, ExpiresIn: text}
		key, err := request.Key(token, now, "")
		switch {
		case (err == nil) != (want >= 0):
			t.Errorf("%q: %v", text, err)
		case err == nil && want == 0 && key.ExpiresAt != 0, err == nil && want > 0 && key.ExpiresAt != now.Add(want).UnixMilli():
			t.Errorf("%q: ends at %d", text, key.ExpiresAt)
		}
	}
}
