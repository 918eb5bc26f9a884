// Package chaos runs real arbiter processes, breaks them while clients work, and checks what the
// clients were told.
//
// A test starts a cluster (one node or three), runs workloads against every node, and lets a nemesis
// kill, pause, cut off, slow down or damage nodes meanwhile. Then it heals everything and checks:
//
//   - registers: every history of conditional and plain writes and linearizable reads of a subject is
//     linearizable, which Porcupine decides;
//   - counters: read-modify-write with If-Match loses no increment and makes none twice;
//   - sets: what was acknowledged is there, and no write was applied more often than it was sent;
//   - ledger: every acknowledged decision and response is in the history exactly once;
//   - contacts: contacts made are at most the limit, for every kind of contact limit, by what clients were
//     told and by what is stored, and a key that is sent again gets the same answer;
//   - hunt: a linearizable read is never older than a write acknowledged before the read began;
//   - replicas: the state digests of a group are equal on all nodes once everything was applied.
//
// "go test ./cmd/arbiter/chaos" is the short form. "make chaos" is the long one; its flags are
//
//	-chaos.for 10m         how long the nemesis of each test goes on
//	-chaos.seed 7          repeats the choices of the nemesis and the workloads
//	-chaos.nodes 3         1 or 3
//	-chaos.faults kill,…   only these faults
//	-chaos.keep FOLDER     keeps data, logs and histories there
//
// As root on Linux the processes live in namespaces of their own (process ids, mounts, network), so
// that none outlives the test, whatever happens to it. Without root everything runs on loopback, and
// the faults that need mounts or control groups are left out, which the test says.
package chaos
