// Package sdk carries the sources of the guest SDKs, so that a plugin project can be made without
// fetching anything: each project keeps its own copy of the SDK it was begun with.
//
// Below this folder, abi is the contract, c, rust, assemblyscript and go are the guest SDKs, and client
// holds the API clients. Each guest SDK has a template, which is a new project, and a conformance
// plugin, which its test builds and holds against the vectors of the contract.
package sdk

import "embed"

// Guests holds the folders of the guest SDKs and the common template. Files named *.txt drop that
// ending in a project; NAME and LANGUAGE in templates stand for the project's.
//
//go:embed c rust assemblyscript go template abi/vectors
var Guests embed.FS
