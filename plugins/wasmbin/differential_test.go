package wasmbin_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/arbiterhq/arbiter/plugins/wasmbin"
)

// outcome is all that can be told of a call from outside.
type outcome struct {
	result uint64
	trap   string
	memory [sha256.Size]byte
	pages  uint32
}

// engines are what must agree.
type engines map[string]wazero.RuntimeConfig

func newEngines() engines {
	return engines{"compiler": wazero.NewRuntimeConfigCompiler(), "interpreter": wazero.NewRuntimeConfigInterpreter()}
}

// perform runs the module once, in an instance of its own.
func perform(t *testing.T, config wazero.RuntimeConfig, module []byte, fuel int64, args []uint64) (o outcome, left int64) {
	t.Helper()
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, config.WithMemoryLimitPages(8))
	defer func() { _ = r.Close(ctx) }()
	m, err := r.InstantiateWithConfig(ctx, module, wazero.NewModuleConfig().WithName(""))
	if err != nil {
		t.Fatalf("the module does not start: %v", err)
	}
	g, metered := m.ExportedGlobal(wasmbin.FuelGlobal).(api.MutableGlobal)
	if metered {
		g.Set(uint64(fuel))
	}
	out, err := m.ExportedFunction("run").Call(ctx, args...)
	if err != nil {
		o.trap, _, _ = strings.Cut(err.Error(), "\n")
	} else {
		o.result = out[0]
	}
	size := m.Memory().Size()
	o.pages = size / wasmbin.PageBytes
	content, _ := m.Memory().Read(0, size)
	o.memory = sha256.Sum256(content)
	if metered {
		left = int64(g.Get())
	}
	return o, left
}

// agree runs the module that the choices make: with and without its fuel counter, on the compiler and on
// the interpreter, everything that can be seen is the same; the fuel used is the same each time; exactly
// that much suffices, and one unit less does not.
func agree(t *testing.T, choices []byte) (trapped bool) {
	t.Helper()
	const budget = 1 << 40
	random := rand.New(rand.NewPCG(uint64(len(choices)), 1))
	args := []uint64{uint64(random.Uint32()), random.Uint64(), math.Float64bits(random.NormFloat64() * 100)}
	plain := (&smith{choices: choices}).module()
	metered, err := wasmbin.Inject(plain, wasmbin.InjectOptions{Limits: wasmbin.Limits{Locals: 1 << 14, FunctionBytes: 1 << 20}})
	if err != nil {
		t.Fatalf("the module is refused: %v", err)
	}
	list := newEngines()
	want, _ := perform(t, list["interpreter"], plain, 0, args)
	used := int64(-1)
	for _, name := range [...]string{"interpreter", "compiler", "compiler"} {
		if got, _ := perform(t, list[name], plain, 0, args); got != want {
			t.Fatalf("%s: %s, want %s", name, got.text(), want.text())
		}
		got, left := perform(t, list[name], metered, budget, args)
		if got != want {
			t.Fatalf("%s, metered: %s, want %s", name, got.text(), want.text())
		}
		if used >= 0 && budget-left != used {
			t.Fatalf("%s used %d fuel, and %d before", name, budget-left, used)
		}
		used = budget - left
	}
	if want.trap != "" {
		return true
	}
	if got, left := perform(t, list["compiler"], metered, used, args); got != want || left != 0 {
		t.Fatalf("with exactly %d fuel: %s, %d left, want %s", used, got.text(), left, want.text())
	}
	if got, left := perform(t, list["compiler"], metered, used-1, args); got.trap == "" || left >= 0 {
		t.Fatalf("with %d fuel of %d: %s, %d left, want a trap", used-1, used, got.text(), left)
	}
	return false
}

func (o outcome) text() string {
	return fmt.Sprintf("result %x, trap %q, memory %x of %d pages", o.result, o.trap, o.memory[:4], o.pages)
}

// smithSeed is a program of that number.
func smithSeed(n uint64) []byte {
	random := rand.New(rand.NewPCG(n, 9))
	choices := make([]byte, 40+random.IntN(1200))
	for i := range choices {
		choices[i] = byte(random.IntN(256))
	}
	return choices
}

// TestDifferential runs a few hundred random programs; FuzzDifferential goes on from there.
func TestDifferential(t *testing.T) {
	programs := uint64(150)
	if testing.Short() {
		programs = 20
	}
	trapped := 0
	for n := range programs {
		if agree(t, smithSeed(n)) {
			trapped++
		}
		if t.Failed() {
			t.Fatalf("program %d", n)
		}
	}
	t.Logf("%d of %d programs trapped", trapped, programs)
	if trapped == 0 || trapped > int(programs)*2/3 {
		t.Errorf("%d of %d programs trapped: the programs say little", trapped, programs)
	}
}

// FuzzDifferential compares metered with unmetered modules and the compiler with the interpreter.
func FuzzDifferential(f *testing.F) {
	for n := range uint64(20) {
		f.Add(smithSeed(1000 + n))
	}
	f.Fuzz(func(t *testing.T, choices []byte) {
		if len(choices) <= 2000 {
			agree(t, choices)
		}
	})
}
