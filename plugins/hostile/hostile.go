// Package hostile writes plugins that try to harm whoever runs them, each in one way. It is for tests
// only: plugins/hostile runs them on plugins/serving, cmd/arbiter/e2e pushes them to the real program.
package hostile

import (
	"fmt"
	"math"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/plugins/wasmbin"
	"github.com/arbiterhq/arbiter/runtime/wasm"
)

// Case is one hostile plugin.
type Case struct {
	Name string
	// Artifact is the module with its manifest.
	Artifact []byte
	// Refused holds what the refusal must say: its rule, the place and the remedy. Empty: the plugin is
	// admitted, and each call must fail with Reason or, where that is "", give a score between 0 and 1.
	Refused []string
	Reason  wasm.Reason
	// OutOfRange tells that calls fail because the score is no probability.
	OutOfRange bool
	// Late tells that the plugin scores well at first, and is found only after a thousand calls.
	Late bool
}

// Manifest is that of every case, of plugin name.
func Manifest(name string) *artifact.Manifest {
	return &artifact.Manifest{
		Name: name, Version: "1.0.0", Kind: artifact.KindScorer, ABI: artifact.ABIVersion,
		Features: []artifact.Feature{
			{Name: "tenure", Recipe: artifact.Recipe{Attribute: "tenure"}},
			{Name: "value", Scope: artifact.ScopeCandidate, Recipe: artifact.Recipe{ActionProperty: "value"}},
		},
		// The most that a node grants by default.
		Limits: artifact.Limits{MemoryPages: 64, FuelBase: 1_900_000, FuelPerRow: 1000, MaxRows: 64},
	}
}

// Good is a well-behaved plugin that scores every row with score.
func Good(name string, score float64) []byte {
	return mustEmbed(guest{score: scores(score)}.module(), Manifest(name))
}

func mustEmbed(module []byte, m *artifact.Manifest) []byte {
	b, err := artifact.Embed(module, m)
	if err != nil {
		panic(fmt.Sprintf("hostile: %v", err)) // a bug of the case
	}
	return b
}

// Cases are all of them, as versions of plugin name.
func Cases(name string) []Case {
	var cases []Case
	for _, list := range [][]Case{endless(name), memory(name), bombs(name), starts(name), liars(name), refuelers(name), wrong(name), results(name), stateful(name)} {
		cases = append(cases, list...)
	}
	return cases
}

// fails is a case that is admitted and fails with reason when it is called. Only rows with a tenure of at
// least 0 are attacked: the rows of missing values that admission tries are scored.
func fails(name, plugin string, reason wasm.Reason, g guest, attack []byte) Case {
	g.score = join(
		raw(0x20, 0, 0x2b, 3, 0), f64(0), raw(0x66, 0x04, 0x40), attack, raw(0x0b), // if load(subject) >= 0 { attack }
		scores(0.5))
	return Case{Name: name, Artifact: mustEmbed(g.module(), Manifest(plugin)), Reason: reason}
}

func refused(name, plugin string, g guest, says ...string) Case {
	return Case{Name: name, Artifact: mustEmbed(g.module(), Manifest(plugin)), Refused: says}
}

// endless work without end, or with one that nobody sees.
func endless(plugin string) []Case {
	tree := guest{}
	for i := range 40 { // 2^40 calls without a loop
		code := []byte{}
		if i > 0 {
			code = join(u32(raw(0x10), uint32(first+i-1)), u32(raw(0x10), uint32(first+i-1)))
		}
		tree.extra = append(tree.extra, function{typ: typeNone, code: code})
	}
	self := join(raw(0x20, 0, 0x20, 1, 0x20, 2, 0x20, 3, 0x20, 4, 0x20, 5, 0x10, scoreIndex, 0x1a))
	wide := function{typ: typeI32I32, locals: join(raw(1), u32(nil, 500), raw(0x7e)), code: raw(0x20, 0, 0x10, first, 0x41, 1, 0x6a)}
	return []Case{
		fails("infinite loop", plugin, wasm.ReasonFuel, guest{}, raw(0x03, 0x40, 0x0c, 0, 0x0b)),
		fails("exponential call tree", plugin, wasm.ReasonFuel, tree, u32(raw(0x10), first+39)),
		fails("deep recursion", plugin, wasm.ReasonFuel, guest{}, self),
		fails("deep recursion with large frames", plugin, wasm.ReasonFuel, guest{extra: []function{wide}}, raw(0x41, 0, 0x10, first, 0x1a)),
		refused("endless tail calls", plugin, guest{extra: []function{{typ: typeNone, code: raw(0x12, first)}}},
			"rule tail-calls", "function 4", "build without the tail-call feature"),
		fails("trap", plugin, wasm.ReasonTrap, guest{}, raw(0x00)),
		fails("division by zero", plugin, wasm.ReasonTrap, guest{}, raw(0x41, 1, 0x41, 0, 0x6d, 0x1a)),
	}
}

