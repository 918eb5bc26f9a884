package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// zenEngine starts the program of zen/ with a decision table. Its rules have a cell for each input and the
// number of the row as their output.
func zenEngine(program, hitPolicy string, inputs []string, cells [][]string, all []subject) (*engine, error) {
	type named struct {
		ID    string `json:"id"`
		Name  string `json:"name"`
		Field string `json:"field"`
	}
	content := map[string]any{"hitPolicy": hitPolicy, "outputs": []named{{ID: "out", Name: "row", Field: "row"}}}
	var columns []named
	for i, input := range inputs {
		columns = append(columns, named{ID: fmt.Sprintf("in%d", i), Name: input, Field: input})
	}
	content["inputs"] = columns
	var rules []map[string]string
	for i, row := range cells {
		rule := map[string]string{"_id": fmt.Sprint(i), "out": fmt.Sprint(i)}
		for at, cell := range row {
			rule[columns[at].ID] = cell
		}
		rules = append(rules, rule)
	}
	content["rules"] = rules
	decision := map[string]any{
		"nodes": []map[string]any{{"id": "in", "name": "in", "type": "inputNode"}, {"id": "table", "name": "table", "type": "decisionTableNode", "content": content},
			{"id": "out", "name": "out", "type": "outputNode"}},
		"edges": []map[string]any{{"id": "1", "sourceId": "in", "targetId": "table"}, {"id": "2", "sourceId": "table", "targetId": "out"}},
	}
	var objects []map[string]any
	for i := range all {
		objects = append(objects, all[i].object())
	}
	return startZen(program, decision, objects)
}

func startZen(program string, decision, inputs any) (*engine, error) {
	folder, err := os.MkdirTemp("", "zenbench")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	var files []string
	for name, value := range map[string]any{"rules.json": decision, "inputs.json": inputs} {
		b, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(folder, name), b, 0o600); err != nil {
			return nil, err
		}
	}
	files = append(files, filepath.Join(folder, "rules.json"), filepath.Join(folder, "inputs.json"))
	cmd := exec.Command(program, files...)
	cmd.Stderr = os.Stderr
	ask, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	answers, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	reader := bufio.NewReader(answers)
	line, err := reader.ReadBytes('\n')
	if err != nil {
		return nil, fmt.Errorf("reading the results of Zen: %w", err)
	}
	var results []any
	if err := json.Unmarshal(line, &results); err != nil {
		return nil, err
	}
	return &engine{name: "Zen",
		result: func(input int) ([]int, error) { return zenRows(results[input]) },
		time:   func(rounds int) (time.Duration, error) { return zenTime(ask, reader, rounds) },
		close: func() error {
			_ = ask.Close()
			return cmd.Wait()
		}}, nil
}

func zenTime(ask io.Writer, answers *bufio.Reader, rounds int) (time.Duration, error) {
	if _, err := fmt.Fprintln(ask, rounds); err != nil {
		return 0, err
	}
	line, err := answers.ReadString('\n')
	if err != nil {
		return 0, err
	}
	ns, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
	return time.Duration(ns), err
}

// zenRows are the rows of a result: {"row": 3}, or a list of them.
func zenRows(result any) (rows []int, err error) {
	list, ok := result.([]any)
	if !ok {
		list = []any{result}
	}
	for _, one := range list {
		object, ok := one.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("%T is no row", one)
		}
		number, ok := object["row"].(float64)
		if !ok {
			return nil, fmt.Errorf("a row without its number")
		}
		rows = append(rows, int(number))
	}
	slices.Sort(rows)
	return rows, nil
}

// zenEligibility is a table that collects: a row for each action.
func zenEligibility(program string, all []subject) (*engine, error) {
	var cells [][]string
	for _, clauses := range actionRules() {
		var row []string
		for _, c := range clauses {
			row = append(row, fmt.Sprintf("%s %d", c.operator, c.number))
		}
		cells = append(cells, row)
	}
	return zenEngine(program, "collect", []string{"tenure", "usage", "age"}, cells, all)
}

func zenTable(program string, all []subject) (*engine, error) {
	var cells [][]string
	text := func(s string) string {
		if s == "" {
			return ""
		}
		return strconv.Quote(s)
	}
	for _, r := range rowRules() {
		cells = append(cells, []string{fmt.Sprintf("[%d..%d)", r.tenureFrom, r.tenureTo), fmt.Sprintf("[%d..%d)", r.chargesFrom, r.chargesTo), text(r.contract), text(r.region)})
	}
	return zenEngine(program, "first", []string{"tenure", "charges", "contract", "region"}, cells, all)
}
