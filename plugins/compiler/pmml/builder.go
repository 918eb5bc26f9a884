package pmml

import (
	"encoding/binary"
	"maps"
	"math"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
)

// builder writes decision trees whose questions are predicates of three answers as trees of simple
// splits. On its way down it remembers what the answers so far tell about each field, and asks nothing
// that is known already: of the two children x <= 5 and x > 5 the second needs only be asked whether x
// is missing, and that once.
type builder struct {
	d       *document
	outputs int
	acc     ir.Width
	trees   []ir.Tree
	leaves  []float64
	sets    [][]int32
	numbers map[string]int32 // of sets, by their codes
	fields  []*field
	columns map[*field]int32
	known   map[*field]knowledge
	nodes   []ir.Node // of the tree under way
	at      *element  // of the tree under way
	depth   int
	next    int // number of the next way on
	asked   int // predicates under way
}

// maxAsked bounds predicates under way, and so the stack: those that are known already add no nodes.
const maxAsked = 50_000

// knowledge is what the answers so far tell of a field: the interval of its value or the texts it may
// be, if it is not missing, and whether it may be missing.
type knowledge struct {
	present, missing bool // may be
	low, high        float64
	lowOpen          bool // whether low itself is out
	highOpen         bool
	only             map[int32]bool // nil: any text but those of not
	not              map[int32]bool
}

// way is how to go on after an answer. Ways of equal id lead to the same result.
type way struct {
	id int
	on func() (int32, error)
}

func newBuilder(d *document, outputs int, acc ir.Width) *builder {
	return &builder{d: d, outputs: outputs, acc: acc, columns: map[*field]int32{}, numbers: map[string]int32{}, known: map[*field]knowledge{}}
}

func (b *builder) way(on func() (int32, error)) way {
	b.next++
	return way{id: b.next, on: on}
}

// tree writes a tree whose root is what root writes.
func (b *builder) tree(e *element, root func() (int32, error)) error {
	b.nodes, b.at, b.depth, b.asked = nil, e, 0, 0
	clear(b.known)
	if _, err := root(); err != nil {
		return err
	}
	output := int32(ir.AllOutputs)
	if b.outputs == 1 {
		output = 0
	}
	b.trees = append(b.trees, ir.Tree{Output: output, Nodes: b.nodes})
	return nil
}

// leaf writes a leaf.
func (b *builder) leaf(values []float64) (int32, error) {
	at, err := b.node(ir.Node{Leaf: int32(len(b.leaves))})
	for _, v := range values {
		if b.acc == ir.F32 {
			v = float64(float32(v))
		}
		b.leaves = append(b.leaves, v)
	}
	return at, err
}

func (b *builder) node(n ir.Node) (int32, error) {
	if b.d.nodes++; b.d.nodes > ir.MaxNodes || len(b.nodes) >= ir.MaxTreeNodes {
		return 0, b.at.fail("its predicates need more than %d nodes (%d in all trees); train a smaller model or simplify its predicates", ir.MaxTreeNodes, ir.MaxNodes)
	}
	b.nodes = append(b.nodes, n)
	return int32(len(b.nodes) - 1), nil
}

func (b *builder) of(f *field) knowledge {
	if k, ok := b.known[f]; ok {
		return k
	}
	return knowledge{present: true, missing: f.missing, low: math.Inf(-1), high: math.Inf(1)}
}

// knowing goes on with k known of f.
func (b *builder) knowing(f *field, k knowledge, on func() (int32, error)) (int32, error) {
	before, had := b.known[f]
	b.known[f] = k
	at, err := on()
	if had {
		b.known[f] = before
	} else {
		delete(b.known, f)
	}
	return at, err
}

// fork writes a split and both its sides.
func (b *builder) fork(f *field, s ir.Split, yes, no knowledge, left, right func() (int32, error)) (int32, error) {
	if b.depth++; b.depth > ir.MaxTreeDepth {
		return 0, b.at.fail("its questions nest deeper than %d; train with a smaller depth or simplify its predicates", ir.MaxTreeDepth)
	}
	s.Feature = b.column(f)
	at, err := b.node(ir.Node{Split: s})
	if err != nil {
		return 0, err
	}
	l, err := b.knowing(f, yes, left)
	if err != nil {
		return 0, err
	}
	r, err := b.knowing(f, no, right)
	if err != nil {
		return 0, err
	}
	b.nodes[at].Left, b.nodes[at].Right = l, r
	b.depth--
	return at, nil
}

