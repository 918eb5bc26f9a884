package nba

import "time"

// ClusterMember is one node of a cluster, as its state and the nodes that answer have it.
type ClusterMember struct {
	ID string `json:"id"`
	// Addr is where the other nodes reach it.
	Addr string `json:"addr"`
	Zone string `json:"zone,omitempty"`
	// Up tells whether it answers the node that was asked.
	Up bool `json:"up"`
	// Draining nodes give away what they keep and lead.
	Draining bool `json:"draining,omitempty"`
	// Votes tells whether it shall vote in the control group.
	Votes bool `json:"votes,omitempty"`
	// Keeps is how many data groups it shall keep, Has how many it keeps still or already, and Leads how
	// many it leads. A node without any can be removed.
	Keeps int `json:"keeps"`
	Has   int `json:"has"`
	Leads int `json:"leads"`
	// Release and Level are what it runs, empty if it has not said.
	Release string `json:"release,omitempty"`
	Level   int    `json:"level,omitempty"`
	// JoinedAt is when it came.
	JoinedAt time.Time `json:"joinedAt,omitzero"`
}

// ClusterMove is a group whose replicas, or whose lead, are to change.
type ClusterMove struct {
	Group string `json:"group"`
	// Add and Remove are the nodes that come and go; with neither, only the lead moves.
	Add    string `json:"add,omitempty"`
	Remove string `json:"remove,omitempty"`
	Leader string `json:"leader"`
	// Reason is one of dead, missing, draining, extra, zones, balance, leaders.
	Reason string `json:"reason"`
}

// ClusterBalance tells how evenly groups are dealt out, and what is under way to that end.
type ClusterBalance struct {
	// MinReplicas to MaxLeads are the fewest and the most of any node that may have some.
	MinReplicas int `json:"minReplicas"`
	MaxReplicas int `json:"maxReplicas"`
	MinLeads    int `json:"minLeads"`
	MaxLeads    int `json:"maxLeads"`
	// Misplaced counts replicas on nodes that shall have none, Missing those that there are too few, and
	// SharedZones groups with replicas in one zone although another has none.
	Misplaced   int `json:"misplaced"`
	Missing     int `json:"missing"`
	SharedZones int `json:"sharedZones"`
	// Moving is how many groups have a replica on the way, Lost how many have no leader.
	Moving int `json:"moving"`
	Lost   int `json:"lost"`
	// Next are the steps that follow.
	Next []ClusterMove `json:"next"`
}
