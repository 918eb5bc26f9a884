// Package store keeps the state of one raft group in a bbolt file, and the layout of the data folder.
//
// A Store has one writer, the state machine, and any number of readers, which are pooled so that a
// read costs no transaction of its own. The raft log is the durability. So the store writes behind:
// Update changes trees in memory (pending.go, tx.go), and a flush (flush.go) appends them, in the order of
// their keys, to a file of runs (runfile.go), which is found through an index in memory (runview.go). Once there
// are many, or time for it, they are merged into the bbolt file (merge.go). Readers see memory over runs over
// the bbolt file (sight.go).
//
// Now and then a checkpoint (checkpoint.go) makes the files durable as of one Update: the runs are synced, and
// a mark beside them (marks.go) tells how long they are, and the meta page of the bbolt file as of the last
// merge, whose pages a read transaction keeps from being used again (pins.go). Open always goes back to the last
// mark (file.go), and the log is replayed from there; so nothing depends on which of the later writes came to
// the disk. The checkpoint is also the snapshot for other nodes (snapshot.go, restore.go).
//
// Shared bounds the memory and the runs that the stores of one node take together, Space watches the disk.
// docs/format/data-folder.md specifies the files.
package store