func (b *builder) column(f *field) int32 {
	c, ok := b.columns[f]
	if !ok {
		c = int32(len(b.fields))
		b.columns[f] = c
		b.fields = append(b.fields, f)
	}
	return c
}

// ask writes the questions that answer p, and what follows each answer.
func (b *builder) ask(p *predicate, yes, no, unknown way) (int32, error) {
	if b.asked++; b.asked > maxAsked {
		return 0, b.at.fail("more than %d predicates follow each other; simplify them", maxAsked)
	}
	defer func() { b.asked-- }()
	switch p.test {
	case testTrue:
		return yes.on()
	case testFalse:
		return no.on()
	case testMissing:
		return b.askMissing(p.field, yes, no)
	case testNotMissing:
		return b.askMissing(p.field, no, yes)
	case testCompare, testIn:
		return b.askValue(p, yes, no, unknown)
	case testNotIn:
		opposite := *p
		opposite.test = testIn
		return b.askValue(&opposite, no, yes, unknown)
	case testSurrogate:
		return b.askSurrogate(p.parts, yes, no, unknown)
	case testXor:
		return b.askXor(p.parts, yes, no, unknown)
	case testAnd:
		return b.askAll(p.parts, false, yes, no, unknown)
	default: // testOr: not all of them no
		return b.askAny(p.parts, false, yes, no, unknown)
	}
}

func (b *builder) askMissing(f *field, yes, no way) (int32, error) {
	k := b.of(f)
	switch {
	case !k.missing || yes.id == no.id:
		return no.on()
	case !k.present:
		return yes.on()
	}
	gone, there := k, k
	gone.present, there.missing = false, false
	// No number is less than -Inf; NaN goes left.
	s := ir.Split{Compare: ir.LT, Value: math.Inf(-1), Missing: ir.MissingNaN, Default: true}
	return b.fork(f, s, gone, there, yes.on, no.on)
}

// askValue asks a comparison or membership.
func (b *builder) askValue(p *predicate, yes, no, unknown way) (int32, error) {
	k := b.of(p.field)
	whenYes, whenNo := k.answer(p)
	if yes.id == no.id {
		whenNo.present = false
	}
	switch {
	case !k.missing && !whenNo.present:
		return yes.on()
	case !k.missing && !whenYes.present:
		return no.on()
	case !k.present:
		return unknown.on()
	case k.missing && !whenNo.present:
		return b.askMissing(p.field, unknown, yes)
	case k.missing && !whenYes.present:
		return b.askMissing(p.field, unknown, no)
	case k.missing && unknown.id != yes.id && unknown.id != no.id:
		return b.askMissing(p.field, unknown, b.way(func() (int32, error) { return b.askValue(p, yes, no, unknown) }))
	}
	s := ir.Split{Compare: p.compare, Value: p.value, Missing: ir.MissingNaN, Default: unknown.id == yes.id}
	if p.test == testIn {
		s.Compare, s.Value = ir.EQ, float64(p.codes[0])
		if len(p.codes) > 1 {
			s.Compare, s.Value, s.Set = ir.In, 0, b.setOf(p.codes)
		}
	}
	whenYes.missing = k.missing && s.Default
	whenNo.missing = k.missing && !s.Default
	return b.fork(p.field, s, whenYes, whenNo, yes.on, no.on)
}

// askAll asks parts one after the other until one is no. lost tells that one was unknown.
func (b *builder) askAll(parts []*predicate, lost bool, yes, no, unknown way) (int32, error) {
	if len(parts) == 0 {
		if lost {
			return unknown.on()
		}
		return yes.on()
	}
	if len(parts) == 1 && !lost {
		return b.ask(parts[0], yes, no, unknown)
	}
	on := b.way(func() (int32, error) { return b.askAll(parts[1:], lost, yes, no, unknown) })
	then := on
	switch {
	case unknown.id == no.id:
		then = no
	case !lost:
		then = b.way(func() (int32, error) { return b.askAll(parts[1:], true, yes, no, unknown) })
	}
	return b.ask(parts[0], on, no, then)
}

// askAny asks parts one after the other until one is yes: not all of the opposites.
func (b *builder) askAny(parts []*predicate, lost bool, yes, no, unknown way) (int32, error) {
	if len(parts) == 0 {
		if lost {
			return unknown.on()
		}
		return no.on()
	}
	if len(parts) == 1 && !lost {
		return b.ask(parts[0], yes, no, unknown)
	}
	on := b.way(func() (int32, error) { return b.askAny(parts[1:], lost, yes, no, unknown) })
	then := on
	if !lost && unknown.id != no.id {
		then = b.way(func() (int32, error) { return b.askAny(parts[1:], true, yes, no, unknown) })
	}
	return b.ask(parts[0], yes, on, then)
}

