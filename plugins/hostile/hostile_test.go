package hostile_test

import (
	"context"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/plugins/hostile"
	"github.com/arbiterhq/arbiter/plugins/serving"
	"github.com/arbiterhq/arbiter/runtime/consent"
	"github.com/arbiterhq/arbiter/runtime/engine"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/wasm"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	good      = "good"
	bad       = "bad"
	goodScore = 0.125
	// maxMemory is how much more memory the process may have during and after a case than before. A guest
	// may have 4 MiB, a call stack 50 MB, and what is freed is not given back at once.
	maxMemory = 400 << 20
	attacks   = 7
	// broken is what a caller is told of a plugin that failed again and again.
	broken = "keeps failing and is taken out"
)

// customer is an nba.Subject with a tenure.
type customer struct {
	tenure  nba.AttributeID
	value   int64
	granted nba.PurposeSet
}

func (c *customer) Ref() nba.SubjectRef { return nba.SubjectRef{ID: "S-1", Type: nba.Subscriber} }
func (c *customer) Version() uint64     { return 1 }
func (c *customer) Attribute(id nba.AttributeID) (nba.Value, bool) {
	return nba.Int(c.value), id == c.tenure
}
func (c *customer) Granted() nba.PurposeSet { return c.granted }

type action struct{}

func (action) Property(string) (float64, bool) { return 1, true }

// arena is a host with the good plugin in service.
type arena struct {
	t          *testing.T
	host       *serving.Host
	dictionary *nba.Dictionary
	digest     string
}

func newArena(t *testing.T, options serving.Options) *arena {
	t.Helper()
	host, err := serving.NewHost(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := host.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	d, _, err := nba.NewDictionary().Declare([]nba.AttributeDeclaration{{Name: "tenure", Type: nba.KindInt}})
	if err != nil {
		t.Fatal(err)
	}
	a := &arena{t: t, host: host, dictionary: d}
	module := hostile.Good(good, goodScore)
	a.digest = artifact.Digest(module)
	if err := host.Prepare(context.Background(), a.digest, module); err != nil {
		t.Fatal(err)
	}
	return a
}

// set is the good plugin, and one more unless digest is "".
func (a *arena) set(digest string) *serving.Set {
	a.t.Helper()
	active := map[string]string{good: a.digest}
	if digest != "" {
		active[bad] = digest
	}
	s, err := a.host.NewSet(active, a.dictionary)
	if err != nil {
		a.t.Fatal(err)
	}
	return s
}

func (a *arena) call(model string) *engine.ScoreCall {
	attribute, _ := a.dictionary.Attribute("tenure")
	purpose, _ := a.dictionary.Purpose(nba.PurposeProfiling)
	c := &customer{tenure: attribute.ID, value: 12, granted: nba.PurposeSet(0).With(purpose.ID)}
	return &engine.ScoreCall{Model: model, Subject: c, Mask: consent.Mask(a.dictionary, c.granted),
		Candidates: []engine.Candidate{action{}, action{}, action{}}, Out: make([]float64, 3)}
}

// bystander calls the good plugin without pause and counts what is not as it should be.
type bystander struct {
	calls, failed, wrong atomic.Int64
	stop                 chan struct{}
	work                 sync.WaitGroup
}

func (a *arena) watch(s *serving.Set) *bystander {
	b := &bystander{stop: make(chan struct{})}
	for range 2 {
		b.work.Go(func() {
			call := a.call(good)
			for {
				select {
				case <-b.stop:
					return
				default:
				}
				if _, err := s.Score(context.Background(), call); err != nil {
					b.failed.Add(1)
				}
				for _, score := range call.Out {
					if score != goodScore {
						b.wrong.Add(1)
					}
				}
				b.calls.Add(1)
			}
		})
	}
	for b.calls.Load() < 2 {
		runtime.Gosched()
	}
	return b
}

func (b *bystander) end(t *testing.T) {
	t.Helper()
	close(b.stop)
	b.work.Wait()
	if b.failed.Load() > 0 || b.wrong.Load() > 0 || b.calls.Load() == 0 {
		t.Errorf("of %d calls of a good plugin meanwhile %d failed and %d scores were wrong", b.calls.Load(), b.failed.Load(), b.wrong.Load())
	}
}

// memoryInUse is the resident memory of the process; where that is not known, what Go has from the
// system.
func memoryInUse() int64 {
	if fields := strings.Fields(readFile("/proc/self/statm")); len(fields) > 1 {
		pages, _ := strconv.ParseInt(fields[1], 10, 64)
		return pages * int64(os.Getpagesize())
	}
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.Sys)
}

