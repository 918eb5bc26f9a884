package wasm_test

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/arbiterhq/arbiter/runtime/wasm"
	"github.com/arbiterhq/arbiter/runtime/wasm/wasmtest"
)

// A module that gives other scores when it was called before is found and called no more; one that does
// not is called on, however often it is audited.
func TestAudit(t *testing.T) {
	for _, c := range []struct {
		name      string
		behaviour wasmtest.Behaviour
		impure    bool
	}{
		{"state", wasmtest.Counter, true},
		{"no state", wasmtest.Linear, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			metrics := prometheus.NewRegistry()
			guest := linear
			guest.Behaviour = c.behaviour
			p := load(t, newSandbox(t, wasm.Config{Instances: 2, AuditEvery: 3, Registerer: metrics}), guest, linearSpec)
			audited := func() bool { return counter(t, metrics, "arbiter_wasm_audits_total") > 0 }
			var err error
			for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
				if _, err = scoreOnce(p, []float64{1, 2}, []float64{3, 4, 5}); err != nil || !c.impure && audited() {
					break
				}
			}
			if got := wasm.ReasonOf(err); c.impure != (got == wasm.ReasonState) || !audited() {
				t.Errorf("after an audit (%v) a call gives %v, want impure %v", audited(), err, c.impure)
			}
		})
	}
}
