// Package registry is the replicated list of plugin versions: which were pushed, which one of each
// plugin is active.
//
// It is part of the replicated state machine: a State changes only through Stage and Activate, which
// are functions of the state and their arguments. None reads a clock; times come with the command. The
// modules themselves travel beside the log as blobs, addressed by Version.Digest.
//
// A version is staged when it was pushed, active when decisions use it, retired when another took its
// place. A retired version can be made active again: that is a rollback.
package registry

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// The limits of a State.
const (
	MaxPlugins  = 256
	MaxVersions = 64 // of one plugin; the retired one that was pushed first makes room
)

// State is the list. It is immutable: Stage and Activate return a changed copy that shares what did
// not change. The zero State is empty. It is safe for concurrent reading.
type State struct {
	// Plugins are sorted by name.
	Plugins []Plugin `json:"plugins"`
}

// Plugin is one plugin with its versions in the order in which they were pushed.
type Plugin struct {
	Name     string              `json:"name"`
	Versions []nba.PluginVersion `json:"versions"`
}

// Active is the version of p that decisions use; ok is false when none does.
func (p *Plugin) Active() (version nba.PluginVersion, ok bool) {
	for i := range p.Versions {
		if p.Versions[i].State == nba.StateActive {
			return p.Versions[i], true
		}
	}
	return nba.PluginVersion{}, false
}

func (p *Plugin) index(version string) int {
	return slices.IndexFunc(p.Versions, func(v nba.PluginVersion) bool { return v.Version == version })
}

// Stage adds a pushed version in state staged, whatever v.State says. Staging the same version with
// the same digest again changes nothing and returns the record that is there; another digest under the
// same name and version is an *nba.Error with CodeConflict, because a version never changes.
func (s *State) Stage(v nba.PluginVersion) (next *State, record nba.PluginVersion, changed bool, err error) {
	if !artifact.ValidName(v.Name) || !artifact.ValidVersion(v.Version) || !validDigest(v.Digest) {
		return s, record, false, nba.Errorf(nba.CodeInvalid,
			"a plugin version needs a name, a semantic version and a sha256 digest; push the artifact again")
	}
	v.State, v.ActivatedAt, v.PushedAt = nba.StateStaged, nil, v.PushedAt.UTC()
	at, found := s.find(v.Name)
	if !found {
		if len(s.Plugins) == MaxPlugins {
			return s, record, false, nba.Errorf(nba.CodeTooLarge, "there are already %d plugins; push a version of one of them", MaxPlugins)
		}
		plugins := slices.Insert(slices.Clone(s.Plugins), at, Plugin{Name: v.Name, Versions: []nba.PluginVersion{v}})
		return &State{Plugins: plugins}, v, true, nil
	}
	p := &s.Plugins[at]
	if i := p.index(v.Version); i >= 0 {
		if known := p.Versions[i]; known.Digest == v.Digest {
			return s, known, false, nil
		}
		return s, record, false, nba.Errorf(nba.CodeConflict,
			"plugin %s version %s was pushed before with other bytes; a version never changes: raise the version", v.Name, v.Version)
	}
	versions := slices.Clone(p.Versions)
	if len(versions) >= MaxVersions {
		oldest := slices.IndexFunc(versions, func(v nba.PluginVersion) bool { return v.State == nba.StateRetired })
		if oldest < 0 {
			return s, record, false, nba.Errorf(nba.CodeTooLarge,
				"plugin %s has %d versions and none is retired; activate the newest before pushing more", v.Name, MaxVersions)
		}
		versions = slices.Delete(versions, oldest, oldest+1)
	}
	return s.with(at, append(versions, v)), v, true, nil
}

// Activate makes a version the active one at the time at, and retires the one that was. Activating the
// active version changes nothing. A name or version that was never pushed is an *nba.Error with
// CodePluginUnknown.
func (s *State) Activate(name, version string, at time.Time) (next *State, record nba.PluginVersion, changed bool, err error) {
	pos, i, err := s.locate(name, version)
	if err != nil {
		return s, record, false, err
	}
	versions := s.Plugins[pos].Versions
	if versions[i].State == nba.StateActive {
		return s, versions[i], false, nil
	}
	versions = slices.Clone(versions)
	for j := range versions {
		if versions[j].State == nba.StateActive {
			versions[j].State = nba.StateRetired
		}
	}
	at = at.UTC()
	versions[i].State, versions[i].ActivatedAt = nba.StateActive, &at
	return s.with(pos, versions), versions[i], true, nil
}

