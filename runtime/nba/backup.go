package nba

// Restored tells how far a restore from a backup is, or what it did.
type Restored struct {
	// Backup is the id of the backup.
	Backup string `json:"backup,omitempty"`
	// Groups, Pairs, Bytes and Plugins count what was taken in; LeftOut what the backup holds and is not
	// restored.
	Groups  int64 `json:"groups"`
	Pairs   int64 `json:"pairs"`
	Bytes   int64 `json:"bytes"`
	Plugins int64 `json:"plugins"`
	LeftOut int64 `json:"leftOut,omitempty"`
	// Done is true once all of it has taken effect.
	Done bool `json:"done"`
}
