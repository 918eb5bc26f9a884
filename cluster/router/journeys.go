package router

import (
	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/runtime/journey"
)

var _ journey.Holder = (*Reading)(nil)

// JourneyBytes implements journey.Holder: where the subject stands as of the same commit as the record.
func (r *Reading) JourneyBytes() ([]byte, error) {
	if r.reader == nil {
		return nil, errTouches
	}
	return r.reader.Get(store.Journeys, command.AppendSubjectKey(nil, r.Ref())), nil
}
