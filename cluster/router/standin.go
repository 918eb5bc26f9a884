package router

import (
	"context"
	"time"

	"github.com/arbiterhq/arbiter/cluster/raftgroup"
)

type standIn struct{ *raftgroup.Group }

func (s standIn) Leading() bool                 { return s.Ready() == nil }
func (s standIn) Leader() (string, bool)        { return "", false }
func (s standIn) Confirm(context.Context) error { return s.Ready() }
func (s standIn) Age() (time.Duration, bool)    { return 0, s.Leading() }

func (s standIn) TransferLeadership(context.Context, string) error { return s.Ready() }
