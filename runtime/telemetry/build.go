package telemetry

import (
	"runtime"
	"runtime/debug"
)

// BuildInfo names the build that runs.
type BuildInfo struct {
	// Version is the module version, or "devel" when built from a checkout without a tag.
	Version string `json:"version"`
	// Revision is the commit, with "-dirty" when the checkout had changes; "unknown" without git.
	Revision  string `json:"revision"`
	Time      string `json:"time,omitempty"` // of the commit, RFC 3339
	GoVersion string `json:"goVersion"`
	Platform  string `json:"platform"` // such as linux/amd64
}

// Build reads the identity that the Go tool stamped into the binary.
func Build() BuildInfo {
	info, _ := debug.ReadBuildInfo() // nil in binaries built without module support
	return buildFrom(info)
}

func buildFrom(info *debug.BuildInfo) BuildInfo {
	b := BuildInfo{Version: "devel", Revision: "unknown", GoVersion: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info == nil {
		return b
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		b.Version = v
	}
	dirty := false
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.time":
			b.Time = s.Value
		case "vcs.modified":
			dirty = s.Value == "true"
		}
	}
	if dirty && b.Revision != "unknown" {
		b.Revision += "-dirty"
	}
	return b
}
