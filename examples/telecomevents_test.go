package examples_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/examples"
)

func TestTelecomEvents(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"recharges.csv":  "caller_id,amount,timestamp\nA,96,2020-01-01 00:02:47\n%B\"q,7,2020-01-03 00:00:00\n",
		"mobiledata.csv": "caller_id,volume,timestamp\nB,91.386,2020-01-02 00:01:15\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// A quote within a field is a mistake of the file.
	if err := examples.WriteTelecomEvents(&bytes.Buffer{}, dir, time.Time{}); err == nil {
		t.Fatal("a broken file is read")
	}
	text := "caller_id,amount,timestamp\nA,96,2020-01-01 00:02:47\n%B,7,2020-01-03 00:00:00\n"
	if err := os.WriteFile(filepath.Join(dir, "recharges.csv"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	end := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	var out bytes.Buffer
	if err := examples.WriteTelecomEvents(&out, dir, end); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		var e struct {
			ID, Source, Type, Subject string
			Time                      time.Time
			Data                      map[string]float64
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		amount, _ := json.Marshal(e.Data)
		got = append(got, strings.Join([]string{e.ID, e.Type, e.Subject, end.Sub(e.Time).String(), string(amount)}, " "))
	}
	want := `R-1 com.example.recharge A 47h57m13s {"amount":96}
D-1 com.example.data.used B 23h58m45s {"megabytes":91.39}
R-2 com.example.recharge %B 0s {"amount":7}`
	if strings.Join(got, "\n") != want {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
	out.Reset()
	if err := examples.WriteTelecomSubjects(&out, dir); err != nil || strings.Count(out.String(), "\n") != 3 {
		t.Errorf("got %v %s", err, out.String())
	}
}
