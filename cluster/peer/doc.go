// Package peer joins the nodes of a cluster over one port each. Every pair of nodes keeps a few
// connections, over which any number of calls travel at once; frames that wait are written together.
// Small urgent calls have a connection of their own, so that large ones never delay them, and a
// transfer of unbounded size has one for itself (Port.Send).
//
// A node pings every other one, once for everything that runs on it, and knows within a moment
// whether that node answers (Port.Alive), and what the others say about it (Port.SeenDownBy).
// Calls to a node that is down fail at once. The protocol is described in
// docs/format/peer-protocol.md.
package peer
