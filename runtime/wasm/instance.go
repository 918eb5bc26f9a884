package wasm

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/tetratelabs/wazero/api"

	"github.com/arbiterhq/arbiter/sdk/abi"
)

// Instance is one running copy of a module. It belongs to one goroutine between Pool.Acquire and
// Pool.Put or Pool.Discard, and must not be used by two at once.
//
// To score: write the subject features to Subject, the candidate features of up to MaxRows rows to
// Candidates, call Score, read Scores. All views are little-endian f64 and become invalid with the
// next call.
type Instance struct {
	pool   *Pool
	module api.Module
	memory api.Memory
	fuel   api.MutableGlobal
	score  api.Function // nil for a strategy
	decide api.Function // nil for a scorer
	host   hostCall
	ctx    callContext

	view   []byte // the whole linear memory
	in     int    // offset of the subject features
	cand   int    // offset of the candidate matrix
	out    int    // offset of the scores
	rows   int    // capacity of the areas
	inCap  int    // of a strategy: bytes of its input, and at out of its answer
	outCap int
	stack  [6]uint64
	began  uint64    // size of the memory when the instance was ready
	args   [6]uint64 // of a call of arbiter_score but for the rows

	guest  *Guest // of a module with a Protocol; nil for the contract of sdk/abi
	answer []byte // of the last call of such a strategy
	spent  bool   // the instance may not be called again
	calls  int    // since one of them was audited
}

// argRows is the place of the rows among the arguments of arbiter_score.
const argRows = 3

// MaxRows is the number of rows one call takes.
func (i *Instance) MaxRows() int { return i.pool.MaxRows() }

// MemoryBytes is the size of the linear memory.
func (i *Instance) MemoryBytes() int { return int(i.memory.Size()) }

// Subject is the area of the subject features.
func (i *Instance) Subject() []byte {
	end := i.in + 8*i.pool.spec.SubjectFeatures
	return i.view[i.in:end:end]
}

// Candidates is the area of the row-major candidate features of rows rows; rows is at most MaxRows.
func (i *Instance) Candidates(rows int) []byte {
	end := i.cand + 8*rows*i.pool.spec.CandidateFeatures
	return i.view[i.cand:end:end]
}

// Scores is the area of the scores after a call of rows rows. A NaN means that the guest abstains.
func (i *Instance) Scores(rows int) []byte {
	end := i.out + 8*rows
	return i.view[i.out:end:end]
}

// ScoreAt is the score of one row after a call.
func (i *Instance) ScoreAt(row int) float64 {
	return math.Float64frombits(binary.LittleEndian.Uint64(i.view[i.out+8*row:]))
}

// PutFloat writes feature number n of an area.
func PutFloat(area []byte, n int, f float64) {
	binary.LittleEndian.PutUint64(area[8*n:], math.Float64bits(f))
}

// Float reads feature number n of an area.
func Float(area []byte, n int) float64 {
	return math.Float64frombits(binary.LittleEndian.Uint64(area[8*n:]))
}

// Score runs the guest over the first rows rows and returns the fuel it used. An error is a
// *GuestError; the Instance must then be discarded. Score does not look at the clock: fuel bounds it.
func (i *Instance) Score(ctx context.Context, rows int) (fuelUsed uint64, err error) {
	return i.run(ctx, i.score, abi.ExportScore, rows)
}

// ScoreRaw is Score through the export arbiter_score_raw, which gives margins before the link
// function. It is for admission and tests: the export is looked up each time.
func (i *Instance) ScoreRaw(ctx context.Context, rows int) (fuelUsed uint64, err error) {
	function := i.module.ExportedFunction(abi.ExportScoreRaw)
	if function == nil || i.guest != nil {
		return 0, fmt.Errorf("the module has no export %s", abi.ExportScoreRaw)
	}
	return i.run(ctx, function, abi.ExportScoreRaw, rows)
}

