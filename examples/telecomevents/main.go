// Command telecomevents writes the recharges and the mobile data of a folder with generated telecom events
// as CloudEvents to the standard output, moved in time so that the last one happens now:
//
//	go run ./examples/telecomevents -dir FOLDER -subjects > subjects.ndjson
//	arbiter subject import subjects.ndjson
//	go run ./examples/telecomevents -dir FOLDER | arbiter event import -
//	arbiter subject aggregates 00186705257
//
// The folder has the files recharges.csv and mobiledata.csv, with the columns caller, amount or volume, time.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/arbiterhq/arbiter/examples"
)

func main() {
	dir := flag.String("dir", "", "folder with recharges.csv and mobiledata.csv")
	subjects := flag.Bool("subjects", false, "write the subscribers, for arbiter subject import, and not the events")
	asThen := flag.Bool("as-then", false, "leave the times as they are")
	flag.Parse()
	if err := run(os.Stdout, *dir, *subjects, *asThen); err != nil {
		fmt.Fprintln(os.Stderr, "telecomevents:", err)
		os.Exit(1)
	}
}

func run(w io.Writer, dir string, subjects, asThen bool) error {
	switch {
	case dir == "":
		return fmt.Errorf("say where the files are: -dir FOLDER")
	case subjects:
		return examples.WriteTelecomSubjects(w, dir)
	case asThen:
		return examples.WriteTelecomEvents(w, dir, time.Time{})
	}
	return examples.WriteTelecomEvents(w, dir, time.Now())
}
