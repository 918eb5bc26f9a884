package emit

import (
	"cmp"
	"encoding/binary"
	"math"
	"math/bits"
	"slices"

	"github.com/arbiterhq/arbiter/plugins/wasmbin"
)

// Most questions of a forest ask about few features: a scale holds the distinct keys that one slot is
// compared with, in order. The rank of a row on a scale, the number of keys below its own, answers all
// of them at once. A walk then reads an answer instead of comparing, and needs no key.
const (
	maxScale    = 255 // keys of a scale, so that a rank fits a byte; a slot with more has several scales
	rankStride  = maxRows
	searchWidth = 2 // scales in one iteration
)

// scale is a range of the keys of one slot. Its answers have the identities from id on.
type scale struct {
	slot slot
	part int
	keys []int64
	id   int
	at   int // offset of the first answer in a row of answers
}

// level is the number of halvings that find a rank.
func (s *scale) level() int { return bits.Len(uint(len(s.keys))) }

// answers are the questions of a forest, each once.
type answers struct {
	o         *forest
	scales    []scale
	of        map[slot][]int // the scales of a slot, by their keys
	predicate []int          // identity by index of the predicate
	at        []int          // offset in a row of answers by identity
	ranges    []answerRange
	size      int // of a row of answers
	granted   int // what stands for it in a row of answers
	row       int // address of the row of answers
	window    int // address of the answers of every rank
}

// answerRange is what belongs to a part.
type answerRange struct {
	scales, scaleEnd int // indices of the scales
	id, end          int // identities, those of predicates last
	predicates       int // how many
	lane, at         int // where the predicates' bytes lie in a lane, and their answers in a row of answers
}

// newAnswers sorts the questions. It needs placed lanes.
func (o *forest) newAnswers(questions []question) *answers {
	a := &answers{o: o, of: make(map[slot][]int), predicate: make([]int, len(o.predicates))}
	keys := make(map[slot][]int64)
	var order []slot
	for _, q := range questions {
		if q.slot.kind == copyPredicate {
			continue
		}
		list, ok := keys[q.slot]
		if !ok {
			order = append(order, q.slot)
		}
		keys[q.slot] = append(list, q.key)
	}
	parts := make([][]scale, len(o.parts))
	for _, s := range order {
		list := keys[s]
		slices.Sort(list)
		list = slices.Compact(list)
		part := 0
		if p := o.partOf(int(s.feature)); p != &o.parts[0] {
			part = 1
		}
		for begin := 0; begin < len(list); begin += maxScale {
			parts[part] = append(parts[part], scale{slot: s, part: part, keys: list[begin:min(begin+maxScale, len(list))]})
		}
	}
	for part := range parts {
		a.addPart(part, parts[part])
	}
	for _, list := range a.of {
		slices.SortFunc(list, func(x, y int) int { return cmp.Compare(a.scales[x].keys[0], a.scales[y].keys[0]) })
	}
	return a
}

// addPart numbers the answers of a part. Writing the answers of a scale overruns their end, so scales lie
// in the order in which they are written.
func (a *answers) addPart(part int, list []scale) {
	o := a.o
	slices.SortStableFunc(list, func(x, y scale) int { return x.level() - y.level() })
	r := answerRange{scales: len(a.scales), id: len(a.at)}
	end := a.size
	for _, s := range list {
		s.id, s.at = len(a.at), a.size
		for i := range s.keys {
			a.at = append(a.at, s.at+i)
		}
		a.size += len(s.keys)
		end = s.at + max(16, 1<<s.level())
		a.of[s.slot] = append(a.of[s.slot], len(a.scales))
		a.scales = append(a.scales, s)
	}
	r.scaleEnd = len(a.scales)
	a.size = (a.size + 15) &^ 15
	r.at = a.size
	p := &o.parts[part]
	first := -1
	for i := range o.predicates {
		if f := int(o.predicates[i].Feature); f < p.first || f >= p.first+p.count {
			continue
		}
		r.predicates++
		if first < 0 || o.byteOf[i] < first {
			first = o.byteOf[i]
		}
	}
	r.lane = first
	for range r.predicates {
		a.at = append(a.at, a.size)
		a.size++
	}
	for i := range o.predicates {
		if f := int(o.predicates[i].Feature); f >= p.first && f < p.first+p.count {
			a.predicate[i] = len(a.at) - r.predicates + o.byteOf[i] - first
		}
	}
	r.end = len(a.at)
	a.size = (max(a.size, end) + 15) &^ 15
	a.ranges = append(a.ranges, r)
}

