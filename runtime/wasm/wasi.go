package wasm

import (
	"context"
	"encoding/binary"
	"sync/atomic"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// wasiModule is the import module of the system interface that Go's standard library is built on
// (https://github.com/WebAssembly/WASI, preview 1).
const wasiModule = "wasi_snapshot_preview1"

// Error numbers of WASI.
const (
	wasiSuccess  = 0
	wasiBadFile  = 8
	wasiNoSystem = 52
)

// Fuel that a host function costs, so that a guest cannot buy time with them: one call, and one byte.
const (
	wasiCallFuel = 200
	wasiByteFuel = 1
)

// IsSystemImport tells whether a function is part of the shim: what a guest that was built for WASI
// needs to start. There is no file, network, argument or environment behind it, random numbers are the
// same each time, and the clock tells nothing but that it never goes back: it moves by a microsecond
// whenever it is read.
func IsSystemImport(module, name string) bool {
	for i := range wasiFunctions {
		if module == wasiModule && wasiFunctions[i].name == name {
			return true
		}
	}
	return module == wasiModule && name == wasiExit
}

// wasiFunction is one function of the shim. params and results are value types of WebAssembly.
type wasiFunction struct {
	name   string
	params []api.ValueType
	call   func(g *wasiCall, stack []uint64) uint32
}

const (
	i32 = api.ValueTypeI32
	i64 = api.ValueTypeI64
)

var wasiFunctions = [...]wasiFunction{
	{"args_sizes_get", []api.ValueType{i32, i32}, wasiNothing},
	{"args_get", []api.ValueType{i32, i32}, wasiOK},
	{"environ_sizes_get", []api.ValueType{i32, i32}, wasiNothing},
	{"environ_get", []api.ValueType{i32, i32}, wasiOK},
	{"clock_time_get", []api.ValueType{i32, i64, i32}, wasiClock},
	{"random_get", []api.ValueType{i32, i32}, wasiRandom},
	{"fd_write", []api.ValueType{i32, i32, i32, i32}, wasiWrite},
	{"fd_read", []api.ValueType{i32, i32, i32, i32}, wasiBad},
	{"fd_close", []api.ValueType{i32}, wasiBad},
	{"fd_seek", []api.ValueType{i32, i64, i32, i32}, wasiBad},
	{"fd_fdstat_get", []api.ValueType{i32, i32}, wasiBad},
	{"fd_prestat_get", []api.ValueType{i32, i32}, wasiBad},
	{"fd_prestat_dir_name", []api.ValueType{i32, i32, i32}, wasiBad},
	{"poll_oneoff", []api.ValueType{i32, i32, i32, i32}, wasiPoll},
	{"sched_yield", nil, wasiOK},
}

// wasiExit is the one function without a result: it ends the guest.
const wasiExit = "proc_exit"

// wasiCall is one call of a function of the shim.
type wasiCall struct {
	memory api.Memory
	fuel   api.MutableGlobal // nil when the module is not metered
	clock  *atomic.Uint64    // in nanoseconds, of all instances of a Runtime
}

// errGuest is what the shim panics with to end a guest; wazero turns it into the error of the call.
type errGuest string

// Error implements error.
func (e errGuest) Error() string { return string(e) }

// pay takes fuel, and ends the guest when there is not enough.
func (g *wasiCall) pay(amount uint64) {
	if g.fuel == nil {
		return
	}
	left := int64(g.fuel.Get()) - int64(min(amount, 1<<40))
	g.fuel.Set(uint64(left))
	if left < 0 {
		panic(errGuest("used up its fuel in a system call"))
	}
}

func (g *wasiCall) put32(at, value uint32) bool { return g.memory.WriteUint32Le(at, value) }

func wasiOK(*wasiCall, []uint64) uint32  { return wasiSuccess }
func wasiBad(*wasiCall, []uint64) uint32 { return wasiBadFile }

// wasiNothing answers that there are no arguments, or no variables.
func wasiNothing(g *wasiCall, stack []uint64) uint32 {
	if !g.put32(uint32(stack[0]), 0) || !g.put32(uint32(stack[1]), 0) {
		return wasiNoSystem
	}
	return wasiSuccess
}

func wasiClock(g *wasiCall, stack []uint64) uint32 {
	if !g.memory.WriteUint64Le(uint32(stack[2]), g.clock.Add(1000)) {
		return wasiNoSystem
	}
	return wasiSuccess
}

// wasiRandom fills memory from SplitMix64 (Steele, Lea, Flood 2014) with a fixed seed.
func wasiRandom(g *wasiCall, stack []uint64) uint32 {
	g.pay(uint64(uint32(stack[1])) * wasiByteFuel)
	area, ok := g.memory.Read(uint32(stack[0]), uint32(stack[1]))
	if !ok {
		return wasiNoSystem
	}
	var word [8]byte
	state := uint64(len(area))
	for len(area) > 0 {
		state += 0x9e3779b97f4a7c15
		z := (state ^ state>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		binary.LittleEndian.PutUint64(word[:], z^z>>31)
		area = area[copy(area, word[:]):]
	}
	return wasiSuccess
}

// wasiWrite takes what a guest prints, and drops it: it may hold what the guest was told of a customer.
func wasiWrite(g *wasiCall, stack []uint64) uint32 {
	if fd := uint32(stack[0]); fd != 1 && fd != 2 {
		return wasiBadFile
	}
	vectors, n := uint32(stack[1]), uint32(stack[2])
	if n > 1024 {
		return wasiNoSystem
	}
	var total uint32
	for i := range n {
		length, ok := g.memory.ReadUint32Le(vectors + 8*i + 4)
		if !ok {
			return wasiNoSystem
		}
		total += length
	}
	g.pay(uint64(total) * wasiByteFuel)
	if !g.put32(uint32(stack[3]), total) {
		return wasiNoSystem
	}
	return wasiSuccess
}

// wasiPoll answers that every subscription is due: time does not pass while a guest sleeps. An event is
// 32 bytes: the user's data (8), the error (2) and the type (1); a subscription is 48, the same user's
// data first and the type at 8.
func wasiPoll(g *wasiCall, stack []uint64) uint32 {
	in, out, n, written := uint32(stack[0]), uint32(stack[1]), uint32(stack[2]), uint32(stack[3])
	if n == 0 || n > 64 {
		return wasiNoSystem
	}
	for i := range n {
		subscription, ok := g.memory.Read(in+48*i, 48)
		if !ok {
			return wasiNoSystem
		}
		var event [32]byte
		copy(event[:8], subscription[:8])
		event[10] = subscription[8]
		if !g.memory.Write(out+32*i, event[:]) {
			return wasiNoSystem
		}
	}
	g.clock.Add(1_000_000)
	if !g.put32(written, n) {
		return wasiNoSystem
	}
	return wasiSuccess
}

// linkSystem adds the shim to a Runtime whose module imports it. extend, if not nil, gives the builder to
// add it to and tells which functions are there already.
func linkSystem(ctx context.Context, r wazero.Runtime, compiled wazero.CompiledModule, extend func(wazero.HostModuleBuilder) (wazero.HostModuleBuilder, func(string) bool)) error {
	needed := false
	for _, f := range compiled.ImportedFunctions() {
		module, _, _ := f.Import()
		needed = needed || module == wasiModule
	}
	if !needed {
		return nil
	}
	builder, clock := r.NewHostModuleBuilder(wasiModule), new(atomic.Uint64)
	has := func(string) bool { return false }
	if extend != nil {
		builder, has = extend(builder)
	}
	for i := range wasiFunctions {
		f := &wasiFunctions[i]
		if has(f.name) {
			continue
		}
		builder.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(_ context.Context, m api.Module, stack []uint64) {
			g := wasiCall{memory: m.Memory(), clock: clock}
			g.fuel, _ = m.ExportedGlobal(FuelGlobal).(api.MutableGlobal)
			g.pay(wasiCallFuel)
			stack[0] = uint64(f.call(&g, stack))
		}), f.params, []api.ValueType{i32}).Export(f.name)
	}
	if !has(wasiExit) {
		builder.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(context.Context, api.Module, []uint64) {
			panic(errGuest("the guest called exit"))
		}), []api.ValueType{i32}, nil).Export(wasiExit)
	}
	_, err := builder.Instantiate(ctx)
	return err
}