// memory is used up, or left.
func memory(plugin string) []Case {
	fill := join(i32(0), i32(7), i32(60*wasm.PageBytes), raw(0xfc, 0x0b, 0))
	return []Case{
		fails("straight-line memory.fill", plugin, wasm.ReasonFuel, guest{pages: 60}, times(300, fill)),
		fails("memory.grow bomb", plugin, wasm.ReasonFuel, guest{}, join(raw(0x03, 0x40), i32(1), raw(0x40, 0, 0x1a, 0x0c, 0, 0x0b))),
		fails("memory.grow by everything", plugin, wasm.ReasonFuel, guest{}, join(i32(65535), raw(0x40, 0, 0x1a))),
		fails("store beyond the memory", plugin, wasm.ReasonMemory, guest{}, join(i32(-16), f64(1), raw(0x39, 3, 0))),
		fails("memory.copy beyond the memory", plugin, wasm.ReasonFuel, guest{}, join(i32(0), i32(0), i32(-1), raw(0xfc, 0x0a, 0, 0))),
		refused("memory larger than its manifest says", plugin, guest{pages: 65}, "rule validation", "module", "limits.memoryPages"),
		refused("memory larger than any node allows", plugin, guest{pages: 4096}, "rule memory-pages", "section 5 (memory)", "lower the initial memory"),
		refused("endless start of instances", plugin, guest{initial: raw(0x03, 0x40, 0x0c, 0, 0x0b)}, "rule fuel", "_initialize", "do less work there"),
	}
}

// bombs cost far more to compile than their size suggests.
func bombs(plugin string) []Case {
	targets := join(raw(0x41, 0, 0x0e), u32(nil, 30_000), make([]byte, 30_001))
	nest := join(times(20_000, raw(0x02, 0x40)), times(20_000, raw(0x0b)))
	var large []byte
	for range 400_000 {
		large = append(large, 0x41, 1, 0x1a)
	}
	many := guest{}
	for range 20_000 {
		many.extra = append(many.extra, function{typ: typeNone})
	}
	return []Case{
		refused("huge locals", plugin, guest{extra: []function{{typ: typeNone, locals: join(raw(1), u32(nil, 50_000), raw(0x7e))}}}, "rule locals", "function 4", "split it"),
		refused("locals beyond all numbers", plugin, guest{extra: []function{{typ: typeNone, locals: join(raw(2), u32(nil, 1<<32-1), raw(0x7e), u32(nil, 1<<32-1), raw(0x7e))}}}, "rule locals", "function 4"),
		refused("br_table", plugin, guest{extra: []function{{typ: typeNone, code: targets}}}, "rule branch-targets", "function 4"),
		refused("nested blocks", plugin, guest{extra: []function{{typ: typeNone, code: nest}}}, "rule nesting", "function 4", "split the function"),
		refused("one large function", plugin, guest{extra: []function{{typ: typeNone, code: large}}}, "rule function-bytes", "function 4", "split it"),
		refused("many functions", plugin, many, "rule functions", "section 3 (function)", "strip unused functions"),
		refused("many globals", plugin, guest{globals: repeated(2000, raw(0x7f, 0, 0x41, 0, 0x0b))}, "rule globals", "section 6 (global)", "keep the values in memory"),
	}
}

func repeated(n int, item []byte) [][]byte {
	list := make([][]byte, n)
	for i := range list {
		list[i] = item
	}
	return list
}

// starts run before the host gives any fuel.
func starts(plugin string) []Case {
	return []Case{
		refused("start function without end", plugin, guest{start: true, extra: []function{{typ: typeNone, code: raw(0x03, 0x40, 0x0c, 0, 0x0b)}}},
			"rule start", "start", "must start without an error"),
		refused("start function that fills", plugin, guest{pages: 60, start: true, extra: []function{{typ: typeNone,
			code: times(300, join(i32(0), i32(7), i32(60*wasm.PageBytes), raw(0xfc, 0x0b, 0)))}}}, "rule start", "start"),
		refused("start function that traps", plugin, guest{start: true, extra: []function{{typ: typeNone, code: raw(0x00)}}}, "rule start", "start"),
		refused("data beyond the memory", plugin, guest{data: make([]byte, 2*wasm.PageBytes+1)}, "rule start", "start"),
	}
}

