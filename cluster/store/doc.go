// Package store keeps the state of one raft group in a bbolt file, and the layout of the data folder.
//
// A Store has one writer, the state machine, and any number of readers, which are pooled so that a
// read costs no transaction of its own. The raft log is the durability. So the store writes behind:
// Update changes trees in memory (pending.go, tx.go), and a flush (flush.go) writes them into the file in
// the order of their keys, in small transactions spread over time. Readers see memory over file.
//
// Now and then a checkpoint (checkpoint.go) makes the file durable as of one Update: it is synced, and a
// mark beside it (marks.go) tells the meta page of that state, whose pages a read transaction keeps from
// being used again (pins.go). Open always goes back to the last mark (file.go), and the log is replayed from
// there; so nothing depends on which of the later writes came to the disk. The checkpoint is also the
// snapshot for other nodes (snapshot.go, restore.go).
//
// Shared bounds the memory that the stores of one node take together, Space watches the disk.
// docs/format/data-folder.md specifies the files.
package store
