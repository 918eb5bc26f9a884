// Command build compiles a Rego file to the WebAssembly module that opa build -t wasm puts into its bundle:
//
//	go run . FILE ENTRYPOINT… > policy.wasm
package main

import (
	"context"
	"io"
	"log"
	"os"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/compile"
)

func main() {
	if len(os.Args) < 3 {
		log.Fatal("usage: build FILE ENTRYPOINT…")
	}
	c := compile.New().WithTarget("wasm").WithEntrypoints(os.Args[2:]...).WithPaths(os.Args[1]).WithOutput(io.Discard).WithRegoVersion(ast.RegoV1)
	if err := c.Build(context.Background()); err != nil {
		log.Fatal(err)
	}
	if _, err := os.Stdout.Write(c.Bundle().WasmModules[0].Raw); err != nil {
		log.Fatal(err)
	}
}
