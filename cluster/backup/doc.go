// Package backup is what a backup of a cluster consists of, and the folder that keeps backups.
//
// The state of a group is a sorted list of keys with their values. It is cut into chunks at keys that their
// hash chooses (chunk.go), so that a change moves no other cut, and each chunk is named by the SHA-256 of its
// content. A stream (stream.go) carries a backup between a node and whoever keeps it, and leaves out the
// chunks that the receiver said it has. A Repository (repository.go) keeps chunks once, in packs (pack.go),
// sealed with a key if there is one (seal.go), and a manifest for each backup, which is written last.
//
// docs/format/backup.md specifies the stream and the folder. Nothing here knows what the keys mean.
package backup
