package project

import (
	"fmt"
	"maps"
	"strings"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Language is what a plugin is written in.
type Language string

// The languages with a guest SDK.
const (
	Go             Language = "go"
	Rust           Language = "rust"
	AssemblyScript Language = "assemblyscript"
	C              Language = "c"
)

// Languages are all languages, in the order in which they are shown.
func Languages() []Language { return []Language{Go, Rust, AssemblyScript, C} }

// ParseLanguage reads the name of a language.
func ParseLanguage(name string) (Language, error) {
	for _, l := range Languages() {
		if string(l) == name {
			return l, nil
		}
	}
	return "", nba.Errorf(nba.CodeInvalid, "language %q has no guest SDK; use go, rust, assemblyscript or c", clip(name))
}

func clip(s string) string { return s[:min(len(s), 32)] }

// layout tells where the parts of a project lie.
type layout struct {
	// sdk maps files of the guest SDK to their place in the project, for every kind of plugin.
	sdk map[string]string
	// scorer and strategy are the further files of plugins of one kind.
	scorer, strategy map[string]string
	// features is the generated file with the names of the features; strategy projects of some languages
	// need none.
	features string
	// generate makes its text.
	generate func(s *Spec) string
}

var layouts = map[Language]layout{
	C: {
		scorer:   map[string]string{"c/arbiter.h": "arbiter/arbiter.h"},
		strategy: map[string]string{"c/arbiter_strategy.h": "arbiter/arbiter.h", "c/arbiter_json.h": "arbiter/arbiter_json.h"},
		features: "arbiter_features.h", generate: featuresC,
	},
	Rust: {
		sdk:      map[string]string{"rust/src/lib.rs": "arbiter/src/lib.rs", "rust/src/host.rs": "arbiter/src/host.rs"},
		scorer:   map[string]string{"rust/Cargo.toml": "arbiter/Cargo.toml"},
		strategy: map[string]string{"rust/Cargo-strategy.toml": "arbiter/Cargo.toml", "rust/src/strategy.rs": "arbiter/src/strategy.rs"},
		features: "src/features.rs", generate: featuresRust,
	},
	AssemblyScript: {
		sdk:    map[string]string{"assemblyscript/host.ts": "arbiter/host.ts"},
		scorer: map[string]string{"assemblyscript/scorer.ts": "arbiter/scorer.ts", "assemblyscript/features.ts": "arbiter/features.ts"},
		strategy: map[string]string{"assemblyscript/strategy.ts": "arbiter/strategy.ts", "assemblyscript/types.ts": "arbiter/types.ts",
			"assemblyscript/json.ts": "arbiter/json.ts"},
		features: "features.ts", generate: featuresAssemblyScript,
	},
	Go: {
		sdk:    map[string]string{"go/doc.go": "arbiter/doc.go", "go/marker_wasip1.go": "arbiter/marker_wasip1.go", "go/host_wasip1.go": "arbiter/host_wasip1.go"},
		scorer: map[string]string{"go/scorer_wasip1.go": "arbiter/scorer_wasip1.go"},
		strategy: map[string]string{"go/strategy.go": "arbiter/strategy.go", "go/strategy_wasip1.go": "arbiter/strategy_wasip1.go",
			"go/json.go": "arbiter/json.go"},
		features: "features.go", generate: featuresGo,
	},
}

// files are those of the SDK that a project of a kind holds: from their place in the SDK to that in the
// project.
func (l *layout) files(kind string) map[string]string {
	files := maps.Clone(l.scorer)
	if kind == artifact.KindStrategy {
		files = maps.Clone(l.strategy)
	}
	if files == nil {
		files = map[string]string{}
	}
	maps.Copy(files, l.sdk)
	return files
}

const generated = "Generated from plugin.yaml by arbiter plugin build. DO NOT EDIT."

func featuresC(s *Spec) string {
	var b strings.Builder
	fmt.Fprintf(&b, "/* %s */\n#ifndef ARBITER_FEATURES_H\n#define ARBITER_FEATURES_H\n\n", generated)
	subjects, candidates, rows := s.shape()
	fmt.Fprintf(&b, "#define ARBITER_SUBJECT_FEATURES %d\n#define ARBITER_CANDIDATE_FEATURES %d\n#define ARBITER_MAX_ROWS %d\n\n", subjects, candidates, rows)
	s.eachName(upperSnake, func(name string, position int) { fmt.Fprintf(&b, "#define %s %d\n", name, position) })
	b.WriteString("\n#endif\n")
	return b.String()
}

func featuresRust(s *Spec) string {
	var b strings.Builder
	fmt.Fprintf(&b, "// %s\n#![allow(dead_code)]\n\n", generated)
	subjects, candidates, rows := s.shape()
	fmt.Fprintf(&b, "pub const SUBJECT_FEATURES: usize = %d;\npub const CANDIDATE_FEATURES: usize = %d;\npub const MAX_ROWS: usize = %d;\n\n", subjects, candidates, rows)
	s.eachName(upperSnake, func(name string, position int) { fmt.Fprintf(&b, "pub const %s: usize = %d;\n", name, position) })
	return b.String()
}

func featuresAssemblyScript(s *Spec) string {
	var b strings.Builder
	fmt.Fprintf(&b, "// %s\n\n", generated)
	subjects, candidates, rows := s.shape()
	fmt.Fprintf(&b, "export const SUBJECT_FEATURES: i32 = %d;\nexport const CANDIDATE_FEATURES: i32 = %d;\nexport const MAX_ROWS: u32 = %d;\n\n", subjects, candidates, rows)
	s.eachName(upperSnake, func(name string, position int) { fmt.Fprintf(&b, "export const %s: i32 = %d;\n", name, position) })
	return b.String()
}

func featuresGo(s *Spec) string {
	var b strings.Builder
	fmt.Fprintf(&b, "// Code generated from plugin.yaml by arbiter plugin build. DO NOT EDIT.\n\npackage main\n\nimport %q\n\n", s.Manifest.Name+"/arbiter")
	subjects, candidates, rows := s.shape()
	fmt.Fprintf(&b, "var shape = arbiter.Shape{SubjectFeatures: %d, CandidateFeatures: %d, MaxRows: %d}\n\nconst (\n", subjects, candidates, rows)
	s.eachName(camel, func(name string, position int) { fmt.Fprintf(&b, "\t%s = %d\n", name, position) })
	b.WriteString(")\n")
	return b.String()
}

// shape is the geometry of the scorer.
func (s *Spec) shape() (subjects, candidates, rows int) {
	return s.Manifest.SubjectFeatures(), s.Manifest.CandidateFeatures(), s.Manifest.Limits.MaxRows
}

// eachName calls fn with the constant of every feature and its position among those of its scope. A
// name that is taken already gets its position as an ending.
func (s *Spec) eachName(style func(scope, feature string) string, fn func(name string, position int)) {
	taken := map[string]bool{}
	subjects := s.Manifest.SubjectFeatures()
	for i := range s.Manifest.Features {
		scope, position := "subject", i
		if i >= subjects {
			scope, position = "candidate", i-subjects
		}
		name := style(scope, s.Manifest.Features[i].Name)
		if taken[name] {
			name = fmt.Sprintf("%s_%d", name, position)
		}
		taken[name] = true
		fn(name, position)
	}
}

func upperSnake(scope, feature string) string {
	return strings.ToUpper(scope) + "_" + strings.ToUpper(strings.Join(words(feature), "_"))
}

func camel(scope, feature string) string {
	var b strings.Builder
	for _, w := range append([]string{scope}, words(feature)...) {
		b.WriteString(strings.ToUpper(w[:1]) + w[1:])
	}
	return b.String()
}

// words splits the name of a feature at everything that is not a letter or digit of ASCII.
func words(feature string) []string {
	list := strings.FieldsFunc(feature, func(r rune) bool {
		return r > 'z' || r < '0' || r > '9' && r < 'A' || r > 'Z' && r < 'a'
	})
	if len(list) == 0 {
		return []string{"X"}
	}
	return list
}
