package wasmbin_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/arbiterhq/arbiter/plugins/wasmbin"
)

// program is a hand-built module with one exported function "run".
type program struct {
	name   string
	params int // i32 parameters
	build  func(b *wasmbin.Builder) *wasmbin.Function
	args   [][]uint64
}

const (
	i32Eqz  = 0x45
	i32Ne   = 0x47
	i32LtS  = 0x48
	i32GtS  = 0x4a
	i32Add  = 0x6a
	i32Sub  = 0x6b
	i32Mul  = 0x6c
	i32DivS = 0x6d
	i32Xor  = 0x73
	i32Shl  = 0x74
	i32Load = 0x28
	i32Set  = 0x36
)

// programs cover every shape of control flow and every instruction with a dynamic cost.
func programs() []program {
	i32 := wasmbin.I32
	fn := func(b *wasmbin.Builder, n int) *wasmbin.Function {
		params := make([]byte, n)
		for i := range params {
			params[i] = i32
		}
		return b.Function(params, []byte{i32})
	}
	return []program{
		{"sum loop", 1, func(b *wasmbin.Builder) *wasmbin.Function {
			f := fn(b, 1)
			sum := f.Local(i32)
			f.Block().Get(0).Op(i32Eqz).BrIf(0)
			f.Loop().Get(sum).Get(0).Op(i32Add).Set(sum).Get(0).I32(1).Op(i32Sub).Tee(0).BrIf(0).End().End()
			return f.Get(sum)
		}, [][]uint64{{0}, {1}, {10}, {1000}}},
		{"if and else", 2, func(b *wasmbin.Builder) *wasmbin.Function {
			f := fn(b, 2)
			r := f.Local(i32)
			f.Get(0).Get(1).Op(i32GtS).If().Get(0).Set(r).Else().Get(1).I32(3).Op(i32Mul).Set(r).End()
			f.Get(0).If().Get(r).I32(7).Op(i32Xor).Set(r).End()
			return f.Get(r)
		}, [][]uint64{{0, 0}, {1, 2}, {2, 1}, {0, 5}}},
		{"early exits", 1, func(b *wasmbin.Builder) *wasmbin.Function {
			f := fn(b, 1)
			r := f.Local(i32)
			f.Block().Block().Get(0).I32(10).Op(i32LtS).BrIf(0).Get(0).I32(20).Op(i32LtS).BrIf(1).I32(99).Return().End()
			f.I32(5).Set(r).End()
			return f.Get(r).Get(0).Op(i32Add)
		}, [][]uint64{{1}, {15}, {30}}},
		{"branch table", 1, func(b *wasmbin.Builder) *wasmbin.Function {
			f := fn(b, 1)
			r := f.Local(i32)
			f.Block().Block().Block().Get(0).BrTable(0, 1, 2).End()
			f.I32(11).Set(r).Br(1).End()
			f.I32(22).Set(r).End()
			return f.Get(r)
		}, [][]uint64{{0}, {1}, {2}, {9}}},
		{"nested loops", 1, func(b *wasmbin.Builder) *wasmbin.Function {
			f := fn(b, 1)
			i, j, r := f.Local(i32), f.Local(i32), f.Local(i32)
			f.Get(0).Set(i).Loop().Get(0).Set(j).Loop()
			f.Get(r).Get(i).Get(j).Op(i32Mul).Op(i32Add).Set(r)
			f.Get(j).I32(1).Op(i32Sub).Tee(j).I32(0).Op(i32GtS).BrIf(0).End()
			f.Get(i).I32(1).Op(i32Sub).Tee(i).I32(0).Op(i32GtS).BrIf(0).End()
			return f.Get(r)
		}, [][]uint64{{1}, {3}, {20}}},
		{"recursion", 1, func(b *wasmbin.Builder) *wasmbin.Function {
			f := fn(b, 1)
			f.Get(0).I32(2).Op(i32LtS).If().Get(0).Return().End()
			return f.Get(0).I32(1).Op(i32Sub).Call(f).Get(0).I32(2).Op(i32Sub).Call(f).Op(i32Add)
		}, [][]uint64{{1}, {5}, {15}}},
		{"bulk memory", 1, func(b *wasmbin.Builder) *wasmbin.Function {
			b.Reserve(8192, 1)
			f := fn(b, 1)
			f.I32(0).I32(7).Get(0).MemoryFill()
			f.I32(4096).I32(0).Get(0).MemoryCopy()
			return f.I32(4096).Memory(i32Load, 2, 0).I32(16).MemoryGrow().Op(i32Add)
		}, [][]uint64{{0}, {1}, {16}, {4096}}},
		{"division", 2, func(b *wasmbin.Builder) *wasmbin.Function {
			f := fn(b, 2)
			return f.Get(0).Get(1).Op(i32DivS)
		}, [][]uint64{{7, 2}, {100, 10}}},
		{"dead code after a branch", 1, func(b *wasmbin.Builder) *wasmbin.Function {
			f := fn(b, 1)
			f.Block().Br(0).I32(1).I32(2).I32(3).MemoryFill().I32(4).MemoryGrow().Op(0x1a).End()
			return f.Get(0)
		}, [][]uint64{{3}}},
		{"vectors", 1, func(b *wasmbin.Builder) *wasmbin.Function {
			f := fn(b, 1)
			v := f.Local(wasmbin.V128)
			// i32x4.splat; i32x4.mul is opcode 0xb5, encoded in two bytes; any_true; extract_lane.
			f.Get(0).Vector(0x11).Tee(v).Get(v).Vector(0xb5).Set(v).Get(v).Vector(0x53).If().Get(v).VectorLane(0x1b, 2).Return().End()
			return f.I32(-1)
		}, [][]uint64{{0}, {3}, {9}}},
	}
}

