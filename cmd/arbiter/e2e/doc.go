// Package e2e tests the promises that only real processes can keep: the first run, the import of a
// real customer file, no acknowledged write lost after kill -9, no failed call during a hot swap,
// and clear problems for bad input. It builds the program once, starts it on free loopback ports,
// and ends only what it started.
package e2e
