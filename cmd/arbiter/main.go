// Command arbiter is the server and the operator's command line in one program. Package cli is
// where it begins.
package main

import (
	"os"
	_ "time/tzdata" // policies may ask for the hour in a zone, also where the machine has no zone files

	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:])) }
