package emit

// What the layouts cost a row, in machine instructions as the host's engine compiles them; only their
// proportions matter.
const (
	costHalving   = 14  // of a search on a scale
	costScale     = 60  // rest of it
	costStep      = 23  // of a stream
	costLevel     = 20  // of a perfect tree of answers
	costKey       = 25  // step of the loop over keys, or level of a perfect tree of keys
	costLeaf      = 14  // finding and adding it
	costMeter     = 52  // node, in slices of 128 rows
	costCode      = 120 // rest of a tree in slices
	costSlice     = 15  // row of a tree in slices
	costRank      = 12  // predicate of a row in slices
	costPredicate = 0.4 // the same of a row walked alone
	waste         = 1.9 // steps of the lane that ends last, in lockstep, compared with the mean
)

// answered is a forest whose questions are answered before the trees are walked.
type answered struct {
	*treeForest
	a       *answers
	stream  *stream  // how one row is walked
	perfect *perfect // the same; either is nil
	one     float64  // what it costs
}

// chooseAnswers plans answers, or returns nil where keys are faster or answers do not fit. Slices need
// answers whatever they cost.
func (t *treeForest) chooseAnswers(questions []question) *answered {
	if t.kind != leafInline && t.kind != leafIndexed || t.g.mode == modeKeys || t.g.mode == modePlain || t.g.sliced && !t.fewLeaves() {
		return nil
	}
	c := &answered{treeForest: t, a: t.newAnswers(questions)}
	s := &stream{treeForest: t, a: c.a}
	if !s.fits() {
		return nil
	}
	search, steps, lockstep := 0.0, 0.0, 0.0
	for i := range c.a.scales {
		search += float64(costScale + costHalving*c.a.scales[i].level())
	}
	for i := range t.trees {
		e := t.trees[i].expected()
		steps += e + 1
		lockstep += min(waste*e, float64(t.trees[i].depth)) + 1
	}
	search += costPredicate * float64(len(t.predicates))
	n := float64(len(t.trees))
	levels := n * float64(max(1, t.depth()))
	keys := costKey * lockstep
	if t.prefersHeap() {
		keys = costKey * levels
	}
	c.one = costStep*steps + costLeaf*n
	if cost := costLevel*levels + costLeaf*n; t.fitsPerfect() && (cost < c.one || t.g.mode == modePerfect) {
		c.one, c.perfect = cost, &perfect{treeForest: t, a: c.a, depth: max(1, t.depth())}
	} else {
		c.stream = s
	}
	if t.g.mode == modeAny && !t.g.sliced && search+c.one > keys+costLeaf*n {
		return nil
	}
	return c
}

// fewLeaves tells whether slices can hold every tree.
func (t *treeForest) fewLeaves() bool {
	for i := range t.trees {
		if t.trees[i].leaves() > sliceLeaves {
			return false
		}
	}
	return true
}

// build writes tables and functions.
func (c *answered) build() {
	g := c.g
	one := g.b.Function(nil, nil)
	c.walkers.one = one
	cost := int64(0)
	if c.stream != nil {
		g.layout("stream8")
		c.stream.build()
		f := g.b.Function(nil, nil)
		cost += c.stream.walk(f)
		one.Call(f)
	} else {
		g.layout("perfect8")
		c.perfect.build()
	}
	tables := c.a.tables()
	for i := range c.parts {
		p := &c.parts[i]
		p.answer, p.answerCost = c.a.rowFunction(i, tables)
	}
	for i := range c.groups {
		group := &c.groups[i]
		if len(group.trees) == 0 {
			one.I32(c.target(0, group.output)).F64(c.base[group.output]).Memory(opF64Store, 3, 0)
			continue
		}
		f := g.b.Function(nil, nil)
		if c.stream != nil {
			cost += c.stream.sum(f, group)
		} else {
			cost += c.perfect.sum(f, i)
		}
		one.Call(f)
	}
	c.walkers.oneCost = cost + one.EntryFuel() + one.Fuel()
	if !g.sliced {
		return
	}
	g.layout("slices128")
	c.walkers.slices = c.buildSlices(c.a, tables)
	e := &c.walkers.estimate
	e.one = c.one
	e.row = costRank * float64(len(c.predicates))
	for i := range c.trees {
		e.fixed += costMeter*float64(c.trees[i].leaves()) + costCode
		e.row += costSlice
	}
}
