package arbiter

import "unsafe"

// The functions below need the capability of their import in plugin.yaml: log, now_ms, rand_u64,
// param_get, metric_add. A module that calls one without it is refused.

// Level is how important a line of the log is.
type Level uint32

// The levels.
const (
	Debug Level = iota
	Info
	Warn
	Error
)

//go:wasmimport arbiter_v1 log
func hostLog(level uint32, text unsafe.Pointer, length uint32)

//go:wasmimport arbiter_v1 now_ms
func hostNow() int64

//go:wasmimport arbiter_v1 rand_u64
func hostRandom() uint64

//go:wasmimport arbiter_v1 param_get
func hostParam(key unsafe.Pointer, length uint32, out unsafe.Pointer, capacity uint32) int32

//go:wasmimport arbiter_v1 metric_add
func hostMetric(name unsafe.Pointer, length uint32, value float64)

func pointer(text string) unsafe.Pointer { return unsafe.Pointer(unsafe.StringData(text)) }

// Log writes a line to the plugin's log. The host takes a few lines of each call, cuts long ones, and
// takes out what it handed over about the customer.
func Log(level Level, text string) { hostLog(uint32(level), pointer(text), uint32(len(text))) }

// Now is the moment of the decision in milliseconds since the Unix epoch. It stands still within one.
func Now() int64 { return hostNow() }

// Random is the next number by chance. The same decision draws the same numbers when it is replayed.
func Random() uint64 { return hostRandom() }

// Param is a parameter of the plugin: what the catalog says where it binds the plugin, or the manifest.
func Param(key string) (value string, ok bool) {
	room := make([]byte, 256)
	for {
		n := hostParam(pointer(key), uint32(len(key)), unsafe.Pointer(&room[0]), uint32(len(room)))
		switch {
		case n < 0:
			return "", false
		case int(n) <= len(room):
			return string(room[:n]), true
		}
		room = make([]byte, n)
	}
}

// AddMetric adds to a counter of the plugin, whose name is of lower-case letters, digits and underscores.
// The value is finite and not negative.
func AddMetric(name string, value float64) { hostMetric(pointer(name), uint32(len(name)), value) }
