// Package table compiles and evaluates decision tables: rows of conditions over a few inputs, and of
// outputs, as analysts write them.
//
// A cell of an input is a test: - (anything), a value, a list of values, a comparison such as >= 24, a
// range such as [12..24), not(…) around any of them, or missing. A table is compiled to sets of rows:
// for every input, which rows each value leaves. Finding the rows that hit is then the intersection of
// one set for each input, whatever the number of rows. Which of them counts tells the hit policy.
//
// Nothing here reads a clock or does I/O; a compiled Table is immutable.
package table
