package router

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/cluster/raftgroup"
	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// TestReplicaThatDiffersStops damages one replica behind the back of its machine, the leader's in one round and
// a follower's in the other: that replica stops and says why, and the group goes on with the others.
func TestReplicaThatDiffersStops(t *testing.T) {
	for _, leader := range []bool{true, false} {
		t.Run(fmt.Sprintf("leader %v", leader), func(t *testing.T) {
			nodes := openCluster(t, 3, 1)
			for _, r := range nodes {
				r.keeper.end()
				r.options.KeepInterval, r.options.MarkInterval = 20*time.Millisecond, 20*time.Millisecond
				r.keeper.begin(r)
			}
			ctx := context.Background()
			put := func(i int) error {
				_, _, err := nodes[i%3].PutSubject(ctx, ref(fmt.Sprint(i%50)), nil, 0, 0, nil)
				return err
			}
			for i := range 100 {
				if err := put(i); err != nil {
					t.Fatal(err)
				}
			}
			bad := -1
			eventually(t, "there is no leader", func() bool {
				for i, r := range nodes {
					if r.groups()[0].leads() == leader && (bad < 0 || leader) {
						bad = i
					}
				}
				return bad >= 0
			})
			spoil(t, nodes[bad].groups()[0].machine)
			failed := func(r *Router) error {
				return r.groups()[0].local.(interface{ Status() raftgroup.Status }).Status().Failure
			}
			for i := 0; failed(nodes[bad]) == nil; i++ {
				if i > 3000 {
					t.Fatal("the damaged replica goes on")
				}
				// What is under way when the leader stops may be refused.
				if err := put(i); err != nil && nba.CodeOf(err) != nba.CodeUnavailable {
					t.Fatal(err)
				}
				time.Sleep(time.Millisecond)
			}
			if err := failed(nodes[bad]); !errors.Is(err, fsm.ErrDiverged) {
				t.Errorf("it stopped with %v", err)
			}
			for i := range 200 { // through the node of the replica that stopped too
				if err := put(i); err != nil {
					t.Fatal(err)
				}
			}
			for i, r := range nodes {
				if i != bad && failed(r) != nil {
					t.Errorf("node %d stopped too: %v", i, failed(r))
				}
			}
		})
	}
}

// spoil changes a byte of every stored subject, as a fault of the disk or of the memory would.
func spoil(t *testing.T, machine *fsm.Data) {
	t.Helper()
	err := machine.Store().Update(func(tx *store.Tx) error {
		var keys, values [][]byte
		tx.Scan(store.Subjects, nil, func(key, value []byte) bool {
			keys, values = append(keys, bytes.Clone(key)), append(values, bytes.Clone(value))
			return true
		})
		for i := range keys {
			values[i][4] ^= 0x40 // of the version
			if err := tx.Put(store.Subjects, keys[i], values[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
