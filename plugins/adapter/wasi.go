package adapter

import (
	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/runtime/wasm"
)

// The system interface of commands: https://github.com/WebAssembly/WASI, preview 1. A command sees no
// file but standard input and output, no argument, no variable and no clock that tells anything; what it
// writes to standard error is dropped, because it may hold what it was told of a customer.
const (
	wasiModule = "wasi_snapshot_preview1"
	wasiStart  = "_start"
)

// Error numbers of WASI.
const (
	wasiOK      = 0
	wasiBadFile = 8
	wasiFault   = 21
	wasiNoSeek  = 70
	wasiTooBig  = 27
)

const maxVectors = 1024

// wasiCommand is the Protocol of commands.
type wasiCommand struct{ fields *fields }

func newWASI(_ *artifact.Adapter, f *fields, _ []byte) (wasm.Protocol, error) {
	return &wasiCommand{f}, nil
}

func wasiExports(*artifact.Adapter) []export { return []export{{name: wasiStart}} }

// Functions implements wasm.Protocol.
func (*wasiCommand) Functions() []wasm.ForeignImport { return wasiFunctions() }

// Open implements wasm.Protocol.
func (c *wasiCommand) Open(g *wasm.Guest) (wasm.Session, error) {
	start := g.Function(wasiStart)
	if start == nil {
		return nil, refuse("exports", "section 7 (export)", "there is no exported function %s", wasiStart)
	}
	return &wasiSession{command: c, start: start}, nil
}

// wasiSession is one run of a command: it begins and ends with the process that the command thinks it is.
type wasiSession struct {
	command  *wasiCommand
	start    *wasm.Function
	in       []byte // what is left of standard input
	out      []byte
	request  []byte
	exited   bool
	exitCode uint32
	overflow bool
}

// Reusable implements wasm.Session: a command runs once.
func (s *wasiSession) Reusable() bool { return false }

// Score implements wasm.Session.
func (s *wasiSession) Score(g *wasm.Guest, rows int) error {
	s.request = s.command.fields.request(s.request[:0], g, rows)
	answer, err := s.Exchange(g, s.request, nil)
	if err != nil {
		return err
	}
	return scores(g, answer, rows, wasiStart)
}

// Exchange implements wasm.Session.
func (s *wasiSession) Exchange(g *wasm.Guest, in, out []byte) ([]byte, error) {
	s.in, s.out = in, out
	_, err := s.start.Call()
	switch {
	case s.overflow:
		return nil, wasm.Fault(wasm.ReasonStatus, wasiStart, "wrote more than %d bytes to standard output", MaxAnswerBytes)
	case s.exited && s.exitCode != 0:
		return nil, wasm.Fault(wasm.ReasonStatus, wasiStart, "exited with code %d", s.exitCode)
	case err != nil && !s.exited:
		return nil, err
	}
	return s.out, nil
}

// wasiFunctions replace those of the sandbox's shim that have something to do with input and output.
func wasiFunctions() []wasm.ForeignImport {
	answer := func(name string, params []byte, call func(s *wasiSession, g *wasm.Guest, stack []uint64) uint32) wasm.ForeignImport {
		return wasm.ForeignImport{Module: wasiModule, Name: name, Params: params, Results: []byte{i32}, Fuel: callFuel,
			Call: func(g *wasm.Guest, stack []uint64) {
				s, ok := g.Session().(*wasiSession)
				if !ok {
					g.End("the module calls the host before it started")
				}
				stack[0] = uint64(call(s, g, stack))
			}}
	}
	bad := func(*wasiSession, *wasm.Guest, []uint64) uint32 { return wasiBadFile }
	list := []wasm.ForeignImport{
		answer("fd_read", repeat(i32, 4), (*wasiSession).read),
		answer("fd_write", repeat(i32, 4), (*wasiSession).write),
		answer("fd_fdstat_get", repeat(i32, 2), (*wasiSession).fdstat),
		answer("fd_filestat_get", repeat(i32, 2), (*wasiSession).filestat),
		answer("fd_seek", []byte{i32, i64, i32, i32}, func(_ *wasiSession, _ *wasm.Guest, stack []uint64) uint32 {
			if uint32(stack[0]) <= 2 {
				return wasiNoSeek
			}
			return wasiBadFile
		}),
		answer("fd_close", repeat(i32, 1), func(_ *wasiSession, _ *wasm.Guest, stack []uint64) uint32 {
			if uint32(stack[0]) <= 2 {
				return wasiOK
			}
			return wasiBadFile
		}),
		answer("fd_fdstat_set_flags", repeat(i32, 2), bad),
		answer("fd_filestat_set_size", []byte{i32, i64}, bad),
		answer("fd_pread", []byte{i32, i32, i32, i64, i32}, bad),
		answer("fd_pwrite", []byte{i32, i32, i32, i64, i32}, bad),
		answer("fd_readdir", []byte{i32, i32, i32, i64, i32}, bad),
		answer("fd_sync", repeat(i32, 1), bad),
		answer("fd_tell", repeat(i32, 2), bad),
		answer("path_open", []byte{i32, i32, i32, i32, i32, i64, i64, i32, i32}, bad),
		answer("path_filestat_get", repeat(i32, 5), bad),
		answer("path_readlink", repeat(i32, 6), bad),
		answer("path_create_directory", repeat(i32, 3), bad),
		answer("path_remove_directory", repeat(i32, 3), bad),
		answer("path_unlink_file", repeat(i32, 3), bad),
		answer("path_rename", repeat(i32, 6), bad),
		answer("path_link", repeat(i32, 7), bad),
		answer("path_symlink", repeat(i32, 5), bad),
		answer("path_filestat_set_times", []byte{i32, i32, i32, i32, i64, i64, i32}, bad),
		answer("clock_res_get", repeat(i32, 2), func(_ *wasiSession, g *wasm.Guest, stack []uint64) uint32 {
			if !g.Write(uint32(stack[1]), []byte{0xe8, 3, 0, 0, 0, 0, 0, 0}) { // 1000 ns
				return wasiFault
			}
			return wasiOK
		}),
	}
	return append(list, wasm.ForeignImport{Module: wasiModule, Name: "proc_exit", Params: repeat(i32, 1), Call: exit})
}

