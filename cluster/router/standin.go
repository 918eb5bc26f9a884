package router

import (
	"context"
	"errors"
	"time"

	"github.com/arbiterhq/arbiter/cluster/raftgroup"
)

// Method numbers what one node may ask of another.
type Method uint16

// The methods.
const (
	MethodSubmit Method = 32 + iota
	MethodPropose
	MethodBlob
	MethodLeaving
	MethodControl
	// MethodNode is the first of those that the node adds.
	MethodNode
)

// Handler answers a request of another node.
type Handler func(ctx context.Context, from string, request []byte) ([]byte, error)

type standIn struct{ *raftgroup.Group }

func (s standIn) Leading() bool                 { return s.Ready() == nil }
func (s standIn) Leader() (string, bool)        { return "", false }
func (s standIn) Confirm(context.Context) error { return s.Ready() }
func (s standIn) Age() (time.Duration, bool)    { return 0, s.Leading() }

func (r *Router) join() error {
	if err := checkPlace(r.folder.Node(), &r.options); err != nil || r.options.Cluster == nil {
		return err
	}
	return errors.New("not yet")
}
func (r *Router) serve() error { return nil }
func (r *Router) leave() error { return nil }
