package fsm

import (
	"github.com/oklog/ulid/v2"

	"github.com/arbiterhq/arbiter/cluster/store"
)

// dueErased begins, in the bucket of what is due, the ids of decisions that were erased with their
// subject: so that who asks for one is told so rather than that there never was one. The id tells nothing
// of the subject. It is removed when the decision would have been.
const dueErased = 16

func appendErased(dst []byte, id []byte) []byte { return append(append(dst, dueErased), id...) }

// markErased notes that a decision was erased.
func markErased(u *update, id ulid.ULID) error {
	key := appendErased(nil, id[:])
	if u.Get(store.Due, key) != nil {
		return nil
	}
	return u.insert(store.Due, key, []byte{})
}

// unmarkErased removes what is noted of decisions before a time, at most limit of them, and tells how many.
func unmarkErased(u *update, beforeMS int64, limit int) (removed int, err error) {
	var keys [][]byte
	u.ScanBetween(store.Due, []byte{dueErased}, appendErased(nil, firstID(beforeMS)), func(key, _ []byte) bool {
		keys = append(keys, append([]byte{}, key...))
		return len(keys) < limit
	})
	for _, key := range keys {
		if err := u.remove(store.Due, key, []byte{}); err != nil {
			return 0, err
		}
	}
	return len(keys), nil
}

// Erased tells whether a decision was erased with its subject, as reader sees it.
func Erased(reader *store.Reader, id ulid.ULID) bool {
	found := false
	key := appendErased(nil, id[:])
	reader.ScanBetween(store.Due, key, append(key[:len(key):len(key)], 0), func(_, _ []byte) bool {
		found = true
		return false
	})
	return found
}
