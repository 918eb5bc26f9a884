// Package store keeps the state of one raft group in a bbolt file, and the layout of the data folder.
//
// A Store has one writer, the state machine, and any number of readers, which are pooled so that a
// read costs no transaction of its own. The raft log is the durability. So the store of a data group
// writes behind: Update changes trees in memory (pending.go, tx.go), and a flush (flush.go) now and
// then writes them, sorted, into the file in one transaction together with the log position. The file
// always holds the state as of one log index, and a restart replays the log from there. Readers see
// memory over file. The file of the control group is written and synced at every Update instead.
//
// A Trust mark beside the file tells after a restart whether the file may be believed; if not, it is rebuilt from a snapshot
// and the log. docs/format/data-folder.md specifies the files.
package store
