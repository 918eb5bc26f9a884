// Command subscribers writes generated telecom subscribers as CSV to the standard output:
//
//	go run ./examples/subscribers -n 100000 > subscribers.csv
//	arbiter subject import subscribers.csv --mapping examples/subscribers.mapping.yaml
//
// The same seed gives the same file everywhere.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/arbiterhq/arbiter/examples"
)

func main() {
	n := flag.Int("n", 10_000, "how many subscribers")
	seed := flag.Uint64("seed", examples.DefaultSeed, "seed of the generator")
	day := flag.String("day", "", "day from which commitments are counted, such as 2026-11-01 (default: a fixed day)")
	flag.Parse()
	if err := run(*seed, *n, *day); err != nil {
		fmt.Fprintln(os.Stderr, "subscribers:", err)
		os.Exit(1)
	}
}

func run(seed uint64, n int, day string) error {
	if day == "" {
		return examples.WriteSubscribers(os.Stdout, seed, n)
	}
	asOf, err := time.Parse(time.DateOnly, day)
	if err != nil {
		return fmt.Errorf("-day is a date such as 2026-11-01")
	}
	return examples.WriteSubscribersAsOf(os.Stdout, seed, n, asOf)
}