func readFile(name string) string {
	content, _ := os.ReadFile(name)
	return string(content)
}

// TestHostilePlugins runs every case beside a good plugin: the refusal says what it must, or the calls fail
// in the one way they must, until the plugin is taken out; the good plugin never fails and never gives another score; a garbage
// collection, which a guest that does not return would block for ever, ends; memory stays bounded.
func TestHostilePlugins(t *testing.T) {
	a := newArena(t, serving.Options{MaxWarm: 2, Sandbox: wasm.Config{AuditEvery: 64}})
	runtime.GC()
	before := memoryInUse()
	for _, c := range hostile.Cases(bad) {
		t.Run(c.Name, func(t *testing.T) {
			a.t = t
			quiet := a.set("")
			b := a.watch(quiet)
			digest := artifact.Digest(c.Artifact)
			err := a.host.Prepare(context.Background(), digest, c.Artifact)
			b.end(t)
			quiet.Release()
			if len(c.Refused) > 0 {
				expectRefusal(t, err, c.Refused)
			} else if err != nil {
				t.Fatalf("it is refused: %v", err)
			} else {
				a.attack(digest, c)
			}
			runtime.GC()
			if grown := memoryInUse() - before; grown > maxMemory {
				t.Errorf("the process has %d MiB more than before", grown>>20)
			}
		})
	}
}

func expectRefusal(t *testing.T, err error, says []string) {
	t.Helper()
	if nba.CodeOf(err) != nba.CodePluginRefused {
		t.Fatalf("Prepare gives %v, want %s", err, nba.CodePluginRefused)
	}
	text := err.Error()
	for _, want := range says {
		if !strings.Contains(text, want) {
			t.Errorf("the refusal says %q, want %q in it", text, want)
		}
	}
}

// attack calls an admitted plugin while the good one is called too.
func (a *arena) attack(digest string, c hostile.Case) {
	t := a.t
	t.Helper()
	s := a.set(digest)
	defer s.Release()
	if m, _ := s.Manifest(bad); m.Fuel(1) > a.host.Policy().MaxCallFuel {
		t.Errorf("a call of one row may use %d fuel, more than the %d of a call", m.Fuel(1), a.host.Policy().MaxCallFuel)
	}
	b := a.watch(s)
	defer b.end(t)
	call := a.call(bad)
	if c.Late {
		a.untilFound(s, call)
		return
	}
	for n := range attacks {
		_, err := s.Score(context.Background(), call)
		switch {
		case c.Reason == "" && !c.OutOfRange:
			if err != nil || !(call.Out[0] >= 0 && call.Out[0] <= 1) {
				t.Errorf("score %v, error %v", call.Out[0], err)
			}
		case err == nil:
			t.Errorf("a call succeeds with score %v", call.Out[0])
		default:
			expectFailure(t, err, c, n > 0)
		}
		runtime.GC() // would hang beside a guest that does not return
	}
}

// expectFailure looks for the reason of a failed call; one that is not the first may have been kept from the
// plugin.
func expectFailure(t *testing.T, err error, c hostile.Case, again bool) {
	t.Helper()
	switch {
	case again && strings.Contains(err.Error(), broken):
	case nba.CodeOf(err) != nba.CodeUnavailable:
		t.Errorf("a call gives %v, want %s", err, nba.CodeUnavailable)
	case c.OutOfRange && !strings.Contains(err.Error(), "no probability"):
		t.Errorf("a call gives %v, want that the score is no probability", err)
	case !c.OutOfRange && wasm.ReasonOf(err) != c.Reason:
		t.Errorf("a call gives %v, want the reason %s", err, c.Reason)
	}
}

// untilFound calls a plugin that keeps state until it is called no more.
func (a *arena) untilFound(s *serving.Set, call *engine.ScoreCall) {
	t := a.t
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		if _, err := s.Score(context.Background(), call); err != nil {
			if wasm.ReasonOf(err) != wasm.ReasonState {
				t.Errorf("a call gives %v, want the reason %s", err, wasm.ReasonState)
			}
			return
		}
	}
	t.Error("a plugin that keeps state was called for a minute")
}
