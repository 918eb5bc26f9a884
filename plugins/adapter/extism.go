package adapter

import (
	"encoding/binary"
	"slices"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/runtime/wasm"
)

// The functions of Extism's kernel (https://github.com/extism/extism, kernel/src/lib.rs) over memory of
// the host: blocks that a guest allocates, reads and writes by address. The memory is the guest's for one
// call and is cleared afterwards, so that nothing of one customer is left for the next. There are no
// variables, no configuration and no network.
const (
	extismModule    = "extism:host/env"
	extismEntry     = "score"
	maxArenaBytes   = 4 << 20
	maxArenaBlocks  = 16 << 10
	extismFirst     = 16 // address of the first block: 0 is no block
	extismErrorLog  = 4  // the level that a guest may log at: none below errors
	extismArenaKept = 256 << 10
)

// extismPlugin is the Protocol of Extism plugins.
type extismPlugin struct {
	fields *fields
	entry  string
}

func newExtism(a *artifact.Adapter, f *fields, _ []byte) (wasm.Protocol, error) {
	return &extismPlugin{fields: f, entry: extismEntrypoint(a)}, nil
}

func extismEntrypoint(a *artifact.Adapter) string {
	if a.Entrypoint == "" {
		return extismEntry
	}
	return a.Entrypoint
}

func extismExports(a *artifact.Adapter) []export {
	return []export{{extismEntrypoint(a), nil, repeat(i32, 1)}}
}

// Functions implements wasm.Protocol.
func (*extismPlugin) Functions() []wasm.ForeignImport { return extismFunctions() }

// Open implements wasm.Protocol: it runs the constructors of the guest's language.
func (p *extismPlugin) Open(g *wasm.Guest) (wasm.Session, error) {
	for _, name := range [...]string{"_initialize", "__wasm_call_ctors"} {
		if f := g.Function(name); f != nil {
			if _, err := f.Call(); err != nil {
				return nil, err
			}
			break
		}
	}
	entry := g.Function(p.entry)
	if entry == nil || entry.Results() != 1 {
		return nil, refuse("exports", "section 7 (export)", "there is no exported function %s that returns an i32; %s", clip(p.entry), remedyOf(artifact.AdapterExtism))
	}
	return &extismSession{plugin: p, entry: entry}, nil
}

// extismSession is one instance and its memory in the host.
type extismSession struct {
	plugin  *extismPlugin
	entry   *wasm.Function
	request []byte

	arena      []byte
	blocks     []block // ascending by address
	inputBytes uint64
	output     block
	failed     bool // the guest set an error
}

// block is an allocated area.
type block struct{ at, size uint64 }

// Reusable implements wasm.Session.
func (s *extismSession) Reusable() bool { return true }

// Score implements wasm.Session.
func (s *extismSession) Score(g *wasm.Guest, rows int) error {
	s.request = s.plugin.fields.request(s.request[:0], g, rows)
	defer s.forget()
	answer, err := s.run(g, s.request)
	if err != nil {
		return err
	}
	return scores(g, answer, rows, s.plugin.entry)
}

// Exchange implements wasm.Session.
func (s *extismSession) Exchange(g *wasm.Guest, in, out []byte) ([]byte, error) {
	defer s.forget()
	answer, err := s.run(g, in)
	if err != nil {
		return nil, err
	}
	return append(out, answer...), nil
}