func exit(g *wasm.Guest, stack []uint64) {
	if s, ok := g.Session().(*wasiSession); ok {
		s.exited, s.exitCode = true, uint32(stack[0])
	}
	g.End("the guest called exit")
}

// vectors calls fn with each buffer of an array of pointers and lengths; it stops where fn says so.
func vectors(g *wasm.Guest, at, n uint32, fn func(buffer []byte) bool) uint32 {
	if n > maxVectors {
		return wasiFault
	}
	for i := range n {
		pointer, ok := g.Uint32(at + 8*i)
		length, ok2 := g.Uint32(at + 8*i + 4)
		if !ok || !ok2 {
			return wasiFault
		}
		buffer, ok := g.Read(pointer, length)
		if !ok {
			return wasiFault
		}
		if !fn(buffer) {
			break
		}
	}
	return wasiOK
}

func (s *wasiSession) read(g *wasm.Guest, stack []uint64) uint32 {
	if uint32(stack[0]) != 0 {
		return wasiBadFile
	}
	total := uint32(0)
	if status := vectors(g, uint32(stack[1]), uint32(stack[2]), func(buffer []byte) bool {
		n := copy(buffer, s.in)
		g.Pay(byteFuel * uint64(n))
		s.in, total = s.in[n:], total+uint32(n)
		return len(s.in) > 0
	}); status != wasiOK {
		return status
	}
	if !g.PutUint32(uint32(stack[3]), total) {
		return wasiFault
	}
	return wasiOK
}

func (s *wasiSession) write(g *wasm.Guest, stack []uint64) uint32 {
	fd := uint32(stack[0])
	if fd != 1 && fd != 2 {
		return wasiBadFile
	}
	total := uint32(0)
	if status := vectors(g, uint32(stack[1]), uint32(stack[2]), func(buffer []byte) bool {
		g.Pay(byteFuel * uint64(len(buffer)))
		total += uint32(len(buffer))
		if fd == 1 {
			if s.overflow = len(s.out)+len(buffer) > MaxAnswerBytes; s.overflow {
				return false
			}
			s.out = append(s.out, buffer...)
		}
		return true
	}); status != wasiOK {
		return status
	}
	if s.overflow {
		return wasiTooBig
	}
	if !g.PutUint32(uint32(stack[3]), total) {
		return wasiFault
	}
	return wasiOK
}

// fdstat tells that the standard files are character devices: 24 bytes of type, flags and rights.
func (s *wasiSession) fdstat(g *wasm.Guest, stack []uint64) uint32 {
	const characterDevice, readAndWrite = 2, 1<<1 | 1<<6
	if uint32(stack[0]) > 2 {
		return wasiBadFile
	}
	stat := [24]byte{0: characterDevice, 8: readAndWrite, 16: readAndWrite}
	if !g.Write(uint32(stack[1]), stat[:]) {
		return wasiFault
	}
	return wasiOK
}

// filestat tells the same in 64 bytes.
func (s *wasiSession) filestat(g *wasm.Guest, stack []uint64) uint32 {
	const characterDevice = 2
	if uint32(stack[0]) > 2 {
		return wasiBadFile
	}
	stat := [64]byte{16: characterDevice, 24: 1}
	if !g.Write(uint32(stack[1]), stat[:]) {
		return wasiFault
	}
	return wasiOK
}