// id is the identity of the answer to q.
func (a *answers) id(q question) int {
	if q.slot.kind == copyPredicate {
		return a.predicate[q.slot.predicate]
	}
	list := a.of[q.slot]
	i, found := slices.BinarySearchFunc(list, q.key, func(i int, key int64) int { return cmp.Compare(a.scales[i].keys[0], key) })
	if !found {
		i--
	}
	s := &a.scales[list[i]]
	j, _ := slices.BinarySearch(s.keys, q.key)
	return s.id + j
}

// reserve takes the memory of the row of answers with room for more after it, and writes the answers of
// every rank: as many granted ones as the rank, then others. What stands for granted is the distance
// between siblings in the tables of the walk.
func (a *answers) reserve(more, granted int) {
	a.granted = granted
	b := &a.o.g.b
	window := make([]byte, 512)
	for i := range 256 {
		window[i] = byte(granted)
	}
	a.window = b.Reserve(len(window)+16, 64)
	b.Data(a.window, window)
	a.row = b.Reserve(a.size+more+16, 64)
}

// tables writes the keys of the scales, filled up with keys that no row's is above.
func (a *answers) tables() []int {
	b := &a.o.g.b
	at, size := make([]int, len(a.scales)), 0
	for i := range a.scales {
		at[i] = size
		size += a.o.keyBytes() << a.scales[i].level()
	}
	content := make([]byte, 0, size)
	for i := range a.scales {
		s := &a.scales[i]
		for j := range 1 << s.level() {
			key := int64(math.MaxInt64)
			if !a.o.wide {
				key = math.MaxInt32
			}
			if j < len(s.keys) {
				key = s.keys[j]
			}
			if a.o.wide {
				content = binary.LittleEndian.AppendUint64(content, uint64(key))
			} else {
				content = binary.LittleEndian.AppendUint32(content, uint32(int32(key)))
			}
		}
	}
	begin := b.Reserve(size, 64)
	b.Data(begin, content)
	for i := range at {
		at[i] += begin
	}
	return at
}

// scaleBytes is the size of an entry of the list of scales: where the key of the row is, the table, and
// where the result goes.
const scaleBytes = 12

// halve moves the addresses p by the ranks of the keys, two halvings at a time as long as there are two.
func (a *answers) halve(f *wasmbin.Function, level int, key, p []wasmbin.Local) {
	shift, load, less := 2, byte(opI32Load), byte(opI32LtS)
	if a.o.wide {
		shift, load, less = 3, opI64Load, opI64LtS
	}
	for level > 0 {
		width := 1 + (level+1)%2 // an odd level begins with a single halving
		level -= width
		for i := range p {
			f.Get(p[i])
			for q := 1<<width - 1; q > 0; q-- { // the last first: its bounds check covers the others
				f.Get(p[i]).Memory(load, 2, (q<<level-1)<<shift).Get(key[i]).Op(less)
				if q < 1<<width-1 {
					f.Op(opI32Add)
				}
			}
			f.I32(level + shift).Op(opI32Shl).Op(opI32Add).Set(p[i])
		}
	}
}

