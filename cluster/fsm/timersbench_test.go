package fsm

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/runtime/trigger"
)

// BenchmarkTimers fills a data group with 24 hours of windows and timers: each subject has a sliding window of
// 24 h, a daily sum, a threshold on the last value, and an absence that is told of within 24 h. Then it
// measures the memory, a restart, and how fast what is due fires. make bench-timers runs it; the number of
// subjects is in ARBITER_SUBJECTS, events of a subject and strategy in ARBITER_EVENTS.
func BenchmarkTimers(b *testing.B) {
	if testing.Short() {
		b.Skip("it takes a while")
	}
	for b.Loop() {
		t := &timersBench{b: b, dir: b.TempDir(), subjects: envNumber(b, "ARBITER_SUBJECTS", 20_000), events: envNumber(b, "ARBITER_EVENTS", 4)}
		t.base = resident()
		t.open()
		t.fill()
		t.sizes("filled")
		t.restart()
		t.fire()
		t.close()
	}
}

func envNumber(b *testing.B, name string, otherwise int) int {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		b.Fatalf("%s is no number", name)
	}
	return n
}

type timersBench struct {
	b                *testing.B
	dir              string
	subjects, events int
	base             int64
	store            *store.Store
	data             *Data
}

func (t *timersBench) must(err error) {
	t.b.Helper()
	if err != nil {
		t.b.Fatal(err)
	}
}

func (t *timersBench) open() {
	var err error
	t.store, err = store.Open(filepath.Join(t.dir, "state.db"), store.Options{}.Default())
	t.must(err)
	t.data, err = NewData(t.store)
	t.must(err)
}

func (t *timersBench) close() { t.must(t.store.Close()) }

const dayMS = 24 * hourMS

func strategiesOfADay() []trigger.Update {
	template := trigger.AppendTemplate(nil, "com.example.usage", []byte(`[{"type":"event","key":"country","value":"US"}]`))
	return []trigger.Update{
		{Name: "used-in-a-day", Spec: trigger.Spec{Window: trigger.Sliding, SizeMS: dayMS, SliceMS: dayMS / 60, Aggregate: trigger.Sum}},
		{Name: "daily", Spec: trigger.Spec{Window: trigger.Tumbling, SizeMS: dayMS, Aggregate: trigger.Count}},
		{Name: "allowance", Spec: trigger.Spec{Aggregate: trigger.Last, Raise: trigger.Crossing, HasThreshold: true, Threshold: 1e6 * trigger.Unit, ValidMS: hourMS}, Template: template},
		{Name: "cart-left", Spec: trigger.Spec{Raise: trigger.Absent, WithinMS: dayMS, ValidMS: hourMS}, Template: template},
	}
}

// fill applies events in the order of their times, which lie within a day, in operations of 128.
func (t *timersBench) fill() {
	updates := strategiesOfADay()
	const perOp = 128
	total, began := t.subjects*t.events, time.Now()
	var ops []operation
	flush := func(ms int64, ops ...operation) {
		answer := t.data.Apply(entryAt(t.b, t.data.Position().Index+1, ms, ops...))
		if err, failed := answer.(error); failed {
			t.b.Fatal(err)
		}
	}
	for at := 0; at < t.subjects; at++ {
		ops = append(ops, &command.Put{Key: key(fmt.Sprintf("S-%07d", at)), Record: rec(t.b, 0, 0)})
		if len(ops) == 1024 || at == t.subjects-1 {
			flush(testMS, ops...)
			ops = ops[:0]
		}
	}
	put := time.Since(began)
	began = time.Now()
	var events []command.AppliedEvent
	for at := 0; at < total; at++ {
		ms := int64(testMS) + int64(at)*(dayMS-1)/int64(total)
		for i := range updates {
			updates[i].Value = int64(1+at%97) * trigger.Unit
		}
		events = append(events, happened(at, fmt.Sprintf("S-%07d", at%t.subjects), ms, updates...))
		if len(events) == perOp || at == total-1 {
			flush(ms, applied(events...))
			events = events[:0]
		}
	}
	took := time.Since(began)
	t.b.Logf("%d subjects stored in %v; %d events, each for %d strategies, applied in %v: %.0f events/s", t.subjects, put.Round(time.Millisecond),
		total, len(updates), took.Round(time.Millisecond), float64(total)/took.Seconds())
	t.b.ReportMetric(float64(total)/took.Seconds(), "events/s")
}

// sizes logs what windows and timers take.
func (t *timersBench) sizes(when string) {
	r, err := t.store.Acquire()
	t.must(err)
	windows, windowBytes, timers, timerBytes := 0, 0, 0, 0
	r.Scan(store.Windows, nil, func(key, value []byte) bool {
		windows, windowBytes = windows+1, windowBytes+len(value)
		return true
	})
	r.Scan(store.Due, []byte{dueTimer}, func(key, value []byte) bool {
		timers, timerBytes = timers+1, timerBytes+len(key)+len(value)
		return true
	})
	r.Release()
	size, err := t.store.Size()
	t.must(err)
	perStrategy := float64(windowBytes) / float64(windows*len(strategiesOfADay()))
	t.b.Logf("%s: %d states of %.1f B (%.1f B a subject and strategy), %d timers of %.1f B, files %d MB, memory %d MB, of which heap %d MB", when, windows,
		float64(windowBytes)/float64(windows), perStrategy, timers, float64(timerBytes)/float64(timers), size>>20, (resident()-t.base)>>20, heap()>>20)
	t.b.ReportMetric(perStrategy, "B/strategy")
}

// restart closes the store and opens it again, until the next timer is known.
func (t *timersBench) restart() {
	began := time.Now()
	t.close()
	closed := time.Since(began)
	t.store, t.data = nil, nil
	runtime.GC()
	began = time.Now()
	t.open()
	next, ok, err := t.data.NextTimer(math.MaxInt64)
	t.must(err)
	took := time.Since(began)
	if !ok || next < testMS {
		t.b.Fatalf("the next timer is %d %v", next, ok)
	}
	t.b.Logf("closed in %v; restarted in %v, which knows the first timer; heap %d MB", closed.Round(time.Millisecond), took.Round(100*time.Microsecond), heap()>>20)
	t.b.ReportMetric(float64(took.Microseconds())/1000, "ms/restart")
}

// fire lets a day pass, in steps of a minute, as a leader does.
func (t *timersBench) fire() {
	began, fired, ops, last := time.Now(), uint64(0), 0, int64(0)
	for {
		next, ok, err := t.data.NextTimer(math.MaxInt64)
		t.must(err)
		if !ok || next > testMS+3*dayMS {
			break
		}
		if next < last {
			t.b.Fatal("timers are not in the order of time")
		}
		last = next
		results := t.data.Apply(entryAt(t.b, t.data.Position().Index+1, next+60_000, &command.FireTimers{UntilMS: next + 60_000, Limit: 256})).(Results)
		fired += results[0].Version
		ops++
	}
	took := time.Since(began)
	t.b.Logf("%d timers fired in %d operations in %v: %.0f /s", fired, ops, took.Round(time.Millisecond), float64(fired)/took.Seconds())
	t.b.ReportMetric(float64(fired)/took.Seconds(), "timers/s")
	t.must(t.data.Err())
}

// resident is the memory of the process, 0 where that cannot be told.
func resident() int64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	pages, _ := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
