package membership

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// seatsOf reads "n1 n2 n3 | n4": those that vote, and those that follow.
func seatsOf(text string) Seats {
	voters, followers, _ := strings.Cut(text, "|")
	return Seats{strings.Fields(voters), strings.Fields(followers)}
}

func TestNext(t *testing.T) {
	for _, c := range []struct {
		name, now, want string // n1 leads
		down, behind    string
		change          string
	}{
		{"nothing", "n1 n2 n3", "n1 n2 n3", "", "", ""},
		{"a new one follows first", "n1 n2 n3", "n1 n2 n4", "", "n4", "add n4"},
		{"and catches up", "n1 n2 n3 | n4", "n1 n2 n4", "", "n4", ""},
		{"then it votes", "n1 n2 n3 | n4", "n1 n2 n4", "", "", "promote n4"},
		{"then the old one goes", "n1 n2 n3 n4", "n1 n2 n4", "", "", "remove n3"},
		{"also when it is dead", "n1 n2 n3 n4", "n1 n2 n4", "n3", "", "remove n3"},
		{"the leader goes last", "n1 n2 n3 n4", "n2 n3 n4", "", "", "yield n2"},
		{"to one that has caught up", "n1 n2 n3 n4", "n2 n3 n4", "", "n2", "yield n3"},
		{"and answers", "n1 n2 n3 n4", "n2 n3 n4", "n2 n3", "", "yield n4"},
		{"others before the leader", "n1 n2 n3 n4", "n2 n4", "", "", "remove n3"},
		{"not while those that answer would be no majority", "n1 n2 n3 n4", "n1 n3 n4", "n3 n4", "", ""},
		{"the dead before the living", "n1 n2 n3 n4 n5", "n1 n2 n3", "n5", "", "remove n5"},
		{"a follower that is not wanted goes at once", "n1 n2 n3 | n4 n5", "n1 n2 n5", "", "n5", "remove n4"},
		{"one that is to follow only", "n1 n2 n3 n4", "n1 n2 n3 | n4", "", "", "demote n4"},
		{"of the control group, those that vote come first", "n1 n2 n3", "n1 n2 n4 | n3", "", "", "add n4"},
		{"a replica too few", "n1 n2", "n1 n2 n3", "", "n3", "add n3"},
		{"a replica too many", "n1 n2 n3", "n1 n2", "", "", "remove n3"},
		{"one that is lost is removed by force", "n1 n2 n3", "n1 n2", "n3", "", "remove n3"},
		{"alone", "n1", "n1", "", "", ""},
	} {
		has := func(list string) func(string) bool {
			return func(node string) bool { return !slices.Contains(strings.Fields(list), node) }
		}
		change, ok := Next(seatsOf(c.now), seatsOf(c.want), Standing{Self: "n1", Up: has(c.down), CaughtUp: has(c.behind)})
		got := ""
		if ok {
			got = string(change.Kind) + " " + change.Node
		}
		if got != c.change {
			t.Errorf("%s: from %s to %s: %q instead of %q", c.name, c.now, c.want, got, c.change)
		}
	}
}