// liars say in their manifest what is not so.
func liars(plugin string) []Case {
	lie := func(name string, change func(m *artifact.Manifest), g guest, says ...string) Case {
		m := Manifest(plugin)
		change(m)
		return Case{Name: name, Artifact: mustEmbed(g.module(), m), Refused: says}
	}
	one, two := 1.0, 2.0
	golden := func(score float64) func(*artifact.Manifest) {
		return func(m *artifact.Manifest) {
			m.Golden = []artifact.GoldenRow{{Features: []*float64{&one, &two}, Score: score}}
		}
	}
	return []Case{
		lie("golden row that is not so", golden(0.75), guest{}, "rule golden", "manifest /golden/0/score", "rebuild the module and its golden rows"),
		lie("less fuel than it needs", func(m *artifact.Manifest) { m.Limits.FuelBase, m.Limits.FuelPerRow = 3, 1 }, guest{}, "used up its fuel", "raise limits.fuelBase"),
		lie("more fuel than anybody gets", func(m *artifact.Manifest) { m.Limits.FuelBase = 1 << 39 }, guest{}, "rule fuel", "manifest /limits/fuelPerRow", "make the model smaller"),
		lie("more memory than anybody gets", func(m *artifact.Manifest) { m.Limits.MemoryPages = artifact.MaxMemoryPages }, guest{}, "rule memory", "manifest /limits/memoryPages", "lower the limit"),
		lie("strategy that is none", func(m *artifact.Manifest) {
			m.Kind, m.Features, m.Limits.FuelBase, m.Limits.FuelPerRow = artifact.KindStrategy, nil, 1_000_000, 10
		}, guest{}, "rule exports", "section 7 (export)", "arbiter_buffers", "export it"),
		lie("adapter that it has not", func(m *artifact.Manifest) {
			m.Adapter = &artifact.Adapter{Kind: artifact.AdapterExtism, Entrypoint: "run"}
		}, guest{}, "rule exports", "section 7 (export)", "--entrypoint"),
		{Name: "features edited by hand", Artifact: edited(plugin), Refused: []string{"manifest", "featureHash"}},
		{Name: "two manifests", Artifact: wasmbin.AppendCustomSection(Good(plugin, 0.5), artifact.SectionName, []byte("{}")), Refused: []string{"two sections named", "keep one"}},
		{Name: "no manifest", Artifact: guest{}.module(), Refused: []string{"rule manifest", "no custom section"}},
	}
}

// edited is an artifact whose feature was renamed without its hash.
func edited(plugin string) []byte {
	good := Good(plugin, 0.5)
	from, to := []byte(`"name":"tenure"`), []byte(`"name":"income"`)
	for i := range len(good) - len(from) {
		if string(good[i:i+len(from)]) == string(from) {
			copy(good[i:], to)
		}
	}
	return good
}

// refuelers reach for the fuel counter.
func refuelers(plugin string) []Case {
	exported := join(name(wasmbin.FuelGlobal), raw(3, 0))
	// The module has global 0; metering adds number 1.
	refill := raw(0x42, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00, 0x24, 1)
	return []Case{
		refused("exports the fuel", plugin, guest{exports: [][]byte{exported}}, "rule fuel-global", "section 7 (export)", "rename it"),
		refused("exports a function named as the fuel", plugin, guest{exports: [][]byte{join(name(wasmbin.FuelGlobal), raw(0, 0))}}, "rule fuel-global", "section 7 (export)"),
		refused("imports the fuel", plugin, guest{imports: []string{wasmbin.FuelGlobal}}, "rule fuel-global", "section 2 (import)", "rename it"),
		refused("sets the fuel by its index", plugin, guest{extra: []function{{typ: typeNone, code: refill}}}, "rule validation", "rebuild it"),
		fails("sets a global of its own", plugin, wasm.ReasonFuel, guest{}, join(raw(0x03, 0x40, 0x42), signed(1<<40), raw(0x24, 0, 0x0c, 0, 0x0b))),
	}
}

