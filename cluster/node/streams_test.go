package node

import (
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/kafka"
	"github.com/arbiterhq/arbiter/cluster/stream"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// TestStreamsWithoutABroker: a node whose brokers are away serves, says so, and closes at once; goleak sees to it
// that nothing goes on.
func TestStreamsWithoutABroker(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := ln.Addr().String()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.DataDir, cfg.Logger = t.TempDir(), slog.New(slog.NewTextHandler(io.Discard, nil))
	cfg.Streams = []stream.Config{{Name: "roaming", Kafka: kafka.ConsumerOptions{Settings: kafka.Settings{Brokers: []string{nobody}}, Topic: "roaming"}}}
	n, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Ready(t.Context()); err != nil {
		t.Errorf("not ready without a broker: %v", err)
	}
	list, err := n.Streams(t.Context())
	if err != nil || len(list) != 1 || list[0].Name != "roaming" || list[0].Problem == "" || len(list[0].Partitions) != 0 {
		t.Errorf("streams: %+v, %v", list, err)
	}
	began := time.Now()
	if err := n.Close(); err != nil || time.Since(began) > 5*time.Second {
		t.Errorf("closing took %v: %v", time.Since(began), err)
	}
}

func TestStreamsThatCannotBeOpened(t *testing.T) {
	cfg := DefaultConfig()
	cfg.DataDir = t.TempDir()
	cfg.Streams = []stream.Config{{Name: "roaming", Kafka: kafka.ConsumerOptions{Settings: kafka.Settings{Brokers: []string{"k:9092"}}, Topic: "roaming"}},
		{Name: "usage", Kafka: kafka.ConsumerOptions{Topic: "usage"}}}
	if n, err := Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "stream usage") {
		t.Errorf("a stream without brokers: %v", err)
		if n != nil {
			_ = n.Close()
		}
	}
}

// TestCursorsOfStreams: what a reader asks of a node: a cursor moves with events, only from where it is, and
// without events; all groups tell theirs.
func TestCursorsOfStreams(t *testing.T) {
	n := openNode(t, t.TempDir())
	ctx := t.Context()
	if n.EventGroups() != 2 || !n.LeadsGroup(0) || !n.LeadsGroup(1) {
		t.Fatalf("%d groups", n.EventGroups())
	}
	fault := nba.IncomingEvent{Fault: nba.Errorf(nba.CodeMalformed, "topic t, partition 0, offset 9: no event"), Raw: "x"}
	receipts, err := n.AcceptStream(ctx, 1, command.StreamStep{Stream: "s/0", Next: 10}, []nba.IncomingEvent{fault})
	if err != nil || len(receipts) != 1 || receipts[0].Status != nba.EventDead {
		t.Fatalf("%+v, %v", receipts, err)
	}
	if _, err := n.AcceptStream(ctx, 1, command.StreamStep{Stream: "s/0", Next: 10}, []nba.IncomingEvent{fault}); err != nil {
		t.Errorf("the same step again: %v", err)
	}
	if _, err := n.AcceptStream(ctx, 1, command.StreamStep{Stream: "s/0", From: 5, Next: 20}, nil); nba.CodeOf(err) != nba.CodeConflict {
		t.Errorf("a step from elsewhere: %v", err)
	}
	steps := []command.StreamStep{{Stream: "s/0", From: 10, Next: 12}, {Stream: "s/1", From: 3, Next: 4}, {Stream: "s/2", Next: 1}}
	if err := n.NoteStreams(ctx, 1, steps); err != nil {
		t.Fatal(err)
	}
	for i, want := range []uint64{12, 0, 1} {
		name := "s/" + strconv.Itoa(i)
		if cursors, err := n.StreamCursors(ctx, name); err != nil || len(cursors) != 2 || cursors[0] != 0 || cursors[1] != want {
			t.Errorf("%s: %v, %v; want 0 and %d", name, cursors, err, want)
		}
	}
	if letters, _, err := n.Letters(ctx, 10, ""); err != nil || len(letters) != 1 || !strings.Contains(letters[0].Detail, "offset 9") {
		t.Errorf("letters: %+v, %v; want one, with its place", letters, err)
	}
	if list, err := n.Streams(ctx); err != nil || len(list) != 0 {
		t.Errorf("streams of a node without settings for any: %v, %v", list, err)
	}
}