// search writes loops over the scales of a part; result gets locals that hold the rank and the address
// from the list. It returns the fuel.
func (a *answers) search(f *wasmbin.Function, part int, tables []int, target func(i int) int, result func(level int, rank, to wasmbin.Local)) int64 {
	o, b := a.o, &a.o.g.b
	r := a.ranges[part]
	at := f.Local(wasmbin.I32)
	keyType, shift := byte(wasmbin.I32), 2
	if o.wide {
		keyType, shift = wasmbin.I64, 3
	}
	key := f.Locals(keyType, searchWidth)
	p, to := f.Locals(wasmbin.I32, searchWidth), f.Locals(wasmbin.I32, searchWidth)
	cost := int64(0)
	for begin := r.scales; begin < r.scaleEnd; {
		level, end := a.scales[begin].level(), begin
		for end < r.scaleEnd && a.scales[end].level() == level {
			end++
		}
		n := (end - begin + searchWidth - 1) / searchWidth * searchWidth
		var list []byte
		for i := range n {
			k := min(begin+i, end-1) // the last one may be repeated
			list = binary.LittleEndian.AppendUint32(list, uint32(o.slot(a.scales[k].slot)))
			list = binary.LittleEndian.AppendUint32(list, uint32(tables[k]))
			list = binary.LittleEndian.AppendUint32(list, uint32(target(k)))
		}
		address := b.Reserve(len(list), 16)
		b.Data(address, list)
		f.I32(address).Set(at)
		before := f.Fuel()
		f.Loop()
		for i := searchWidth - 1; i >= 0; i-- {
			f.Get(at).Memory(opI32Load, 2, scaleBytes*i+8).Set(to[i])
			f.Get(at).Memory(opI32Load, 2, scaleBytes*i+4).Set(p[i])
			f.Get(at).Memory(opI32Load, 2, scaleBytes*i)
			if o.wide {
				f.Memory(opI64Load, 0, o.rows)
			} else {
				f.Memory(opI32Load, 0, o.rows)
			}
			f.Set(key[i])
		}
		a.halve(f, level, key, p)
		for i := range searchWidth {
			f.Get(p[i]).Get(at).Memory(opI32Load, 2, scaleBytes*i+4).Op(opI32Sub).I32(shift).Op(opI32ShrU).Set(p[i])
			result(level, p[i], to[i])
		}
		f.Get(at).I32(scaleBytes * searchWidth).Op(opI32Add).Tee(at).I32(address + len(list)).Op(opI32Ne).BrIf(0)
		f.End()
		cost += (f.Fuel() - before) * int64(n/searchWidth)
		begin = end
	}
	return cost
}

// rowFunction writes () -> (): the answers of a part for the row in lane 0.
func (a *answers) rowFunction(part int, tables []int) (*wasmbin.Function, int64) {
	f := a.o.g.b.Function(nil, nil)
	r := a.ranges[part]
	from := f.Local(wasmbin.I32)
	cost := a.search(f, part, tables, func(i int) int { return a.row + a.scales[i].at }, func(level int, rank, to wasmbin.Local) {
		f.I32(a.window + 256).Get(rank).Op(opI32Sub).Set(from)
		for q := max(16, 1<<level) - 16; q >= 0; q -= 16 {
			f.Get(to).Get(from).VectorMemory(vLoad, 0, q).VectorMemory(vStore, 0, q)
		}
	})
	groups := (r.predicates + 15) / 16
	if groups > 0 {
		// A predicate's answer is 0 or 1; shifting 16 bits at once carries nothing over.
		f.I32(0).Set(from)
		before := f.Fuel()
		f.Loop()
		f.Get(from).Get(from).VectorMemory(vLoad, 0, a.o.rows+r.lane).I32(bits.TrailingZeros(uint(a.granted))).Vector(vShlI16)
		f.VectorMemory(vStore, 0, a.row+r.at)
		f.Get(from).I32(16).Op(opI32Add).Tee(from).I32(16 * groups).Op(opI32Ne).BrIf(0).End()
		cost += (f.Fuel() - before) * int64(groups)
	}
	return f, cost + f.EntryFuel() + f.Fuel()
}
