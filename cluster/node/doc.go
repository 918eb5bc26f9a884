// Package node assembles one process: replicated state, sandboxes, decision engine. A Node is what
// the HTTP layer calls.
//
// Read wiring.go first: it shows every part and how they are joined. view.go is what a decision sees
// of the control group, decide.go the path of a decision, the other files one resource each.
package node
