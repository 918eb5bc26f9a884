// Package raftgroup runs one replicated state machine: the raft protocol, its log and snapshots on
// disk, and the packing of concurrent operations into log entries.
//
// An operation is acknowledged after its entry is durable in the log and applied. Concurrent
// operations share an entry and its sync: one is proposed at once while the group is idle, and those
// that arrive meanwhile are packed. Every queue is bounded. A group that cannot write its log stops
// for good, since it must not acknowledge what it might lose; a restart is needed.
package raftgroup