func (p program) module() []byte {
	var b wasmbin.Builder
	b.Export("run", p.build(&b))
	return b.Bytes()
}

func load(t testing.TB, module []byte) api.Module {
	t.Helper()
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler().WithMemoryLimitPages(64))
	t.Cleanup(func() { _ = r.Close(ctx) })
	m, err := r.InstantiateWithConfig(ctx, module, wazero.NewModuleConfig().WithName(""))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func inject(t testing.TB, module []byte) []byte {
	t.Helper()
	out, err := wasmbin.Inject(module, wasmbin.InjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func fuelOf(m api.Module) api.MutableGlobal {
	return m.ExportedGlobal(wasmbin.FuelGlobal).(api.MutableGlobal)
}

// TestMeteredAgrees runs every program with and without fuel: the results agree, the same call costs
// the same, exactly that much fuel suffices, and one unit less does not.
func TestMeteredAgrees(t *testing.T) {
	ctx := context.Background()
	for _, p := range programs() {
		t.Run(p.name, func(t *testing.T) {
			plain := p.module()
			metered := inject(t, plain)
			for _, args := range p.args {
				// A new instance for each call: programs may grow their memory.
				run := func(fuel int64) (uint64, int64, error) {
					m := load(t, metered)
					g := fuelOf(m)
					g.Set(uint64(fuel))
					out, err := m.ExportedFunction("run").Call(ctx, args...)
					if err != nil {
						return 0, int64(g.Get()), err
					}
					return out[0], int64(g.Get()), nil
				}
				want, err := load(t, plain).ExportedFunction("run").Call(ctx, args...)
				if err != nil {
					t.Fatal(err)
				}
				const budget = 1 << 40
				got, left, err := run(budget)
				if err != nil || uint32(got) != uint32(want[0]) {
					t.Fatalf("%v: metered %d (%v), plain %d", args, got, err, want[0])
				}
				used := budget - left
				if used <= 0 {
					t.Fatalf("%v: used %d fuel", args, used)
				}
				if _, left, err := run(used); err != nil || left != 0 {
					t.Errorf("%v: with exactly %d fuel: error %v, %d left", args, used, err, left)
				}
				if _, left, err := run(used - 1); err == nil || left >= 0 {
					t.Errorf("%v: with %d fuel: error %v, %d left; want a trap and less than 0", args, used-1, err, left)
				}
			}
		})
	}
}

// TestFuelIsExact pins the cost of known programs, so that a change of the prices is seen.
func TestFuelIsExact(t *testing.T) {
	f := func(name string, args []uint64, want int64) {
		t.Helper()
		for _, p := range programs() {
			if p.name != name {
				continue
			}
			m := load(t, inject(t, p.module()))
			g := fuelOf(m)
			g.Set(1 << 40)
			if _, err := m.ExportedFunction("run").Call(context.Background(), args...); err != nil {
				t.Fatal(err)
			}
			if got := 1<<40 - int64(g.Get()); got != want {
				t.Errorf("%s %v used %d fuel, want %d", name, args, got, want)
			}
		}
	}
	f("sum loop", []uint64{0}, 2+3+1)             // entry, the test, the result
	f("sum loop", []uint64{10}, 2+3+1+10*9)       // nine instructions an iteration
	f("if and else", []uint64{2, 1}, 2+4+2+2+4+1) // then arm, second if
	f("if and else", []uint64{0, 5}, 2+4+4+2+1)   // else arm only
	f("division", []uint64{7, 2}, 2+2+4)          // a division costs 4
	f("bulk memory", []uint64{4096}, 2+3+16+256+3+16+256+2+1+64+16*4096+1)
}

// TestFuelStops runs programs that would never end, or end too late.
func TestFuelStops(t *testing.T) {
	i32 := wasmbin.I32
	for name, build := range map[string]func(b *wasmbin.Builder) *wasmbin.Function{
		"empty loop": func(b *wasmbin.Builder) *wasmbin.Function {
			f := b.Function(nil, nil)
			return f.Loop().Br(0).End()
		},
		"recursion": func(b *wasmbin.Builder) *wasmbin.Function {
			f := b.Function(nil, nil)
			return f.Call(f)
		},
		"call tree without loops": func(b *wasmbin.Builder) *wasmbin.Function {
			f := b.Function(nil, nil)
			for range 30 {
				g := b.Function(nil, nil)
				g.Call(f).Call(f).Call(f)
				f = g
			}
			return f
		},
		"straight fills": func(b *wasmbin.Builder) *wasmbin.Function {
			b.Reserve(1<<20, 1)
			f := b.Function(nil, nil)
			for range 1000 {
				f.I32(0).I32(0).I32(1 << 20).MemoryFill()
			}
			return f
		},
		"growing": func(b *wasmbin.Builder) *wasmbin.Function {
			f := b.Function(nil, nil)
			return f.Loop().I32(1).MemoryGrow().Op(0x1a).Br(0).End()
		},
		"grow by everything": func(b *wasmbin.Builder) *wasmbin.Function {
			f := b.Function(nil, nil)
			return f.I32(-1).MemoryGrow().Op(0x1a)
		},
		"loop in a loop": func(b *wasmbin.Builder) *wasmbin.Function {
			f := b.Function(nil, nil)
			x := f.Local(i32)
			return f.Loop().I32(3).Set(x).Loop().Get(x).I32(1).Op(i32Sub).Tee(x).BrIf(0).End().Br(0).End()
		},
	} {
		t.Run(name, func(t *testing.T) {
			var b wasmbin.Builder
			b.Export("run", build(&b))
			m := load(t, inject(t, b.Bytes()))
			g := fuelOf(m)
			g.Set(200_000)
			_, err := m.ExportedFunction("run").Call(context.Background())
			if err == nil || !strings.Contains(err.Error(), "unreachable") || int64(g.Get()) >= 0 {
				t.Errorf("error %v, %d fuel left; want a trap and less than 0", err, int64(g.Get()))
			}
		})
	}
}

// TestStartHasBudget runs a start function that never ends: it uses the initial fuel and traps.
func TestStartHasBudget(t *testing.T) {
	module := assemble(
		section(1, vec(raw(0x60, 0, 0))),
		section(3, vec(raw(0))),
		section(8, raw(0)),
		section(10, vec(code(0x03, 0x40, 0x0c, 0, 0x0b))))
	metered, err := wasmbin.Inject(module, wasmbin.InjectOptions{InitialFuel: 1000})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	r := wazero.NewRuntime(ctx)
	defer func() { _ = r.Close(ctx) }()
	if _, err := r.Instantiate(ctx, metered); err == nil || !strings.Contains(err.Error(), "unreachable") {
		t.Errorf("instantiation gives %v, want a trap", err)
	}
}

// TestBodyCannotNameTheFuel shows why the original is validated first: its body names the global that
// only exists after injection.
func TestBodyCannotNameTheFuel(t *testing.T) {
	module := assemble(
		section(1, vec(raw(0x60, 0, 0))),
		section(3, vec(raw(0))),
		section(7, vec(raw(3, 'r', 'u', 'n', 0, 0))),
		section(10, vec(code(0x42, 0x7f, 0x24, 0)))) // i64.const -1; global.set 0
	ctx := context.Background()
	r := wazero.NewRuntime(ctx)
	defer func() { _ = r.Close(ctx) }()
	if _, err := r.CompileModule(ctx, module); err == nil {
		t.Error("the engine accepts the original: validating it would not help")
	}
	if _, err := r.CompileModule(ctx, inject(t, module)); err != nil {
		t.Errorf("the metered module is invalid (%v): the package comment is out of date", err)
	}
}

// TestInjectKeepsIndexes meters modules with imports, globals and a table, whose indexes must not move.
func TestInjectKeepsIndexes(t *testing.T) {
	ctx := context.Background()
	module := assemble(
		section(0, append(raw(4, 'n', 'o', 't', 'e'), "kept"...)),
		section(1, vec(raw(0x60, 0, 1, 0x7f))),
		section(2, vec(raw(3, 'e', 'n', 'v', 1, 'f', 0, 0), raw(3, 'e', 'n', 'v', 1, 'g', 3, 0x7f, 0))),
		section(3, vec(raw(0), raw(0))),
		section(4, vec(raw(0x70, 0, 2))),
		section(6, vec(raw(0x7f, 1, 0x41, 5, 0x0b))),
		section(7, vec(raw(3, 'r', 'u', 'n', 0, 1), raw(1, 't', 1, 0))),
		section(9, vec(raw(0, 0x41, 0, 0x0b, 2, 0, 2))),
		section(10, vec(
			// env.f() + global 0 + global 1 + table[1]()
			code(0x10, 0, 0x23, 0, 0x6a, 0x23, 1, 0x6a, 0x41, 1, 0x11, 0, 0, 0x6a),
			code(0x41, 7))))
	run := func(module []byte) uint64 {
		r := wazero.NewRuntime(ctx)
		defer func() { _ = r.Close(ctx) }()
		env := assemble(
			section(1, vec(raw(0x60, 0, 1, 0x7f))), section(3, vec(raw(0))), section(6, vec(raw(0x7f, 0, 0x41, 10, 0x0b))),
			section(7, vec(raw(1, 'f', 0, 0), raw(1, 'g', 3, 0))), section(10, vec(code(0x41, 20))))
		if _, err := r.InstantiateWithConfig(ctx, env, wazero.NewModuleConfig().WithName("env")); err != nil {
			t.Fatal(err)
		}
		m, err := r.InstantiateWithConfig(ctx, module, wazero.NewModuleConfig().WithName("m"))
		if err != nil {
			t.Fatal(err)
		}
		out, err := m.ExportedFunction("run").Call(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return out[0]
	}
	metered := inject(t, module)
	if got, want := run(metered), run(module); got != want || want != 42 {
		t.Errorf("metered %d, plain %d, want 42", got, want)
	}
	note, ok, err := wasmbin.CustomSection(metered, "note")
	if string(note) != "kept" || !ok || err != nil {
		t.Errorf("the custom section is %q, %v, %v", note, ok, err)
	}
}

// TestMeteringTwice is refused: the first injection exported the global.
func TestMeteringTwice(t *testing.T) {
	once := inject(t, programs()[0].module())
	if _, err := wasmbin.Inject(once, wasmbin.InjectOptions{}); err == nil || !strings.Contains(err.Error(), "rule fuel-global") {
		t.Errorf("second injection: %v", err)
	}
}

// FuzzInject checks that metering never panics and never makes a valid module invalid.
func FuzzInject(f *testing.F) {
	for _, p := range programs() {
		f.Add(p.module())
	}
	f.Fuzz(func(t *testing.T, module []byte) {
		if len(module) > 4096 {
			return
		}
		limits := wasmbin.Limits{FunctionBytes: 2048, Locals: 64, Nesting: 16, MemoryPages: 4, TableElements: 64, BranchTargets: 64}
		metered, err := wasmbin.Inject(module, wasmbin.InjectOptions{Limits: limits})
		if err != nil {
			return
		}
		ctx := context.Background()
		r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter().WithMemoryLimitPages(16))
		defer func() { _ = r.Close(ctx) }()
		if _, err := r.CompileModule(ctx, module); err != nil {
			return // not valid to begin with
		}
		if _, err := r.CompileModule(ctx, metered); err != nil {
			t.Fatalf("metering made the module invalid: %v", err)
		}
	})
}

// BenchmarkMeter is the price of metering on a loop of nine instructions, the worst case, and of a
// longer one.
func BenchmarkMeter(b *testing.B) {
	for _, p := range programs() {
		if p.name != "sum loop" && p.name != "nested loops" && p.name != "recursion" {
			continue
		}
		for _, metered := range []bool{false, true} {
			name := p.name + "/plain"
			module := p.module()
			if metered {
				name, module = p.name+"/metered", inject(b, module)
			}
			b.Run(name, func(b *testing.B) {
				m := load(b, module)
				if metered {
					fuelOf(m).Set(1 << 62)
				}
				run := m.ExportedFunction("run")
				stack := make([]uint64, 1)
				for b.Loop() {
					stack[0] = p.args[len(p.args)-1][0]
					if err := run.CallWithStack(context.Background(), stack); err != nil {
						b.Fatal(errors.Unwrap(err))
					}
				}
			})
		}
	}
}
