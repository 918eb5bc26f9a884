package raftgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	walfs "github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

// mendTail completes the rotation of a log's segments that a death of the process cut short.
//
// raft-wal (up to 0.4.2) seals a full segment and then, in the background, notes the seal and the next
// segment in its metadata. Killed in between, it opens again, recovers the segment as sealed, and
// refuses every write with "segment is sealed" for ever. No entry is lost; only the note is missing.
// This writes it, as its rotateSegmentLocked and createNextSegment would have. The file of the next
// segment is made by wal.Open. Call it while the log is closed.
func mendTail(dir string) (mended bool, err error) {
	if _, err := os.Stat(filepath.Join(dir, metadb.FileName)); errors.Is(err, fs.ErrNotExist) {
		return false, nil // a log that was never opened
	}
	meta := &metadb.BoltMetaDB{}
	defer func() { err = errors.Join(err, meta.Close()) }()
	state, err := meta.Load(dir)
	if err != nil {
		return false, fmt.Errorf("reading the log's metadata: %w", err)
	}
	if len(state.Segments) == 0 {
		return false, nil
	}
	tail := &state.Segments[len(state.Segments)-1]
	if !tail.SealTime.IsZero() {
		return false, nil
	}
	sealed, err := sealTail(dir, tail)
	if err != nil || !sealed {
		return false, err
	}
	now := tail.SealTime
	state.Segments = append(state.Segments, types.SegmentInfo{
		ID: state.NextSegmentID, BaseIndex: tail.MaxIndex + 1, MinIndex: tail.MaxIndex + 1,
		SizeLimit: tail.SizeLimit, Codec: tail.Codec, CreateTime: now,
	})
	state.NextSegmentID++
	if err := meta.CommitState(state); err != nil {
		return false, fmt.Errorf("completing the log's metadata: %w", err)
	}
	return true, nil
}

// sealTail notes in info that the segment is sealed, if it is.
func sealTail(dir string, info *types.SegmentInfo) (sealed bool, err error) {
	tail, err := segment.NewFiler(dir, walfs.New()).RecoverTail(*info)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // noted, but not made yet: wal.Open makes it
	}
	if err != nil {
		return false, fmt.Errorf("reading the log's last segment: %w", err)
	}
	defer func() { err = errors.Join(err, tail.Close()) }()
	sealed, indexStart, err := tail.Sealed()
	if err != nil || !sealed {
		return false, err
	}
	info.SealTime, info.MaxIndex, info.IndexStart = time.Now(), tail.LastIndex(), indexStart
	return true, nil
}
