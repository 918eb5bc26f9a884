package hostile_test

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/arbiterhq/arbiter/plugins/adapter"
	"github.com/arbiterhq/arbiter/plugins/admission"
	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/plugins/hostile"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/wasm"
)

// foreign is the manifest of a hostile module of an adapter.
func foreign(kind string) *artifact.Manifest {
	m := hostile.Manifest(bad)
	m.Adapter = &artifact.Adapter{Kind: kind}
	if kind == artifact.AdapterExtism {
		m.Adapter.Entrypoint = "score"
	}
	return m
}

// callHost admits a module that calls its host as the choices say. Whatever it does, it is refused for what
// it does and not for a failure of the host.
func callHost(t *testing.T, s *wasm.Sandbox, choices []byte) {
	t.Helper()
	if len(choices) == 0 {
		return
	}
	kind := [...]string{artifact.AdapterExtism, artifact.AdapterWASICommand}[choices[0]%2]
	m := foreign(kind)
	protocol, err := adapter.For(m, nil)
	if err != nil {
		t.Fatal(err)
	}
	admitted, err := admission.Admit(context.Background(), s, hostile.Caller(m, protocol.Functions(), choices[1:]), admission.Isolated())
	if err == nil {
		admitted.Pool.Release()
		return
	}
	if nba.CodeOf(err) != nba.CodePluginRefused {
		t.Fatalf("%s: %v, want %s", kind, err, nba.CodePluginRefused)
	}
}

// TestHostFunctions calls the functions of the adapters with arguments that are no addresses.
func TestHostFunctions(t *testing.T) {
	s := newSandbox(t)
	random := rand.New(rand.NewPCG(4, 11))
	rounds := 150
	if testing.Short() {
		rounds = 20
	}
	for range rounds {
		choices := make([]byte, 2+random.IntN(120))
		for i := range choices {
			choices[i] = byte(random.IntN(256))
		}
		callHost(t, s, choices)
	}
}

// FuzzHostFunctions goes on from TestHostFunctions.
func FuzzHostFunctions(f *testing.F) {
	f.Add([]byte{0, 0, 200, 6, 200, 1, 9, 0, 12, 200, 7})
	f.Add([]byte{1, 1, 1, 0, 3, 16, 1, 0, 255, 255, 255})
	s := newSandbox(f)
	f.Fuzz(func(t *testing.T, choices []byte) {
		if len(choices) < 400 {
			callHost(t, s, choices)
		}
	})
}
