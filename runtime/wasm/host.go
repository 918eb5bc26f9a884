package wasm

import (
	"context"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/arbiterhq/arbiter/sdk/abi"
)

// Call is what the host functions of one guest call are answered from: what the guest asked for in the
// capabilities of its manifest. The zero Call answers that there is nothing.
type Call struct {
	// NowMS is the moment of the decision in milliseconds since the Unix epoch; it stands still.
	NowMS int64
	// Seed begins the numbers that rand_u64 gives.
	Seed uint64
	// Host may be nil.
	Host Host
}

// Host takes and gives what crosses the sandbox besides input and output. It is called on the goroutine
// of the guest call, while the guest waits, so it must be quick; it must not keep text.
type Host interface {
	// Param is a parameter of the plugin.
	Param(key string) (value string, ok bool)
	// Log is a line of the guest: valid UTF-8 of at most MaxLogBytes, otherwise as the guest wrote it.
	Log(level LogLevel, text []byte)
	// Metric adds value, which is finite and not negative, to a counter of the plugin.
	Metric(name string, value float64)
}

// LogLevel is how important a line of a guest's log is.
type LogLevel uint8

// The levels, as the guest numbers them; any other number counts as LogInfo.
const (
	LogDebug LogLevel = 0
	LogInfo  LogLevel = 1
	LogWarn  LogLevel = 2
	LogError LogLevel = 3
)

var logLevels = [...]string{"debug", "info", "warn", "error"}

// String is the name of the level.
func (l LogLevel) String() string { return logLevels[min(int(l), len(logLevels)-1)] }

// Bounds of one guest call on its host functions. What is beyond them is dropped, and paid for.
const (
	MaxLogBytes   = 512
	maxLogLines   = 16
	maxMetrics    = 32
	maxKeyBytes   = 128
	maxParamBytes = 4 << 10
)

// hostFunction is one capability.
type hostFunction struct {
	params, results []api.ValueType
	call            func(i *Instance, stack []uint64)
}

const f64 = api.ValueTypeF64

var hostFunctions = map[string]hostFunction{
	abi.ImportLog:       {[]api.ValueType{i32, i32, i32}, nil, hostLog},
	abi.ImportNow:       {nil, []api.ValueType{i64}, hostNow},
	abi.ImportRandom:    {nil, []api.ValueType{i64}, hostRandom},
	abi.ImportParam:     {[]api.ValueType{i32, i32, i32, i32}, []api.ValueType{i32}, hostParam},
	abi.ImportMetricAdd: {[]api.ValueType{i32, i32, f64}, nil, hostMetric},
}

// HostFunction is the type of a function of module arbiter_v1; ok is false for a name that it has not.
func HostFunction(name string) (params, results []byte, ok bool) {
	f, ok := hostFunctions[name]
	return f.params, f.results, ok
}

// hostCall is the state of the host functions during one guest call. Each Instance has one.
type hostCall struct {
	call    Call
	random  uint64
	lines   int
	metrics int
}

func (c *hostCall) begin(call Call) { *c = hostCall{call: call, random: call.Seed} }

// callContext hands the Instance to the host functions, without an allocation a call.
type callContext struct {
	context.Context
	instance *Instance
}

type instanceKey struct{}

// Value implements context.Context.
func (c *callContext) Value(key any) any {
	if key == (instanceKey{}) {
		return c.instance
	}
	return c.Context.Value(key)
}

// linkHost adds the host functions that the spec declares to a Runtime whose module imports some.
func linkHost(ctx context.Context, r wazero.Runtime, compiled wazero.CompiledModule, capabilities []string) error {
	needed := false
	for _, f := range compiled.ImportedFunctions() {
		module, _, _ := f.Import()
		needed = needed || module == abi.ImportModule
	}
	if !needed {
		return nil
	}
	builder := r.NewHostModuleBuilder(abi.ImportModule)
	for _, name := range slices.Sorted(slices.Values(capabilities)) {
		f, ok := hostFunctions[name]
		if !ok {
			continue
		}
		builder.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(ctx context.Context, _ api.Module, stack []uint64) {
			i, ok := ctx.Value(instanceKey{}).(*Instance)
			if !ok { // the start function of the module, which runs before there is an Instance
				panic(errGuest("a host function was called while the module was instantiated"))
			}
			f.call(i, stack)
		}), f.params, f.results).Export(name)
	}
	_, err := builder.Instantiate(ctx)
	return err
}