// wrong modules are no plugins, or ask for what they do not get.
func wrong(plugin string) []Case {
	return []Case{
		refused("unknown import", plugin, guest{imports: []string{"system"}}, "rule imports", "section 2 (import)", `"env"."system"`),
		refused("wrong signature", plugin, guest{typ: typeI32, score: raw(0x41, 0)}, "rule signature", "function 2 (arbiter_score)", "rebuild it with a guest SDK"),
		refused("threads", plugin, guest{extra: []function{{typ: typeNone, code: raw(0xfe, 3, 0)}}}, "rule threads", "function 4"),
		refused("oddly encoded opcode", plugin, guest{extra: []function{{typ: typeNone, code: raw(0xfd, 0x8c, 0x80, 0)}}}, "rule opcode", "function 4"),
		refused("invalid body", plugin, guest{extra: []function{{typ: typeNone, code: raw(0x6a)}}}, "rule validation", "rebuild it"),
		refused("no room", plugin, guest{reserve: raw(0x42, 0x7f)}, "rule layout", "arbiter_reserve", "limits.maxRows"),
		{Name: "not a module", Artifact: []byte("MZ\x90\x00 this is a program of another kind"), Refused: []string{"rule format", "module", "push a .wasm file"}},
		{Name: "empty", Artifact: nil, Refused: []string{"push"}},
	}
}

// results are out of range, or outside memory.
func results(plugin string) []Case {
	value := func(name string, v float64) Case {
		return Case{Name: name, Artifact: mustEmbed(guest{score: scores(v)}.module(), Manifest(plugin)), OutOfRange: true}
	}
	at := func(in, out int64) []byte { return join(raw(0x42), signed(in<<32|out)) }
	return []Case{
		value("infinite score", math.Inf(1)), value("negative infinite score", math.Inf(-1)), value("score above 1", 1.5), value("score below 0", -1e-9),
		refused("results outside memory", plugin, guest{reserve: at(inAt, 1<<31)}, "rule layout", "arbiter_reserve", "beyond the end of the memory"),
		refused("input outside memory", plugin, guest{reserve: at(2*wasm.PageBytes-16, outAt)}, "rule layout", "arbiter_reserve", "beyond the end of the memory"),
		refused("results over the input", plugin, guest{reserve: at(inAt, inAt+8)}, "rule layout", "arbiter_reserve", "overlap"),
		refused("crooked results", plugin, guest{reserve: at(inAt, outAt+3)}, "rule layout", "arbiter_reserve", "multiple"),
		fails("status", plugin, wasm.ReasonStatus, guest{}, raw(0x41, 7, 0x0f)),
	}
}

// stateful plugins remember a customer.
func stateful(plugin string) []Case {
	// The score is a quarter, and a half from the second call on: global 0 counts.
	counts := join(raw(0x23, 0, 0x42, 1, 0x7c, 0x24, 0, 0x20, 5, 0x23, 0, 0x42, 1, 0x51, 0x04, 0x7c), f64(0.25), raw(0x05), f64(0.5), raw(0x0b, 0x39, 3, 0, 0x41, 0))
	// The score is what the last customer's tenure was.
	leaks := join(raw(0x20, 5, 0x41, 0, 0x2b, 3, 0, 0x39, 3, 0), raw(0x41, 0, 0x20, 0, 0x2b, 3, 0, 0x39, 3, 0), raw(0x41, 0))
	// The score is an eighth for the first thousand calls, and a half afterwards.
	turns := join(raw(0x23, 0, 0x42, 1, 0x7c, 0x24, 0, 0x20, 5, 0x23, 0, 0x42), signed(1000), raw(0x57, 0x04, 0x7c), f64(0.125), raw(0x05), f64(0.5), raw(0x0b, 0x39, 3, 0),
		raw(0x20, 5, 0x20, 5, 0x2b, 3, 0, 0x39, 3, 8, 0x20, 5, 0x20, 5, 0x2b, 3, 0, 0x39, 3, 16, 0x41, 0))
	return []Case{
		{Name: "keeps state that shows late", Artifact: mustEmbed(guest{score: turns}.module(), Manifest(plugin)), Late: true},
		refused("keeps state between customers", plugin, guest{score: counts}, "rule pure", "keep no state between calls"),
		refused("tells one customer of another", plugin, guest{score: leaks}, "rule pure", "keep no state between calls"),
	}
}