// run calls the plugin; the answer lies in the arena.
func (s *extismSession) run(g *wasm.Guest, in []byte) ([]byte, error) {
	entry := s.plugin.entry
	if len(in) > MaxInputBytes {
		return nil, wasm.Fault(wasm.ReasonLayout, entry, "the input of %d bytes is larger than %d", len(in), MaxInputBytes)
	}
	at, ok := s.alloc(uint64(len(in)))
	if !ok || !g.Take(byteFuel*uint64(len(in))) {
		return nil, wasm.Fault(wasm.ReasonLayout, entry, "the input of %d bytes does not fit", len(in))
	}
	copy(s.arena[at:], in)
	s.inputBytes = uint64(len(in))
	status, err := s.entry.Call()
	switch {
	case err != nil:
		return nil, err
	case uint32(status) != 0:
		return nil, wasm.Fault(wasm.ReasonStatus, entry, "returned status %d", int32(uint32(status)))
	case s.failed:
		return nil, wasm.Fault(wasm.ReasonStatus, entry, "set an error")
	case s.output.size > MaxAnswerBytes:
		return nil, wasm.Fault(wasm.ReasonStatus, entry, "answered with more than %d bytes", MaxAnswerBytes)
	}
	return s.arena[s.output.at : s.output.at+s.output.size], nil
}

// forget clears the memory of a call.
func (s *extismSession) forget() {
	clear(s.arena)
	s.arena, s.blocks = s.arena[:0], s.blocks[:0]
	if cap(s.arena) > extismArenaKept {
		s.arena = nil
	}
	s.inputBytes, s.output, s.failed = 0, block{}, false
}

// alloc takes a block; its bytes are 0.
func (s *extismSession) alloc(size uint64) (at uint64, ok bool) {
	at = max(uint64(len(s.arena)+7)&^7, extismFirst)
	if size > maxArenaBytes || at+size > maxArenaBytes || len(s.blocks) >= maxArenaBlocks {
		return 0, false
	}
	end := int(at + size)
	if cap(s.arena) < end {
		grown := make([]byte, end, max(end, 2*cap(s.arena), 4096))
		copy(grown, s.arena)
		s.arena = grown
	}
	s.arena = s.arena[:end]
	s.blocks = append(s.blocks, block{at, size})
	return at, true
}

// find is the block that begins at an address.
func (s *extismSession) find(at uint64) (block, bool) {
	i, ok := slices.BinarySearchFunc(s.blocks, at, func(b block, at uint64) int {
		switch {
		case b.at < at:
			return -1
		case b.at > at:
			return 1
		}
		return 0
	})
	if !ok {
		return block{}, false
	}
	return s.blocks[i], true
}

// area is arena [at, at+n); out of bounds ends the guest.
func (s *extismSession) area(g *wasm.Guest, at, n uint64) []byte {
	if at > uint64(len(s.arena)) || n > uint64(len(s.arena))-at {
		g.End("out of bounds memory access by a host function")
	}
	return s.arena[at : at+n]
}

// input is bytes [at, at+n) of the input.
func (s *extismSession) input(g *wasm.Guest, at, n uint64) []byte {
	if at > s.inputBytes || n > s.inputBytes-at {
		g.End("out of bounds memory access by a host function")
	}
	return s.arena[extismFirst+at:][:n]
}

