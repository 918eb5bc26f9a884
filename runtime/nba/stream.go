package nba

// StreamStatus is how far a stream of events was read.
type StreamStatus struct {
	Name  string `json:"name"`
	Topic string `json:"topic"`
	// Partitions are those of the topic; none while the brokers cannot be asked.
	Partitions []StreamPartition `json:"partitions"`
	// Lag is that of all partitions.
	Lag int64 `json:"lag"`
	// Problem is why nothing, or not all, is known of the topic; "" if it is.
	Problem string `json:"problem,omitempty"`
}

// StreamPartition is how far a partition was read.
type StreamPartition struct {
	Partition int `json:"partition"`
	// Node reads it; "" while that is open.
	Node string `json:"node,omitempty"`
	// Next is the offset of the first message that not every data group has been shown. Start and End are the
	// offsets of the first message that the broker still holds and after the last.
	Next  int64 `json:"next"`
	Start int64 `json:"start"`
	End   int64 `json:"end"`
	// Lag is how many offsets lie between Next and End; not all of them need have a message.
	Lag int64 `json:"lag"`
	// Problem is why it is not read, or not known; "" if nothing is wrong.
	Problem string `json:"problem,omitempty"`
}
