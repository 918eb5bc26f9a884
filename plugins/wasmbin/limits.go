package wasmbin

// Limits bound the structure of a module, because compile time and memory of an engine can grow far
// faster than the size of a hostile module. A zero field means its default.
type Limits struct {
	ModuleBytes    int // the whole binary
	Types          int // function types
	Parameters     int // parameters, and results, of one function type
	Imports        int // imported items
	Exports        int // exported items
	Functions      int // defined functions
	FunctionBytes  int // one function body
	Locals         int // parameters and locals of one function
	Nesting        int // blocks within blocks in one function
	BranchTargets  int // targets of one br_table
	Globals        int // imported and defined globals
	Tables         int // tables
	TableElements  int // initial size of one table
	MemoryPages    int // initial size of the memory, and its declared maximum if it declares one
	DataSegments   int // data segments
	DataBytes      int // all data segments together
	CustomBytes    int // all custom sections together
	CustomSections int // custom sections
}

// DefaultLimits are generous for compiled models and for guests in C, Rust and AssemblyScript.
func DefaultLimits() Limits {
	return Limits{
		ModuleBytes: 16 << 20, Types: 1024, Parameters: 64, Imports: 64, Exports: 256,
		Functions: 8192, FunctionBytes: 64 << 10, Locals: 512, Nesting: 64, BranchTargets: 1024,
		Globals: 1024, Tables: 4, TableElements: 65536, MemoryPages: 1024,
		DataSegments: 4096, DataBytes: 16 << 20, CustomBytes: 2 << 20, CustomSections: 64,
	}
}

func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	for _, f := range [...]struct {
		field    *int
		fallback int
	}{
		{&l.ModuleBytes, d.ModuleBytes}, {&l.Types, d.Types}, {&l.Parameters, d.Parameters},
		{&l.Imports, d.Imports}, {&l.Exports, d.Exports}, {&l.Functions, d.Functions},
		{&l.FunctionBytes, d.FunctionBytes}, {&l.Locals, d.Locals}, {&l.Nesting, d.Nesting},
		{&l.BranchTargets, d.BranchTargets}, {&l.Globals, d.Globals}, {&l.Tables, d.Tables},
		{&l.TableElements, d.TableElements}, {&l.MemoryPages, d.MemoryPages},
		{&l.DataSegments, d.DataSegments}, {&l.DataBytes, d.DataBytes},
		{&l.CustomBytes, d.CustomBytes}, {&l.CustomSections, d.CustomSections},
	} {
		if *f.field <= 0 {
			*f.field = f.fallback
		}
	}
	return l
}

// DefaultInitialFuel is what a start function may use before the host sets the first budget.
const DefaultInitialFuel = 10_000_000

// InjectOptions tune Inject. The zero value means all defaults.
type InjectOptions struct {
	// Limits bound the structure of the module.
	Limits Limits
	// InitialFuel is the fuel of the start function, in the units of Inject; 0 means
	// DefaultInitialFuel.
	InitialFuel int64
}
