package bulk

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// part is a chunk as tests write it down.
type part struct {
	data  string
	first int
	lines int
}

func splitAll(t *testing.T, text string, format Format, delimiter byte, chunkLines int) (header string, parts []part) {
	t.Helper()
	s, err := NewSplitter(iotest.HalfReader(strings.NewReader(text)), format, delimiter, chunkLines)
	if err != nil {
		t.Fatal(err)
	}
	var at int64
	for {
		c, err := s.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if at != 0 && c.Offset != at {
			t.Errorf("chunk begins at byte %d, want %d", c.Offset, at)
		}
		if got := text[c.Offset:c.End]; got != string(c.Data) {
			t.Errorf("chunk holds %q, bytes %d to %d of the file are %q", c.Data, c.Offset, c.End, got)
		}
		at = c.End
		parts = append(parts, part{string(c.Data), c.FirstLine, c.Lines})
	}
	if at != int64(len(text)) && len(parts) > 0 {
		t.Errorf("the chunks end at byte %d of %d", at, len(text))
	}
	return string(s.Header()), parts
}

func TestSplit(t *testing.T) {
	for _, c := range []struct {
		name       string
		text       string
		format     Format
		delimiter  byte
		chunkLines int
		header     string
		want       []part
	}{
		{name: "ndjson", format: NDJSON, chunkLines: 2, text: "{}\n{1}\n{2}\n",
			want: []part{{"{}\n{1}\n", 1, 2}, {"{2}\n", 3, 1}}},
		{name: "ndjson keeps quotes apart from lines", format: NDJSON, chunkLines: 1, text: "\"a\n\"b\n",
			want: []part{{"\"a\n", 1, 1}, {"\"b\n", 2, 1}}},
		{name: "no line break at the end", format: NDJSON, chunkLines: 5, text: "{}\n{1}",
			want: []part{{"{}\n{1}", 1, 2}}},
		{name: "empty ndjson", format: NDJSON, chunkLines: 5, text: ""},
		{name: "csv with a header only", format: CSV, chunkLines: 5, text: "id,a\n", header: "id,a\n"},
		{name: "csv", format: CSV, chunkLines: 2, text: "id,a\n1,x\n2,y\n3,z\n", header: "id,a\n",
			want: []part{{"1,x\n2,y\n", 2, 2}, {"3,z\n", 4, 1}}},
		{name: "csv with CRLF and no line break at the end", format: CSV, chunkLines: 2, text: "id,a\r\n1,x\r\n2,y", header: "id,a\n",
			want: []part{{"1,x\r\n2,y", 2, 2}}},
		{name: "quoted line breaks", format: CSV, chunkLines: 1, text: "id,a\n1,\"x\ny\"\n2,\"\n\n\",\n3,z\n", header: "id,a\n",
			want: []part{{"1,\"x\ny\"\n", 2, 2}, {"2,\"\n\n\",\n", 4, 3}, {"3,z\n", 7, 1}}},
		{name: "quoted line break in the header", format: CSV, chunkLines: 1, text: "id,\"a\nb\"\n1,x\n", header: "id,\"a\nb\"\n",
			want: []part{{"1,x\n", 3, 1}}},
		{name: "doubled quotes", format: CSV, chunkLines: 1, text: "id,a\n1,\"say \"\"\nhi\"\"\"\n2,\"\"\n3,\"\"\"\"\n", header: "id,a\n",
			want: []part{{"1,\"say \"\"\nhi\"\"\"\n", 2, 2}, {"2,\"\"\n", 4, 1}, {"3,\"\"\"\"\n", 5, 1}}},
		{name: "a stray quote spoils its own record only", format: CSV, chunkLines: 1, text: "id,a\n1,5\" pipe\n2,x\n", header: "id,a\n",
			want: []part{{"1,5\" pipe\n", 2, 1}, {"2,x\n", 3, 1}}},
		{name: "text after a closing quote", format: CSV, chunkLines: 1, text: "id,a\n1,\"x\"y\n2,x\n", header: "id,a\n",
			want: []part{{"1,\"x\"y\n", 2, 1}, {"2,x\n", 3, 1}}},
		{name: "another delimiter", format: CSV, delimiter: ';', chunkLines: 1, text: "id;a\n1;\"x\n\"\n2,\"y\n", header: "id;a\n",
			want: []part{{"1;\"x\n\"\n", 2, 2}, {"2,\"y\n", 4, 1}}},
		{name: "a quote that is never closed runs to the end", format: CSV, chunkLines: 1, text: "id,a\n1,\"x\n2,y\n", header: "id,a\n",
			want: []part{{"1,\"x\n2,y\n", 2, 2}}},
		{name: "blank lines are lines", format: CSV, chunkLines: 2, text: "id\n\n\n1\n", header: "id\n",
			want: []part{{"\n\n", 2, 2}, {"1\n", 4, 1}}},
		{name: "byte order mark", format: CSV, chunkLines: 5, text: "\xef\xbb\xbfid\n1\n", header: "id\n",
			want: []part{{"1\n", 2, 1}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			header, got := splitAll(t, c.text, c.format, c.delimiter, c.chunkLines)
			if header != c.header {
				t.Errorf("header: got %q, want %q", header, c.header)
			}
			if diff := cmp.Diff(got, c.want, cmp.AllowUnexported(part{})); diff != "" {
				t.Errorf("chunks (-got +want):\n%s", diff)
			}
		})
	}
}

