package fsm

import (
	"encoding/binary"
	"slices"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/store"
)

// Dead letters are events that could not be applied. They are numbered.
//
//	letters  letterMark                      -> numbers: see letterNumbers
//	letters  letterBody, number              -> letter
//	letters  letterOf, subject key, number   -> nothing
const (
	letterMark = 0
	letterBody = 1
	letterOf   = 2
)

// letterNumbers are the number of the next letter and one below which there are none.
type letterNumbers struct{ next, first uint64 }

func readLetterNumbers(b []byte) (n letterNumbers) {
	if len(b) == 16 {
		n.next, n.first = binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
	}
	return n
}

func (d *Data) saveLetterNumbers(u *update) error {
	key, n := []byte{letterMark}, &d.events.letters
	value := binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, n.next), n.first)
	return u.replace(store.Letters, key, u.Get(store.Letters, key), value)
}

func letterKey(dst []byte, number uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, letterBody), number)
}

func letterOfKey(dst, subjectKey []byte, number uint64) []byte {
	return binary.BigEndian.AppendUint64(append(append(dst, letterOf), subjectKey...), number)
}

func (d *Data) putLetter(u *update, l *command.Letter) (number uint64, err error) {
	number = d.events.letters.next
	d.events.letters.next++
	if err := u.insert(store.Letters, letterKey(nil, number), l.Append(nil)); err != nil {
		return 0, err
	}
	if l.Key != nil {
		if err := u.insert(store.Letters, letterOfKey(nil, l.Key, number), []byte{}); err != nil {
			return 0, err
		}
	}
	return number, d.saveLetterNumbers(u)
}

// putLetters keeps letters and gives the number of the first.
func (d *Data) putLetters(u *update, letters []command.Letter) (first uint64, err error) {
	first = d.events.letters.next
	for i := range letters {
		if _, err := d.putLetter(u, &letters[i]); err != nil {
			return 0, err
		}
	}
	return first, nil
}

func (d *Data) removeLetters(u *update, body []byte) (Result, error) {
	op := &d.events.remove
	if err := op.Decode(body); err != nil {
		return Result{}, err
	}
	removed := uint64(0)
	for _, number := range op.Numbers {
		was, err := d.removeLetter(u, number)
		if err != nil {
			return Result{}, err
		}
		if was {
			removed++
		}
	}
	return Result{Version: removed}, nil
}

func (d *Data) removeLetter(u *update, number uint64) (was bool, err error) {
	key := letterKey(nil, number)
	stored := slices.Clone(u.Get(store.Letters, key))
	if stored == nil {
		return false, nil
	}
	l, err := command.DecodeLetter(stored)
	if err != nil {
		return false, err
	}
	if l.Key != nil {
		if err := u.remove(store.Letters, letterOfKey(nil, l.Key, number), []byte{}); err != nil {
			return false, err
		}
	}
	return true, u.remove(store.Letters, key, stored)
}

// deleteLetters erases the dead letters of a subject.
func (d *Data) deleteLetters(u *update, subjectKey []byte) error {
	var numbers []uint64
	prefix := append([]byte{letterOf}, subjectKey...)
	u.Scan(store.Letters, prefix, func(key, _ []byte) bool {
		numbers = append(numbers, binary.BigEndian.Uint64(key[len(key)-8:]))
		return true
	})
	for _, number := range numbers {
		if _, err := d.removeLetter(u, number); err != nil {
			return err
		}
	}
	return nil
}

func hasLetters(u *update, subjectKey []byte) (has bool) {
	u.Scan(store.Letters, append([]byte{letterOf}, subjectKey...), func(_, _ []byte) bool {
		has = true
		return false
	})
	return has
}

func oldLetter(f *command.ForgetEvents, next, number uint64, l *command.Letter) bool {
	return l.ReceivedMS < f.LettersMS || f.MaxLetters > 0 && next-number > f.MaxLetters
}

// forgetLetters removes old letters from the front.
func (d *Data) forgetLetters(u *update, f *command.ForgetEvents) (err error) {
	var numbers []uint64
	u.ScanBetween(store.Letters, letterKey(nil, d.events.letters.first), []byte{letterBody + 1}, func(key, value []byte) bool {
		number := binary.BigEndian.Uint64(key[1:])
		var l command.Letter
		if l, err = command.DecodeLetter(value); err != nil || !oldLetter(f, d.events.letters.next, number, &l) {
			return false
		}
		numbers = append(numbers, number)
		return len(numbers) < int(f.Limit)
	})
	if err != nil || len(numbers) == 0 {
		return err
	}
	for _, number := range numbers {
		if _, err := d.removeLetter(u, number); err != nil {
			return err
		}
	}
	d.events.letters.first = numbers[len(numbers)-1] + 1
	return d.saveLetterNumbers(u)
}

func lettersDue(r *store.Reader, f *command.ForgetEvents) (due bool) {
	numbers := readLetterNumbers(r.Get(store.Letters, []byte{letterMark}))
	r.ScanBetween(store.Letters, letterKey(nil, numbers.first), []byte{letterBody + 1}, func(key, value []byte) bool {
		l, err := command.DecodeLetter(value)
		due = err == nil && oldLetter(f, numbers.next, binary.BigEndian.Uint64(key[1:]), &l)
		return false
	})
	return due
}
