package registry

import (
	"slices"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Remove forgets a version, or with version "" a plugin with all its versions. used tells whether something
// else needs the artifact of a digest. What is active or needed is an *nba.Error with CodeConflict, and
// nothing is removed then.
func (s *State) Remove(name, version string, used func(digest string) bool) (next *State, removed []nba.PluginVersion, err error) {
	pos, found := s.find(name)
	if !found {
		return s, nil, unknown("there is no such plugin", name, s.names())
	}
	p := &s.Plugins[pos]
	if version != "" {
		if _, _, err := s.locate(name, version); err != nil {
			return s, nil, err
		}
	}
	kept := []nba.PluginVersion{}
	for _, v := range p.Versions {
		switch {
		case version != "" && v.Version != version:
			kept = append(kept, v)
		case v.State == nba.StateActive:
			return s, nil, nba.Errorf(nba.CodeConflict, "version %s of plugin %s is active; activate another version first, or deactivate the plugin", v.Version, name)
		case used(v.Digest):
			return s, nil, nba.Errorf(nba.CodeConflict, "version %s of plugin %s is part of a rollout; abort it, or wait until it has ended", v.Version, name)
		default:
			removed = append(removed, v)
		}
	}
	if len(kept) > 0 {
		return s.with(pos, kept), removed, nil
	}
	return &State{Plugins: slices.Delete(slices.Clone(s.Plugins), pos, pos+1)}, removed, nil
}

// Deactivate retires the active version of a plugin; afterwards none is active. Without one it changes
// nothing.
func (s *State) Deactivate(name string) (next *State, changed bool, err error) {
	pos, found := s.find(name)
	if !found {
		return s, false, unknown("there is no such plugin", name, s.names())
	}
	i := slices.IndexFunc(s.Plugins[pos].Versions, func(v nba.PluginVersion) bool { return v.State == nba.StateActive })
	if i < 0 {
		return s, false, nil
	}
	versions := slices.Clone(s.Plugins[pos].Versions)
	versions[i].State = nba.StateRetired
	return s.with(pos, versions), true, nil
}

// LastGood maps the name of each plugin with an active version to the digest of the version that was
// active before it.
func (s *State) LastGood() map[string]string {
	last := map[string]string{}
	for i := range s.Plugins {
		p := &s.Plugins[i]
		if _, ok := p.Active(); !ok {
			continue
		}
		var newest *nba.PluginVersion
		for j := range p.Versions {
			v := &p.Versions[j]
			if v.State == nba.StateRetired && v.ActivatedAt != nil && (newest == nil || v.ActivatedAt.After(*newest.ActivatedAt)) {
				newest = v
			}
		}
		if newest != nil {
			last[p.Name] = newest.Digest
		}
	}
	return last
}

// Digests are those of all versions.
func (s *State) Digests() map[string]bool {
	all := map[string]bool{}
	for i := range s.Plugins {
		for j := range s.Plugins[i].Versions {
			all[s.Plugins[i].Versions[j].Digest] = true
		}
	}
	return all
}