func (b *builder) askXor(parts []*predicate, yes, no, unknown way) (int32, error) {
	if len(parts) == 1 {
		return b.ask(parts[0], yes, no, unknown)
	}
	on := func(yes, no way) way {
		return b.way(func() (int32, error) { return b.askXor(parts[1:], yes, no, unknown) })
	}
	return b.ask(parts[0], on(no, yes), on(yes, no), unknown)
}

func (b *builder) askSurrogate(parts []*predicate, yes, no, unknown way) (int32, error) {
	if len(parts) == 1 {
		return b.ask(parts[0], yes, no, unknown)
	}
	return b.ask(parts[0], yes, no, b.way(func() (int32, error) { return b.askSurrogate(parts[1:], yes, no, unknown) }))
}

func (b *builder) setOf(codes []int32) int32 {
	key := make([]byte, 0, 4*len(codes))
	for _, c := range codes {
		key = binary.LittleEndian.AppendUint32(key, uint32(c))
	}
	set, ok := b.numbers[string(key)]
	if !ok {
		set = int32(len(b.sets))
		b.numbers[string(key)] = set
		b.sets = append(b.sets, codes)
	}
	return set
}

// step hands back all trees as one step.
func (b *builder) step(base []float64) *ir.Trees {
	in, columns := b.d.gather(b.fields)
	for t := range b.trees {
		for n := range b.trees[t].Nodes {
			if node := &b.trees[t].Nodes[n]; node.Compare != ir.Leaf {
				node.Feature = columns[node.Feature]
			}
		}
	}
	return &ir.Trees{In: in, Row: ir.F64, Acc: b.acc, Outputs: b.outputs, Base: base, Trees: b.trees, Leaves: b.leaves, Sets: b.sets}
}

// maxKnown bounds the texts that are remembered of a field: what is forgotten is asked again.
const maxKnown = 4096

// answer tells what is known after each answer to p; present is false in one that cannot be.
func (k knowledge) answer(p *predicate) (yes, no knowledge) {
	yes, no = k, k
	if p.test == testIn && len(p.codes)+len(k.not)+len(k.only) > maxKnown {
		return yes, no
	}
	if p.test == testIn {
		yes.only = map[int32]bool{}
		for _, c := range p.codes {
			if k.only == nil && !k.not[c] || k.only[c] {
				yes.only[c] = true
			}
		}
		if k.only == nil {
			if no.not = maps.Clone(k.not); no.not == nil {
				no.not = map[int32]bool{}
			}
			for _, c := range p.codes {
				no.not[c] = true
			}
		} else {
			no.only = maps.Clone(k.only)
			for _, c := range p.codes {
				delete(no.only, c)
			}
		}
		yes.present = yes.present && len(yes.only) > 0
		no.present = no.present && (no.only == nil || len(no.only) > 0)
		return yes, no
	}
	v := p.value
	switch p.compare {
	case ir.LT:
		yes, no = yes.below(v, true), no.above(v, false)
	case ir.LE:
		yes, no = yes.below(v, false), no.above(v, true)
	case ir.GT:
		yes, no = yes.above(v, true), no.below(v, false)
	case ir.GE:
		yes, no = yes.above(v, false), no.below(v, true)
	case ir.EQ:
		yes = yes.below(v, false).above(v, false)
		no.present = no.present && (no.low != no.high || no.low != v)
	case ir.NE:
		no = no.below(v, false).above(v, false)
		yes.present = yes.present && (yes.low != yes.high || yes.low != v)
	}
	return yes, no
}

// below narrows the interval to values up to v, or with open to values less than v.
func (k knowledge) below(v float64, open bool) knowledge {
	if v < k.high || v == k.high && open {
		k.high, k.highOpen = v, open
	}
	return k.narrowed()
}

// above narrows the interval to values from v on, or with open to values greater than v.
func (k knowledge) above(v float64, open bool) knowledge {
	if v > k.low || v == k.low && open {
		k.low, k.lowOpen = v, open
	}
	return k.narrowed()
}

func (k knowledge) narrowed() knowledge {
	if k.low > k.high || k.low == k.high && (k.lowOpen || k.highOpen) {
		k.present = false
	}
	return k
}
