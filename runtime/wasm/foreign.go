package wasm

import (
	"context"
	"fmt"
	"math"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/arbiterhq/arbiter/sdk/abi"
)

// Protocol is how the host talks to modules that were built for another host than this one. plugins/adapter
// has them. A Protocol is shared by all instances of a module and must be safe for concurrent use.
//
// Modules of a Protocol are metered, limited and pooled as all others are. Their Subject, Candidates and
// Scores are memory of the host, and the Session turns them into what the guest reads and back.
type Protocol interface {
	// Functions are what modules may import besides the system shim; those of the same names replace the
	// shim's. Only those that the module imports are linked.
	Functions() []ForeignImport
	// Open begins the conversation with a new instance, on the fuel of a start.
	Open(g *Guest) (Session, error)
}

// Session is the conversation with one instance. It belongs to whoever has the Instance.
type Session interface {
	// Score reads g.Subject and g.Candidates and writes g.Scores.
	Score(g *Guest, rows int) error
	// Exchange hands the guest a document and appends its answer to out.
	Exchange(g *Guest, in, out []byte) ([]byte, error)
	// Reusable tells whether the instance may be called again after a call that succeeded; otherwise it is
	// replaced by a new one.
	Reusable() bool
}

// ForeignImport is a function of the host that modules of a Protocol import. Params and Results are value types.
type ForeignImport struct {
	Module, Name    string
	Params, Results []byte
	// Fuel is what each call costs, besides what Call charges by Guest.Pay.
	Fuel uint64
	// Call finds the parameters in stack and leaves the result, if there is one, at its beginning.
	Call func(g *Guest, stack []uint64)
}

// Guest is one instance as a Protocol and its host functions see it.
type Guest struct {
	instance *Instance
	session  Session
	rows     int
	ctx      context.Context // carries the Guest to host functions
	stack    [16]uint64
}

type guestKey struct{}

// Function is an exported function of the guest, or nil when there is none of that name. Look it up once:
// it is expensive.
func (g *Guest) Function(name string) *Function {
	f := g.instance.module.ExportedFunction(name)
	if f == nil {
		return nil
	}
	return &Function{guest: g, name: name, function: f, params: len(f.Definition().ParamTypes()), results: len(f.Definition().ResultTypes())}
}

// Global is the value of an exported global.
func (g *Guest) Global(name string) (value uint64, ok bool) {
	global := g.instance.module.ExportedGlobal(name)
	if global == nil {
		return 0, false
	}
	return global.Get(), true
}

// Function is an exported function of a guest.
type Function struct {
	guest           *Guest
	name            string
	function        api.Function
	params, results int
}

// Results is the number of values the function returns.
func (f *Function) Results() int { return f.results }

// Call calls f on the fuel that is left. result is its first result, 0 when it has none. The error is a
// *GuestError.
func (f *Function) Call(args ...uint64) (result uint64, err error) {
	g := f.guest
	if len(args) != f.params || max(f.params, f.results) > len(g.stack) {
		return 0, &GuestError{Reason: ReasonTrap, Function: f.name, Detail: fmt.Sprintf("takes %d parameters, and the protocol has %d", f.params, len(args))}
	}
	var stack [len(g.stack)]uint64 // calls nest: a host function may call back
	copy(stack[:], args)
	g.stack = stack
	if err := f.function.CallWithStack(g.ctx, g.stack[:max(f.params, f.results)]); err != nil {
		return 0, guestError(f.name, err, int64(g.instance.fuel.Get()))
	}
	if f.results == 0 {
		return 0, nil
	}
	return g.stack[0], nil
}

// Read is guest memory [at, at+n); it becomes invalid with the next call. ok is false when it is out of
// bounds.
func (g *Guest) Read(at, n uint32) (view []byte, ok bool) { return g.instance.memory.Read(at, n) }

// MemoryBytes is the size of the guest's linear memory.
func (g *Guest) MemoryBytes() uint32 { return g.instance.memory.Size() }

// Write copies b into guest memory; ok is false when it would go out of bounds.
func (g *Guest) Write(at uint32, b []byte) (ok bool) { return g.instance.memory.Write(at, b) }

// PutUint32 writes a little-endian number; ok is false when it would go out of bounds.
func (g *Guest) PutUint32(at, value uint32) (ok bool) {
	return g.instance.memory.WriteUint32Le(at, value)
}

// Uint32 reads a little-endian number.
func (g *Guest) Uint32(at uint32) (value uint32, ok bool) { return g.instance.memory.ReadUint32Le(at) }

// Pay takes fuel for work that the host does for the guest. It must be called below a host function: it
// ends the guest when there is not enough.
func (g *Guest) Pay(amount uint64) {
	if !g.Take(amount) {
		panic(errGuest("used up its fuel in a host function"))
	}
}

// Take takes fuel for work that the host does for the guest; false means that there was not enough.
func (g *Guest) Take(amount uint64) bool {
	left := int64(g.instance.fuel.Get()) - int64(min(amount, 1<<40))
	g.instance.fuel.Set(uint64(left))
	return left >= 0
}

// End ends the guest from below a host function: its call returns an error.
func (g *Guest) End(detail string) { panic(errGuest(detail)) }

// Session is what Protocol.Open returned, nil while it runs.
func (g *Guest) Session() Session { return g.session }

// Subject, Candidates and Scores are the areas of the current call, as Instance has them.
func (g *Guest) Subject() []byte { return g.instance.Subject() }