// Fuel that a host function costs besides wasiByteFuel a byte: about what it keeps the host from.
const (
	hostValueFuel  = 50 // now_ms and rand_u64
	hostCallFuel   = 300
	hostLogFuel    = 1000
	hostLogPerByte = 8
)

// pay takes fuel, and ends the guest when there is not enough.
func (i *Instance) pay(amount uint64) {
	left := int64(i.fuel.Get()) - int64(min(amount, 1<<40))
	i.fuel.Set(uint64(left))
	if left < 0 {
		panic(errGuest("used up its fuel in a host function"))
	}
}

// text is a text of the guest; it shares the guest's memory. One that is not in the memory ends the call.
func (i *Instance) text(at, length uint64) []byte {
	area, ok := i.memory.Read(uint32(at), uint32(length))
	if !ok {
		panic(errGuest("out of bounds memory access by a host function"))
	}
	return area
}

// hostLog is log(level, text, length).
func hostLog(i *Instance, stack []uint64) {
	length := uint64(uint32(stack[2]))
	i.pay(hostLogFuel + hostLogPerByte*length)
	line := i.text(stack[1], length)
	h := &i.host
	if h.lines++; h.lines > maxLogLines || h.call.Host == nil {
		return
	}
	level := LogInfo
	if n := uint32(stack[0]); n <= uint32(LogError) {
		level = LogLevel(n)
	}
	if len(line) > MaxLogBytes {
		line = line[:MaxLogBytes]
		for len(line) > 0 && !utf8.RuneStart(line[len(line)-1]) {
			line = line[:len(line)-1]
		}
		if r, n := utf8.DecodeLastRune(line); r == utf8.RuneError && n <= 1 && len(line) > 0 {
			line = line[:len(line)-1] // the first byte of a character that was cut
		}
	}
	if !utf8.Valid(line) {
		line = []byte("(a line that is not UTF-8)")
	}
	h.call.Host.Log(level, line)
}

// hostNow is now_ms() -> milliseconds.
func hostNow(i *Instance, stack []uint64) {
	i.pay(hostValueFuel)
	stack[0] = uint64(i.host.call.NowMS)
}

// hostRandom is rand_u64(): SplitMix64 (Steele, Lea, Flood 2014) from the seed of the call.
func hostRandom(i *Instance, stack []uint64) {
	i.pay(hostValueFuel)
	i.host.random += 0x9e3779b97f4a7c15
	z := i.host.random
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	stack[0] = z ^ z>>31
}

// hostParam is param_get(key, key length, out, capacity) -> length, or -1 where there is no such
// parameter. A value that is longer than the capacity is not written.
func hostParam(i *Instance, stack []uint64) {
	length := uint64(uint32(stack[1]))
	i.pay(hostCallFuel + wasiByteFuel*length)
	key := i.text(stack[0], length)
	var value string
	ok := false
	if h := i.host.call.Host; h != nil && len(key) <= maxKeyBytes {
		value, ok = h.Param(string(key))
	}
	if !ok || len(value) > maxParamBytes {
		stack[0] = uint64(api.EncodeI32(-1))
		return
	}
	if len(value) <= int(uint32(stack[3])) {
		i.pay(wasiByteFuel * uint64(len(value)))
		copy(i.text(stack[2], uint64(len(value))), value)
	}
	stack[0] = uint64(uint32(len(value)))
}

// hostMetric is metric_add(name, name length, value).
func hostMetric(i *Instance, stack []uint64) {
	length := uint64(uint32(stack[1]))
	i.pay(hostCallFuel + wasiByteFuel*length)
	name, value := i.text(stack[0], length), api.DecodeF64(stack[2])
	h := &i.host
	if h.metrics++; h.metrics > maxMetrics || h.call.Host == nil || !metricName(name) || !(value >= 0 && value <= math.MaxFloat64) {
		return
	}
	h.call.Host.Metric(string(name), value)
}

// metricName tells whether a guest's counter may have this name: a lower-case letter, then up to 47
// letters, digits and underscores.
func metricName(name []byte) bool {
	if len(name) == 0 || len(name) > 48 || name[0] < 'a' || name[0] > 'z' {
		return false
	}
	for _, c := range name {
		if c != '_' && (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}
