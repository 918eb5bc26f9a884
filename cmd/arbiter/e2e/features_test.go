package e2e

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// TestTrainingTable takes labels to a training table with the features of the node's own memory, and a
// model file by class, golden rows and check to a pushed plugin.
func TestTrainingTable(t *testing.T) {
	t.Parallel()
	s := start(t, "dev", "--no-demo", "--subscribers", "30")
	dir := t.TempDir()
	write := func(name, content string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	s.mustCLI("decide", "S-000002", "--channel", "callcentre")
	recipes := write("f.yaml", "features:\n  - {name: months, attribute: tenure}\n  - {name: charges, log: {attribute: monthlyCharges, offset: 1}}\n"+
		"  - {name: share, ratio: {attribute: monthlyCharges, by: totalCharges}}\n  - {name: contacts, history: {aggregate: contacts, days: 30}, default: 0}\n"+
		"  - {name: price, actionProperty: value}\n  - {name: pages, context: page}\n")
	rows := write("labels.csv", "customer,label,offer,page\nS-000002,1,family-plan,3\nnobody,0,family-plan,\n")
	out := filepath.Join(dir, "train.csv")
	_, stderr, code := s.cli("model", "features", recipes, "--rows", rows, "--id", "customer", "--action", "offer", "--context", "page", "-o", out)
	if code != 0 || !strings.Contains(stderr, "1 customer of 2") {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	body, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	table, err := csv.NewReader(strings.NewReader(string(body))).ReadAll()
	if err != nil || len(table) != 3 || strings.Join(table[0], " ") != "customer label offer page months charges share contacts price pages" {
		t.Fatalf("table %v, %v", table, err)
	}
	for _, column := range table[1][4:] {
		if _, err := strconv.ParseFloat(column, 64); err != nil {
			t.Errorf("row %v: %v", table[1], err)
		}
	}

	wasm := filepath.Join(dir, "churn.wasm")
	golden := []string{filepath.Join(modelFolder, "churn.rows.csv"), filepath.Join(modelFolder, "churn.expected.csv")}
	s.mustCLI("model", "compile", filepath.Join(modelFolder, "churn.xgb.json"), "--features", filepath.Join(modelFolder, "features.yaml"),
		"--golden", golden[0], "--golden-expected", golden[1], "--version", "6.0.0", "-o", wasm)
	if text := s.mustCLI("model", "check", wasm, "--rows", golden[0], "--expected", golden[1]); !strings.Contains(text, "raw scores equal bit for bit") {
		t.Error(text)
	}
	if text := s.mustCLI("model", "push", wasm, "--activate"); !strings.Contains(text, "plugin churn 6.0.0 is active") {
		t.Error(text)
	}
	// The features of a plugin, and what is wrong with the table, with the nearest name.
	if text := s.mustCLI("model", "features", wasm, "--rows", rows, "--id", "customer"); !strings.Contains(text, "customer,label,offer,page,tenure,") {
		t.Error(text)
	}
	if _, stderr, code := s.cli("model", "features", wasm, "--rows", rows, "--id", "custmer"); code != 1 || !strings.Contains(stderr, "did you mean customer?") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

// TestClusterMakesFeatures asks every node for the features of subjects that others keep.
func TestClusterMakesFeatures(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t, 3)
	loadDemo(t, nodes[0], 60)
	request := nba.FeatureRequest{Features: json.RawMessage(`[{"name":"tenure","recipe":{"attribute":"tenure"}},
		{"name":"contacts","recipe":{"history":{"aggregate":"contacts"}}}]`)}
	const subjects = 30
	for i := range subjects {
		id := fmt.Sprintf("S-%06d", i+1)
		request.Rows = append(request.Rows, nba.FeatureRow{Subject: nba.SubjectRef{ID: id}})
		decode[nba.Decision](t, nodes[i%3].call("POST", "/v1/decisions", map[string]any{"subject": map[string]string{"id": id}, "channel": "callcentre"}), 200)
	}
	request.Rows = append(request.Rows, nba.FeatureRow{Subject: nba.SubjectRef{ID: "nobody"}})
	for n, node := range nodes {
		table := decode[nba.FeatureTable](t, node.call("POST", "/v1/features", request), 200)
		if len(table.Rows) != subjects+1 || table.Rows[subjects] != nil {
			t.Fatalf("node %d: %d rows", n, len(table.Rows))
		}
		for i, row := range table.Rows[:subjects] {
			if len(row) != 2 || row[1] != nil && *row[1] < 1 { // null: no consent to profiling
				t.Errorf("node %d, subject %d: %d values", n, i, len(row))
			}
		}
	}
}
