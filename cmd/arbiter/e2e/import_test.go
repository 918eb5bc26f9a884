package e2e

import (
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/sdk/realdata"
)

func unmarshal(b []byte, v any) error { return json.Unmarshal(b, v) }

const telcoMapping = "../../../examples/telco-ibm/mapping.yaml"

// TestImportOfTheRealFile imports the 7,043 customers and compares with an independent reading of
// the file, cell by cell for a sample.
func TestImportOfTheRealFile(t *testing.T) {
	t.Parallel()
	path := realdata.Path(t, "telco-ibm/Telco-Customer-Churn.csv")
	s := start(t, "dev", "--no-demo", "--subscribers", "10")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "telco.csv")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	var summary struct{ Read, Accepted, Rejected, Blank int }
	out := s.mustCLI("subject", "import", file, "--mapping", telcoMapping, "-o", "json")
	if err := json.Unmarshal([]byte(out), &summary); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	rows, err := csv.NewReader(strings.NewReader(string(raw))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	header, rows := rows[0], rows[1:]
	id, total := slices.Index(header, "customerID"), slices.Index(header, "TotalCharges")
	blanks := 0
	for _, row := range rows {
		if strings.TrimSpace(row[total]) == "" {
			blanks++
		}
	}
	if len(rows) != 7043 || blanks != 11 {
		t.Fatalf("the file has %d rows and %d blanks: not the file this test knows", len(rows), blanks)
	}
	if summary.Read != len(rows) || summary.Accepted != len(rows) || summary.Rejected != 0 || summary.Blank != blanks {
		t.Errorf("summary %+v, want %d rows and %d blanks", summary, len(rows), blanks)
	}
	for i, row := range rows {
		if i%20 != 0 && strings.TrimSpace(row[total]) != "" {
			continue
		}
		doc := decode[nba.SubjectDocument](t, s.call("GET", "/v1/subjects/"+row[id], nil), 200)
		_, has := doc.Attributes["totalCharges"]
		if blank := strings.TrimSpace(row[total]) == ""; blank == has {
			t.Errorf("row %d: blank %v, but the attribute is there: %v", i, blank, has)
		}
		if got := doc.Attributes["contract"]; got != row[slices.Index(header, "Contract")] {
			t.Errorf("row %d: contract differs", i)
		}
	}
}

// TestImportReportsBadLines: each bad line gives one result with line, column and reason, the good
// lines go in, and the values of the file are not repeated.
func TestImportReportsBadLines(t *testing.T) {
	t.Parallel()
	s := start(t, "dev", "--no-demo", "--subscribers", "10")
	file := filepath.Join(t.TempDir(), "bad.csv")
	content := "id,tenure,monthlyCharges\nG-1,1,10\nG-2,secret,10\n,3,10\nG-4,4\n\"G-\n5\",5,10\nG-6,6,1e999\nG-7,7,70\n"
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	out, errOut, _ := s.cli("subject", "import", file)
	for _, want := range []string{"line 3", "tenure", "line 4", "line 5", "line 8", "monthlyCharges"} {
		if !strings.Contains(out+errOut, want) {
			t.Errorf("the report does not name %q:\n%s%s", want, out, errOut)
		}
	}
	if strings.Contains(out+errOut, "secret") {
		t.Error("the report repeats a value of the file")
	}
	for id, want := range map[string]int{"G-1": 200, "G-2": 404, "G-4": 404, "G-6": 404, "G-7": 200} {
		if got := s.call("GET", "/v1/subjects/"+id, nil).status; got != want {
			t.Errorf("%s: status %d, want %d", id, got, want)
		}
	}
}
