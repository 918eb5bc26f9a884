package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"time"

	"github.com/arbiterhq/arbiter/plugins/admission"
	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/runtime/wasm"
	"github.com/spf13/cobra"
)

// Defaults and limits of arbiter model bench.
const (
	defaultModelRounds   = 11
	defaultModelDuration = 100 * time.Millisecond
	defaultModelBatch    = 50
	maxModelRounds       = 10_000
	// benchFuel and benchPages let models be measured that a node would refuse by its policy.
	benchFuel  = 1 << 40
	benchPages = 1024
)

type modelBenchFlags struct {
	rows     string
	batch    int
	rounds   int
	duration time.Duration
	turns    bool
}

func (a *app) modelBenchCommand() *cobra.Command {
	var f modelBenchFlags
	cmd := &cobra.Command{
		Use: "bench FILE [--rows ROWS]", Short: "Measure how long a model takes to score, in the sandbox",
		Long: "Scores the rows in turn in the sandbox, as a node does: the fuel counter runs, features are written into the\n" +
			"guest each time. A call of one row has all features of that row; a call of many has the subject's features of\n" +
			"one row and the candidates' of many. Times are processor time of one thread where the system tells it.",
		Example: "  arbiter model bench churn.wasm\n  arbiter model bench churn.wasm --rows rows.csv --batch 256 -o json",
		Args:    args("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case f.batch < 1 || f.batch > artifact.MaxRows:
				return usage(cmd, "--batch is between 1 and %d", artifact.MaxRows)
			case f.rounds < 1 || f.rounds > maxModelRounds:
				return usage(cmd, "--rounds is between 1 and %d", maxModelRounds)
			case f.duration <= 0:
				return usage(cmd, "--duration is more than 0")
			}
			return a.benchModel(cmd.Context(), cmd.InOrStdin(), args[0], &f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.rows, "rows", "", "CSV `FILE` of feature rows, by name or in the model's order (default the golden rows of the plugin)")
	flags.IntVar(&f.batch, "batch", defaultModelBatch, "rows of a call of many")
	flags.IntVar(&f.rounds, "rounds", defaultModelRounds, "how often to measure")
	flags.DurationVar(&f.duration, "duration", defaultModelDuration, "processor time of each measurement")
	flags.BoolVar(&f.turns, "turns", false, "measure once for each line read from standard input and print one line of\n"+
		"nanoseconds a row, of one and of many, so that another program can measure in turns")
	return cmd
}

// modelBenchResult is what arbiter model bench prints. Times are medians of the rounds.
type modelBenchResult struct {
	Name        string  `json:"name"`
	Version     string  `json:"version"`
	Digest      string  `json:"digest"`
	Features    int     `json:"features"`
	Rows        int     `json:"rows"`
	Rounds      int     `json:"rounds"`
	LoadMS      float64 `json:"loadMs"` // everything from the file to a running instance
	OneRowNS    float64 `json:"oneRowNs"`
	Batch       int     `json:"batch"`
	BatchRowNS  float64 `json:"batchRowNs"` // of each row of a call of Batch rows; 0 without candidate features
	FuelRow     uint64  `json:"fuelRow"`    // of a call of one row
	ModuleBytes int     `json:"moduleBytes"`
}

func (a *app) benchModel(ctx context.Context, in io.Reader, file string, f *modelBenchFlags) (err error) {
	module, err := a.readFile(file, maxModuleBytes)
	if err != nil {
		return err
	}
	sandbox, err := wasm.New(wasm.Config{Instances: 1, MaxCallFuel: benchFuel})
	if err != nil {
		return fmt.Errorf("starting the sandbox: %w", err)
	}
	defer func() { err = errors.Join(err, sandbox.Close(context.WithoutCancel(ctx))) }()
	began := time.Now()
	admitted, err := admission.Admit(ctx, sandbox, module, admission.Policy{MaxBytes: maxModuleBytes, MaxMemoryPages: benchPages, MaxCallFuel: benchFuel})
	if err != nil {
		return err
	}
	defer admitted.Pool.Release()
	loaded := time.Since(began)
	rows, err := a.benchRows(f.rows, admitted.Manifest)
	if err != nil {
		return err
	}
	instance, err := admitted.Pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer admitted.Pool.Discard(instance)
	b := newModelBench(instance, admitted.Manifest, rows, min(f.batch, instance.MaxRows()))
	if f.turns {
		return a.benchTurns(ctx, in, b, f.duration)
	}
	r := &modelBenchResult{Name: admitted.Manifest.Name, Version: admitted.Manifest.Version, Digest: admitted.Digest, Features: len(admitted.Manifest.Features),
		Rows: len(rows), Rounds: f.rounds, LoadMS: float64(loaded.Microseconds()) / 1000, Batch: b.batch, ModuleBytes: len(module)}
	one, many := make([]float64, f.rounds), make([]float64, f.rounds)
	for i := range one {
		if one[i], many[i], err = b.round(ctx, f.duration); err != nil {
			return err
		}
	}
	slices.Sort(one)
	slices.Sort(many)
	r.OneRowNS, r.BatchRowNS, r.FuelRow = one[len(one)/2], many[len(many)/2], b.fuel
	return a.print(r, func(w io.Writer, p paint) {
		fmt.Fprintf(w, "%s %s: %s bytes, %s, loaded in %.1f ms; medians of %s\n\n", p.bold(r.Name), r.Version,
			thousands(int64(r.ModuleBytes)), plural(r.Features, "feature"), r.LoadMS, plural(r.Rounds, "round"))
		fmt.Fprintf(w, "  one row a call     %s ns, %s fuel at most\n", thousands(int64(r.OneRowNS)), thousands(int64(r.FuelRow)))
		if b.width > 0 { // else all rows of a call are the same
			fmt.Fprintf(w, "  %-4d rows a call   %s ns a row\n", r.Batch, thousands(int64(r.BatchRowNS)))
		}
	})
}

// benchRows reads the rows of a file, or takes the golden rows of the plugin.
func (a *app) benchRows(file string, m *artifact.Manifest) ([][]float64, error) {
	if file != "" {
		golden, err := a.readGolden(file, "")
		if err != nil {
			return nil, err
		}
		table, err := golden.TableOf(m)
		if err != nil {
			return nil, err
		}
		return table.Rows, nil
	}
	rows := make([][]float64, len(m.Golden))
	for i := range m.Golden {
		rows[i] = m.Golden[i].Row(nil)
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("the plugin has no golden rows: give --rows")
	}
	return rows, nil
}

// benchTurns measures whenever a line comes in.
func (a *app) benchTurns(ctx context.Context, in io.Reader, b *modelBench, duration time.Duration) error {
	for lines := bufio.NewScanner(in); lines.Scan(); {
		one, many, err := b.round(ctx, duration)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(a.out, "%.1f %.1f\n", one, many); err != nil {
			return fmt.Errorf("writing the times: %w", err)
		}
	}
	return ctx.Err()
}

// modelBench measures calls of one instance over rows that rotate, so that the processor cannot learn
// them.
type modelBench struct {
	instance *wasm.Instance
	subjects [][]byte // the subject's features of each row
	tables   []byte   // the candidate's features of all rows, twice, so that batches may begin anywhere
	width    int      // bytes of a candidate
	batch    int
	next     int
	fuel     uint64
}

func newModelBench(instance *wasm.Instance, manifest *artifact.Manifest, rows [][]float64, batch int) *modelBench {
	n := manifest.SubjectFeatures()
	b := &modelBench{instance: instance, width: 8 * manifest.CandidateFeatures(), batch: min(batch, len(rows))}
	for _, row := range rows {
		subject := make([]byte, 8*n)
		for i, x := range row[:n] {
			wasm.PutFloat(subject, i, x)
		}
		b.subjects = append(b.subjects, subject)
		candidate := make([]byte, b.width)
		for i, x := range row[n:] {
			wasm.PutFloat(candidate, i, x)
		}
		b.tables = append(b.tables, candidate...)
	}
	b.tables = append(b.tables, b.tables...)
	return b
}

// round measures calls of one row and of many, each for duration of processor time, and returns
// nanoseconds a row.
func (b *modelBench) round(ctx context.Context, duration time.Duration) (one, many float64, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if one, err = b.measure(ctx, 1, duration); err != nil || b.width == 0 {
		return one, 0, err
	}
	many, err = b.measure(ctx, b.batch, duration)
	return one, many, err
}

func (b *modelBench) measure(ctx context.Context, rows int, duration time.Duration) (float64, error) {
	const block = 16 // calls between two looks at the clock
	calls := 0
	began := threadTime()
	for {
		for range block {
			if err := b.call(ctx, rows); err != nil {
				return 0, err
			}
		}
		calls += block
		if spent := threadTime() - began; spent >= duration {
			return float64(spent) / float64(calls*rows), ctx.Err()
		}
	}
}

func (b *modelBench) call(ctx context.Context, rows int) error {
	i := b.next
	if b.next += rows; b.next >= len(b.subjects) {
		b.next = 0
	}
	copy(b.instance.Subject(), b.subjects[i])
	copy(b.instance.Candidates(rows), b.tables[i*b.width:])
	fuel, err := b.instance.Score(ctx, rows)
	if err != nil {
		return fmt.Errorf("scoring row %d: %w", i+1, err)
	}
	if rows == 1 {
		b.fuel = max(b.fuel, fuel)
	}
	if score := b.instance.ScoreAt(rows - 1); math.IsInf(score, 0) {
		return fmt.Errorf("scoring row %d: the score is infinite", i+1)
	}
	return nil
}

// wallTime is the time on the clock.
func wallTime() time.Duration { return time.Duration(time.Now().UnixNano()) }
