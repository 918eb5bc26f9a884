package api

import (
	"context"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Streams are one that is read and one whose brokers are away.
func (m *memCore) Streams(context.Context) ([]nba.StreamStatus, error) {
	return []nba.StreamStatus{
		{Name: "roaming", Topic: "network.roaming", Lag: 3, Partitions: []nba.StreamPartition{
			{Partition: 0, Node: "n1", Next: 17, End: 20, Lag: 3},
			{Partition: 1, Next: 4, Start: 9, End: 9, Problem: "the broker has removed messages that were not read"}}},
		{Name: "usage", Topic: "network.usage", Partitions: []nba.StreamPartition{}, Problem: "the brokers do not tell the partitions of the topic"},
	}, nil
}
