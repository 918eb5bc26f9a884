package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/arbiterhq/arbiter/cluster/backup"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// backupType is the media type of the stream of a backup.
const backupType = "application/vnd.arbiter.backup"

// Backup begins a backup. The client must be one of an admin listener. The caller reads the stream, which is
// whole only if it has its end, and closes it; ctx bounds all of it.
func (c *Client) Backup(ctx context.Context, req backup.Request) (io.ReadCloser, error) {
	body, err := json.Marshal(req)
	if err != nil {
		return nil, fmt.Errorf("encoding the request: %w", err)
	}
	resp, err := c.unbounded().send(ctx, request{method: http.MethodPost, path: "/v1/cluster/backup", contentType: "application/json",
		accept: backupType + ", application/problem+json", body: bytes.NewReader(body)})
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// unbounded is the client without a timeout, for streams of any length: their ctx ends them.
func (c *Client) unbounded() *Client {
	long := *c
	long.http = &http.Client{Transport: c.transport}
	return &long
}

// Restore sends the stream of a backup to a cluster that holds nothing yet, and calls report about once a
// second until all of it has taken effect. The client must be one of an admin listener.
func (c *Client) Restore(ctx context.Context, stream io.Reader, withoutEvents bool, report func(nba.Restored)) (nba.Restored, error) {
	q := url.Values{}
	if withoutEvents {
		q.Set("withoutEvents", "true")
	}
	resp, err := c.unbounded().send(ctx, request{method: http.MethodPost, path: "/v1/cluster/restore", query: q, contentType: backupType,
		accept: "application/x-ndjson, application/problem+json", body: stream})
	if err != nil {
		return nba.Restored{}, err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxResultLineBytes)
	for lines.Scan() {
		var line struct {
			nba.Restored
			Problem *Problem `json:"problem"`
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return nba.Restored{}, &Unreachable{Addr: c.Addr(), Cause: errors.New("the answer is not one JSON object a line")}
		}
		switch {
		case line.Problem != nil:
			return line.Restored, line.Problem
		case line.Done:
			return line.Restored, nil
		}
		report(line.Restored)
	}
	if ctx.Err() != nil {
		return nba.Restored{}, ctx.Err()
	}
	return nba.Restored{}, &Unreachable{Addr: c.Addr(), Cause: errors.New("the answer ended before the restore did: see whether the node is up")}
}