// TestNextKeepsAMajority goes from any seats to any others while nodes go down and come back: what may be
// changed leaves a majority of voters that answer, if there was one, and in the end the seats are as wanted.
func TestNextKeepsAMajority(t *testing.T) {
	for seed := range uint64(2000) {
		rng := rand.New(rand.NewPCG(seed, 1))
		pick := func(n int) (nodes []string) {
			for _, i := range rng.Perm(7)[:n] {
				nodes = append(nodes, fmt.Sprintf("n%d", i))
			}
			slices.Sort(nodes)
			return nodes
		}
		now, want := Seats{Voters: pick(1 + rng.IntN(5))}, Seats{Voters: pick(1 + rng.IntN(5))}
		down, behind := map[string]bool{}, map[string]bool{}
		leader := now.Voters[0]
		up := func(node string) bool { return !down[node] }
		for step := range 400 {
			if step < 200 {
				node := fmt.Sprintf("n%d", rng.IntN(7))
				down[node] = rng.IntN(3) == 0
				if rng.IntN(2) == 0 {
					delete(behind, node)
				}
			} else {
				clear(down)
				clear(behind)
			}
			down[leader] = false
			change, ok := Next(now, want, Standing{Self: leader, Up: up, CaughtUp: func(n string) bool { return !behind[n] }})
			if !ok {
				continue
			}
			before := answering(now.Voters, up)*2 > len(now.Voters)
			now.Voters, now.Followers = slices.Clone(now.Voters), slices.Clone(now.Followers)
			gone := func(list []string) []string {
				return slices.DeleteFunc(list, func(n string) bool { return n == change.Node })
			}
			switch change.Kind {
			case ChangeAdd:
				now.Followers, behind[change.Node] = append(now.Followers, change.Node), true
			case ChangePromote:
				now.Followers, now.Voters = gone(now.Followers), append(now.Voters, change.Node)
			case ChangeDemote:
				now.Voters, now.Followers = gone(now.Voters), append(now.Followers, change.Node)
			case ChangeRemove:
				now.Voters, now.Followers = gone(now.Voters), gone(now.Followers)
			case ChangeYield:
				leader = change.Node
			}
			if !slices.Contains(now.Voters, leader) {
				t.Fatalf("seed %d: the leader took its own vote: %+v", seed, change)
			}
			if before && answering(now.Voters, up)*2 <= len(now.Voters) && change.Kind != ChangePromote {
				t.Fatalf("seed %d: %+v leaves no majority of %v", seed, change, now.Voters)
			}
		}
		slices.Sort(now.Voters)
		if !slices.Equal(now.Voters, want.Voters) || len(now.Followers) > 0 {
			t.Fatalf("seed %d: it ends at %+v instead of %+v", seed, now, want)
		}
	}
}

func answering(nodes []string, up func(string) bool) (n int) {
	for _, node := range nodes {
		if up(node) {
			n++
		}
	}
	return n
}

func TestVoters(t *testing.T) {
	for _, c := range []struct{ nodes, now, want string }{
		{"n1", "n1", "n1"},
		{"n1 n2", "n1", "n1 n2"},
		{"n1 n2 n3", "n1", "n1 n2 n3"},
		{"n1 n2 n3 n4", "n1 n2 n3 n4", "n1 n2 n3"},
		{"n1 n2 n3 n4 n5", "n1 n2 n4", "n1 n2 n3 n4 n5"},
		{"n1 n2 n3 n4 n5 n6 n7", "n2 n3 n5 n6 n7", "n2 n3 n5 n6 n7"},
		{"n1 n2 n3! n4", "n1 n2 n3", "n1 n2 n4"}, // dead
		{"n1 n2 n3-", "n1 n2 n3", "n1 n2 n3"},    // draining, and nobody else
		{"n1 n2 n3- n4", "n1 n2 n3", "n1 n2 n4"}, // draining
		{"n1 n2 n3? n4", "n1 n2 n3", "n1 n2 n3"}, // down for now
		{"n1 n2 n3 n4? n5", "n1 n2 n3", "n1 n2 n3"},
		{"n1 n2 n3 n4? n5", "n1 n2 n3 n4 n5", "n1 n2 n3 n4 n5"},
		{"n1 n2 n3?", "n1 n2", "n1 n2"}, // it never came
		{"n1/a n2/a n3/a n4/b n5/c n6/a", "n1 n2 n3", "n1 n2 n3 n4 n5"},
		{"n1/a n2/a n3/b n4/c", "n1 n2 n3", "n1 n3 n4"},
		{"n1! n2! n3", "n1 n2 n3", "n1 n2 n3"}, // nothing can be decided anyway
	} {
		var nodes []Node
		for _, text := range strings.Fields(c.nodes) {
			id, zone, _ := strings.Cut(text, "/")
			n := Node{ID: strings.Trim(id, "!-?"), Zone: zone, Draining: strings.HasSuffix(id, "-"), Dead: strings.HasSuffix(id, "!"), Down: strings.HasSuffix(id, "?")}
			n.Down = n.Down || n.Dead
			nodes = append(nodes, n)
		}
		if got := Voters(nodes, strings.Fields(c.now)); !slices.Equal(got, strings.Fields(c.want)) {
			t.Errorf("%s with %s: %v instead of %s", c.nodes, c.now, got, c.want)
		}
	}
}
