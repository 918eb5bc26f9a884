package chaos

import (
	"cmp"
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// kind is what a client asked of a register.
type kind int

const (
	readOp kind = iota
	putOp
	patchOp
	deleteOp
)

func (k kind) String() string { return [...]string{"read", "put", "patch", "delete"}[k] }

// input is one call on a register.
type input struct {
	key       string
	kind      kind
	value     int64
	ifVersion *uint64
}

// output is what the client learned.
type output struct {
	fate  fate
	state register // of a read; of a put its version alone
	// missing: refused because there is no such subject, and not because of the condition
	missing bool
}

// history records calls of many clients. It is safe for concurrent use.
type history struct {
	began time.Time
	mu    sync.Mutex
	ops   []porcupine.Operation
}

func newHistory() *history { return &history{began: time.Now()} }

// now is the time of the history: monotonic, the same clock for all clients.
func (h *history) now() int64 { return int64(time.Since(h.began)) }

// change records a change that was asked for at call. What was turned away for another reason than the
// state of the register left no trace, if the answer is true: reads will show.
func (h *history) change(client int, in input, call int64, a answer) {
	if a.fate == refused && a.status != http.StatusPreconditionFailed && a.status != http.StatusNotFound {
		return
	}
	h.add(client, in, call, output{fate: a.fate, state: register{version: a.version}, missing: a.status == http.StatusNotFound})
}

// add records a call that ended now. A read without an answer is left out, and what may still be
// applied ends never.
func (h *history) add(client int, in input, call int64, out output) {
	end := h.now()
	switch {
	case in.kind == readOp && out.fate != applied:
		return
	case out.fate == doubtful:
		end = math.MaxInt64
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, porcupine.Operation{ClientId: client, Input: in, Call: call, Output: out, Return: end})
}

// registerModel is a subject as one sees it through the API: a value and a version that counts its
// changes since it was created.
func registerModel() porcupine.Model {
	return porcupine.Model{
		Partition:         partitionByKey,
		Init:              func() any { return register{} },
		Step:              func(state, in, out any) (bool, any) { return step(state.(register), in.(input), out.(output)) },
		DescribeOperation: func(in, out any) string { return describe(in.(input), out.(output)) },
		DescribeState: func(state any) string {
			s := state.(register)
			return fmt.Sprintf("v%d=%d", s.version, s.value)
		},
	}
}

func partitionByKey(ops []porcupine.Operation) [][]porcupine.Operation {
	byKey := map[string][]porcupine.Operation{}
	var keys []string
	for _, op := range ops {
		key := op.Input.(input).key
		if byKey[key] == nil {
			keys = append(keys, key)
		}
		byKey[key] = append(byKey[key], op)
	}
	parts := make([][]porcupine.Operation, 0, len(keys))
	for _, key := range keys {
		parts = append(parts, byKey[key])
	}
	return parts
}

// step says whether a call could have had this outcome in this state, and what the state is then.
func step(state register, in input, out output) (bool, register) {
	if in.kind == readOp {
		return out.state == state, state
	}
	holds := in.ifVersion == nil || *in.ifVersion == state.version
	exists := state.exists || in.kind == putOp
	next := register{exists: true, version: state.version + 1, value: in.value}
	if in.kind == deleteOp {
		next = register{}
	}
	switch out.fate {
	case doubtful: // as the last of all calls it changes nothing that anybody sees
		if holds && exists {
			return true, next
		}
		return true, state
	case refused:
		return !holds && !out.missing || !exists && out.missing, state
	}
	if !holds || !exists {
		return false, state
	}
	if in.kind == putOp && out.state.version != next.version {
		return false, state
	}
	return true, next
}

func describe(in input, out output) string {
	text := in.kind.String()
	if in.kind != readOp {
		text += fmt.Sprintf(" %d", in.value)
	}
	if in.ifVersion != nil {
		text += fmt.Sprintf(" if v%d", *in.ifVersion)
	}
	switch {
	case out.fate == doubtful:
		return text + " → ?"
	case out.fate == refused:
		return text + " → refused"
	case in.kind == readOp && !out.state.exists:
		return text + " → none"
	case in.kind == readOp:
		return fmt.Sprintf("%s → v%d=%d", text, out.state.version, out.state.value)
	}
	return fmt.Sprintf("%s → v%d", text, out.state.version)
}

// check lets Porcupine decide. A history that is not linearizable is printed as it is around its
// contradiction, and drawn into a file of dir.
func (h *history) check(t *testing.T, dir string, patience time.Duration) {
	t.Helper()
	h.mu.Lock()
	ops := slices.Clone(h.ops)
	h.mu.Unlock()
	last := h.now()
	for i := range ops {
		ops[i].Return = min(ops[i].Return, last)
	}
	began := time.Now()
	result := porcupine.CheckOperationsTimeout(registerModel(), ops, patience)
	switch result {
	case porcupine.Ok:
		t.Logf("%d calls on registers are linearizable (checked in %v)", len(ops), time.Since(began).Round(time.Millisecond))
	case porcupine.Unknown:
		t.Errorf("Porcupine did not decide within %v about %d calls on registers: fewer clients or shorter epochs", patience, len(ops))
	case porcupine.Illegal:
		explain(t, dir, ops)
	}
}

// explain shows the keys whose histories contradict themselves.
func explain(t *testing.T, dir string, ops []porcupine.Operation) {
	t.Helper()
	model := registerModel()
	model.Partition = nil
	for _, part := range partitionByKey(ops) {
		result, info := porcupine.CheckOperationsVerbose(model, part, 20*time.Second)
		if result != porcupine.Illegal {
			continue
		}
		key := part[0].Input.(input).key
		t.Errorf("the history of %s is not linearizable:\n%s", key, contradiction(part, info))
		if file, err := os.Create(filepath.Join(dir, key+".html")); err == nil {
			if porcupine.Visualize(model, info, file) == nil {
				t.Logf("drawn in %s (kept with -chaos.keep)", file.Name())
			}
			file.Close()
		}
	}
}

// contradiction lists the calls about the first that fits nowhere in the longest order found.
func contradiction(part []porcupine.Operation, info porcupine.LinearizationInfo) string {
	var longest []int
	for _, partial := range info.PartialLinearizations() {
		for _, order := range partial {
			if len(order) > len(longest) {
				longest = order
			}
		}
	}
	placed := map[int]bool{}
	for _, i := range longest {
		placed[i] = true
	}
	stuck := -1
	for i := range part {
		if !placed[i] && (stuck < 0 || part[i].Return < part[stuck].Return) {
			stuck = i
		}
	}
	lines := slices.Clone(part)
	slices.SortFunc(lines, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
	at := slices.IndexFunc(lines, func(op porcupine.Operation) bool { return stuck >= 0 && op.Call >= part[stuck].Call })
	const around = 15
	from, to := max(0, at-around), min(len(lines), at+around)
	var b strings.Builder
	fmt.Fprintf(&b, "  %d of %d calls can be put in an order; the first that cannot:\n", len(longest), len(part))
	for _, op := range lines[from:to] {
		mark := " "
		if stuck >= 0 && op.Call == part[stuck].Call && op.ClientId == part[stuck].ClientId {
			mark = "*"
		}
		fmt.Fprintf(&b, " %s client %-3d %12.3f … %12.3f ms  %s\n", mark, op.ClientId, float64(op.Call)/1e6, float64(op.Return)/1e6,
			describe(op.Input.(input), op.Output.(output)))
	}
	return b.String()
}