// Candidates is the area of the candidate features of the current call.
func (g *Guest) Candidates() []byte { return g.instance.Candidates(g.rows) }

// Scores is the area of the scores of the current call.
func (g *Guest) Scores() []byte { return g.instance.Scores(g.rows) }

// Fault makes the error of a guest that broke its protocol.
func Fault(reason Reason, function, detail string, args ...any) error {
	return &GuestError{Reason: reason, Function: function, Detail: fmt.Sprintf(detail, args...)}
}

// open prepares an instance of a Protocol: its areas lie in memory of the host.
func (i *Instance) open(rows int) error {
	spec := &i.pool.spec
	g := &Guest{instance: i}
	g.ctx = context.WithValue(context.Background(), guestKey{}, g)
	i.guest = g
	i.cand = int(AlignUp(8 * uint64(spec.SubjectFeatures)))
	i.out = int(AlignUp(uint64(i.cand + 8*rows*spec.CandidateFeatures)))
	i.view, i.rows = make([]byte, i.out+8*rows), rows
	i.fuel.Set(i.pool.config.StartFuel)
	session, err := spec.Protocol.Open(g)
	if err != nil {
		return err
	}
	g.session = session
	return nil
}

// runForeign is run for an instance of a Protocol.
func (i *Instance) runForeign(name string, rows int) (uint64, error) {
	if name != abi.ExportScore {
		return 0, fmt.Errorf("a module of another protocol has no export %s", name)
	}
	if err := i.renew(); err != nil {
		return 0, err
	}
	granted := i.pool.spec.fuel(rows)
	i.fuel.Set(granted)
	i.guest.rows = rows
	for row := range rows {
		PutFloat(i.Scores(rows), row, math.NaN())
	}
	err := i.guest.session.Score(i.guest, rows)
	return i.settle(granted, err)
}

// Exchange hands the guest of a Protocol a document and appends its answer to out. The budget is that of
// a call of no rows. An error is a *GuestError; the Instance must then be discarded.
func (i *Instance) Exchange(in, out []byte) (answer []byte, fuelUsed uint64, err error) {
	if i.guest == nil {
		return out, 0, fmt.Errorf("exchanging documents with a module of the native contract")
	}
	return i.exchange(in, out, i.pool.spec.fuel(0))
}

func (i *Instance) exchange(in, out []byte, fuel uint64) (answer []byte, fuelUsed uint64, err error) {
	if err := i.renew(); err != nil {
		return out, 0, err
	}
	i.fuel.Set(fuel)
	answer, err = i.guest.session.Exchange(i.guest, in, out)
	fuelUsed, err = i.settle(fuel, err)
	return answer, fuelUsed, err
}

// renew replaces what serves a single call and has served it; the areas of the host stay as they are.
func (i *Instance) renew() error {
	if !i.spent {
		return nil
	}
	fresh, err := i.pool.start(context.Background())
	if err != nil {
		return err
	}
	i.pool.closeInstance(i)
	i.module, i.memory, i.fuel, i.guest, i.spent = fresh.module, fresh.memory, fresh.fuel, fresh.guest, false
	i.guest.instance = i
	return nil
}

// settle ends a call: a guest that has no fuel left failed for that reason, whatever it says.
func (i *Instance) settle(granted uint64, err error) (uint64, error) {
	left := int64(i.fuel.Get())
	i.spent = !i.guest.session.Reusable()
	switch {
	case left < 0:
		return granted, &GuestError{Reason: ReasonFuel, Function: "guest", Detail: "used up its fuel"}
	case err != nil:
		return granted, err
	}
	return granted - uint64(left), nil
}

// link adds the host modules that compiled imports: the Protocol's functions, then the system shim for
// names that the Protocol does not have.
func link(ctx context.Context, r wazero.Runtime, compiled wazero.CompiledModule, protocol Protocol) error {
	if protocol == nil {
		return linkSystem(ctx, r, compiled, nil)
	}
	builders := map[string]wazero.HostModuleBuilder{}
	taken := map[string]bool{}
	functions := protocol.Functions()
	for _, f := range compiled.ImportedFunctions() {
		module, name, _ := f.Import()
		for k := range functions {
			h := &functions[k]
			if h.Module != module || h.Name != name || taken[module+"."+name] {
				continue
			}
			taken[module+"."+name] = true
			if builders[module] == nil {
				builders[module] = r.NewHostModuleBuilder(module)
			}
			builders[module].NewFunctionBuilder().WithGoModuleFunction(h.entry(), h.Params, h.Results).Export(name)
		}
	}
	system := builders[wasiModule]
	delete(builders, wasiModule)
	if err := linkSystem(ctx, r, compiled, func(b wazero.HostModuleBuilder) (wazero.HostModuleBuilder, func(string) bool) {
		if system != nil {
			b = system
		}
		return b, func(name string) bool { return taken[wasiModule+"."+name] }
	}); err != nil {
		return err
	}
	for _, b := range builders {
		if _, err := b.Instantiate(ctx); err != nil {
			return err
		}
	}
	return nil
}

// entry is what the engine calls. A function called while the module starts has no Guest: it ends it.
func (h *ForeignImport) entry() api.GoModuleFunc {
	return func(ctx context.Context, _ api.Module, stack []uint64) {
		g, ok := ctx.Value(guestKey{}).(*Guest)
		if !ok {
			panic(errGuest("the module calls the host before it started"))
		}
		g.Pay(h.Fuel)
		h.Call(g, stack)
	}
}
