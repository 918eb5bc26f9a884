// The scorer of ../rust-command in Go.
package main

import (
	"encoding/json"
	"os"
)

type request struct {
	Subject struct {
		Tenure *float64 `json:"tenure"`
		Plan   string   `json:"plan"`
	} `json:"subject"`
	Candidates []struct {
		Value *float64 `json:"value"`
	} `json:"candidates"`
}

type reply struct {
	Scores []*float64 `json:"scores"`
}

func main() {
	var in request
	if err := json.NewDecoder(os.Stdin).Decode(&in); err != nil {
		os.Exit(1)
	}
	bonus := 0.0
	if in.Subject.Plan == "P20" {
		bonus = 0.5
	}
	var out reply
	for _, c := range in.Candidates {
		if in.Subject.Tenure == nil || c.Value == nil {
			out.Scores = append(out.Scores, nil)
			continue
		}
		score := bonus + *in.Subject.Tenure/1000 + *c.Value/10000
		out.Scores = append(out.Scores, &score)
	}
	if err := json.NewEncoder(os.Stdout).Encode(out); err != nil {
		os.Exit(1)
	}
}
