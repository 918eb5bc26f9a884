package archtest

import (
	"fmt"
	"go/token"
	"go/types"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/go/packages"
	"golang.org/x/tools/go/ssa"
	"golang.org/x/tools/go/ssa/ssautil"
)

// impureCalls are the packages and functions that replicated code must not reach, with the reason.
// An entry that ends in a dot bans the whole package.
var impureCalls = map[string]string{
	"time.Now": "a clock", "time.Since": "a clock", "time.Until": "a clock", "time.Sleep": "a clock",
	"time.After": "a clock", "time.NewTimer": "a clock", "time.NewTicker": "a clock", "time.Tick": "a clock",
	"math/rand.": "chance", "math/rand/v2.": "chance", "crypto/rand.": "chance",
	"os.": "I/O", "net.": "I/O", "net/http.": "I/O", "syscall.": "I/O", "os/exec.": "I/O",
	"maps.Keys": "map order", "maps.Values": "map order", "maps.All": "map order",
	"(reflect.Value).MapKeys": "map order", "(reflect.Value).MapRange": "map order",
}

// purity walks everything of this module that the roots reach: static calls, closures, calls through
// interfaces to every implementation in the module, and calls through function values to every
// function of that signature whose value is taken anywhere in the module.
type purity struct {
	prog     *ssa.Program
	inModule func(*types.Package) bool
	types    []types.Type    // all named types of the module and their pointers
	values   []*ssa.Function // functions whose value is taken
	seen     map[*ssa.Function]bool
	faults   []string
}

func (p *purity) visit(f *ssa.Function, via string) {
	if f == nil || p.seen[f] {
		return
	}
	p.seen[f] = true
	if origin := f.Origin(); origin != nil && f.Blocks == nil {
		f = origin
	}
	if pkg := packageOf(f); pkg == nil || !p.inModule(pkg) {
		return
	}
	via += " > " + f.Name()
	for _, block := range f.Blocks {
		for _, instr := range block.Instrs {
			p.check(instr, via)
			for _, operand := range instr.Operands(nil) {
				if callee, ok := (*operand).(*ssa.Function); ok {
					p.call(callee, instr, via)
				}
			}
			if call, ok := instr.(ssa.CallInstruction); ok {
				for _, callee := range p.dynamic(call.Common()) {
					p.call(callee, instr, via)
				}
			}
		}
	}
	for _, closure := range f.AnonFuncs {
		p.visit(closure, via)
	}
}

func packageOf(f *ssa.Function) *types.Package {
	if f.Pkg != nil {
		return f.Pkg.Pkg
	}
	if f.Object() != nil {
		return f.Object().Pkg()
	}
	return nil
}

func (p *purity) call(callee *ssa.Function, at ssa.Instruction, via string) {
	name := callee.RelString(nil)
	if origin := callee.Origin(); origin != nil {
		name = origin.RelString(nil)
	}
	for banned, reason := range impureCalls {
		if name == banned || strings.HasSuffix(banned, ".") && strings.HasPrefix(strings.TrimLeft(name, "(*"), banned) {
			p.fault(at.Pos(), fmt.Sprintf("%s calls %s: %s", via, name, reason))
		}
	}
	p.visit(callee, via)
}

func (p *purity) check(instr ssa.Instruction, via string) {
	switch in := instr.(type) {
	case *ssa.Range:
		if _, ok := in.X.Type().Underlying().(*types.Map); ok {
			p.fault(in.Pos(), via+" ranges over a map: map order")
		}
	case *ssa.Go:
		p.fault(in.Pos(), via+" starts a goroutine: scheduling order")
	case *ssa.Select:
		p.fault(in.Pos(), via+" selects on channels: scheduling order")
	case *ssa.BinOp:
		basic, ok := in.X.Type().Underlying().(*types.Basic)
		arithmetic := in.Op == token.ADD || in.Op == token.SUB || in.Op == token.MUL || in.Op == token.QUO
		if ok && arithmetic && basic.Info()&(types.IsFloat|types.IsComplex) != 0 {
			p.fault(in.Pos(), via+" computes with floats: fused operations differ between processors")
		}
	}
}

func (p *purity) fault(pos token.Pos, what string) {
	p.faults = append(p.faults, fmt.Sprintf("%s: %s", p.prog.Fset.Position(pos), what))
}

// dynamic lists what a call that is not static may reach.
func (p *purity) dynamic(call *ssa.CallCommon) (found []*ssa.Function) {
	if call.IsInvoke() {
		return p.implementations(call)
	}
	if call.StaticCallee() != nil {
		return nil
	}
	for _, f := range p.values {
		if types.Identical(call.Signature(), f.Signature) {
			found = append(found, f)
		}
	}
	return found
}