func (i *Instance) run(ctx context.Context, function api.Function, name string, rows int) (uint64, error) {
	if rows < 1 || rows > i.rows {
		return 0, fmt.Errorf("scoring %d rows with an instance that takes 1 to %d", rows, i.rows)
	}
	var kept *sample
	if i.calls++; i.calls == i.pool.config.AuditEvery { // never, where that is negative
		kept = i.sample(name, rows)
	}
	if i.guest != nil {
		used, err := i.runForeign(name, rows)
		if err == nil && kept != nil {
			i.keep(kept)
		}
		return used, err
	}
	i.stack = i.args
	i.stack[argRows] = uint64(rows)
	used, err := i.call(ctx, function, name, i.stack[:], i.pool.spec.fuel(rows))
	if err != nil {
		return used, err
	}
	if status := int32(uint32(i.stack[0])); status != 0 {
		return used, &GuestError{Reason: ReasonStatus, Function: name, Detail: fmt.Sprintf("returned status %d", status)}
	}
	if kept != nil {
		i.keep(kept)
	}
	return used, nil
}

// call calls an export with its arguments in stack and returns the fuel it used. The memory is viewed
// anew when the guest let it grow, which moves it.
func (i *Instance) call(ctx context.Context, function api.Function, name string, stack []uint64, fuel uint64) (uint64, error) {
	hosted := len(i.pool.spec.Capabilities) > 0
	if hosted {
		i.ctx.Context = ctx
		ctx = &i.ctx
	}
	i.fuel.Set(fuel)
	err := function.CallWithStack(ctx, stack)
	if hosted { // nothing of this customer is left for the next
		i.ctx.Context = nil
		i.host.begin(Call{})
	}
	if err != nil {
		return fuel, guestError(name, err, int64(i.fuel.Get()))
	}
	used := fuel - i.fuel.Get()
	if int(i.memory.Size()) != len(i.view) {
		if err := i.takeView(); err != nil {
			return used, err
		}
	}
	return used, nil
}

// grown tells whether the guest has let its memory grow by most of what it may.
func (i *Instance) grown() bool {
	limit := uint64(i.pool.spec.MemoryPages) * PageBytes
	size := uint64(i.memory.Size())
	return size > i.began && size-i.began > (limit-i.began)/4*3
}

// Serve tells what the host functions answer in the next call of Score, and only in that one; Decide is
// told by itself. Without it they answer that there is nothing.
func (i *Instance) Serve(call Call) { i.host.begin(call) }

func (i *Instance) takeView() error {
	view, ok := i.memory.Read(0, i.memory.Size())
	if !ok {
		return fmt.Errorf("reading the linear memory of %d bytes", i.memory.Size())
	}
	i.view = view
	return nil
}

// reserve asks the guest once where features and scores of up to rows rows go, and checks the answer.
func (i *Instance) reserve(ctx context.Context, rows int) error {
	spec := &i.pool.spec
	function := i.module.ExportedFunction(abi.ExportReserve)
	if function == nil {
		return fmt.Errorf("the module has no export %s", abi.ExportReserve)
	}
	i.stack = [6]uint64{uint64(spec.SubjectFeatures), uint64(rows), uint64(spec.CandidateFeatures)}
	if _, err := i.call(ctx, function, abi.ExportReserve, i.stack[:3], spec.fuel(rows)); err != nil {
		return err
	}
	in, out := uint64(i.stack[0]>>32), uint64(uint32(i.stack[0]))
	cand := AlignUp(in + 8*uint64(spec.SubjectFeatures))
	inEnd := cand + 8*uint64(rows)*uint64(spec.CandidateFeatures)
	outEnd := out + 8*uint64(rows)
	size := uint64(len(i.view))
	bad := func(detail string) error {
		return &GuestError{Reason: ReasonLayout, Function: abi.ExportReserve, Detail: fmt.Sprintf(
			"%s (%d subject features, %d rows, %d candidate features, %d bytes of memory)",
			detail, spec.SubjectFeatures, rows, spec.CandidateFeatures, size)}
	}
	switch {
	case int64(i.stack[0]) == abi.ReserveRefused:
		return bad("does not serve this geometry")
	case in%Align != 0 || out%8 != 0:
		return bad("returned an input offset that is not a multiple of 16, or an output offset that is not one of 8")
	case inEnd > size || outEnd > size:
		return bad("returned an area beyond the end of the memory")
	case in < outEnd && out < inEnd:
		return bad("returned input and output areas that overlap")
	}
	i.in, i.cand, i.out, i.rows = int(in), int(cand), int(out), rows
	i.args = [6]uint64{in, uint64(spec.SubjectFeatures), cand, argRows: 0, 4: uint64(spec.CandidateFeatures), 5: out}
	return nil
}

// AlignUp rounds an offset up to a multiple of Align.
func AlignUp(offset uint64) uint64 { return (offset + Align - 1) &^ (Align - 1) }