func TestSplitLongLines(t *testing.T) {
	// Longer than the read buffer, with a doubled quote, a delimiter and a line break at its seams.
	for _, length := range []int{256<<10 - 4, 256<<10 - 3, 256<<10 - 2, 256<<10 - 1, 256 << 10} {
		long := "1,\"" + strings.Repeat("x", length) + "\"\",\n\"\n"
		_, parts := splitAll(t, "id,a\n"+long+"2,y\n", CSV, 0, 1)
		if len(parts) != 2 || parts[0].data != long || parts[1].first != 4 {
			t.Errorf("length %d: got %d chunks", length, len(parts))
		}
	}
}

func TestSplitRefuses(t *testing.T) {
	if _, err := NewSplitter(strings.NewReader(""), CSV, 0, 0); err == nil {
		t.Error("an empty CSV file was accepted")
	}
	if _, err := NewSplitter(strings.NewReader("id\n"), CSV, 0, MaxChunkLines+1); err == nil {
		t.Error("too many lines in a chunk were accepted")
	}
	s, err := NewSplitter(strings.NewReader("id\n1\n\""+strings.Repeat("x\n", MaxRecordBytes)), CSV, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Next(); err != nil {
		t.Errorf("the record before the bad one: %v", err)
	}
	if _, err := s.Next(); err == nil || !strings.Contains(err.Error(), "line 3: the record is longer than 1 MiB") {
		t.Errorf("a record of 2 MiB: got %v", err)
	}
}

func TestSplitBoundsChunkBytes(t *testing.T) {
	line := strings.Repeat("x", 1<<16) + "\n"
	_, parts := splitAll(t, strings.Repeat(line, 200), NDJSON, 0, MaxChunkLines)
	if len(parts) < 2 {
		t.Fatalf("13 MB made %d chunk", len(parts))
	}
	for i, p := range parts {
		if len(p.data) > MaxChunkBytes+len(line) {
			t.Errorf("chunk %d holds %d bytes", i, len(p.data))
		}
	}
}

func TestResume(t *testing.T) {
	text := "id,a\n1,\"x\n\"\n2,y\n3,z\n"
	first, err := NewSplitter(strings.NewReader(text), CSV, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	c, err := first.Next()
	if err != nil {
		t.Fatal(err)
	}
	in := strings.NewReader(text)
	again, err := NewSplitter(in, CSV, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Resume(in, c.End, c.FirstLine+c.Lines); err != nil {
		t.Fatal(err)
	}
	next, err := again.Next()
	if err != nil {
		t.Fatal(err)
	}
	if string(next.Data) != "2,y\n" || next.FirstLine != 4 || string(again.Header()) != "id,a\n" {
		t.Errorf("got %q at line %d under header %q, want the third record", next.Data, next.FirstLine, again.Header())
	}
}

func FuzzSplit(f *testing.F) {
	for _, seed := range []string{"id,a\n1,\"x\ny\"\n", "a\r\n\"\"\"", "\xef\xbb\xbf\"\n\n\",,\n,\"", "a;b\n\";\"\"\n"} {
		f.Add(seed, byte(','), 1)
		f.Add(seed, byte(';'), 3)
	}
	f.Fuzz(func(t *testing.T, text string, delimiter byte, chunkLines int) {
		chunkLines = 1 + max(chunkLines, -chunkLines, 0)%8
		for _, format := range []Format{CSV, NDJSON} {
			s, err := NewSplitter(strings.NewReader(text), format, delimiter, chunkLines)
			if err != nil {
				continue
			}
			line, at := 1+s.HeaderLines(), int64(-1)
			for {
				c, err := s.Next()
				if err != nil {
					break
				}
				if at >= 0 && c.Offset != at || string(c.Data) != text[c.Offset:c.End] || c.FirstLine != line || c.Lines < 1 {
					t.Fatalf("chunk at line %d, bytes %d to %d, does not continue line %d, byte %d", c.FirstLine, c.Offset, c.End, line, at)
				}
				line, at = c.FirstLine+c.Lines, c.End
			}
			if at >= 0 && at != int64(len(text)) {
				t.Fatalf("the chunks end at byte %d of %d", at, len(text))
			}
		}
	})
}
