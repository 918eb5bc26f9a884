package admission

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"

	"github.com/arbiterhq/arbiter/runtime/wasm"
)

// Isolation compiles modules in a child process under resource limits. Its Precompile is meant for
// wasm.Config; the program it starts calls CompileChild. It is safe for concurrent use.
type Isolation struct {
	// Program and Args start the child; it is given the module on standard input.
	Program string
	Args    []string
	// MaxMemory bounds the address space of the child in bytes; default 4 GiB, of which Go's runtime
	// only reserves the most.
	MaxMemory uint64
	// MaxCPU bounds its processor time; default 20 s. Timeout bounds the whole; default 60 s.
	MaxCPU  time.Duration
	Timeout time.Duration
}

const (
	maxChildMessages = 4 << 10
	maxChildModule   = 64 << 20
	mib              = 1 << 20
)

func (i Isolation) withDefaults() Isolation {
	if i.MaxMemory == 0 {
		i.MaxMemory = 4 << 30
	}
	if i.MaxCPU == 0 {
		i.MaxCPU = 20 * time.Second
	}
	if i.Timeout == 0 {
		i.Timeout = time.Minute
	}
	return i
}

// Precompile runs the child and waits for it. When ctx ends, or the child's time, it is killed.
func (i Isolation) Precompile(ctx context.Context, dir string, metered []byte, memoryPages uint32) error {
	i = i.withDefaults()
	ctx, cancel := context.WithTimeoutCause(ctx, i.Timeout, fmt.Errorf("compiling took longer than %v", i.Timeout))
	defer cancel()
	cmd := exec.CommandContext(ctx, i.Program, i.Args...)
	cmd.Stdin = io.MultiReader(bytes.NewReader(i.header(dir, memoryPages)), bytes.NewReader(metered))
	messages := &limitedBuffer{limit: maxChildMessages}
	cmd.Stderr = messages
	cmd.Env = []string{"GOMAXPROCS=1", "GOTRACEBACK=none"}
	cmd.SysProcAttr = childAttributes()
	err := cmd.Run()
	switch exit, ok := errors.AsType[*exec.ExitError](err); {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case ok && !exit.Exited():
		return fmt.Errorf("the compiler was ended by its limits (%v of processor time, %d MiB of memory)", i.MaxCPU, i.MaxMemory/mib)
	case ok:
		first, _, _ := strings.Cut(messages.String(), "\n")
		return fmt.Errorf("the compiler failed within %v of processor time and %d MiB of memory: %s", i.MaxCPU, i.MaxMemory/mib, first)
	default:
		return fmt.Errorf("starting the compiler: %w", err)
	}
}

// header is what the child reads before the module: limits, pages and the folder, each number as eight
// bytes.
func (i Isolation) header(dir string, memoryPages uint32) []byte {
	var b []byte
	for _, n := range []uint64{i.MaxMemory, uint64(i.MaxCPU.Seconds()) + 1, uint64(memoryPages), uint64(len(dir))} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	return append(b, dir...)
}

// CompileChild is the child's part: it limits its own process for good, then reads a module and compiles
// it into the cache. Call it in a process that does nothing else.
func CompileChild(ctx context.Context, in io.Reader) error {
	var numbers [4]uint64
	for n := range numbers {
		if err := binary.Read(in, binary.LittleEndian, &numbers[n]); err != nil {
			return fmt.Errorf("reading the task: %w", err)
		}
	}
	if numbers[3] > 4096 {
		return errors.New("reading the task: the path is too long")
	}
	dir := make([]byte, numbers[3])
	if _, err := io.ReadFull(in, dir); err != nil {
		return fmt.Errorf("reading the task: %w", err)
	}
	if err := limitProcess(numbers[0], numbers[1]); err != nil {
		return fmt.Errorf("limiting the process: %w", err)
	}
	module, err := io.ReadAll(io.LimitReader(in, maxChildModule+1))
	if err != nil {
		return fmt.Errorf("reading the module: %w", err)
	}
	if len(module) > maxChildModule {
		return fmt.Errorf("the module has more than %d bytes", maxChildModule)
	}
	return wasm.CompileInto(ctx, string(dir), module, uint32(numbers[2]))
}

// limitedBuffer keeps the beginning of what is written.
type limitedBuffer struct {
	bytes.Buffer
	limit int
}

// Write implements io.Writer; it never fails, so that the child is not blocked.
func (b *limitedBuffer) Write(p []byte) (int, error) {
	if room := b.limit - b.Len(); room > 0 {
		b.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}
