package command

// The operations on the members of a cluster and on where its groups are kept. All are of the control group.

// Member is a node of the cluster.
type Member struct {
	ID string `json:"id"`
	// Addr is where the other nodes reach it, host:port.
	Addr string `json:"addr"`
	// Zone is where it stands; the replicas of a group are spread over zones.
	Zone string `json:"zone,omitempty"`
}

// Place is who shall keep a data group, and who of them shall lead it.
type Place struct {
	// Replicas are sorted.
	Replicas []string `json:"replicas"`
	Leader   string   `json:"leader"`
}

// FoundNodes takes the nodes of a cluster that was founded with a fixed list into the state. It changes
// nothing where that has happened.
type FoundNodes struct {
	// Replicas is how many nodes shall keep each data group.
	Replicas int      `json:"replicas"`
	Nodes    []Member `json:"nodes"`
	// Groups are the data groups in their order, Voters those that vote in the control group.
	Groups []Place  `json:"groups"`
	Voters []string `json:"voters"`
}

// JoinNode adds a member.
type JoinNode struct {
	Member Member `json:"member"`
	// Level is what its release can apply; 0: it did not say and is not there yet.
	Level Level `json:"level,omitempty"`
}

// ChangeNode changes a member. What is nil stays.
type ChangeNode struct {
	ID       string  `json:"id"`
	Addr     *string `json:"addr,omitempty"`
	Zone     *string `json:"zone,omitempty"`
	Draining *bool   `json:"draining,omitempty"`
	// Joins tells that the node was let in again.
	Joins bool `json:"joins,omitempty"`
}

// RemoveNode removes a member, which shall keep no group. Force takes it out of all groups first: what
// it kept counts as lost.
type RemoveNode struct {
	ID    string `json:"id"`
	Force bool   `json:"force,omitempty"`
}

// PlaceGroups changes where groups shall be kept.
type PlaceGroups struct {
	// Map is the version of the map that the change follows from: another one refuses it.
	Map    uint64        `json:"map"`
	Groups []PlacedGroup `json:"groups,omitempty"`
	// Voters are those that shall vote in the control group; nil: as before.
	Voters []string `json:"voters,omitempty"`
}

// PlacedGroup is the new place of a data group.
type PlacedGroup struct {
	Group int `json:"group"`
	Place
}

// Append appends the operation to dst.
func (o *FoundNodes) Append(dst []byte) ([]byte, error) { return appendControl(dst, NodesFounded, o) }

// Append appends the operation to dst.
func (o *JoinNode) Append(dst []byte) ([]byte, error) { return appendControl(dst, NodeJoined, o) }

// Append appends the operation to dst.
func (o *ChangeNode) Append(dst []byte) ([]byte, error) { return appendControl(dst, NodeChanged, o) }

// Append appends the operation to dst.
func (o *RemoveNode) Append(dst []byte) ([]byte, error) { return appendControl(dst, NodeRemoved, o) }

// Append appends the operation to dst.
func (o *PlaceGroups) Append(dst []byte) ([]byte, error) { return appendControl(dst, GroupsPlaced, o) }
