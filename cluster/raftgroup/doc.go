// Package raftgroup runs one replicated state machine: the raft protocol, its log and snapshots on
// disk, and the packing of concurrent operations into log entries.
//
// An operation is acknowledged after its entry is durable in the log and applied. Concurrent
// operations share an entry and its sync: one is proposed at once while the group is idle, and those
// that arrive meanwhile are packed. Every queue is bounded. A group that cannot write its log stops
// for good, since it must not acknowledge what it might lose; a restart is needed.
//
// With several voters, the groups of a node share a Mesh: one port to the other nodes, one detector
// that tells which of them are down and lets a voter take over their groups, and rounds of
// confirmation that serve all reads that wait. The messages are described in
// docs/format/peer-protocol.md.
package raftgroup
