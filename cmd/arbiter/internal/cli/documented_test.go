package cli

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// documented finds the command lines in a text: lines of code blocks, and code between backquotes, that begin
// with arbiter, after what a shell may have before it.
func documented(text string) (lines []string) {
	block := false
	inline := regexp.MustCompile("`([^`]+)`")
	joined := strings.ReplaceAll(text, "\\\n", " ")
	for line := range strings.SplitSeq(joined, "\n") {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			block = !block
			continue
		}
		if block {
			lines = append(lines, line)
			continue
		}
		for _, span := range inline.FindAllStringSubmatch(line, -1) {
			lines = append(lines, span[1])
		}
	}
	return lines
}

// commandLine takes the words after arbiter off a line; ok is false for a line without it.
func commandLine(line string) (words []string, ok bool) {
	start := regexp.MustCompile(`^(?:\$ )?(?:[A-Z_]+=\S* )*(?:\S*/)?arbiter ([^|;&#<>]*)`)
	found := start.FindStringSubmatch(strings.TrimSpace(line))
	if found == nil || strings.Contains(found[0], "arbiter @") {
		return nil, false
	}
	quoted := false
	words = strings.FieldsFunc(found[1], func(r rune) bool {
		if r == '"' || r == '\'' {
			quoted = !quoted
		}
		return r == ' ' && !quoted
	})
	return words, len(words) > 0
}

// alternatives are the command lines that a|b stands for, where it stands for commands.
func alternatives(line string) []string {
	choice := regexp.MustCompile(`\b([a-z-]+(?:\|[a-z-]+)+)\b`)
	at := choice.FindStringIndex(line)
	if at == nil || !strings.Contains(line, "arbiter ") {
		return []string{line}
	}
	var out []string
	for word := range strings.SplitSeq(line[at[0]:at[1]], "|") {
		out = append(out, alternatives(line[:at[0]]+word+line[at[1]:])...)
	}
	return out
}

// checkLine says what is wrong with a documented command line, or is empty.
func checkLine(root *cobra.Command, words []string) string {
	cmd, rest, err := root.Find(words)
	if err != nil {
		return err.Error()
	}
	if cmd == root && !strings.HasPrefix(words[0], "-") {
		return "no such command"
	}
	for i, word := range rest {
		name, isFlag := strings.CutPrefix(word, "--")
		name, _, _ = strings.Cut(strings.Trim(name, "[](),.…"), "=")
		switch {
		case word == "--":
			return ""
		case isFlag && name != "" && name != "help" && cmd.Flags().Lookup(name) == nil && cmd.InheritedFlags().Lookup(name) == nil:
			return "no flag --" + name
		case !isFlag && i == 0 && cmd.HasAvailableSubCommands() && regexp.MustCompile(`^[a-z][a-z-]+$`).MatchString(word):
			return "no such command: " + word
		}
	}
	return ""
}

// TestDocumentedCommandsExist: every command line in README and docs names commands and flags that there are.
func TestDocumentedCommandsExist(t *testing.T) {
	top := "../../../.."
	checked := 0
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch relative, _ := filepath.Rel(top, path); {
		case d.IsDir() && (relative == ".git" || relative == "bin" || relative == ".cache" || strings.Contains(relative, "node_modules") || strings.Contains(relative, "testdata")):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".md") && !strings.HasSuffix(path, "NOTES.txt"):
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, line := range documented(string(text)) {
			for _, one := range alternatives(line) {
				words, ok := commandLine(one)
				if !ok {
					continue
				}
				checked++
				// Parsing a command line changes the tree: each gets its own.
				a := &app{getenv: func(string) string { return "" }}
				if fault := checkLine(a.root(), words); fault != "" {
					t.Errorf("%s: %q: %s", strings.TrimPrefix(path, top+"/"), strings.TrimSpace(one), fault)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if checked < 100 {
		t.Errorf("only %d command lines were found in the documents", checked)
	}
	t.Logf("%d command lines", checked)
}

// TestDocumentedCommandsAreRead: the reader of the test above finds what it must.
func TestDocumentedCommandsAreRead(t *testing.T) {
	a := &app{getenv: func(string) string { return "" }}
	for line, fault := range map[string]bool{
		"arbiter cluster backup --dir /backup":    false,
		"bin/arbiter cluster":                     false,
		"ARBITER_TOKEN=x arbiter key list":        false,
		"arbiter cluster bakup --dir /backup":     true,
		"arbiter cluster backup --folder /backup": true,
		"arbiter clusters":                        true,
	} {
		words, ok := commandLine(line)
		if !ok {
			t.Fatalf("%q is not read", line)
		}
		if got := checkLine(a.root(), words); (got != "") != fault {
			t.Errorf("%q: %q", line, got)
		}
	}
	if got := alternatives("arbiter dev kill|pause n2"); len(got) != 2 || got[1] != "arbiter dev pause n2" {
		t.Errorf("%q", got)
	}
}
