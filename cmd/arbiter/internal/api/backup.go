package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/arbiterhq/arbiter/cluster/backup"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Backups is what the HTTP layer needs to back a cluster up and to restore it.
type Backups interface {
	// Backup streams the state of the cluster, but for what the receiver has.
	Backup(ctx context.Context, req backup.Request, to io.Writer) error
	// Restore fills a cluster that holds nothing yet from a stream, which it reads to its end. report is called
	// about once a second, from one goroutine.
	Restore(ctx context.Context, from io.Reader, withoutEvents bool, report func(nba.Restored) error) (nba.Restored, error)
}

const (
	contentTypeBackup = "application/vnd.arbiter.backup"
	// maxBackupRequest bounds what a receiver says it has: about a million chunks.
	maxBackupRequest = 64 << 20
)

// backupOperations are the operations of the admin listener alone: their streams have no bound.
func backupOperations() []operation {
	return []operation{
		{id: "backup", method: http.MethodPost, path: "/v1/cluster/backup", consumes: []string{contentTypeJSON}, handle: adminOnly,
			admin: true, stream: (*Admin).streamBackup},
		{id: "restore", method: http.MethodPost, path: "/v1/cluster/restore", consumes: []string{contentTypeBackup}, handle: adminOnly,
			query: []string{"withoutEvents"}, budget: budgetAdmin, admin: true, stream: (*Admin).streamRestore},
	}
}

// adminOnly answers on the API port for what is on the admin listener alone.
func adminOnly(context.Context, Core, *request) (reply, error) {
	return reply{}, nba.Errorf(nba.CodeNotFound, "this operation is on the admin listener alone (--admin-addr): its stream has no bound")
}

// streamBackup answers with the stream of a backup. Once it has begun, the connection is cut if something
// fails: the stream then lacks its end.
func (a *Admin) streamBackup(op *operation) netHandler {
	return func(w *trackingWriter, r *http.Request, id string) error {
		if _, err := netRequest(op, r, id); err != nil {
			return err
		}
		control := http.NewResponseController(w)
		if err := control.SetReadDeadline(time.Now().Add(a.options.Timeouts.UploadRead)); err != nil {
			return fmt.Errorf("setting the read deadline: %w", err)
		}
		var req backup.Request
		err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBackupRequest)).Decode(&req)
		if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
			return bodyTooLarge(maxBackupRequest)
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return nba.Errorf(nba.CodeMalformed, "the request body is no JSON document of what the receiver has")
		}
		if err := control.SetReadDeadline(time.Time{}); err != nil {
			return fmt.Errorf("setting the read deadline: %w", err)
		}
		to := &patientWriter{w: w, control: control, stall: a.options.Timeouts.ImportStall}
		began := time.Now()
		err = a.core.Backup(r.Context(), req, to)
		if err == nil {
			a.options.Logger.Info("a backup was made", "requestId", id, "bytesSent", to.sent, "took", time.Since(began))
		}
		return err
	}
}

// patientWriter writes an answer of any length but gives up on a receiver who takes nothing for longer than
// stall. The headers go with the first bytes.
type patientWriter struct {
	w       *trackingWriter
	control *http.ResponseController
	stall   time.Duration
	sent    int64
}

// Write implements io.Writer.
func (p *patientWriter) Write(b []byte) (int, error) {
	if p.w.status == 0 {
		p.w.Header().Set("Content-Type", contentTypeBackup)
		p.w.Header().Set("X-Content-Type-Options", "nosniff")
		p.w.Header().Set("Cache-Control", "no-store")
		p.w.WriteHeader(http.StatusOK)
	}
	if err := p.control.SetWriteDeadline(time.Now().Add(p.stall)); err != nil {
		return 0, fmt.Errorf("setting the write deadline: %w", err)
	}
	n, err := p.w.Write(b)
	p.sent += int64(n)
	if netErr, ok := errors.AsType[net.Error](err); ok && netErr.Timeout() {
		err = nba.Errorf(nba.CodeTimeout, "the receiver of the backup took nothing for %s", p.stall)
	}
	return n, err
}

// restoreFailure is the last line of a restore that failed after lines were sent.
type restoreFailure struct {
	Problem Problem `json:"problem"`
}

// streamRestore reads the stream of a backup and answers how far it is, a line each second; the last line
// is done, or a problem.
func (a *Admin) streamRestore(op *operation) netHandler {
	return func(w *trackingWriter, r *http.Request, id string) error {
		in, err := netRequest(op, r, id)
		if err != nil {
			return err
		}
		without := in.query.Get("withoutEvents")
		if without != "" && without != "true" && without != "false" {
			return nba.Invalid("/withoutEvents", "must be true or false")
		}
		control := http.NewResponseController(w)
		if err := control.EnableFullDuplex(); err != nil {
			return fmt.Errorf("enabling full duplex: %w", err)
		}
		body := &patientReader{body: r.Body, control: control, stall: a.options.Timeouts.ImportStall}
		encoder := newLineEncoder(w)
		line := func(v any) error {
			if err := control.SetWriteDeadline(time.Now().Add(a.options.Timeouts.ImportStall)); err != nil {
				return fmt.Errorf("setting the write deadline: %w", err)
			}
			if w.status == 0 {
				w.Header().Set("Content-Type", contentTypeNDJSON)
				w.Header().Set("X-Content-Type-Options", "nosniff")
				w.WriteHeader(http.StatusOK)
			}
			if err := encoder.Encode(v); err != nil {
				return err
			}
			return control.Flush()
		}
		done, err := a.core.Restore(r.Context(), body, without == "true", func(so nba.Restored) error { return line(so) })
		if body.stalled {
			err = nba.Errorf(codeRequestTimeout, "the stream of the backup stalled for more than %s", a.options.Timeouts.ImportStall)
		}
		switch {
		case err == nil:
			return line(done)
		case w.status == 0:
			return err
		}
		p, internal := problemOf(err, id)
		if internal {
			logInternal(a.options.Logger, fmt.Errorf("restoring a backup: %w", err), id, op.path)
		}
		return line(restoreFailure{Problem: p})
	}
}
