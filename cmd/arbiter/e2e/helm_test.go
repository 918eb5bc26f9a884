package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/config"
)

const chart = "../../../docs/operating/deploy/helm"

// helm finds the program: on the path, or where make helm puts it.
func helm(t *testing.T) string {
	t.Helper()
	if path, err := exec.LookPath("helm"); err == nil {
		return path
	}
	own, err := filepath.Abs("../../../bin/helm")
	if err == nil {
		_, err = os.Stat(own)
	}
	if err != nil {
		t.Skip("NOT TESTED: helm is not installed, so the chart is neither linted nor rendered; make helm installs it into bin/")
	}
	return own
}

// manifest is one document of a rendered chart.
type manifest map[string]any

// at walks down by names.
func (m manifest) at(path ...string) any {
	var v any = map[string]any(m)
	for _, name := range path {
		object, _ := v.(map[string]any)
		v = object[name]
	}
	return v
}

func (m manifest) name() string {
	return fmt.Sprint(m["kind"], "/", m.at("metadata", "name"))
}

func render(t *testing.T, program string, sets ...string) map[string]manifest {
	t.Helper()
	args := []string{"template", "arbiter", chart, "--kube-version", "1.30.0", "--namespace", "customers"}
	for _, set := range sets {
		args = append(args, "--set", set)
	}
	var errOut bytes.Buffer
	cmd := exec.Command(program, args...)
	cmd.Stderr = &errOut
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("helm template %v: %v\n%s", sets, err, errOut.String())
	}
	found := map[string]manifest{}
	for documents := yaml.NewDecoder(bytes.NewReader(out)); ; {
		var m map[string]any
		err := documents.Decode(&m)
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatalf("helm template %v: %v", sets, err)
		}
		if m != nil {
			found[manifest(m).name()] = m
		}
	}
}

// TestHelmChart lints and renders the chart, and checks that its parts fit: labels, ports, volumes, and that
// the settings are ones that the program takes.
func TestHelmChart(t *testing.T) {
	t.Parallel()
	program := helm(t)
	if out, err := exec.Command(program, "lint", "--strict", chart).CombinedOutput(); err != nil {
		t.Fatalf("helm lint: %v\n%s", err, out)
	}
	everything := []string{"backup.existingClaim=claim", "backup.keySecret=key", "serviceMonitor.enabled=true", "serviceMonitor.tokenSecret.name=token",
		"tls.certManager.enabled=true", "tls.certManager.issuerRef.name=issuer", "replicaCount=5", "cluster.zone=north", "existingEnvSecret=env",
		"config.limits.connections=100", "service.type=LoadBalancer", "networkPolicy.apiFrom[0].podSelector.matchLabels.app=shop"}
	for name, sets := range map[string][]string{"defaults": nil, "everything": everything} {
		t.Run(name, func(t *testing.T) {
			found := render(t, program, sets...)
			want := []string{"StatefulSet/arbiter", "Service/arbiter", "Service/arbiter-nodes", "Service/arbiter-admin", "ConfigMap/arbiter",
				"PodDisruptionBudget/arbiter", "NetworkPolicy/arbiter"}
			if sets != nil {
				want = append(want, "ServiceMonitor/arbiter", "Certificate/arbiter-tls")
			}
			for _, name := range want {
				if found[name] == nil {
					t.Errorf("there is no %s", name)
				}
			}
			if t.Failed() {
				return
			}
			expectFits(t, found)
			expectSettings(t, found)
		})
	}
	for _, set := range []string{"replicaCount=2", "auth.required=false", "cluster.dataGroups=0", "unknown=1", "drain=soon"} {
		if out, err := exec.Command(program, "template", "arbiter", chart, "--kube-version", "1.30.0", "--set", set).CombinedOutput(); err == nil {
			t.Errorf("--set %s is taken:\n%s", set, out)
		}
	}
}

