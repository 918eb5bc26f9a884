// Package bulk sends a file of subjects to a node in chunks of whole records, and can go on where it
// was stopped.
//
// A Splitter cuts the file; Run keeps chunks on their way and, in file order, counts what was
// acknowledged, reports what was rejected and writes the checkpoint. The checkpoint never runs ahead
// of an acknowledgement: after any crash, on either side, every line at or after it is sent again,
// and importing a line twice leaves what importing it once leaves.
package bulk