// collectValues finds every function of the module that is used as a value.
func (p *purity) collectValues() {
	for f := range ssautil.AllFunctions(p.prog) {
		if pkg := packageOf(f); pkg == nil || !p.inModule(pkg) {
			continue
		}
		for _, block := range f.Blocks {
			for _, instr := range block.Instrs {
				if closure, ok := instr.(*ssa.MakeClosure); ok && onlyCalled(closure) {
					continue
				}
				for _, operand := range instr.Operands(nil) {
					if value, ok := (*operand).(*ssa.Function); ok && !calls(instr, value) {
						p.values = append(p.values, value)
					}
				}
			}
		}
	}
}

func calls(instr ssa.Instruction, f ssa.Value) bool {
	call, ok := instr.(ssa.CallInstruction)
	return ok && call.Common().Value == f
}

// onlyCalled tells whether a closure is called or deferred where it is made and goes nowhere else.
func onlyCalled(closure *ssa.MakeClosure) bool {
	for _, use := range *closure.Referrers() {
		if !calls(use, closure) {
			return false
		}
	}
	return true
}

func (p *purity) implementations(call *ssa.CallCommon) (found []*ssa.Function) {
	iface, ok := call.Value.Type().Underlying().(*types.Interface)
	if !ok {
		return nil
	}
	for _, t := range p.types {
		if types.Implements(t, iface) {
			if sel := p.prog.MethodSets.MethodSet(t).Lookup(call.Method.Pkg(), call.Method.Name()); sel != nil {
				found = append(found, p.prog.MethodValue(sel))
			}
		}
	}
	return found
}

// checkPurity loads the packages of pattern and returns the faults below every method named Apply
// or ApplyBatch of package root, how many such methods there were, and how many functions of the
// module they reach.
func checkPurity(t *testing.T, dir, pattern, root string, inModule func(*types.Package) bool) (faults []string, roots, reached int) {
	t.Helper()
	cfg := &packages.Config{Dir: dir, Mode: packages.LoadAllSyntax}
	loaded, err := packages.Load(cfg, pattern)
	if err != nil {
		t.Fatal(err)
	}
	if packages.PrintErrors(loaded) > 0 {
		t.Fatal("the packages do not type-check")
	}
	prog, _ := ssautil.AllPackages(loaded, ssa.InstantiateGenerics)
	prog.Build()
	p := &purity{prog: prog, inModule: inModule, seen: map[*ssa.Function]bool{}}
	var start []*ssa.Function
	for _, pkg := range prog.AllPackages() {
		if !inModule(pkg.Pkg) {
			continue
		}
		for _, member := range pkg.Members {
			named, ok := member.(*ssa.Type)
			if !ok || types.IsInterface(named.Type()) {
				continue
			}
			pointer := types.NewPointer(named.Type())
			p.types = append(p.types, named.Type(), pointer)
			if pkg.Pkg.Path() != root {
				continue
			}
			for _, method := range []string{"Apply", "ApplyBatch"} {
				if sel := prog.MethodSets.MethodSet(pointer).Lookup(pkg.Pkg, method); sel != nil {
					start = append(start, prog.MethodValue(sel))
				}
			}
		}
	}
	p.collectValues()
	for _, f := range start {
		p.visit(f, "")
	}
	slices.Sort(p.faults)
	for f := range p.seen {
		if pkg := packageOf(f); pkg != nil && inModule(pkg) {
			reached++
		}
	}
	return p.faults, len(start), reached
}

// TestApplyIsPure proves that what is replicated is deterministic: nothing below the Apply methods of
// cluster/fsm reads a clock, draws chance, depends on map order, does I/O of its own or computes with
// floats.
func TestApplyIsPure(t *testing.T) {
	faults, roots, reached := checkPurity(t, ".", module+"cluster/fsm", module+"cluster/fsm",
		func(p *types.Package) bool { return strings.HasPrefix(p.Path(), module) })
	if roots < 2 {
		t.Fatalf("found %d Apply methods in cluster/fsm, expected those of the data and the control group", roots)
	}
	if reached < 100 {
		t.Errorf("the walk reached %d functions, which cannot be all that Apply uses", reached)
	}
	for _, fault := range faults {
		t.Error(fault)
	}
}

// TestPurityCheckerCatches runs the checker on a state machine that breaks every rule.
func TestPurityCheckerCatches(t *testing.T) {
	const impure = module + "cmd/archtest/testdata/impure"
	faults, _, _ := checkPurity(t, ".", "./testdata/impure", impure,
		func(p *types.Package) bool { return p.Path() == impure })
	all := strings.Join(faults, "\n")
	for _, want := range []string{"calls time.Now: a clock", "calls time.Sleep: a clock", "chance", "map order", "I/O", "starts a goroutine", "selects on channels", "computes with floats"} {
		if !strings.Contains(all, want) {
			t.Errorf("not caught: %s\n%s", want, all)
		}
	}
}