// expectFits checks what refers to what.
func expectFits(t *testing.T, found map[string]manifest) {
	t.Helper()
	set := found["StatefulSet/arbiter"]
	labels, _ := set.at("spec", "template", "metadata", "labels").(map[string]any)
	selects := func(name string, path ...string) {
		selector, _ := found[name].at(path...).(map[string]any)
		if len(selector) == 0 {
			t.Errorf("%s selects nothing", name)
		}
		for k, v := range selector {
			if labels[k] != v {
				t.Errorf("%s selects %s=%v, pods have %v", name, k, v, labels[k])
			}
		}
	}
	selects("StatefulSet/arbiter", "spec", "selector", "matchLabels")
	selects("PodDisruptionBudget/arbiter", "spec", "selector", "matchLabels")
	selects("NetworkPolicy/arbiter", "spec", "podSelector", "matchLabels")
	ports := map[any]any{}
	container, _ := set.at("spec", "template", "spec", "containers").([]any)[0].(map[string]any)
	for _, p := range container["ports"].([]any) {
		port := p.(map[string]any)
		ports[port["name"]] = port["containerPort"]
	}
	for _, service := range []string{"Service/arbiter", "Service/arbiter-nodes", "Service/arbiter-admin"} {
		selects(service, "spec", "selector")
		for _, p := range found[service].at("spec", "ports").([]any) {
			if target := p.(map[string]any)["targetPort"]; ports[target] == nil {
				t.Errorf("%s leads to port %v, which the container does not have", service, target)
			}
		}
	}
	if headless := found["Service/arbiter-nodes"]; set.at("spec", "serviceName") != "arbiter-nodes" ||
		headless.at("spec", "clusterIP") != "None" || headless.at("spec", "publishNotReadyAddresses") != true {
		t.Error("nodes that are not ready could not find each other")
	}
	for _, probe := range []string{"startupProbe", "livenessProbe", "readinessProbe"} {
		if at := manifest(container).at(probe, "httpGet", "port"); ports[at] == nil {
			t.Errorf("%s asks port %v", probe, at)
		}
	}
	volumes := map[any]bool{"data": true} // of the claim
	for _, v := range set.at("spec", "template", "spec", "volumes").([]any) {
		volumes[v.(map[string]any)["name"]] = true
	}
	for _, m := range container["volumeMounts"].([]any) {
		if name := m.(map[string]any)["name"]; !volumes[name] {
			t.Errorf("volume %v is mounted and not there", name)
		}
	}
}

// expectSettings has the program's own loader read the settings as a pod has them.
func expectSettings(t *testing.T, found map[string]manifest) {
	t.Helper()
	text, _ := found["ConfigMap/arbiter"].at("data", "arbiter.yaml").(string)
	file := filepath.Join(t.TempDir(), "arbiter.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	container, _ := found["StatefulSet/arbiter"].at("spec", "template", "spec", "containers").([]any)[0].(map[string]any)
	for _, pod := range []string{"arbiter-0", "arbiter-2", "arbiter-4"} {
		var environ []string
		for _, e := range container["env"].([]any) {
			if v := e.(map[string]any); v["value"] != nil {
				environ = append(environ, fmt.Sprint(v["name"], "=", strings.ReplaceAll(fmt.Sprint(v["value"]), "$(POD_NAME)", pod)))
			}
		}
		c, warnings, err := config.Load(config.Sources{File: file, Environ: environ, Overrides: map[string]string{"data.dir": "/var/lib/arbiter"}})
		if err != nil || len(warnings) > 0 {
			t.Fatalf("the settings of %s: %v %v\n%s", pod, err, warnings, text)
		}
		members, err := c.Cluster.Members()
		if err != nil || len(members) != 3 || c.Cluster.NodeID != pod || c.Cluster.Joins() != (pod == "arbiter-4") {
			t.Errorf("%s is node %q of %v, joins %t: %v", pod, c.Cluster.NodeID, members, c.Cluster.Joins(), err)
		}
		if own := members[pod]; own != "" && own != c.Cluster.Listen() {
			t.Errorf("%s is expected at %s and listens at %s", pod, own, c.Cluster.Listen())
		}
	}
}
