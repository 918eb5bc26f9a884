// Rules compares the rule side of Arbiter with GoRules Zen, OPA and cel-go on the same rules in the same
// run: docs/benchmarks/rules.md says what and why. Each engine is first held to the results of plain Go for
// every input, then timed in rounds that alternate between the engines.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"
)

// engine is one of those compared, ready for one rule set.
type engine struct {
	name string
	// result is that of an input: the positions of what passes or hits, ascending.
	result func(input int) ([]int, error)
	// time is the processor time of so many evaluations, the inputs in turn. Engines in this process have
	// evaluate instead.
	time     func(rounds int) (time.Duration, error)
	evaluate func(input int) error
	close    func() error
}

func main() {
	rounds := flag.Int("rounds", 15, "rounds of each engine; the median counts")
	spend := flag.Duration("spend", 100*time.Millisecond, "time of one round")
	zen := flag.String("zen", "bin/zen/release/zenbench", "the program of zen/, built; empty leaves Zen out")
	flag.Parse()
	if err := run(*rounds, *spend, *zen); err != nil {
		fmt.Fprintln(os.Stderr, "rules:", err)
		os.Exit(1)
	}
}

func run(rounds int, spend time.Duration, zen string) error {
	all := subjects()
	actions, rows := expected(all)
	eligibility := []maker{arbiterEligibility, celEligibility, opaEligibility}
	table := []maker{arbiterTable, celTable, opaTable}
	if zen != "" {
		eligibility = append(eligibility, func(all []subject) (*engine, error) { return zenEligibility(zen, all) })
		table = append(table, func(all []subject) (*engine, error) { return zenTable(zen, all) })
	}
	if err := compare("eligibility: 1,000 actions, 3,000 clauses, 300 different", all, actions, rounds, spend, eligibility); err != nil {
		return err
	}
	return compare("decision table: 3,700 rows, first hit", all, rows, rounds, spend, table)
}

// maker makes an engine ready for a rule set.
type maker func(all []subject) (*engine, error)

// compare holds the engines to what is expected, then times them.
func compare(title string, all []subject, want [][]int, rounds int, spend time.Duration, makers []maker) error {
	fmt.Printf("\n== %s\n", title)
	var engines []*engine
	for _, ready := range makers {
		began := processorTime()
		e, err := ready(all)
		if err != nil {
			return err
		}
		defer func() { _ = e.close() }()
		for i := range all {
			got, err := e.result(i)
			if err != nil {
				return fmt.Errorf("%s, input %d: %w", e.name, i, err)
			}
			if !slices.Equal(got, want[i]) {
				return fmt.Errorf("%s, input %d: %v, and plain Go says %v", e.name, i, got, want[i])
			}
		}
		fmt.Printf("%-10s gives the results of plain Go for %d inputs (made ready and checked in %v here)\n", e.name, len(all), (processorTime() - began).Round(time.Millisecond))
		engines = append(engines, e)
	}
	times := make([][]float64, len(engines))
	counts := make([]int, len(engines))
	for i, e := range engines {
		counts[i] = len(all)
		for took := time.Duration(0); took < spend/2; counts[i] *= 2 {
			var err error
			if took, err = e.spend(counts[i], len(all)); err != nil {
				return err
			}
		}
	}
	for range rounds {
		for i, e := range engines {
			took, err := e.spend(counts[i], len(all))
			if err != nil {
				return err
			}
			times[i] = append(times[i], float64(took.Nanoseconds())/float64(counts[i])/1000)
		}
	}
	fmt.Printf("\n%-10s %12s %12s %12s %10s\n", "", "median µs", "lowest", "highest", "ratio")
	for i, e := range engines {
		slices.Sort(times[i])
		fmt.Printf("%-10s %12.2f %12.2f %12.2f %9.1fx\n", e.name, median(times[i]), times[i][0], times[i][len(times[i])-1], median(times[i])/median(times[0]))
	}
	return nil
}

func median(sorted []float64) float64 { return sorted[len(sorted)/2] }

func (e *engine) spend(rounds, inputs int) (time.Duration, error) {
	if e.time != nil {
		return e.time(rounds)
	}
	began := processorTime()
	for n := range rounds {
		if err := e.evaluate(n % inputs); err != nil {
			return 0, err
		}
	}
	return processorTime() - began, nil
}

// processorTime is what this process has used, with its garbage collection.
func processorTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func nothing() error { return nil }
