package nba

// Cluster is the nodes and groups as one node sees them.
type Cluster struct {
	ID string `json:"id"`
	// Node is the one that answers; empty for a node that stands alone.
	Node   string         `json:"node,omitempty"`
	Nodes  []ClusterNode  `json:"nodes"`
	Groups []ClusterGroup `json:"groups"`
	// Level is the feature level of the cluster: that of the oldest release among its nodes.
	Level int `json:"level,omitempty"`
}

// ClusterNode is one node of a cluster.
type ClusterNode struct {
	ID string `json:"id"`
	// Up tells whether it answers the node that was asked.
	Up bool `json:"up"`
	// Leads is the number of groups it leads.
	Leads int `json:"leads"`
}

// ClusterGroup is one group of replicas, as the node that was asked sees it.
type ClusterGroup struct {
	Name string `json:"name"`
	// Nodes keep a replica, Preferred among them should lead, and Leader does; empty if none is known.
	Nodes     []string `json:"nodes,omitempty"`
	Preferred string   `json:"preferred,omitempty"`
	Leader    string   `json:"leader,omitempty"`
	// Role is that of the replica here, empty if there is none.
	Role string `json:"role,omitempty"`
	Term uint64 `json:"term,omitempty"`
	// Committed and Applied are indexes of log entries of the replica here.
	Committed uint64 `json:"committed,omitempty"`
	Applied   uint64 `json:"applied,omitempty"`
	// Digest stands for the state of the replica here as of DigestAt, in hex: replicas that differ at the
	// same index do not hold the same state.
	Digest   string `json:"digest,omitempty"`
	DigestAt uint64 `json:"digestAt,omitempty"`
	// AgeMS is how old the replica here may be, in milliseconds, rounded up; absent if that is unknown.
	AgeMS *int64 `json:"ageMs,omitempty"`
	// Failure is why the replica here stopped.
	Failure string `json:"failure,omitempty"`
}
