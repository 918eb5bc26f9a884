package project_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/plugins/project"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

const policySpec = `name: family-rule
version: 1.0.0
adapter: opa
entrypoint: telco/eligible
module: policy.wasm
output: verdict
features:
  - {name: partner, attribute: partner, levels: ["false", "true"]}
  - {name: monthlyCharges, attribute: monthlyCharges}
  - {name: plan, attribute: plan, levels: [P0, P1, P20]}
  - {name: term, actionProperty: term}
cases:
  - {name: a family that pays, features: {partner: 1, monthlyCharges: 20, plan: 2, term: 12}, score: 1}
  - {name: alone, features: {partner: 0, monthlyCharges: 20, plan: 2, term: 12}, score: 0}
`

const scorerSpec = `name: fit
version: 1.0.0
features:
  - {name: tenure, attribute: tenure}
  - {name: plan, attribute: plan, levels: [P0, P20]}
  - {name: value, actionProperty: value}
cases:
  - {name: a customer, features: {tenure: 10, plan: 1, value: 100}, score: 0.52}
`

func foreign(t *testing.T, name string) []byte {
	t.Helper()
	module, err := os.ReadFile(filepath.Join("..", "adapter", "testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return module
}

// TestWrap makes artifacts of modules of every adapter and measures their limits.
func TestWrap(t *testing.T) {
	withdrawn := strings.Replace(policySpec, "cases:", "cases:\n  - {name: a term that is no longer sold, features: {partner: 1, monthlyCharges: 20, plan: 2, term: 24}, score: 0}", 1)
	for _, c := range []struct {
		name    string
		module  []byte
		spec    string
		options project.WrapOptions
	}{
		{"a policy with data", foreign(t, "policy.wasm"), withdrawn, project.WrapOptions{Data: []byte(`{"withdrawn":[24]}`)}},
		{"a bundle", bundleOf(t, map[string][]byte{"/policy.wasm": foreign(t, "policy.wasm"), "/data.json": []byte(`{"withdrawn":[24]}`), "/.manifest": []byte("{}")}), withdrawn, project.WrapOptions{}},
		{"a command", foreign(t, "command.wasm"), scorerSpec, project.WrapOptions{Adapter: artifact.AdapterWASICommand, Version: "2.0.0"}},
		{"an Extism plugin", foreign(t, "extism.wasm"), scorerSpec, project.WrapOptions{Adapter: artifact.AdapterExtism, Entrypoint: "score", Name: "other"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			module, s, err := project.Wrap(context.Background(), c.module, []byte(c.spec), c.options)
			if err != nil {
				t.Fatal(err)
			}
			m, err := artifact.Parse(module)
			if err != nil {
				t.Fatal(err)
			}
			if m.Adapter == nil || m.Limits.FuelBase == 0 || m.Limits.MemoryPages == 0 || c.options.Name != "" && m.Name != c.options.Name || c.options.Version != "" && m.Version != c.options.Version {
				t.Errorf("manifest %+v", m)
			}
			report, err := project.Test(context.Background(), module, s)
			if err != nil || report.Failed() > 0 {
				t.Errorf("testing it: %v, %+v", err, report)
			}
			again, _, err := project.Wrap(context.Background(), module, []byte(c.spec), c.options)
			if err == nil && c.options.Data == nil && c.name != "a bundle" && !bytes.Equal(again, module) {
				t.Error("wrapping it again gives another artifact")
			}
		})
	}
}

// TestBuildWraps: a folder with a module of another host is a project like any.
func TestBuildWraps(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string][]byte{project.SpecFile: []byte(policySpec + "data: data.json\n"), "policy.wasm": foreign(t, "policy.wasm"), "data.json": []byte(`{"withdrawn":[24]}`)} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	module, s, err := project.Build(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if report, err := project.Test(context.Background(), module, s); err != nil || report.Failed() > 0 {
		t.Errorf("testing it: %v, %+v", err, report)
	}
}

func TestWrapRefuses(t *testing.T) {
	f := func(what string, module []byte, spec string, o project.WrapOptions, want string) {
		t.Helper()
		_, _, err := project.Wrap(context.Background(), module, []byte(spec), o)
		if code := nba.CodeOf(err); code != nba.CodePluginRefused && code != nba.CodeInvalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want a refusal with %q", what, err, want)
		}
	}
	policy := foreign(t, "policy.wasm")
	f("no adapter", policy, scorerSpec, project.WrapOptions{}, "language")
	f("both", policy, "language: c\n"+policySpec, project.WrapOptions{}, "not both")
	f("another adapter", policy, policySpec, project.WrapOptions{Adapter: "wasix"}, "/adapter/kind")
	f("a bundle without a policy", bundleOf(t, map[string][]byte{"/data.json": []byte("{}")}), policySpec, project.WrapOptions{}, "no policy.wasm")
	f("half a bundle", bundleOf(t, map[string][]byte{"/policy.wasm": policy})[:100], policySpec, project.WrapOptions{}, "cannot be read")
	f("data for a command", foreign(t, "command.wasm"), scorerSpec, project.WrapOptions{Adapter: artifact.AdapterWASICommand, Data: []byte("{}")}, "data document")
	f("a policy that needs builtins", foreign(t, "clock.wasm"), policySpec, project.WrapOptions{Entrypoint: "telco/late"}, "rule builtins")
	f("no module", []byte("#!/bin/sh"), policySpec, project.WrapOptions{}, "rule format")
}

func bundleOf(t *testing.T, files map[string][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	zip := gzip.NewWriter(&b)
	archive := tar.NewWriter(zip)
	for name, content := range files {
		if err := archive.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := archive.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
