// Package store keeps the state of one raft group in a bbolt file, and the layout of the data folder.
//
// A Store has one writer, the state machine, which commits one transaction per batch of log entries,
// and any number of readers, which are pooled so that a read costs no transaction of its own. The
// raft log is the durability: the file of a data group is not synced at commits. A Trust mark beside
// it tells after a restart whether the file may be believed; if not, it is rebuilt from a snapshot
// and the log. docs/format/data-folder.md specifies the files.
package store