// extismFunctions are the kernel's functions.
func extismFunctions() []wasm.ForeignImport {
	fn := func(name string, params, results []byte, fuel uint64, call func(s *extismSession, g *wasm.Guest, stack []uint64)) wasm.ForeignImport {
		return wasm.ForeignImport{Module: extismModule, Name: name, Params: params, Results: results, Fuel: fuel,
			Call: func(g *wasm.Guest, stack []uint64) {
				s, ok := g.Session().(*extismSession)
				if !ok {
					g.End("the module calls the host before it started")
				}
				call(s, g, stack)
			}}
	}
	number, numbers, small := repeat(i64, 1), repeat(i64, 2), repeat(i32, 1)
	nothing := func(*extismSession, *wasm.Guest, []uint64) {}
	zero := func(_ *extismSession, _ *wasm.Guest, stack []uint64) { stack[0] = 0 }
	const access = callFuel / 2 // what guests do for each few bytes
	return []wasm.ForeignImport{
		fn("alloc", number, number, callFuel, (*extismSession).hostAlloc),
		fn("free", number, nil, callFuel, nothing),
		fn("length", number, number, callFuel, (*extismSession).hostLength),
		fn("length_unsafe", number, number, callFuel, (*extismSession).hostLength),
		fn("load_u8", number, small, access, func(s *extismSession, g *wasm.Guest, stack []uint64) {
			stack[0] = uint64(s.area(g, stack[0], 1)[0])
		}),
		fn("load_u64", number, number, access, func(s *extismSession, g *wasm.Guest, stack []uint64) {
			stack[0] = binary.LittleEndian.Uint64(s.area(g, stack[0], 8))
		}),
		fn("store_u8", []byte{i64, i32}, nil, access, func(s *extismSession, g *wasm.Guest, stack []uint64) {
			s.area(g, stack[0], 1)[0] = byte(stack[1])
		}),
		fn("store_u64", numbers, nil, access, func(s *extismSession, g *wasm.Guest, stack []uint64) {
			binary.LittleEndian.PutUint64(s.area(g, stack[0], 8), stack[1])
		}),
		fn("input_length", nil, number, access, func(s *extismSession, _ *wasm.Guest, stack []uint64) { stack[0] = s.inputBytes }),
		fn("input_offset", nil, number, access, func(_ *extismSession, _ *wasm.Guest, stack []uint64) { stack[0] = extismFirst }),
		fn("input_load_u8", number, small, access, func(s *extismSession, g *wasm.Guest, stack []uint64) {
			stack[0] = uint64(s.input(g, stack[0], 1)[0])
		}),
		fn("input_load_u64", number, number, access, func(s *extismSession, g *wasm.Guest, stack []uint64) {
			stack[0] = binary.LittleEndian.Uint64(s.input(g, stack[0], 8))
		}),
		fn("output_set", numbers, nil, callFuel, func(s *extismSession, g *wasm.Guest, stack []uint64) {
			s.area(g, stack[0], stack[1])
			s.output = block{stack[0], stack[1]}
		}),
		fn("output_length", nil, number, access, func(s *extismSession, _ *wasm.Guest, stack []uint64) { stack[0] = s.output.size }),
		fn("output_offset", nil, number, access, func(s *extismSession, _ *wasm.Guest, stack []uint64) { stack[0] = s.output.at }),
		fn("error_set", number, nil, callFuel, func(s *extismSession, _ *wasm.Guest, stack []uint64) { s.failed = stack[0] != 0 }),
		fn("error_get", nil, number, callFuel, zero),
		fn("memory_bytes", nil, number, callFuel, func(s *extismSession, _ *wasm.Guest, stack []uint64) { stack[0] = uint64(len(s.arena)) }),
		fn("config_get", number, number, callFuel, zero),
		fn("var_get", number, number, callFuel, zero),
		fn("var_set", numbers, nil, callFuel, func(_ *extismSession, g *wasm.Guest, _ []uint64) {
			g.End("the plugin sets a variable; a plugin keeps no state between calls")
		}),
		fn("http_request", numbers, number, callFuel, func(_ *extismSession, g *wasm.Guest, _ []uint64) {
			g.End("the plugin calls the network, which there is not")
		}),
		fn("http_status_code", nil, small, callFuel, zero),
		fn("http_headers", nil, number, callFuel, zero),
		fn("log_trace", number, nil, callFuel, nothing),
		fn("log_debug", number, nil, callFuel, nothing),
		fn("log_info", number, nil, callFuel, nothing),
		fn("log_warn", number, nil, callFuel, nothing),
		fn("log_error", number, nil, callFuel, nothing),
		fn("get_log_level", nil, small, callFuel, func(_ *extismSession, _ *wasm.Guest, stack []uint64) { stack[0] = extismErrorLog }),
	}
}

func (s *extismSession) hostAlloc(g *wasm.Guest, stack []uint64) {
	const bytesPerFuel = 16 // clearing is cheap
	size := stack[0]
	g.Pay(min(size, maxArenaBytes) / bytesPerFuel)
	at, ok := s.alloc(size)
	if !ok {
		at = 0 // as the kernel answers when memory is out
	}
	stack[0] = at
}

func (s *extismSession) hostLength(_ *wasm.Guest, stack []uint64) {
	b, _ := s.find(stack[0])
	stack[0] = b.size
}