// Version looks one version up; the error is an *nba.Error with CodePluginUnknown.
func (s *State) Version(name, version string) (nba.PluginVersion, error) {
	pos, i, err := s.locate(name, version)
	if err != nil {
		return nba.PluginVersion{}, err
	}
	return s.Plugins[pos].Versions[i], nil
}

// Active maps the name of each plugin that has an active version to the digest of that version.
func (s *State) Active() map[string]string {
	active := make(map[string]string, len(s.Plugins))
	for i := range s.Plugins {
		if v, ok := s.Plugins[i].Active(); ok {
			active[v.Name] = v.Digest
		}
	}
	return active
}

// Versions are all versions, sorted by name and then in the order in which they were pushed.
func (s *State) Versions() []nba.PluginVersion {
	all := []nba.PluginVersion{}
	for i := range s.Plugins {
		all = append(all, s.Plugins[i].Versions...)
	}
	return all
}

// Parse reads the JSON of a State, as a snapshot holds it, and checks it.
func Parse(content []byte) (*State, error) {
	s := &State{}
	if err := json.Unmarshal(content, s); err != nil {
		return nil, fmt.Errorf("reading the plugin registry: %w", err)
	}
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("reading the plugin registry: %w", err)
	}
	return s, nil
}

// check finds what Stage and Activate would never produce.
func (s *State) check() error {
	for i := range s.Plugins {
		p := &s.Plugins[i]
		if i > 0 && s.Plugins[i-1].Name >= p.Name {
			return fmt.Errorf("plugin %d is out of order", i)
		}
		if len(p.Versions) == 0 {
			return fmt.Errorf("plugin %d has no versions", i)
		}
		active := 0
		for j := range p.Versions {
			v := &p.Versions[j]
			if v.Name != p.Name || !artifact.ValidName(v.Name) || !artifact.ValidVersion(v.Version) || !validDigest(v.Digest) || p.index(v.Version) != j {
				return fmt.Errorf("plugin %d, version %d: bad or repeated name, version or digest", i, j)
			}
			switch v.State {
			case nba.StateActive:
				active++
			case nba.StateStaged, nba.StateRetired:
			default:
				return fmt.Errorf("plugin %d, version %d: unknown state", i, j)
			}
		}
		if active > 1 {
			return fmt.Errorf("plugin %d has %d active versions", i, active)
		}
	}
	return nil
}

func (s *State) find(name string) (int, bool) {
	return slices.BinarySearchFunc(s.Plugins, name, func(p Plugin, name string) int { return strings.Compare(p.Name, name) })
}

func (s *State) locate(name, version string) (plugin, index int, err error) {
	pos, found := s.find(name)
	if !found {
		return 0, 0, unknown("there is no such plugin", name, s.names())
	}
	p := &s.Plugins[pos]
	i := p.index(version)
	if i < 0 {
		versions := make([]string, len(p.Versions))
		for j := range p.Versions {
			versions[j] = p.Versions[j].Version
		}
		return 0, 0, unknown(fmt.Sprintf("plugin %s has no such version", p.Name), version, versions)
	}
	return pos, i, nil
}

// unknown never repeats what was asked for, only what there is.
func unknown(what, asked string, known []string) error {
	remedy := "push it first"
	if near := nba.Nearest(asked, known); near != "" {
		remedy = "did you mean " + near + "?"
	}
	return nba.Errorf(nba.CodePluginUnknown, "%s; %s", what, remedy)
}

func (s *State) names() []string {
	names := make([]string, len(s.Plugins))
	for i := range s.Plugins {
		names[i] = s.Plugins[i].Name
	}
	return names
}

// with is s with other versions of the plugin at pos.
func (s *State) with(pos int, versions []nba.PluginVersion) *State {
	plugins := slices.Clone(s.Plugins)
	plugins[pos].Versions = versions
	return &State{Plugins: plugins}
}

func validDigest(digest string) bool {
	hex, ok := strings.CutPrefix(digest, "sha256:")
	return ok && len(hex) == 64 && strings.Trim(hex, "0123456789abcdef") == ""
}
