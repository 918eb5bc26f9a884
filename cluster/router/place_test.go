package router

import (
	"fmt"
	"slices"
	"testing"
)

func TestPlacement(t *testing.T) {
	for nodes := 1; nodes <= 9; nodes++ {
		var ids []string
		for i := range nodes {
			ids = append(ids, fmt.Sprintf("n%d", i+1))
		}
		for _, groups := range []int{1, 4, 16, 64} {
			for replicas := 1; replicas <= 5; replicas++ {
				leads, keeps := map[string]int{}, map[string]int{}
				for g := range groups {
					keepers, leader := placement(ids, g, replicas)
					if want := min(replicas, nodes); len(keepers) != want || len(slices.Compact(slices.Clone(keepers))) != want || !slices.IsSorted(keepers) {
						t.Fatalf("%d nodes, group %d of %d, %d replicas: keepers %v", nodes, g, groups, replicas, keepers)
					}
					if !slices.Contains(keepers, leader) {
						t.Fatalf("%d nodes, group %d of %d, %d replicas: %s leads and keeps nothing", nodes, g, groups, replicas, leader)
					}
					leads[leader]++
					for _, k := range keepers {
						keeps[k]++
					}
				}
				for _, id := range ids {
					if fair := groups / nodes; leads[id] < fair || leads[id] > fair+1 {
						t.Errorf("%d nodes, %d groups, %d replicas: %s leads %d", nodes, groups, replicas, id, leads[id])
					}
					if fair := groups * min(replicas, nodes) / nodes; keeps[id] < fair-replicas || keeps[id] > fair+replicas {
						t.Errorf("%d nodes, %d groups, %d replicas: %s keeps %d", nodes, groups, replicas, id, keeps[id])
					}
				}
			}
		}
	}
}

// TestPlacementNeverChanges: nodes of different releases must agree.
func TestPlacementNeverChanges(t *testing.T) {
	for _, test := range []struct {
		nodes, group, replicas int
		want                   string
	}{
		{3, 0, 3, "[a b c] a"}, {3, 1, 3, "[a b c] b"}, {3, 15, 3, "[a b c] a"}, {5, 0, 3, "[a b c] a"},
		{5, 4, 3, "[a b e] e"}, {5, 6, 3, "[a b d] b"}, {4, 5, 3, "[a b d] b"}, {1, 3, 3, "[a] a"}, {2, 3, 3, "[a b] b"},
	} {
		keepers, leader := placement([]string{"a", "b", "c", "d", "e"}[:test.nodes], test.group, test.replicas)
		if got := fmt.Sprint(keepers, " ", leader); got != test.want {
			t.Errorf("%+v: got %s", test, got)
		}
	}
}
