// Package catalog compiles the one document that says what may be proposed to whom: actions, their
// treatments and policies, levers, context weights, models and the fallback.
//
// Compile takes the YAML text and the attribute dictionary and gives an immutable Catalog with
// everything resolved and indexed, or every mistake of the document at once, each with its line,
// its column and what to do. docs/catalog.md describes the document. The result depends on the
// arguments alone; nothing here reads a clock or does I/O.
package catalog
