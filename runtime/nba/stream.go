package nba

// StreamStatus is how far a stream of events was read.
type StreamStatus struct {
	Name, Topic string
	// Partitions are those of the topic; none while the brokers cannot be asked.
	Partitions []StreamPartition
	// Problem is why nothing is known of the topic; "" if it is.
	Problem string
}

// StreamPartition is how far a partition was read.
type StreamPartition struct {
	Partition int
	// Node reads it; "" while that is open.
	Node string
	// Next is the offset of the first message that not every data group has been shown. Start and End are the
	// offsets of the first message that the broker still holds and after the last.
	Next, Start, End int64
	// Lag is how many messages lie between Next and End, some of which may not exist.
	Lag int64
	// Problem is why it is not read, or not known; "" if nothing is wrong.
	Problem string
}
