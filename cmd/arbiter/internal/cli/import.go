package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/arbiterhq/arbiter/cluster/importer"
	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/bulk"
	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/client"
	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
)

// importFlags are the flags of arbiter subject import.
type importFlags struct {
	mapping, format, errorsFile string
	chunkLines, inFlight        int
	retryFor                    time.Duration
	resume, restart             bool
}

func (a *app) subjectImportCommand() *cobra.Command {
	var f importFlags
	cmd := &cobra.Command{
		Use: "import FILE", Short: "Bring customers in from a CSV or NDJSON file",
		Long: "Brings customers in from a CSV or NDJSON file; - is the standard input. The file is sent in chunks, and\n" +
			"FILE.arbiter-import.json remembers how far it came: after an interruption the same command goes on there.\n" +
			"A bad line is reported and left out; it never stops the others.",
		Example: `  arbiter subject import customers.csv --mapping mapping.yaml
  arbiter subject import customers.ndjson --errors rejected.csv
  zcat customers.csv.gz | arbiter subject import - --format csv --mapping mapping.yaml`,
		Args: args("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.importSubjects(cmd, args[0], &f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.mapping, "mapping", "", "mapping `FILE`: which column becomes which attribute (default: columns are named like attributes)")
	flags.StringVar(&f.format, "format", "", "csv or ndjson (default that of the mapping or of the file's extension)")
	flags.StringVar(&f.errorsFile, "errors", "", "write every rejected line to this `FILE`, as CSV")
	flags.IntVar(&f.chunkLines, "chunk-lines", bulk.DefaultChunkLines, "lines sent in one request")
	flags.IntVar(&f.inFlight, "in-flight", bulk.DefaultInFlight, "chunks on their way at once; above 1 only if no customer is in the file twice")
	flags.DurationVar(&f.retryFor, "retry-for", bulk.DefaultRetryFor, "how long to try while the node cannot be reached")
	flags.BoolVar(&f.resume, "resume", false, "fail unless there is an interrupted import to go on with")
	flags.BoolVar(&f.restart, "restart", false, "begin at the first line, whatever was sent before")
	cmd.MarkFlagsMutuallyExclusive("resume", "restart")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"csv", "ndjson"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// importJob is one import as the command line set it up.
type importJob struct {
	file       string
	in         *os.File // nil for the standard input
	mapping    []byte
	parsed     *importer.Mapping
	format     bulk.Format
	checkpoint *bulk.Checkpoint
	path       string // of the checkpoint; "" for the standard input
	resumed    bool
}

// importResult is what the command prints when it is done.
type importResult struct {
	bulk.Counts
	Seconds float64 `json:"seconds"`
	Rate    float64 `json:"rate"`
	Resumed bool    `json:"resumed,omitempty"`
}

func (a *app) importSubjects(cmd *cobra.Command, file string, f *importFlags) error {
	job := &importJob{file: file}
	if err := job.readMapping(a, f.mapping); err != nil {
		return err
	}
	var err error
	if job.format, err = job.chooseFormat(cmd, f.format); err != nil {
		return err
	}
	source := a.in
	if file != "-" {
		if job.in, err = os.Open(file); err != nil {
			return err
		}
		defer job.in.Close()
		source = job.in
	} else if f.resume {
		return usage(cmd, "--resume: the standard input cannot be read again from its middle")
	}
	return a.withClient(cmd, func(ctx context.Context, c apiClient) error {
		if err := job.openCheckpoint(a, c.Addr(), f); err != nil {
			return err
		}
		splitter, err := bulk.NewSplitter(source, job.format, job.delimiter(), f.chunkLines)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if job.resumed {
			if err := splitter.Resume(job.in, job.checkpoint.Offset, job.checkpoint.Line); err != nil {
				return err
			}
		}
		if job.parsed != nil {
			if _, err := c.DeclareAttributes(ctx, job.parsed.Declarations()); err != nil {
				return fmt.Errorf("declaring the mapping's attributes: %w", err)
			}
		}
		return a.runImport(ctx, job, c, splitter, f)
	})
}

// readMapping reads the mapping and finds its mistakes before anything is sent.
func (j *importJob) readMapping(a *app, file string) error {
	if file == "" {
		return nil
	}
	var err error
	if j.mapping, err = a.readFile(file, importer.MaxMappingBytes); err != nil {
		return err
	}
	j.parsed, err = importer.ParseMapping(j.mapping, filepath.Base(file))
	return err
}

func (j *importJob) chooseFormat(cmd *cobra.Command, flag string) (bulk.Format, error) {
	name := flag
	if name == "" && j.parsed != nil {
		name = j.parsed.Format()
	}
	if name == "" {
		switch strings.ToLower(filepath.Ext(j.file)) {
		case ".csv", ".tsv":
			name = string(bulk.CSV)
		case ".ndjson", ".jsonl":
			name = string(bulk.NDJSON)
		}
	}
	switch format := bulk.Format(name); format {
	case bulk.CSV, bulk.NDJSON:
		return format, nil
	case "":
		return "", usage(cmd, "--format is missing: the name %s does not tell whether it is csv or ndjson", j.file)
	}
	return "", usage(cmd, "--format is csv or ndjson")
}

// delimiter is that of the mapping, which is known to be valid; 0 when it names none.
func (j *importJob) delimiter() byte {
	var m struct {
		Delimiter string `yaml:"delimiter"`
	}
	if yaml.Unmarshal(j.mapping, &m) != nil || len(m.Delimiter) != 1 {
		return 0
	}
	return m.Delimiter[0]
}

// openCheckpoint finds out where to begin.
func (j *importJob) openCheckpoint(a *app, server string, f *importFlags) error {
	j.checkpoint = &bulk.Checkpoint{Line: 1}
	if j.in == nil {
		return nil
	}
	id, err := bulk.Identify(j.in, server, j.format, j.mapping)
	if err != nil {
		return err
	}
	j.checkpoint.Identity, j.path = id, bulk.CheckpointPath(j.file)
	if f.restart {
		return bulk.RemoveCheckpoint(j.path)
	}
	earlier, err := bulk.LoadCheckpoint(j.path, id)
	switch {
	case errors.Is(err, bulk.ErrCheckpointForeign) && !f.resume:
		fmt.Fprintf(a.err, "An earlier import of %s stopped midway, but the file, the mapping or the node is another now: beginning at line 1.\n", j.file)
		return nil
	case err != nil:
		return withHint(err, "--restart begins at the first line")
	case earlier == nil && f.resume:
		return withHint(fmt.Errorf("there is no interrupted import of %s", j.file), "leave --resume out to begin at the first line")
	case earlier != nil:
		j.checkpoint, j.resumed = earlier, true
		fmt.Fprintf(a.err, "Going on at line %s, where the last import of this file stopped (--restart begins anew).\n", thousands(int64(earlier.Line)))
	}
	return nil
}

func (a *app) runImport(ctx context.Context, job *importJob, c apiClient, splitter *bulk.Splitter, f *importFlags) (err error) {
	rejected, err := openRejected(a, f.errorsFile, job.checkpoint.ErrorBytes, job.resumed)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rejected.close()) }()
	meter := newProgress(a, job)
	start := time.Now()
	before := job.checkpoint.Counts
	err = bulk.Run(ctx, bulk.Options{
		Sender: c, Splitter: splitter, Format: job.format, Mapping: job.mapping, InFlight: f.inFlight, RetryFor: f.retryFor,
		Checkpoint: job.checkpoint, CheckpointPath: job.path,
		Rejected:     func(r client.ImportResult) error { meter.clear(); return rejected.add(r) },
		Written:      rejected.flush,
		Acknowledged: func(c *bulk.Checkpoint) { meter.update(c) },
		Waiting:      meter.waiting,
	})
	meter.clear()
	rejected.more()
	if err != nil {
		return job.explainStop(err)
	}
	if job.path != "" {
		if err := bulk.RemoveCheckpoint(job.path); err != nil {
			return err
		}
	}
	result := importResult{Counts: job.checkpoint.Counts, Seconds: time.Since(start).Seconds(), Resumed: job.resumed}
	if result.Seconds > 0 {
		result.Rate = float64(result.Read-before.Read) / result.Seconds
	}
	if err := a.print(result, func(w io.Writer, p paint) { renderImport(w, p, &result) }); err != nil {
		return err
	}
	if result.Read > 0 && result.Accepted == 0 {
		return errors.New("no line was accepted")
	}
	return nil
}

// explainStop tells how to go on after an import that did not come to its end.
func (j *importJob) explainStop(err error) error {
	stop, ok := errors.AsType[*bulk.Interrupted](err)
	if !ok {
		return err
	}
	problem, isProblem := errors.AsType[*client.Problem](stop.Cause)
	refused := isProblem && !bulk.Retryable(problem)
	if refused && j.checkpoint.Counts.Read == 0 {
		return stop.Cause // the request itself is wrong: no line has to do with it
	}
	accepted := thousands(j.checkpoint.Counts.Accepted)
	if j.path == "" {
		return withHint(err, "%s records are stored; send the input again from its beginning: a customer sent twice is stored once", accepted)
	}
	if refused {
		return withHint(err, "%s records are stored; mend the cause, then run the same command again", accepted)
	}
	return withHint(err, "%s records are stored; run the same command again and it goes on at line %s", accepted, thousands(int64(j.checkpoint.Line)))
}

func renderImport(w io.Writer, p paint, r *importResult) {
	rejected := thousands(r.Rejected) + " rejected"
	if r.Rejected > 0 {
		rejected = p.yellow(rejected)
	}
	fmt.Fprintf(w, "%s records read: %s, %s (%.1f s, %s/s)\n", p.bold(thousands(r.Read)), p.green(thousands(r.Accepted)+" accepted"),
		rejected, r.Seconds, thousands(int64(r.Rate)))
	if r.Blank > 0 {
		fmt.Fprintf(w, "  %s blank values were handled by the rules of the mapping\n", thousands(r.Blank))
	}
	if r.Duplicates > 0 {
		fmt.Fprintf(w, "  %s records replaced an earlier one of the same customer\n", thousands(r.Duplicates))
	}
}

// rejectedLines shows the first rejected lines and writes all of them to a file.
type rejectedLines struct {
	a     *app
	shown int
	total int
	file  *os.File // nil without --errors
	lines bytes.Buffer
}

const (
	shownRejected  = 20
	rejectedHeader = "line,column,code,reason\n"
)

// openRejected opens the file of rejected lines. A resumed import cuts it to the length it had at the
// checkpoint: lines after that will be reported again.
func openRejected(a *app, name string, keep int64, resumed bool) (*rejectedLines, error) {
	r := &rejectedLines{a: a}
	if name == "" {
		return r, nil
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	r.file = f
	size, err := f.Seek(0, io.SeekEnd)
	if err == nil && resumed && keep > 0 && size >= keep {
		err = f.Truncate(keep)
	} else if err == nil {
		err = f.Truncate(0)
		r.lines.WriteString(rejectedHeader)
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekEnd)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening %s: %w", name, err), f.Close())
	}
	return r, nil
}

// add reports one line. A line that only replaced an earlier one was accepted, and is shown as such.
func (r *rejectedLines) add(line client.ImportResult) error {
	r.total++
	if r.shown < shownRejected {
		r.shown++
		where := fmt.Sprintf("line %d", line.Line)
		if line.Column != "" {
			where += ", column " + line.Column
		}
		fmt.Fprintf(r.a.err, "%s: %s\n", where, line.Reason)
	}
	if r.file == nil {
		return nil
	}
	return writeCSV(&r.lines, fmt.Sprint(line.Line), line.Column, string(line.Code), line.Reason)
}

// flush writes what was added and returns the length of the file.
func (r *rejectedLines) flush() (int64, error) {
	if r.file == nil {
		return 0, nil
	}
	if _, err := r.lines.WriteTo(r.file); err != nil {
		return 0, fmt.Errorf("writing the rejected lines: %w", err)
	}
	size, err := r.file.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, fmt.Errorf("writing the rejected lines: %w", err)
	}
	return size, nil
}

// more tells how many lines were not shown.
func (r *rejectedLines) more() {
	if hidden := r.total - r.shown; hidden > 0 {
		where := "--errors FILE keeps them all"
		if r.file != nil {
			where = "all are in " + r.file.Name()
		}
		fmt.Fprintf(r.a.err, "… and %s more; %s\n", thousands(int64(hidden)), where)
	}
}

func (r *rejectedLines) close() error {
	if r.file == nil {
		return nil
	}
	_, err := r.flush()
	return errors.Join(err, r.file.Close())
}
