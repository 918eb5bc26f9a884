// Package wal is the log of a node: the entries and votes of all its raft groups in one set of files.
//
// Each group appends, reads and truncates a log of its own. Underneath, what several groups write at
// the same time goes to the disk in one batch with one sync, so that many groups cost as few syncs as
// one. A call that writes returns when its records are durable.
//
// Every record carries a checksum and a number that counts the records of its group. A batch that a
// death cut short is dropped, since nobody was told that it was written. Damage anywhere else is
// found, is told apart by group, and stays with the group until Repair: see Damage. A full disk
// refuses entries, not votes, and leaves the log as it was. docs/format/log.md has the format.
package wal
